"""Which way to play the prisoner's dilemma against one's own last move is best, and what long-run shares say of a way.

The formulas are those of :mod:`actde_book.ch05_the_game.algebra`, evaluated; strategies come in the order of
:data:`actde_nb.tables.games.STRATEGIES` (cooperate, defect, alternate, repeat), shares in the order of
:func:`actde_nb.tables.games.outcome_shares` (cooperate twice, defect twice, alternate).
"""

import functools
from collections.abc import Callable

import numpy as np
import sympy as sp
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from actde_book.ch05_the_game import algebra
from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.games import COOPERATE, STRATEGIES, Payoffs
from actde_nb.tables.symbolic import DISCOUNT, PAYOFFS

#: Ratios of mutual cooperation's payoff to the temptation for which the design is a dilemma.
DILEMMAS = (-1 / 3, 1.0)


def returns_over(payoffs: Payoffs | ArrayLike, discounts: Float[np.ndarray, "discounts"]) -> Float[np.ndarray, "..."]:
    """Discounted return of each strategy times (1 - discount), which makes it a weighted mean payoff per game.

    Returns:
        ``[strategy, first move, discount]``, in units of reward.

    Raises:
        SettingError: a discount outside [0, 1).
    """
    discounts = _below_one("discounts", discounts)
    (cc, cd), (dc, dd) = checks.shape("payoffs", checks.finite("payoffs", payoffs), (2, 2))
    return (1 - discounts) * _returns()(cc, dc, dd, cd, discounts)


def best_strategies(
    ratios: Float[np.ndarray, "ratios"], discounts: Float[np.ndarray, "discounts"]
) -> Int[np.ndarray, "discounts ratios"]:
    """Number of the strategy that earns most after either move, for designed payoffs.

    Args:
        ratios: payoff of cooperating twice over the temptation, in (-1, 1); the scale of the payoffs does not matter.
        discounts: factors on the next game's value, in [0, 1).

    Raises:
        SettingError: a number out of range.
    """
    ratios, discounts = checks.finite("ratios", ratios), _below_one("discounts", discounts)
    if not (np.abs(ratios) < 1).all():
        raise SettingError(f"ratios reach {np.abs(ratios).max()} in size: allowed are numbers in (-1, 1)")
    returns = _returns()(*_designed()(ratios), discounts[:, None])
    # One stationary strategy is best after both moves, so the best sum belongs to it.
    return returns.sum(1).argmax(0)


def optimal_range(name: str, payoffs: Payoffs | ArrayLike) -> tuple[float, float]:
    """Lowest and highest discount in [0, 1] at which a strategy is best; the lowest is above the highest if never.

    Raises:
        SettingError: an unknown strategy; payoffs for which defecting does not pay at once, or being cooperated with
            does not pay: the bounds hold for dilemmas.
    """
    checks.one_of("name", name, tuple(STRATEGIES))
    (cc, cd), (dc, dd) = checks.shape("payoffs", checks.finite("payoffs", payoffs), (2, 2))
    if not (dc > max(cc, dd) and cd < min(cc, dd)):
        raise SettingError(
            f"payoffs = {[[cc, cd], [dc, dd]]}: allowed are [1][0] as the largest and [0][1] as the least"
        )
    numbers = dict(zip(PAYOFFS, (cc, dc, dd, cd), strict=True))
    after_c, after_d = (float(algebra.switching_discounts()[name, before].subs(numbers)) for before in (0, 1))
    # Patience speaks for what earns more later: cooperating.
    low = {"cooperate": max(after_c, after_d), "defect": 0.0, "alternate": after_d, "repeat": after_c}[name]
    high = {"cooperate": 1.0, "defect": min(after_c, after_d), "alternate": after_c, "repeat": after_d}[name]
    return max(low, 0.0), min(high, 1.0)


