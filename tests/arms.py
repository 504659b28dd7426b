"""A bandit as a stream of tokens: each token is an arm, and earns that arm's reward whatever came before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError


@dataclass(frozen=True, eq=False)
class Arms:
    """The bandit as a :class:`~actde_nb.worlds.World`: nothing follows a token, so its value is its reward.

    Args:
        payoffs: reward of each arm.

    Raises:
        SettingError: fewer than two arms, a number that is not finite.
    """

    payoffs: Sequence[float] = (1.0, 0.5)

    continues = False

    def __post_init__(self):
        payoffs = checks.finite("payoffs", np.asarray(self.payoffs))
        if payoffs.ndim != 1 or len(payoffs) < 2:
            raise SettingError(f"payoffs has shape {payoffs.shape}: allowed is (arms,) with two arms or more")
        object.__setattr__(self, "payoffs", payoffs)

    @property
    def identity(self) -> str:
        """The payoffs."""
        return f"Arms({self.payoffs.tolist()})"

    __repr__ = identity.fget

    @property
    def vocabulary(self) -> int:
        """Number of arms."""
        return len(self.payoffs)

    @property
    def labels(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Names of the arms."""
        return {"outcome_share": ("outcome", tuple(f"arm {i}" for i in range(self.vocabulary)))}

    def start(self, uniforms: Float[Tensor, "trial batch"]) -> Int[Tensor, "trial batch"]:
        """Always the first arm, so that every play starts from the same state."""
        return torch.zeros_like(uniforms, dtype=torch.long)

    def rewards(self, tokens: Int[Tensor, "trial batch moves"]) -> Float[Tensor, "trial batch time"]:
        """Reward of each arm pulled but the first; float64."""
        return torch.tensor(self.payoffs, device=tokens.device)[tokens[..., 1:]]

    def mask(self, tokens: Int[Tensor, "trial batch moves"]) -> Bool[Tensor, "trial batch time"] | None:
        """Every token counts."""
        return None

    def statistics(
        self,
        tokens: Int[Tensor, "trial batch moves"],
        logits: Float[Tensor, "trial batch time vocabulary"],
        q: Float[Tensor, "trial batch time vocabulary"],
    ) -> dict[str, Float[Tensor, "trial entry"]]:
        """Share of the pulls that each arm got."""
        arms = torch.arange(self.vocabulary, device=tokens.device)
        return {"outcome_share": (tokens[..., 1:].flatten(1)[..., None] == arms).float().mean(1)}
