"""Small decision processes that the chapters return to.

The prisoner's dilemma is the post's (Turner and Einhorn, 2023): a player meets his own previous
move, so the state is that move. Moves and states are numbered 0 = cooperate, 1 = defect, and a
payoff matrix is indexed ``[move now, move before]``."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import softmax

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.mdp import MDP, evaluate

COOPERATE, DEFECT = 0, 1
Payoffs = Float[np.ndarray, "2 2"]


def designed_payoffs(cooperation: float, temptation: float) -> Payoffs:
    """Payoffs that sum to zero and whose two equal-return discounts average one half.

    ``cooperation`` (a) is the payoff of cooperating twice, ``temptation`` (b) that of defecting after cooperating;
    the requirements leave one choice of the rest, ``[[a, d], [b, c]]`` with [move now, move before]."""
    a, b = cooperation, temptation
    if not abs(a) < b < np.inf:
        raise SettingError(f"temptation = {b} with cooperation = {a}: allowed are finite numbers above |cooperation|")
    root = np.sqrt(2 * (b - a) * (b + a))
    return np.array([[a, -a - 2 * b + root], [b, b - root]])


#: The post's matrix ("main"), three more from its code, and the one where both equal-return discounts are one half.
PAYOFFS: dict[str, np.ndarray] = {
    "main": designed_payoffs(0.5, 2.0),
    "b=1": designed_payoffs(0.5, 1.0),
    "b=.7": designed_payoffs(0.5, 0.7),
    "extreme": np.array([[-2.0, -18.0], [34.0, -14.0]]) / 17,
    "b=3a": np.array([[0.5, -1.5], [1.5, -0.5]]),
}


#: What a player with a memory of one move can do for certain: probabilities, [move before, move now].
STRATEGIES: dict[str, np.ndarray] = {
    "cooperate": np.array([[1.0, 0.0], [1.0, 0.0]]),
    "defect": np.array([[0.0, 1.0], [0.0, 1.0]]),
    "alternate": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "repeat": np.array([[1.0, 0.0], [0.0, 1.0]]),
}


def prisoners_dilemma(payoffs: Payoffs | ArrayLike, discount: float = 0.5) -> MDP:
    """The prisoner's dilemma against one's own previous move, the state; rewards are [move before, move now]."""
    payoffs = checks.finite("payoffs", payoffs)
    if payoffs.shape != (2, 2):
        raise SettingError(f"payoffs has shape {payoffs.shape}: allowed is (2, 2)")
    return MDP(payoffs.T, np.broadcast_to(np.eye(2), (2, 2, 2)), discount)


def outcome_shares(policy: Float[np.ndarray, "*batch 2 2"]) -> Float[np.ndarray, "*batch 3"]:
    """Long-run share of games in which both moves cooperate, both defect, or the moves differ, in this order.

    ``policy`` is the probability of [move before, move now]."""
    to_defect, to_cooperate = policy[..., COOPERATE, DEFECT], policy[..., DEFECT, COOPERATE]
    switching = to_defect + to_cooperate
    if (switching == 0).any():  # the shares would depend on the start
        raise SettingError("policy repeats every move for ever: allowed are policies that leave one of the two moves")
    both_cooperate = to_cooperate * policy[..., COOPERATE, COOPERATE] / switching
    both_defect = to_defect * policy[..., DEFECT, DEFECT] / switching
    return np.stack([both_cooperate, both_defect, 2 * to_defect * to_cooperate / switching], axis=-1)


def strategy_returns(payoffs: Payoffs | ArrayLike, discount: float = 0.5) -> Float[np.ndarray, "4 2"]:
    """Discounted return of each of :data:`STRATEGIES` from each first move, [strategy, first move]."""
    policies = np.stack(list(STRATEGIES.values()))
    return (policies * evaluate(prisoners_dilemma(payoffs, discount), policies)).sum(-1)


def softmax_return_lines(
    payoffs: Payoffs | ArrayLike, discount: float = 0.5, *, repeat: bool = False
) -> Float[np.ndarray, "strategies"]:
    """The post's dotted lines: a softmax over strategies of their return, averaged over the first move.

    Probabilities of cooperate, defect, alternate and, if asked for, of ``repeat``, which the post leaves out."""
    returns = strategy_returns(payoffs, discount).mean(-1)
    return softmax(returns if repeat else returns[:3])
