"""Where tokens come from and what they earn: a world, and what the training loop asks of it."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

Moves = Int[Tensor, "trial batch moves"]
Said = Float[Tensor, "trial batch time vocabulary"]
Statistics = dict[str, Float[Tensor, "trial entry"]]


@runtime_checkable
class World(Protocol):
    """A stream of tokens, each of which earns a reward.

    Sequences begin with a token or with a prompt of several, the same number in each; all after it is sampled."""

    #: The same for two worlds if, and only if, they start alike and reward alike: made of contents, not of names.
    identity: str
    #: Number of different tokens; they are 0, 1, ...
    vocabulary: int
    #: Play goes on after the last token of a rollout: its value counts, and the next rollout starts from it.
    continues: bool
    #: For each array of :meth:`statistics`, the name of its second axis and of the entries on it.
    labels: dict[str, tuple[str, tuple[str, ...]]]

    def start(self, uniforms: Float[Tensor, "trial batch"]) -> Int[Tensor, "trial batch *prompt"]:
        """First token of each sequence, from uniform draws; or its prompt, with an axis more."""

    def rewards(self, tokens: Moves) -> Float[Tensor, "trial batch time"]:
        """Reward of every sampled token; ``time`` is ``moves`` less the length of the prompt."""

    def mask(self, tokens: Moves) -> Bool[Tensor, "trial batch time"] | None:
        """Which sampled tokens belong to the sequence, where sequences end early; None where all do."""

    def statistics(self, tokens: Moves, logits: Said, q: Said) -> Statistics:
        """What to record of a rollout, given what the policy said before each sampled token."""
