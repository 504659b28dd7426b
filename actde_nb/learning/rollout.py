"""What the policy did and said, and what it earned: the record that every algorithm learns from.

Axes are ``[trial, batch, time]``. Time t is the t-th sampled token; what the policy said of it was said
before it, having seen the tokens up to then. A rollout of n games holds n + 1 tokens: the token it starts
from, which earns nothing, and n sampled ones. (The published trainer samples one token more, to have the
value after the last game, and drops it; the value needs no such token.)
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """Everything is a constant: no gradient flows into a rollout.

    Args:
        tokens: the start and the sampled tokens, [trial, batch, time + 1].
        rewards: reward of each sampled token.
        log_probs: its log-probability, in nats, under the policy that sampled it.
        values: v before it.
        next_value: v after the last token, or zero if the world ends there, [trial, batch].
        q_taken: q of it, the action value.
    """

    tokens: Int[Tensor, "trial batch moves"]
    rewards: Float[Tensor, "trial batch time"]
    log_probs: Float[Tensor, "trial batch time"]
    values: Float[Tensor, "trial batch time"]
    next_value: Float[Tensor, "trial batch"]
    q_taken: Float[Tensor, "trial batch time"]

    @property
    def context(self) -> Int[Tensor, "trial batch time"]:
        """The token before each sampled one: what the policy is asked about."""
        return self.tokens[..., :-1]

    @property
    def taken(self) -> Int[Tensor, "trial batch time"]:
        """The sampled tokens."""
        return self.tokens[..., 1:]
