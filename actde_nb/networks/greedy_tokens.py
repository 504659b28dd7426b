"""What if the likeliest token had been said instead? One pass over the sequences, one over the tokens not taken."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb.checks import SettingError
from actde_nb.networks import gpt
from actde_nb.networks.sampling import NEVER, Rule


class Likeliest(NamedTuple):
    """At each place: the likeliest next token, its log-probability, and v of the beginning that it would make."""

    tokens: Int[Tensor, "trial batch time"]
    log_probs: Float[Tensor, "trial batch time"]
    values: Float[Tensor, "trial batch time"]


@torch.no_grad()
def likeliest(
    params: gpt.Params,
    config: gpt.GPTConfig,
    tokens: Int[Tensor, "trial batch time"],
    last: int,
    legal: Rule | None = None,
) -> Likeliest:
    """The likeliest token after each of the ``last`` places, and its value.

    The tokens not taken are read all at once: each sees the sequence up to its place, from the keys and values that
    the sequence left, and itself. (The published code has one whole pass for each place.)

    Args:
        params: from :func:`actde_nb.networks.gpt.init`.
        config: what they were made with.
        tokens: sequences as they were said, at most ``block_size - 1`` of them.
        last: places to answer for, the last ones.
        legal: which tokens the policy may say.

    Raises:
        SettingError: sequences that are too long, and what :func:`actde_nb.networks.gpt.forward` raises for.
    """
    gpt.check(params, config, tokens)
    time = tokens.shape[2]
    if time >= config.block_size:
        raise SettingError(f"tokens has {time} places: allowed are fewer than block_size = {config.block_size}")
    blocks = [gpt.block_of(params, layer) for layer in range(config.layers)]
    before = torch.ones(time, time, dtype=torch.bool, device=tokens.device).tril()  # [reader, read]
    x, memory = gpt.embed(params, tokens, 0), []
    for block in blocks:
        q, k, v = gpt.queries_keys_values(block, config, x)  # [S, B, H, T, D] each
        memory.append((k, v))
        scores = (q @ k.mT / math.sqrt(k.shape[-1])).masked_fill(~before, -torch.inf)
        x = x + gpt.join_heads(block, scores.softmax(-1) @ v)
        x = x + gpt.perceptron(block, x)
    logits = gpt.heads(params, config, x).logits[:, :, -last:]
    if legal is not None:
        logits = torch.where(legal(tokens)[:, :, -last:], logits, NEVER)
    log_probs, chosen = logits.log_softmax(-1).max(-1)
    y = gpt.embed(params, chosen, time - last + 1)
    for block, (k, v) in zip(blocks, memory, strict=True):
        q, own_k, own_v = gpt.queries_keys_values(block, config, y)  # [S, B, H, last, D] each
        scores = (q @ k.mT).masked_fill(~before[-last:], -torch.inf)
        scores = torch.cat([scores, (q * own_k).sum(-1, keepdim=True)], -1) / math.sqrt(k.shape[-1])
        weights = scores.softmax(-1)
        y = y + gpt.join_heads(block, weights[..., :-1] @ v + weights[..., -1:] * own_v)
        y = y + gpt.perceptron(block, y)
    return Likeliest(chosen, log_probs, gpt.heads(params, config, y).values)
