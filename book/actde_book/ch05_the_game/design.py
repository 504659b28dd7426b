"""Which way to play the prisoner's dilemma against one's own last move is best, and what long-run shares say of a way.

The formulas are those of :mod:`actde_book.ch05_the_game.algebra`, evaluated; strategies come in the order of
:data:`actde_nb.tables.games.STRATEGIES` (cooperate, defect, alternate, repeat), shares in the order of
:func:`actde_nb.tables.games.outcome_shares` (cooperate twice, defect twice, alternate)."""

import functools
from collections.abc import Callable

import numpy as np
import sympy as sp
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from actde_book.ch05_the_game import algebra
from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.games import COOPERATE, Payoffs
from actde_nb.tables.symbolic import DISCOUNT, PAYOFFS

#: Ratios of mutual cooperation's payoff to the temptation for which the design is a dilemma.
DILEMMAS = (-1 / 3, 1.0)


def returns_over(payoffs: Payoffs, discounts: Float[np.ndarray, "discounts"]) -> Float[np.ndarray, "4 2 discounts"]:
    """Return of each strategy after each first move, times (1 - discount): a weighted mean payoff per game."""
    (cc, cd), (dc, dd) = payoffs
    return (1 - discounts) * _returns(cc, dc, dd, cd, discounts)


def best_strategies(
    ratios: Float[np.ndarray, "ratios"], discounts: Float[np.ndarray, "discounts"]
) -> Int[np.ndarray, "discounts ratios"]:
    """Number of the strategy that earns most after either move, for payoffs designed with these ratios a / b."""
    # One stationary strategy is best after both moves, so the best sum belongs to it.
    return _returns(*_formulas()[1](ratios), discounts[:, None]).sum(1).argmax(0)


def optimal_range(name: str, payoffs: Payoffs) -> tuple[float, float]:
    """Lowest and highest discount in [0, 1] at which a strategy is best; the lowest is above the highest if never."""
    (cc, cd), (dc, dd) = payoffs
    if not (dc > max(cc, dd) and cd < min(cc, dd)):  # the bounds hold for dilemmas
        raise SettingError(f"payoffs = {payoffs.tolist()}: allowed are [1][0] as the largest and [0][1] as the least")
    numbers = dict(zip(PAYOFFS, (cc, dc, dd, cd), strict=True))
    after_c, after_d = (float(algebra.switching_discounts()[name, before].subs(numbers)) for before in (0, 1))
    # Patience speaks for what earns more later: cooperating.
    low = {"cooperate": max(after_c, after_d), "defect": 0.0, "alternate": after_d, "repeat": after_c}[name]
    high = {"cooperate": 1.0, "defect": min(after_c, after_d), "alternate": after_c, "repeat": after_d}[name]
    return max(low, 0.0), min(high, 1.0)


def best_plays(payoffs: Payoffs, first: int, moves: int, discount: float) -> tuple[Int[np.ndarray, "moves"], float]:
    """Best of every continuation, ``moves`` long, of a first move (0 or 1), and its discounted return."""
    every = np.arange(2**moves)[:, None] >> np.arange(moves) & 1
    before = np.column_stack([np.full(len(every), first), every[:, :-1]])
    earned = payoffs[every, before] @ discount ** np.arange(moves)
    return every[earned.argmax()], float(earned.max())


def shares_of_mixture(probabilities: ArrayLike) -> Float[np.ndarray, "3"]:
    """Long-run shares if each sequence draws one strategy and keeps it; either first move is equally likely.

    ``probabilities`` are those of cooperate, defect, alternate and, if given, repeat."""
    cooperate, defect, alternate, repeat = np.append(checks.probabilities("probabilities", probabilities), 0.0)[:4]
    return np.array([cooperate + repeat / 2, defect + repeat / 2, alternate])


def policy_of_shares(shares: Float[np.ndarray, "3"]) -> Float[np.ndarray, "2 2"]:
    """The player with a memory of one move whose long-run shares these are, [move before, move now].

    The inverse of :func:`actde_nb.tables.games.outcome_shares`; both moves must occur."""
    both_cooperate, both_defect, alternating = shares
    after_c, after_d = both_cooperate + alternating / 2, both_defect + alternating / 2
    policy = [[both_cooperate / after_c, alternating / 2 / after_c], [alternating / 2 / after_d, both_defect / after_d]]
    return np.array(policy)


def sample_moves(
    policy: Float[np.ndarray, "2 2"], sequences: int, moves: int, rng: np.random.Generator
) -> Int[np.ndarray, "sequences moves"]:
    """Moves of a player with a memory of one move, who starts from either with probability one half."""
    uniforms = rng.random((sequences, moves))
    played = [(uniforms[:, 0] >= 0.5).astype(int)]
    for draw in uniforms.T[1:]:
        played.append((draw >= policy[played[-1], COOPERATE]).astype(int))
    return np.stack(played, axis=1)


def _returns(*numbers: ArrayLike) -> Float[np.ndarray, "4 2 *shape"]:
    """Return of each strategy after each first move, for payoffs cc, dc, dd, cd and a discount."""
    shape, rows = np.broadcast_shapes(*map(np.shape, numbers)), _formulas()[0](*numbers)
    return np.array([[np.broadcast_to(entry, shape) for entry in row] for row in rows])


@functools.cache
def _formulas() -> tuple[Callable, Callable]:
    """Numeric functions: returns of payoffs and a discount, designed payoffs of a ratio a / b."""
    unit = {algebra.COOPERATION: algebra.RATIO, algebra.TEMPTATION: 1}
    designed = [sp.simplify(algebra.design()[m].subs(unit)) for m in PAYOFFS]
    returns = algebra.strategy_returns().tolist()
    return sp.lambdify((*PAYOFFS, DISCOUNT), returns), sp.lambdify(algebra.RATIO, designed)
