"""Greedy-advantage-aware learning: how much of the likeliest action's advantage goes into a step.

The further the likeliest action is ahead of the one taken, the more the loss takes away from it again, lest one word
that pays become a habit. ``eta`` is the likeliest action's probability; ``sigma`` is its lead in deviations of the
advantages. Source: the description of greedy-advantage-aware RLHF, and its published code where that differs.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Steps = Float[Tensor, "trial batch time"]

POWER = 10  # how fast the ordinary part fades where the likeliest action is both certain and ahead


@dataclass(frozen=True)
class Lead:
    """The likeliest actions of a rollout, to learn from.

    Args:
        advantages: their one-step advantages, shifted and scaled as those of the actions taken.
        eta: their probability, scaled.
        sigma: their lead over the action taken, in deviations or in units of reward, scaled.
    """

    advantages: Steps
    eta: Steps
    sigma: Steps

    def part(self, number: int, parts: int) -> "Lead":
        """Every ``parts``-th sequence, from ``number`` on."""
        return Lead(*(x[:, number::parts] for x in (self.advantages, self.eta, self.sigma)))


def coefficients(
    eta: Float[Tensor, "*batch"], sigma: Float[Tensor, "*batch"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Weights a of the action taken and b of the likeliest one, with a from 0 to 2 and b from -1 to 0.

    Args:
        eta: probability of the likeliest action, in [0, 1].
        sigma: its lead, in [0, 1]; two deviations are 1 in the text.
    """
    fading = (1 - sigma) ** POWER
    return (1 - eta) * (1 + sigma) + eta * fading, -(1 - eta) * sigma + eta * (fading - 1)
