"""What the policy did and said, and what it earned: the record that every algorithm learns from.

Axes are ``[trial, batch, time]``. Time t is the t-th sampled token; what the policy said of it was said
before it, having seen the tokens up to then. A rollout of n steps holds n + 1 tokens: the token it starts
from, which earns nothing, and n sampled ones. (The published trainer samples one token more, to have the value after
the last, and drops it; the value needs no such token.) Where a prompt is given, it stands in the place of the first
token, and where sequences end early, what comes after the end is masked: rewards, values and q are zero."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from actde_nb.worlds import World


@dataclass(frozen=True)
class GreedyActions:
    """What would have come of the likeliest action, in place of the one taken; of one step each."""

    tokens: Int[Tensor, "trial batch time"]
    log_probs: Float[Tensor, "trial batch time"]  # in nats
    rewards: Float[Tensor, "trial batch time"]
    next_values: Float[Tensor, "trial batch time"]  # v after them; zero where the sequence would have ended


def greedy_actions(
    world: World, tokens: Int[Tensor, "trial batch moves"], likeliest: Int[Tensor, "trial batch time"],
    log_probs: Float[Tensor, "trial batch time"], values: Float[Tensor, "trial batch time"],
) -> GreedyActions:  # fmt: skip
    """What the likeliest tokens would have earned, each in place of the sampled one; ``values`` are v after them."""
    steps, length = likeliest.shape[-1], tokens.shape[-1]
    # One sequence for each place: up to there as it was said, then the other token, then nothing.
    place, here = torch.arange(steps, device=tokens.device), length - steps
    others = tokens[:, :, None].expand(-1, -1, steps, -1).clone()
    others[..., place, here + place] = likeliest
    others.masked_fill_(torch.arange(length, device=tokens.device) > here + place[:, None], 0)
    others = others.flatten(1, 2)
    rewards = world.rewards(others).unflatten(1, (-1, steps)).diagonal(dim1=-2, dim2=-1)
    mask = world.mask(others)
    if mask is not None:
        after = pad(mask[..., 1:], (0, 1)).unflatten(1, (-1, steps))
        values = values * after.diagonal(dim1=-2, dim2=-1)
    return GreedyActions(likeliest, log_probs, rewards.to(values.dtype), values)


@dataclass(frozen=True)
class Rollout:
    """What was played. Everything is a constant: no gradient flows into a rollout."""

    tokens: Int[Tensor, "trial batch moves"]  # the start and the sampled ones
    rewards: Float[Tensor, "trial batch time"]
    log_probs: Float[Tensor, "trial batch time"]  # in nats, under the policy that sampled
    values: Float[Tensor, "trial batch time"]  # v before the sampled token
    next_value: Float[Tensor, "trial batch"]  # v after the last one, or zero if the world ends there
    q_taken: Float[Tensor, "trial batch time"]
    mask: Bool[Tensor, "trial batch time"] | None = None  # whether the sampled token counts; None where all do
    reference: Float[Tensor, "trial batch time vocabulary"] | None = None  # log-probabilities before training
    q: Float[Tensor, "trial batch time vocabulary"] | None = None  # for algorithms that take its mean
    greedy: GreedyActions | None = None  # for algorithms that learn from the likeliest tokens too

    @property
    def context(self) -> Int[Tensor, "trial batch context"]:
        """What the policy reads: all but the last token. What it says of the sampled ones are its last outputs."""
        return self.tokens[..., :-1]

    @property
    def needed(self) -> Bool[Tensor, "trial batch context"] | None:
        """Where it matters what the policy says after the context's tokens: up to the end of each sequence."""
        if self.mask is None:
            return None
        return pad(self.mask, (self.tokens.shape[-1] - 1 - self.mask.shape[-1], 0), value=True)

    @property
    def taken(self) -> Int[Tensor, "trial batch time"]:
        """The sampled tokens."""
        return self.tokens[..., -self.rewards.shape[-1] :]

    @property
    def log_ratio(self) -> Float[Tensor, "trial batch time"]:
        """Of each sampled token's probability to that under the reference policy; zero where masked."""
        ratio = self.log_probs - self.reference.gather(-1, self.taken[..., None])[..., 0]
        return ratio if self.mask is None else ratio * self.mask

    @property
    def reference_log_probs(self) -> Float[Tensor, "trial batch time"]:
        """Of each sampled token under the reference policy, in nats; where masked, under the policy that sampled it."""
        return self.log_probs - self.log_ratio


def part(record: Any, number: int, parts: int, together: int = 1) -> Any:
    """Every ``parts``-th sequence of a dataclass of arrays ``[trial, batch, ...]``, from ``number`` on; or every
    ``parts``-th group, where so many sequences in a row go together."""

    def dealt(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Tensor):
            return part(value, number, parts, together)
        return value.unflatten(1, (-1, together))[:, number::parts].flatten(1, 2)

    return type(record)(*(dealt(getattr(record, field.name)) for field in fields(record)))
