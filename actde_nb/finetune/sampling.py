"""Draw completions from a language model, one token at a time, keeping the keys and values of what was read.

Log-probabilities are those of the whole softmax at temperature one, as everywhere in the project: nothing is cut off
the distribution, and a temperature, if there is one, is for the draw alone, which then is off-policy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb.finetune.models import Cache, LanguageModel, Read

Tokens = Int[Tensor, "batch places"]
Seen = Bool[Tensor, "batch places"]
Steps = Float[Tensor, "batch steps"]
Trunk = Float[Tensor, "batch read width"]


class Likeliest(NamedTuple):
    """The likeliest token in place of each one drawn."""

    tokens: Int[Tensor, "batch steps"]
    log_probs: Steps
    states: Float[Tensor, "batch steps width"]  # the network's last hidden states after them


class Sampled(NamedTuple):
    """Prompts with what was drawn after them; as many steps as the longest completion has."""

    tokens: Tokens  # the prompts, padded on the left, then the tokens drawn, padded after the end
    seen: Seen  # which of them are no padding
    mask: Bool[Tensor, "batch steps"]  # which of the tokens drawn count: up to the first end, and that one too
    log_probs: Steps  # in nats
    states: Float[Tensor, "batch steps width"]  # the network's last hidden states before each draw
    likeliest: Likeliest | None
    trunk: Trunk | None  # what the blocks that stand still said of all but the last token


def uniforms(seed: int, rollout: int, rows: int, steps: int) -> Float[Tensor, "rows steps"]:
    """Numbers in [0, 1): each row's come from a stream of its own, a function of the arguments alone. So a row draws
    the same whatever stands beside it, and a run that goes on has no stream to restore."""
    draws = [np.random.default_rng([seed, rollout, row]).random(steps) for row in range(rows)]
    return torch.from_numpy(np.stack(draws))


def pad_left(prompts: Sequence[Sequence[int]], padding: int) -> tuple[Tokens, Seen]:
    """Prompts of different lengths so that all end at the same place, and which places are no padding."""
    longest = max(map(len, prompts))
    tokens = torch.tensor([[padding] * (longest - len(ids)) + list(ids) for ids in prompts])
    return tokens, torch.tensor([[False] * (longest - len(ids)) + [True] * len(ids) for ids in prompts])


def positions(seen: Seen) -> Tokens:
    """Place of each token in its sequence, padding not counted."""
    return (seen.cumsum(-1) - 1).clamp(min=0)


@torch.no_grad()
def sample(
    model: LanguageModel, prompts: Tokens, seen: Seen, draws: Steps, temperature: float = 1.0, likeliest: bool = False,
    cache: Cache | None = None,
) -> Sampled:  # fmt: skip
    """Continue each prompt by one token for each number in ``draws``, until all have ended.

    Drawn is the first token whose cumulative probability is above the number; so equal numbers make equal tokens.
    ``likeliest`` asks what would have been after the likeliest token at each place. ``cache`` is what reading the
    prompts' first tokens left, one at least being new; then the trunk is that of the new ones alone."""
    ends = torch.tensor(model.ends, device=prompts.device)
    cache = Cache(config=model.module.config) if cache is None else cache
    tokens, new, said, trunk = prompts, prompts[:, cache.get_seq_length() :], [], []
    running = torch.ones_like(prompts[:, 0], dtype=torch.bool)
    for step in range(draws.shape[1]):
        logits, states, still = model.read(new, seen, positions(seen)[:, -new.shape[1] :], 1, cache)
        trunk += [still] if still is not None else []
        token = _drawn(logits[:, 0] / temperature, draws[:, step, None], model.words)
        new = torch.where(running, token, model.padding)[:, None]
        log_policy = logits[:, 0].log_softmax(-1)  # is not kept: of all steps together it would be large
        said.append((running[:, None], log_policy.gather(-1, new), states, *log_policy.max(-1, keepdim=True)[::-1]))
        tokens, seen = torch.cat([tokens, new], 1), torch.cat([seen, running[:, None]], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    mask, log_probs, states, *best = (torch.cat(parts, 1) for parts in zip(*said, strict=True))
    others = Likeliest(*best, _after(model, best[0], seen, cache).states) if likeliest else None
    return Sampled(tokens, seen, mask, log_probs, states, others, torch.cat(trunk, 1) if trunk else None)


def learner(
    model: LanguageModel, tokens: Tokens, seen: Seen, steps: int, reference: bool = False, trunk: Trunk | None = None
) -> Read:
    """What the network says before each of the last ``steps`` tokens, by one pass over all; ``trunk`` as sampled."""
    seen = seen[:, :-1]
    return model.read(tokens[:, :-1], seen, positions(seen), steps, reference=reference, trunk=trunk)


def _drawn(logits: Float[Tensor, "batch words"], draw: Float[Tensor, "batch 1"], words: int) -> Int[Tensor, "batch"]:
    # In double precision: over a hundred thousand tokens, sums of float32 are off by more than rare tokens have. The
    # last probability's rounding must not reach the tokens behind the last word.
    cumulative = logits.double().softmax(-1).cumsum(-1)
    return (draw >= cumulative[:, :-1]).sum(-1).clamp(max=words - 1)


def _after(model: LanguageModel, chosen: Int[Tensor, "batch steps"], seen: Seen, cache: Cache) -> Read:
    """Read each of ``chosen`` as if it stood in place of the token drawn, all at once: each sees what stands before its
    place, from the keys and values that the draws left in ``cache``, and itself, but none of the others."""
    steps = chosen.shape[1]
    start, kept = seen.shape[1] - steps, seen[:, :-1]  # the last token drawn was not read
    place = torch.arange(kept.shape[1], device=seen.device)
    before = kept[:, None] & (place < start + torch.arange(steps, device=seen.device)[:, None])  # [batch, steps, place]
    itself = torch.eye(steps, dtype=torch.bool, device=seen.device).expand(len(seen), -1, -1)
    allowed = torch.cat([before, itself], -1)[:, None]
    scores = model.embeddings.new_zeros(allowed.shape).masked_fill(~allowed, torch.finfo(model.embeddings.dtype).min)
    places = positions(torch.cat([seen[:, :start], torch.ones_like(seen[:, start:])], 1))[:, start:]
    return model.read(chosen, scores, places, steps, cache, states_alone=True)
