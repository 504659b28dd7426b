"""What if the likeliest token had been said instead? One pass over the sequences, one over the tokens not taken."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb.checks import SettingError
from actde_nb.networks import gpt
from actde_nb.networks.sampling import NEVER, Rule


class GreedyTokens(NamedTuple):
    """At each place: the likeliest next token, its log-probability, and v of the beginning that it would make."""

    tokens: Int[Tensor, "trial batch time"]
    log_probs: Float[Tensor, "trial batch time"]
    values: Float[Tensor, "trial batch time"]


@torch.no_grad()
def greedy_tokens(
    networks: Sequence[gpt.Params], config: gpt.GPTConfig, tokens: gpt.Tokens, last: int,
    join: gpt.Join = gpt.alone, legal: Rule | None = None,
) -> GreedyTokens:  # fmt: skip
    """The likeliest token after each of the ``last`` places of sequences of fewer than ``block_size``, and its value.

    The tokens not taken are read all at once: each sees the sequence up to its place, from the keys and values that
    the sequence left, and itself. (The published code has one whole pass for each place.) What the networks say is
    joined, and ruled out, as in :func:`actde_nb.networks.sampling.sample`."""
    time = tokens.shape[2]
    if time >= config.block_size:
        raise SettingError(f"tokens has {time} places: allowed are fewer than block_size = {config.block_size}")
    said, memories = [], [[] for _ in networks]
    for params, memory in zip(networks, memories, strict=True):
        gpt.check(params, config, tokens)
        said.append(gpt.read(params, config, tokens, gpt.dropout_of(config, None, *tokens.shape[:2]), memory))
    logits = join(*said).logits[:, :, -last:]
    if legal is not None:
        logits = torch.where(legal(tokens)[:, :, -last:], logits, NEVER)
    log_probs, chosen = logits.log_softmax(-1).max(-1)
    each = zip(networks, memories, strict=True)
    after = join(*(_after(params, config, memory, chosen, time) for params, memory in each))
    return GreedyTokens(chosen, log_probs, after.values)


def _after(
    params: gpt.Params, config: gpt.GPTConfig, memory: gpt.Memory, chosen: Int[Tensor, "trial batch last"], time: int
) -> gpt.Outputs:
    """What a network says after each of ``chosen``, which see the tokens before them but not one another."""
    last = chosen.shape[-1]
    ahead = torch.ones(last, time, dtype=torch.bool, device=chosen.device).triu(time - last + 1)  # [reader, read]
    y = gpt.embed(params, chosen, time - last + 1)
    for layer, (k, v) in enumerate(memory):
        block = gpt.block_of(params, layer)
        q, own_k, own_v = gpt.queries_keys_values(block, config, y)  # [S, B, H, last, D] each
        scores = (q @ k.mT).masked_fill(ahead, -torch.inf)
        scores = torch.cat([scores, (q * own_k).sum(-1, keepdim=True)], -1) / math.sqrt(k.shape[-1])
        weights = scores.softmax(-1)
        y = y + gpt.join_heads(block, weights[..., :-1] @ v + weights[..., -1:] * own_v)
        y = y + gpt.perceptron(block, y)
    return gpt.heads(params, config, y)
