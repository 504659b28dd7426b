"""Chapter 1: a two-armed bandit under the ordinary TD error, and how fast its logit gap grows.

Throughout, ``R_1 > R_2`` are the rewards, ``Delta`` their difference, ``x`` the logit of the better arm
minus that of the other, ``v`` the baseline and ``eta`` the policy step."""

import numpy as np
import sympy as sp
from jaxtyping import Float, Real

from actde_nb.tables import symbolic
from actde_nb.tables.symbolic import BETTER, DIFFERENCE, GAP, PROBABILITY, PROBABILITY_OF_GAP, STEP, TIME, WORSE


def reinforced(advantage: sp.Expr | int, base: sp.Expr | int = sp.E) -> sp.Expr:
    """Probability of an arm, from even odds, after its log-odds in the given base rose by ``advantage``."""
    return 1 / (1 + sp.sympify(base) ** (-advantage))


def round_trip() -> tuple[sp.Expr, sp.Expr]:
    """Gap added by leaving the better arm and by coming back, when v is always the last reward (at first R_1)."""
    value, added = BETTER, []
    for reward, sign in ((WORSE, -1), (BETTER, 1)):
        added.append(sp.simplify((sign * STEP * (reward - value)).subs(BETTER, WORSE + DIFFERENCE)))
        value = reward
    return tuple(added)


def round_trip_wait() -> sp.Expr:
    """Mean number of episodes of the round trip that starts with gap ``x``: two geometric waits."""
    leave, _ = round_trip()
    to_leave, to_return = 1 / (1 - PROBABILITY_OF_GAP), 1 / PROBABILITY_OF_GAP.subs(GAP, GAP + leave)
    return sp.expand(sp.simplify(to_leave) + to_return)


def round_trip_slowdown() -> sp.Expr:
    """By what factor each round trip is slower than the one before it, when the gap is large."""
    wait = round_trip_wait()
    return sp.limit(wait.subs(GAP, GAP + sum(round_trip())) / wait, GAP, sp.oo)


def past_share_drift(share: sp.Expr, now: sp.Expr) -> sp.Expr:
    """Mean increment of the gap when v is the mean of all past rewards, a ``share`` of them the worse arm's.

    ``now`` is the probability of the worse arm in this episode."""
    increment = symbolic.expected_increment((1 - share) * BETTER + share * WORSE)
    increment = increment.subs({PROBABILITY: 1 - now, BETTER: WORSE + DIFFERENCE})
    return sp.collect(sp.expand(increment), STEP * DIFFERENCE)


def running_mean_gap() -> sp.Expr:
    """Gap under a running-mean baseline from a uniform policy, ``2 asinh(eta Delta t / 4)``."""
    return 2 * sp.asinh(STEP * DIFFERENCE * TIME / 4)


def running_mean_pulls() -> sp.Expr:
    """Episodes spent on the worse arm up to time t under the running-mean baseline."""
    scale = 4 / (STEP * DIFFERENCE)
    return (TIME + scale - sp.sqrt(TIME**2 + scale**2)) / 2


def running_mean_residuals() -> tuple[sp.Expr, sp.Expr]:
    """What the last two leave over in their equations of motion, ``F' = 1 - pi(x)`` and ``x' = drift(F / t, F')``.

    Both are zero; F is the number of past episodes spent on the worse arm, the drift :func:`past_share_drift`."""
    gap, wasted = running_mean_gap(), running_mean_pulls()
    worse = (1 - sp.tanh(gap / 2)) / 2  # 1 - 1 / (1 + e^-x), a form that SymPy simplifies
    drift = past_share_drift(wasted / TIME, wasted.diff(TIME))
    return sp.simplify(wasted.diff(TIME) - worse), sp.simplify(gap.diff(TIME) - drift)


def expected_updates(gradient: str, baseline: str, arms: int = 3) -> list[sp.Expr]:
    """Mean movement of each logit, per unit of policy step, for probabilities ``pi_a`` and rewards ``R_a``.

    ``gradient`` is ``"logit"`` (the error goes to the arm taken) or ``"softmax"`` (it follows grad log pi),
    ``baseline`` is ``"exact_value"`` or ``"none"``."""
    policy, rewards = symbolic.simplex(arms), sp.symbols(f"R_1:{arms + 1}", real=True)
    value = sum(p * r for p, r in zip(policy, rewards, strict=True)) if baseline == "exact_value" else 0
    pushes = [p * (r - value) for p, r in zip(policy, rewards, strict=True)]
    centres = policy if gradient == "softmax" else [0] * arms
    return [
        sp.factor(sum(push * (sp.Integer(b == arm) - centres[arm]) for b, push in enumerate(pushes)))
        for arm in range(arms)
    ]


def running_mean_gap_at(clock: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Gap that :func:`running_mean_gap` gives at each value of ``clock`` = eta Delta t."""
    return sp.lambdify(TIME, running_mean_gap().subs(STEP * DIFFERENCE * TIME, TIME), "numpy")(clock)


def mean_wait(gap: Real[np.ndarray, "trips"], step: float, difference: float) -> Float[np.ndarray, "trips"]:
    """Mean episodes that a round trip takes from each ``gap``: :func:`round_trip_wait` as numbers."""
    return sp.lambdify(GAP, round_trip_wait().subs({STEP: step, DIFFERENCE: difference}), "numpy")(gap)
