"""Temperatures of players in the prisoner's dilemma, read off what they do and off what they say.

Where policy and action values are tied by telescoping, all of these agree (chapter "ACTDE in several states"). They
are inverse temperatures, one over the number of units of reward to a nat: zero is a coin, and a sign that is wrong
shows.
"""

import numpy as np
from jaxtyping import Float

from actde_nb.tables.games import Payoffs, prisoners_dilemma
from actde_nb.tables.mdp import evaluate


def balance(payoffs: Payoffs) -> float:
    """What the payoffs say for repeating a move over changing it, kappa; payoffs are [move now, move before]."""
    return float(payoffs[0, 0] + payoffs[1, 1] - payoffs[1, 0] - payoffs[0, 1])


def from_shares(shares: Float[np.ndarray, "*batch outcome"], payoffs: Payoffs) -> Float[np.ndarray, "*batch"] | float:
    """Inverse temperature from shares of cc, cd, dc and dd by the share law, ln(4 cc dd / (cd + dc)^2) / kappa.
    Infinite where one is missing."""
    kappa = balance(payoffs)
    both_cooperate, first, second, both_defect = np.moveaxis(shares, -1, 0).astype(float)
    with np.errstate(divide="ignore"):
        return (np.log(4 * both_cooperate) + np.log(both_defect) - 2 * np.log(first + second)) / kappa


def true_gaps(
    cooperation: Float[np.ndarray, "*batch last_move"], payoffs: Payoffs, discount: float
) -> Float[np.ndarray, "*batch last_move"]:
    """Action values of c minus those of d, after c and after d, of a player who remembers one move."""
    cooperation = cooperation.astype(float)  # first: in single precision the two would not sum to one
    policy = np.stack([cooperation, 1 - cooperation], axis=-1)
    values = evaluate(prisoners_dilemma(payoffs, discount), policy)
    return values[..., 0] - values[..., 1]
