"""Tiny randomly made language models with a tokenizer of a few words; nothing is fetched."""

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra finetune")

from tokenizers import Tokenizer  # noqa: E402 (after the check that it is there)
from tokenizers.models import WordLevel  # noqa: E402
from tokenizers.pre_tokenizers import WhitespaceSplit  # noqa: E402
from transformers import (  # noqa: E402
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from actde_nb.finetune.models import LanguageModel  # noqa: E402
from actde_nb.networks import gpt  # noqa: E402

WORDS = ("<pad>", "<end>", "so", "good", "bad", "the", "movie", "was", "a", "b", "c", "d")
END, SO = 1, 2
CONTEXT = 24


def tokenizer(**marks: str | None) -> PreTrainedTokenizerFast:
    """One token a word; <pad> stands for unknown ones too."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, **{"pad_token": "<pad>", "eos_token": "<end>"} | marks)


def gpt2(vocabulary: int = len(WORDS), seed: int = 0, **options: object) -> PreTrainedModel:
    """Two blocks of width 32, learned positions, tied embeddings, dropout 0.1 configured as is the default."""
    torch.manual_seed(seed)
    shape = {"vocab_size": vocabulary, "n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 2}
    marks = {"bos_token_id": None, "eos_token_id": END, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**shape | marks | {"initializer_range": 0.2} | options))


def llama(vocabulary: int = len(WORDS), seed: int = 0, **options: object) -> PreTrainedModel:
    """Two blocks of width 32, rotary positions, two heads of keys for four of queries."""
    torch.manual_seed(seed)
    shape = {"vocab_size": vocabulary, "max_position_embeddings": CONTEXT, "hidden_size": 32, "num_hidden_layers": 2}
    heads = {"intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    marks = {"bos_token_id": None, "eos_token_id": END, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**shape | heads | marks | {"initializer_range": 0.2} | options))


def falcon(vocabulary: int = len(WORDS), seed: int = 0) -> PreTrainedModel:
    """Two blocks of width 32, rotary positions, one head of keys for four of queries."""
    torch.manual_seed(seed)
    shape = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    marks = {"bos_token_id": None, "eos_token_id": END, "pad_token_id": 0}
    return FalconForCausalLM(FalconConfig(**shape | marks | {"initializer_range": 0.2}))


SHAPES = {"gpt2": gpt2, "llama": llama}


def language_model(
    make: str = "llama", learns: str = "all", vocabulary: int = len(WORDS), **options: object
) -> LanguageModel:
    return LanguageModel(SHAPES[make](vocabulary, **options), tokenizer(), learns)


def of_gpt2(config: gpt.GPTConfig, params: gpt.Params) -> dict[str, torch.Tensor]:
    """Our network's parameters, or their gradients, under the names and in the layout of GPT-2."""
    theirs = {"token_embedding": "transformer.wte.weight", "position_embedding": "transformer.wpe.weight"}
    theirs |= {"norm.weight": "transformer.ln_f.weight", "norm.bias": "transformer.ln_f.bias"}
    theirs |= {"policy.weight": "lm_head.weight"}
    state = {name: params[ours][0] for ours, name in theirs.items()}
    blocks = {"norm1": "ln_1", "attention": "attn.c_attn", "attention_out": "attn.c_proj"}
    blocks |= {"norm2": "ln_2", "mlp": "mlp.c_fc", "mlp_out": "mlp.c_proj"}
    for ours, name in blocks.items():
        for layer in range(config.layers):
            for kind in ("weight", "bias"):
                value = params[f"blocks.{ours}.{kind}"][0, layer]
                state[f"transformer.h.{layer}.{name}.{kind}"] = value.mT if value.ndim == 2 else value
    return {name: value.detach().clone().contiguous() for name, value in state.items()}


def as_gpt2(config: gpt.GPTConfig, params: gpt.Params) -> PreTrainedModel:
    """The same network in float64, without its heads of v and q, as a GPT-2 with embeddings that are not tied."""
    shape = {"n_embd": config.width, "n_layer": config.layers, "n_head": config.heads, "n_positions": config.block_size}
    module = gpt2(config.vocabulary, tie_word_embeddings=False, **shape).double()
    module.load_state_dict(of_gpt2(config, params))
    return module
