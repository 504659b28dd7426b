"""Algebra that several chapters share: two arms and their gap, the symbols of games."""

import numpy as np
import sympy as sp
from jaxtyping import Float
from scipy.optimize import brentq

BETTER, WORSE, BASELINE, GAP = sp.symbols("R_1 R_2 v x", real=True)
STEP, DIFFERENCE, TIME, PROBABILITY = sp.symbols("eta Delta t pi", positive=True)
PROBABILITY_OF_GAP = 1 / (1 + sp.exp(-GAP))
ALPHA, TAU, BETA, TEMPERATURE, DISCOUNT = sp.symbols("alpha tau beta tau gamma", positive=True)
PAYOFFS = sp.symbols("m_cc m_dc m_dd m_cd", real=True)  # own move after the last one: dc is d after c


def gap_increments(baseline: sp.Expr = BASELINE) -> tuple[sp.Expr, sp.Expr]:
    """What one episode adds to the gap: if the better arm was taken, and if the worse one was.

    The error of the arm taken is added to that arm's logit; the worse arm's logit counts negatively."""
    return STEP * (BETTER - baseline), -STEP * (WORSE - baseline)


def expected_increment(baseline: sp.Expr = BASELINE) -> sp.Expr:
    """Mean of :func:`gap_increments` when the better arm is taken with probability ``pi``."""
    better, worse = gap_increments(baseline)
    return PROBABILITY * better + (1 - PROBABILITY) * worse


def drift() -> sp.Expr:
    """Mean increment of the gap when the baseline is the policy's mean reward, in ``eta``, ``Delta`` and ``pi``."""
    baseline = PROBABILITY * BETTER + (1 - PROBABILITY) * WORSE
    increment = expected_increment(baseline).subs(BETTER, WORSE + DIFFERENCE)
    both = PROBABILITY * (1 - PROBABILITY)  # taken out, so that SymPy prints 1 - pi rather than -(pi - 1)
    return sp.cancel(increment / both) * both


def growth_law() -> sp.Eq:
    """Solve dx/dt = drift from x(0) = 0 by separating the variables."""
    rate = drift().subs(PROBABILITY, PROBABILITY_OF_GAP)
    separated = sp.simplify(sp.expand(DIFFERENCE * STEP / rate))  # 1 + cosh x
    passed = sp.Symbol("y", real=True)
    return sp.Eq(sp.integrate(separated.subs(GAP, passed), (passed, 0, GAP)), STEP * DIFFERENCE * TIME)


def exact_gradient(arms: int = 3) -> list[sp.Expr]:
    """Gradient of the policy's mean reward in the logits, by differentiating the softmax."""
    logits, rewards = (sp.symbols(f"{name}_1:{arms + 1}", real=True) for name in ("theta", "R"))
    total = sum(sp.exp(logit) for logit in logits)
    mean = sum(sp.exp(logit) * r for logit, r in zip(logits, rewards, strict=True)) / total
    back = {logit: sp.log(p) for logit, p in zip(logits, simplex(arms), strict=True)}
    return [sp.factor(mean.diff(logit).subs(back, simultaneous=True)) for logit in logits]


def simplex(arms: int) -> list[sp.Expr]:
    """Probabilities ``pi_1, pi_2, ...``, the last one being what the others leave over."""
    free = sp.symbols(f"pi_1:{arms}", positive=True)
    return [*free, 1 - sum(free)]


def gap_at(clock: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Gap that :func:`growth_law` gives at each value of ``clock`` = eta Delta t, by root finding."""
    law = sp.lambdify(GAP, growth_law().lhs, "numpy")
    # sinh x <= x + sinh x brackets the root from above.
    return np.array([brentq(lambda x, c=c: law(x) - c, 0, np.arcsinh(c)) for c in np.asarray(clock, dtype=float)])