def best_plays(
    payoffs: Payoffs | ArrayLike, first: int, moves: int, discount: float
) -> tuple[Int[np.ndarray, "moves"], float]:
    """Try every continuation of a first move and keep the one that earns most; no strategy is assumed.

    Args:
        payoffs: payoff of [move now, move before].
        first: 0 (cooperate) or 1 (defect).
        moves: length of the continuation, up to 20.
        discount: factor on the next game's value.

    Returns:
        The best continuation and its discounted return.

    Raises:
        SettingError: a number out of range.
    """
    payoffs = checks.shape("payoffs", checks.finite("payoffs", payoffs), (2, 2))
    if first not in (0, 1):
        raise SettingError(f"first = {first}: allowed are 0 and 1")
    if not 1 <= moves <= 20:
        raise SettingError(f"moves = {moves}: allowed are 1 to 20")
    every = np.arange(2**moves)[:, None] >> np.arange(moves) & 1
    before = np.column_stack([np.full(len(every), first), every[:, :-1]])
    earned = payoffs[every, before] @ _below_one("discount", discount) ** np.arange(moves)
    return every[earned.argmax()], float(earned.max())


def shares_of_mixture(probabilities: ArrayLike) -> Float[np.ndarray, "3"]:
    """Long-run shares if each sequence draws one strategy and keeps it; either first move is equally likely.

    Args:
        probabilities: of cooperate, defect, alternate and, if given, repeat.

    Raises:
        SettingError: no distribution over three or four strategies.
    """
    probabilities = checks.probabilities("probabilities", probabilities)
    if probabilities.shape not in ((3,), (4,)):
        raise SettingError(f"probabilities has shape {probabilities.shape}: allowed are (3,) and (4,)")
    cooperate, defect, alternate, repeat = np.append(probabilities, 0.0)[:4]
    return np.array([cooperate + repeat / 2, defect + repeat / 2, alternate])


def policy_of_shares(shares: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2 2"]:
    """The player with a memory of one move whose long-run shares these are, [move before, move now].

    The inverse of :func:`actde_nb.tables.games.outcome_shares`.

    Raises:
        SettingError: shares that are no distribution; a move that never occurs.
    """
    shares = checks.finite("shares", shares)
    if (shares < 0).any() or not np.allclose(shares.sum(-1), 1, rtol=0, atol=1e-9):
        raise SettingError(f"shares = {shares.tolist()}: allowed are numbers of zero or more that sum to one")
    both_cooperate, both_defect, alternating = np.moveaxis(shares, -1, 0)
    after_c, after_d = both_cooperate + alternating / 2, both_defect + alternating / 2
    if (np.minimum(after_c, after_d) <= 0).any():
        raise SettingError(f"shares = {shares.tolist()}: allowed are those in which both moves occur")
    policy = [[both_cooperate / after_c, alternating / 2 / after_c], [alternating / 2 / after_d, both_defect / after_d]]
    return np.moveaxis(np.array(policy), (0, 1), (-2, -1))


def sample_moves(
    policy: Float[np.ndarray, "2 2"], sequences: int, moves: int, rng: np.random.Generator
) -> Int[np.ndarray, "sequences moves"]:
    """Moves of a player with a memory of one move, who starts from either with probability one half."""
    checks.shape("policy", checks.finite("policy", policy), (2, 2))
    uniforms = rng.random((sequences, checks.whole("moves", moves)))
    played = [(uniforms[:, 0] >= 0.5).astype(int)]
    for draw in uniforms.T[1:]:
        played.append((draw >= policy[played[-1], COOPERATE]).astype(int))
    return np.stack(played, axis=1)


@functools.cache
def _returns() -> Callable[..., np.ndarray]:
    entries = sp.lambdify((*PAYOFFS, DISCOUNT), algebra.strategy_returns().tolist())

    def evaluate(*numbers: ArrayLike) -> np.ndarray:
        shape = np.broadcast_shapes(*map(np.shape, numbers))
        return np.array([[np.broadcast_to(entry, shape) for entry in row] for row in entries(*numbers)])

    return evaluate


@functools.cache
def _designed() -> Callable[..., tuple]:
    unit = {algebra.COOPERATION: algebra.RATIO, algebra.TEMPTATION: 1}
    payoffs = sp.lambdify(algebra.RATIO, [sp.simplify(algebra.design()[m].subs(unit)) for m in PAYOFFS])
    return lambda ratios: tuple(payoffs(ratios))


def _below_one(field: str, discount: ArrayLike) -> np.ndarray:
    discount = checks.finite(field, discount)
    if not ((discount >= 0) & (discount < 1)).all():
        raise SettingError(f"{field} = {discount}: allowed are numbers in [0, 1)")
    return discount
