"""Chapter 1: a two-armed bandit under the ordinary TD error, and how fast its logit gap grows.

Throughout, ``R_1 > R_2`` are the rewards, ``Delta`` their difference, ``x`` the logit of the better arm
minus that of the other, ``v`` the baseline and ``eta`` the policy step.
"""

import numpy as np
import sympy as sp
from jaxtyping import Float

from actde_nb.tables.symbolic import (
    BETTER,
    DIFFERENCE,
    GAP,
    PROBABILITY,
    PROBABILITY_OF_GAP,
    STEP,
    TIME,
    WORSE,
    _numeric,
    expected_increment,
    simplex,
)


def reinforced(advantage: sp.Expr | int, base: sp.Expr | int = sp.E) -> sp.Expr:
    """Probability of an arm, from even odds, after its log-odds in the given base rose by ``advantage``."""
    return 1 / (1 + sp.sympify(base) ** (-advantage))


def round_trip() -> tuple[sp.Expr, sp.Expr]:
    """Gap added by leaving the better arm and by coming back, when v is always the last reward.

    Obtained by playing the two episodes: v starts at the better reward, the worse arm is taken, then the better.
    """
    gap, value, added = GAP, BETTER, []
    for reward, sign in ((WORSE, -1), (BETTER, 1)):
        before = gap
        gap += sign * STEP * (reward - value)
        value = reward
        added.append(sp.simplify((gap - before).subs(BETTER, WORSE + DIFFERENCE)))
    return added[0], added[1]


def round_trip_wait() -> sp.Expr:
    """Mean number of episodes of the round trip that starts with gap ``x``: two geometric waits."""
    leave, _ = round_trip()
    to_leave = 1 / (1 - PROBABILITY_OF_GAP)
    to_return = 1 / PROBABILITY_OF_GAP.subs(GAP, GAP + leave)
    return sp.expand(sp.simplify(to_leave) + to_return)


def round_trip_slowdown() -> sp.Expr:
    """By what factor each round trip is slower than the one before it, when the gap is large."""
    wait = round_trip_wait()
    longer = wait.subs(GAP, GAP + sum(round_trip()))
    return sp.limit(longer / wait, GAP, sp.oo)


def past_share_drift(share: sp.Expr, now: sp.Expr) -> sp.Expr:
    """Mean increment of the gap when v is the mean of all past rewards.

    Args:
        share: share of the worse arm in all past episodes.
        now: its probability in this one.
    """
    past_mean = (1 - share) * BETTER + share * WORSE
    increment = expected_increment(past_mean).subs({PROBABILITY: 1 - now, BETTER: WORSE + DIFFERENCE})
    return sp.collect(sp.expand(increment), STEP * DIFFERENCE)


def running_mean_gap() -> sp.Expr:
    """Gap under a running-mean baseline from a uniform policy, ``2 asinh(eta Delta t / 4)``."""
    return 2 * sp.asinh(STEP * DIFFERENCE * TIME / 4)


def running_mean_residuals() -> tuple[sp.Expr, sp.Expr]:
    """What is left when :func:`running_mean_gap` is put into its two equations of motion; both are zero.

    The state is the gap and the number ``F`` of past episodes spent on the worse arm:
    ``F' = 1 - pi(x)`` and ``x' = past_share_drift(F / t, F')``. The solution has
    ``F = (t - sqrt(t**2 + (4 / eta Delta)**2)) / 2 + 2 / (eta Delta)``.
    """
    gap, wasted = running_mean_gap(), running_mean_pulls()
    worse = (1 - sp.tanh(gap / 2)) / 2  # 1 - 1 / (1 + e^-x), a form that SymPy simplifies
    return (
        sp.simplify(wasted.diff(TIME) - worse),
        sp.simplify(gap.diff(TIME) - past_share_drift(wasted / TIME, wasted.diff(TIME))),
    )


def running_mean_pulls() -> sp.Expr:
    """Episodes spent on the worse arm up to time t under the running-mean baseline."""
    scale = 4 / (STEP * DIFFERENCE)
    return (TIME + scale - sp.sqrt(TIME**2 + scale**2)) / 2


def expected_updates(gradient: str, baseline: str, arms: int = 3) -> list[sp.Expr]:
    """Mean movement of each logit, per unit of policy step.

    Args:
        gradient: ``"logit"``, the error goes to the arm taken; ``"softmax"``, it follows grad log pi.
        baseline: ``"exact_value"`` or ``"none"``.
        arms: number of arms; their probabilities are ``pi_a`` with sum one, their rewards ``R_a``.
    """
    policy, rewards = simplex(arms), sp.symbols(f"R_1:{arms + 1}", real=True)
    value = sum(p * r for p, r in zip(policy, rewards, strict=True)) if baseline == "exact_value" else 0
    errors = [r - value for r in rewards]
    moves = []
    for arm in range(arms):
        centre = policy[arm] if gradient == "softmax" else 0
        moves.append(sp.factor(sum(policy[b] * errors[b] * (sp.Integer(b == arm) - centre) for b in range(arms))))
    return moves


def running_mean_gap_at(clock: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Gap that :func:`running_mean_gap` gives at each value of ``clock`` = eta Delta t."""
    return _numeric(running_mean_gap().subs(STEP * DIFFERENCE * TIME, TIME), TIME)(np.asarray(clock, dtype=float))


def mean_wait(gap: Float[np.ndarray, "trips"], step: float, difference: float) -> Float[np.ndarray, "trips"]:
    """Mean episodes that a round trip takes from each ``gap``: :func:`round_trip_wait` as numbers."""
    return _numeric(round_trip_wait().subs({STEP: step, DIFFERENCE: difference}), GAP)(np.asarray(gap, dtype=float))
