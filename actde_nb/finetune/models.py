"""A causal language model of Hugging Face as the loop sees it. No other file imports transformers or peft."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from actde_nb.checks import SettingError
from actde_nb.finetune import ranks
from actde_nb.networks.sampling import NEVER
from actde_nb.training.trainer import check_device

Tokens = Int[Tensor, "batch time"]
Cache = DynamicCache  # keys and values of what was read
ALLOWED = "allowed is a model's id, a folder with config.json and safetensors, a .gguf file, or a PreTrainedModel"


class Read(NamedTuple):
    """What the network says after each of the last tokens."""

    logits: Float[Tensor, "batch last vocabulary"]  # of float32 or wider; those of tokens ruled out are far below zero
    states: Float[Tensor, "batch last width"]  # last hidden states, from which the logits are made
    trunk: Float[Tensor, "batch time width"] | None  # after all tokens, where the blocks end that stand still, if any


class LanguageModel:
    """A network, its tokenizer, what of it learns, and what it was before.

    The network stays in evaluation mode, in which it drops nothing out: whatever the sampler computes, the learner
    computes again. The reference is the same network with the first values of what learns, so that only these are kept
    twice; of fresh adapters, whose second factor is zero, that is the network without adapters, exactly.

    Where only the last blocks learn, no update changes what the others say: they read a text once."""

    def __init__(self, module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, learns: str, seed: int = 0):
        """Changes ``module`` in place; ``learns`` is one of :data:`LEARNERS`, with its number after a colon."""
        self.tokenizer, kind = tokenizer, module.config.get_text_config()
        self._head, self._forward = module.get_output_embeddings(), inspect.signature(module.forward).parameters
        vocabulary, self.device = self._head.weight.shape[0], self._head.weight.device
        self.context = int(getattr(kind, "max_position_embeddings", None) or 2**31)
        self.ends = _ends(module, tokenizer)
        padding = tokenizer.pad_token_id  # never looked for, as masks are made of lengths
        self.padding = self.ends[0] if padding is None or padding >= vocabulary else padding
        # Networks are often wider than their tokenizers; a token without a text can be neither said nor read.
        self.words = min(len(tokenizer), vocabulary)
        what, _, number = learns.partition(":")
        self.module = LEARNERS[what](module.requires_grad_(False), int(number or 0), seed).eval()
        self._trunk = list(_blocks(module)[: -int(number)]) if what == "last" else []
        self._find_learned()
        self._outline: nn.Module | None = None  # of a network that is sharded
        head = self._head.weight
        self.embeddings = head.detach().clone() if head.requires_grad else head.detach()  # as they were at first

    def _find_learned(self) -> None:
        self.learned = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        self.first_values = {name: p.detach().clone() for name, p in self.learned.items()}

    def shard(self) -> None:
        """Keep but this process's share of each parameter, before any learning."""
        self._outline = ranks.outline(self.module)
        ranks.shard(self.module, _blocks(self.module))
        self._find_learned()

    def plain(self) -> nn.Module:
        """The network with all its parameters, on every process; if it is sharded, a copy."""
        return self.module if self._outline is None else ranks.filled(self._outline, self.module)

    def encode(self, text: str | Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """Tokens of a text, or of messages by the tokenizer's chat template, up to where the answer begins."""
        if isinstance(text, str):
            return tuple(self.tokenizer(text)["input_ids"])
        if not self.tokenizer.chat_template:
            raise SettingError("prompts has messages: allowed are texts, since the tokenizer has no chat template")
        return tuple(self.tokenizer.apply_chat_template(list(text), add_generation_prompt=True, return_dict=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def read(
        self, tokens: Tokens, seen: Shaped[Tensor, "batch ..."], positions: Tokens, last: int,
        cache: Cache | None = None, reference: bool = False, trunk: Float[Tensor, "batch time width"] | None = None,
        states_alone: bool = False,
    ) -> Read:  # fmt: skip
        """Read tokens, after those in ``cache`` if there is one, and say what comes after the ``last`` of them.

        ``seen`` says which places, of those in the cache and then of ``tokens``, may be looked at; or, with four axes
        ``[batch, 1, time, place]``, what to add to the attention's scores, 0 or far below zero. ``positions`` are
        passed always: where sequences are padded on the left, a network with learned positions needs them. ``trunk``
        is what an earlier call said of the same tokens, and spares the blocks that stand still. ``states_alone`` asks
        for no logits but the first, which are a good part of the work where the vocabulary is large."""
        states, still = [], []

        def of_head(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            states.append(inputs[0].contiguous())  # else PyTorch reads the head anew for each sequence
            return (states[0][:, :1] if states_alone else states[0],)

        hooks = [self._head.register_forward_pre_hook(of_head)]
        hooks += [block.register_forward_hook(lambda *said: still.append(said[-1])) for block in self._trunk[-1:]]
        stored = "cache" if "cache" in self._forward else "past_key_values"  # as transformers called it before 5.24
        given = {"attention_mask": seen, "position_ids": positions, "use_cache": cache is not None, stored: cache}
        if "logits_to_keep" in self._forward:  # a prompt's logits are of no use, and large
            given["logits_to_keep"] = last
        values = self.first_values if reference else {}
        try:
            still_there = self._standing(trunk) if trunk is not None else nullcontext()
            with still_there, ranks.standing_in(self.learned, values) as rest:
                said = torch.func.functional_call(self.module, rest, (tokens,), given).logits[:, -last:]
        finally:
            for hook in hooks:
                hook.remove()
        logits = said.to(torch.promote_types(said.dtype, torch.float32))
        if self.words < logits.shape[-1]:
            logits = torch.cat([logits[..., : self.words], torch.full_like(logits[..., self.words :], NEVER)], -1)
        for said in still:
            self._in_tuples, trunk = isinstance(said, tuple), said[0] if isinstance(said, tuple) else said
        return Read(logits, states[0][:, -last:], trunk)

    @contextmanager
    def _standing(self, said: Tensor) -> Iterator[None]:
        """While this lasts, the blocks that stand still pass on what they ``said``, and do nothing else."""
        for block in self._trunk:  # what else a block is asked for, such as which attention it has, it still answers
            block.forward = lambda *_, **__: (said,) if self._in_tuples else said  # as blocks of BLOOM and Falcon do
        try:
            yield
        finally:
            for block in self._trunk:
                del block.forward

    def identity(self) -> str:
        """A hash of how every parameter begins, taken before any learning."""
        values = ((name, self.first_values.get(name, p)) for name, p in self.module.named_parameters())
        begins = [(name, value.dtype, value.shape, value.flatten()[:8].tolist()) for name, value in values]
        return sha256(repr(begins).encode()).hexdigest()


@contextmanager
def no_bars(quiet: bool = True) -> Iterator[None]:
    """Let transformers draw no bar of progress inside, if ``quiet``."""
    change = quiet and logging.is_progress_bar_enabled()
    if change:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if change:
            logging.enable_progress_bar()


def load(
    model: Any, learns: str, tokenizer: Any = None, dtype: str = "float32", device: str = "cpu", seed: int = 0
) -> LanguageModel:
    """A model by its id, its folder, a .gguf file (dequantised), or as a PreTrainedModel, which will be changed.

    Weights are read from safetensors or GGUF alone, and no code that comes with a model is run: either could do
    anything. Raise SettingError where there is no such model or tokenizer."""
    if isinstance(model, str | Path):
        quantised = str(model).endswith(".gguf")
        path, file = (str(Path(model).parent), {"gguf_file": Path(model).name}) if quantised else (str(model), {})
        # Without a word about it, GGUF stays quantised, and then can be neither trained nor saved.
        more = file | ({"quantization_config": GgufConfig(dequantize=True)} if file else {"use_safetensors": True})
        more["dtype"] = getattr(torch, dtype)
        module = _found("model", model, AutoModelForCausalLM.from_pretrained, path, **more)
    elif isinstance(model, PreTrainedModel):
        module, path, file = model, model.name_or_path or "(no name)", {}
    else:
        raise SettingError(f"model = {type(model).__name__}: {ALLOWED}; of one with adapters, merge_and_unload()")
    if module.get_output_embeddings() is None:
        raise SettingError(f"model = {type(module).__name__}: {ALLOWED} that says what token comes next")
    if tokenizer is None or isinstance(tokenizer, str | Path):
        named, file = (path, file) if tokenizer is None else (str(tokenizer), {})
        tokenizer = _found("tokenizer", named, AutoTokenizer.from_pretrained, named, **file)
    return LanguageModel(module.to(check_device(device)), tokenizer, learns, seed)


def convert(gguf: Path, folder: Path, ends: Sequence[str]) -> None:
    """Write the model and the tokenizer of a .gguf file as :func:`load` reads them, in safetensors of float32, so that
    its texts end with any of the tokens ``ends``. Raise SettingError where the file cannot be read."""
    model = load(gguf, "last:1")
    model.module.generation_config.eos_token_id = model.tokenizer.convert_tokens_to_ids(list(ends))
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


def _found(field: str, value: Any, get: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What ``get`` gets; its complaint becomes one line."""
    try:
        return get(*arguments, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        allowed = ALLOWED if field == "model" else "allowed is a tokenizer, or its id or folder"
        raise SettingError(f"{field} = {str(value)!r}: {allowed} ({str(error).strip().splitlines()[0]})") from None


def _ends(module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """All tokens that end a text: the tokenizer names one, the model's settings often others, for chats and texts."""
    named = (tokenizer.eos_token_id, getattr(getattr(module, "generation_config", None), "eos_token_id", None))
    found = [end for said in named if said is not None for end in (said if isinstance(said, list) else [said])]
    found = [end for end in found if end < len(tokenizer)]  # a model made without saying so keeps another one's
    if not found:
        raise SettingError("tokenizer.eos_token = None, and the model names no end either: allowed is a token")
    return tuple(dict.fromkeys(found))


def _lora(module: PreTrainedModel, rank: int, seed: int) -> nn.Module:
    """Adapters on all linear layers but the head, twice as strong as their rank divides them."""
    options = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # of GPT-2's layers, which peft turns by itself
        warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")  # asked by peft 0.21
        torch.manual_seed(seed)  # peft draws from the global stream, which is put back
        try:
            return get_peft_model(module, options)
        except ValueError as error:
            allowed = f"allowed are all and last:BLOCKS, since {type(module).__name__} has no linear layers to adapt"
            raise SettingError(f"learns = 'lora:{rank}': {allowed} ({str(error).splitlines()[0]})") from None


def _last(module: PreTrainedModel, blocks: int, seed: int) -> nn.Module:
    every = _blocks(module)
    if blocks > len(every):
        allowed = f"are 1 to {len(every)} blocks" if every else "are all and lora:RANK, since no blocks are found"
        raise SettingError(f"learns = 'last:{blocks}': allowed {allowed}")
    every[-blocks:].requires_grad_(True)
    return module


def _blocks(module: nn.Module) -> nn.ModuleList:
    """The network's blocks, by their number; none where they are kept in another way."""
    layers = module.config.get_text_config().num_hidden_layers
    stacks = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == layers]
    return stacks[0] if stacks else nn.ModuleList()


#: By the names of what learns: how to choose it in a frozen network.
LEARNERS: dict[str, Callable[[PreTrainedModel, int, int], nn.Module]] = {
    "all": lambda module, number, seed: module.requires_grad_(True), "lora": _lora, "last": _last,
}  # fmt: skip
