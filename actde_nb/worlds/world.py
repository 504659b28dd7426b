"""What the training loop asks of a world."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class World(Protocol):
    """A stream of tokens, each of which earns a reward."""

    #: Number of different tokens; they are 0, 1, ...
    vocabulary: int
    #: Play goes on after the last token of a rollout: its value counts, and the next rollout starts from it.
    continues: bool
    #: For each array of :meth:`statistics`, the name of its second axis and of the entries on it.
    labels: dict[str, tuple[str, tuple[str, ...]]]

    def start(self, uniforms: Float[Tensor, "trial batch"]) -> Int[Tensor, "trial batch"]:
        """First token of each sequence, from uniform draws."""
        ...

    def rewards(self, tokens: Int[Tensor, "trial batch moves"]) -> Float[Tensor, "trial batch time"]:
        """Reward of every token but the first; ``time`` is ``moves - 1``."""
        ...

    def statistics(
        self,
        tokens: Int[Tensor, "trial batch moves"],
        logits: Float[Tensor, "trial batch time vocabulary"],
        q: Float[Tensor, "trial batch time vocabulary"],
    ) -> dict[str, Float[Tensor, "trial entry"]]:
        """What to record of a rollout, given what the policy said before each token but the first."""
        ...
