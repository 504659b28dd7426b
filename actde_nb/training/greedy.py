"""Greedy-advantage-aware learning: how much of the likeliest action's advantage goes into a step.

The further the likeliest action is ahead of the one taken, the more the loss takes away from it again. ``eta`` is the
likeliest action's probability, ``sigma`` its lead over the action taken.
Source: the description of greedy-advantage-aware RLHF, and its published code where that differs."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

Steps = Float[Tensor, "trial batch time"]
Numbers = Float[Tensor, "*batch"]
Weights = Float[Tensor, "trial #batch #time"]

POWER = 10  # how fast the ordinary part fades where the likeliest action is both certain and ahead


@dataclass(frozen=True)
class GreedyTargets:
    """The likeliest actions of a rollout, to learn from."""

    advantages: Steps  # of one step, shifted and scaled as those of the actions taken
    eta: Steps  # scaled
    sigma: Steps  # in deviations or in units of reward, scaled


@dataclass(frozen=True)
class GreedyPenalty:
    """A second policy term, on the likeliest actions. The defaults are those of the text."""

    per_batch: bool = False  # one pair of weights for a whole batch, and not one for each step
    sampled_ratio: bool = False  # move the probability of the action taken, and not that of the likeliest one
    scales_all: bool = False  # the weight of the ordinary part scales the loss's other terms too
    in_rewards: bool = False  # leads are in units of reward, and not in deviations of the rollout's advantages

    def weights(self, targets: GreedyTargets, mask: Bool[Tensor, "trial batch time"] | None) -> tuple[Weights, Weights]:
        """Weights of the ordinary part and of the penalty."""
        eta, sigma = targets.eta, targets.sigma
        if self.per_batch:
            counted = eta.new_ones(eta.shape) if mask is None else mask.to(eta.dtype)
            total = counted.sum((1, 2), keepdim=True)
            eta, sigma = ((x * counted).sum((1, 2), keepdim=True) / total for x in (eta, sigma))
        return coefficients(eta.clamp(0, 1), sigma.clamp(0, 1))


def coefficients(eta: Numbers, sigma: Numbers) -> tuple[Numbers, Numbers]:
    """Weights a of the action taken, from 0 to 2, and b of the likeliest one, from -1 to 0; of ``eta`` and ``sigma`` in
    [0, 1], where two deviations are a ``sigma`` of 1 in the text."""
    fading = (1 - sigma) ** POWER
    return (1 - eta) * (1 + sigma) + eta * fading, -(1 - eta) * sigma + eta * (fading - 1)
