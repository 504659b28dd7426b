"""A language model that is small enough to be made on the spot: random weights, and a tokenizer of a few words."""

from pathlib import Path

import torch

from actde_nb.checks import BookError, one_of

try:
    import peft  # noqa: F401 (adapters need it)
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging
except ModuleNotFoundError as error:
    raise BookError(f'this page needs {error.name}: pip install "actde-nb[finetune]"') from None

WORDS = (
    "<pad>", "<end>", "the", "soup", "bread", "tea", "was", "warm", "fresh", "sweet", "cold", "so", "very", "and",
    "but", "again",
)  # fmt: skip
CONTEXT = 40
NETWORKS = ("llama", "gpt2")


def make(folder: Path, network: str = "llama", seed: int = 0) -> Path:
    """Write a network of two blocks, and its tokenizer, into ``folder``, as a model of Hugging Face is kept.

    ``network`` is one of :data:`NETWORKS`. They differ in how they know places: llama by turning, gpt2 by a table."""
    one_of("network", network, NETWORKS)
    logging.disable_progress_bar()  # it would write into the page
    shared = {"vocab_size": len(WORDS), "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 1}
    shared["pad_token_id"] = 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # transformers draws from the global stream, which is put back
        if network == "llama":
            shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
            module = LlamaForCausalLM(LlamaConfig(max_position_embeddings=CONTEXT, **shape, **shared))
        else:
            shape = {"n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 4}
            module = GPT2LMHeadModel(GPT2Config(**shape, **shared))
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = WhitespaceSplit()
    module.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>").save_pretrained(folder)
    return folder
