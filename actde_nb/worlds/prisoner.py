"""The prisoner's dilemma against one's own previous move, as a stream of tokens.

Tokens are moves: 0 cooperates, 1 defects. Every move but the first is a game against the move before it, so ``ccddc``
holds the games cc, cd, dd, dc, each named by the move before and then the move now.
The set-up is that of Turner and Einhorn (2023), section "Prisoner's dilemma"."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.games import COOPERATE, DEFECT, PAYOFFS
from actde_nb.worlds import Moves, Said, Statistics

#: Game types: move before, then move now.
OUTCOMES = ("cc", "cd", "dc", "dd")
MOVES = ("c", "d")


class NotADilemma(UserWarning):
    """The payoffs do not tempt a player the way a prisoner's dilemma does."""


@dataclass(frozen=True, eq=False)
class PrisonersDilemma:
    """The game as a :class:`~actde_nb.worlds.World`, which warns of payoffs whose order is not a dilemma's.

    ``payoffs`` is the name of one of :data:`~actde_nb.tables.games.PAYOFFS`, or a matrix [move now, move before]."""

    payoffs: str | Sequence[Sequence[float]] | Float[np.ndarray, "2 2"] = "main"
    warn: bool = True

    vocabulary = 2
    continues = True
    labels = {
        "outcome_share": ("outcome", OUTCOMES),
        **dict.fromkeys(("cooperation", "logit_gap", "q_gap"), ("last_move", MOVES)),
    }

    def __post_init__(self):
        payoffs = self.payoffs
        if isinstance(payoffs, str):
            payoffs = PAYOFFS[checks.one_of("payoffs", payoffs, tuple(PAYOFFS))]
        payoffs = checks.finite("payoffs", payoffs)
        if payoffs.shape != (2, 2):
            raise SettingError(f"payoffs has shape {payoffs.shape}: allowed is (2, 2)")
        (both_cooperate, sucker), (temptation, both_defect) = payoffs
        if self.warn and not temptation > both_cooperate > both_defect > sucker:
            warnings.warn(
                f"payoffs = {payoffs.tolist()}: a dilemma has temptation [1][0] > reward [0][0] > "
                "punishment [1][1] > sucker's payoff [0][1]; warn=False silences this",
                NotADilemma, stacklevel=3,
            )  # fmt: skip
        object.__setattr__(self, "payoffs", payoffs)

    @property
    def identity(self) -> str:
        """The payoffs, to the last digit."""
        return f"PrisonersDilemma({self.payoffs.tolist()})"

    __repr__ = identity.fget

    def start(self, uniforms: Float[Tensor, "trial batch"]) -> Int[Tensor, "trial batch"]:
        """First moves, either with probability one half."""
        return (uniforms >= 0.5).long()

    def rewards(self, tokens: Moves) -> Float[Tensor, "trial batch time"]:
        """Payoff of each move but the first, against the move before it; float64."""
        return torch.tensor(self.payoffs, device=tokens.device)[tokens[..., 1:], tokens[..., :-1]]

    def mask(self, tokens: Moves) -> Bool[Tensor, "trial batch time"] | None:
        """None: every game counts."""
        return None

    def outcome_shares(self, tokens: Moves) -> Float[Tensor, "trial outcome"]:
        """Share of each trial's games that were cc, cd, dc and dd; alternating is cd and dc together."""
        games = 2 * tokens[..., :-1] + tokens[..., 1:]
        return (games.flatten(1)[..., None] == torch.arange(4, device=tokens.device)).float().mean(1)

    def statistics(self, tokens: Moves, logits: Said, q: Said) -> Statistics:
        """Outcome shares, and by the last move: probability of cooperating, and c minus d in logits and in q.

        A trial in which a move never came up has NaN in that move's place."""
        after = torch.stack([tokens[..., :-1] == move for move in (COOPERATE, DEFECT)], -1).to(logits.dtype)

        def mean_after(quantity: Float[Tensor, "trial batch time"]) -> Float[Tensor, "trial last_move"]:
            return (quantity[..., None] * after).sum((1, 2)) / after.sum((1, 2))

        return {
            "outcome_share": self.outcome_shares(tokens),
            "cooperation": mean_after(logits.softmax(-1)[..., COOPERATE]),
            "logit_gap": mean_after(logits[..., COOPERATE] - logits[..., DEFECT]),
            "q_gap": mean_after(q[..., COOPERATE] - q[..., DEFECT]),
        }
