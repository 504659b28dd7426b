"""Chapter 2: what the action-conditioned error does to one state, in exact algebra.

``tau = alpha / eta`` is the critic's step over the policy's. Two-armed results are written with the
logit gap ``x`` and the first errors ``E_a = R_a - q_0(a)``; ``Delta`` and ``Sigma`` are their
difference and sum."""

from collections.abc import Callable

import sympy as sp

from actde_nb.tables.symbolic import ALPHA, BETA, GAP, TAU, simplex

VISITS = sp.Symbol("n", integer=True, nonnegative=True)
FIRST_ERRORS = sp.symbols("E_1 E_2", positive=True)
DIFFERENCE, TOTAL, SCALE, PRIOR_ODDS = sp.symbols("Delta Sigma c o", positive=True)
_EPISODE = sp.Symbol("s", positive=True)
_LOG_EPISODE = sp.Symbol("ell", real=True)


def in_lines(left: sp.Expr, *lines: sp.Expr | str) -> str:
    """LaTeX of ``left`` = sum of ``lines``, one under the other: a long equation that fits a phone."""
    right = [line if isinstance(line, str) else sp.latex(line) for line in lines]
    signed = [line if line.startswith(("-", "+")) else f"+ {line}" for line in right[1:]]
    below = "".join(rf" \\[6pt] &\quad {line}" for line in signed)
    return rf"\begin{{aligned}} {sp.latex(left)} &= {right[0]}{below} \end{{aligned}}"


def after_visits() -> sp.Eq:
    """Logit of an arm after n visits: the critic's recursion solved, then telescoped."""
    q, (reward, initial_q, initial_logit) = sp.Function("q"), sp.symbols("R q_0 theta_0", real=True)
    recursion = q(VISITS + 1) - q(VISITS) - ALPHA * (reward - q(VISITS))
    learned = sp.rsolve(recursion, q(VISITS), {q(0): initial_q})
    share = sp.simplify((learned - initial_q) / (reward - initial_q))
    return sp.Eq(sp.Symbol("theta_n"), initial_logit + (reward - initial_q) / TAU * share)


def fixed_point() -> sp.Eq:
    """Probability of arm a, out of K, where q equals the rewards: the telescoped logits under a softmax."""
    a, b, arms = sp.symbols("a b K", integer=True, positive=True)
    prior, initial_q, rewards = sp.Function("pi_0"), sp.Function("q_0"), sp.Function("R")
    weight = prior(a) * sp.exp((rewards(a) - initial_q(a)) / TAU)
    return sp.Eq(sp.Function(r"\pi_{\infty}")(a), weight / sp.Sum(weight.subs(a, b), (b, 1, arms)))


def regularised_optimum(arms: int = 3) -> list[sp.Expr]:
    """Policy that maximises ``E[R] - beta KL(policy || prior)``, from the Lagrangian's stationarity conditions."""
    policy, prior = (sp.symbols(f"{name}_1:{arms + 1}", positive=True) for name in ("pi", "p"))
    rewards, price = sp.symbols(f"R_1:{arms + 1}", real=True), sp.Symbol("lambda", real=True)
    terms = [p * r - BETA * p * sp.log(p / p0) for p, p0, r in zip(policy, prior, rewards, strict=True)]
    lagrangian = sum(terms) - price * (sum(policy) - 1)
    stationary = [sp.solve(lagrangian.diff(p), p)[0] for p in policy]
    # The price of the constraint is one factor common to all arms: normalising removes it.
    return [sp.simplify(p / sum(stationary)) for p in stationary]


def power_rule_error() -> sp.Expr:
    """Log-odds that the rule "raise to the power c" gives for rewards times c, minus the true ones.

    The first arm's prior odds are ``o``; the rewards differ by ``Delta``."""
    ends = sp.log(PRIOR_ODDS) + DIFFERENCE / TAU
    scaled = sp.log(PRIOR_ODDS) + SCALE * DIFFERENCE / TAU
    return sp.factor(sp.expand(SCALE * ends - scaled))


def mean_wait() -> sp.Expr:
    """Mean episodes until both arms have been tried, when the first visit teaches all (alpha = 1).

    The first arm is taken from the prior, the other after a geometric wait at the new odds."""
    prior = simplex(2)
    odds = [prior[arm] * sp.exp(error / TAU) / prior[1 - arm] for arm, error in enumerate(FIRST_ERRORS)]
    return 1 + sum(p * (1 + o) for p, o in zip(prior, odds, strict=True))


def mean_field_regret() -> sp.Expr:
    """Regret of the ordinary TD error from even odds, in units of 1 / eta, as a function of the gap it has reached.

    In a small step the gap grows by ``eta Delta / (1 + cosh x)``, while an episode costs ``Delta`` times the
    probability of the worse arm."""
    reached = sp.Symbol("y", real=True)
    per_gap = sp.simplify((1 + sp.cosh(reached)).rewrite(sp.exp) / (1 + sp.exp(reached)))
    return sp.simplify(sp.integrate(sp.expand(per_gap), (reached, 0, GAP)))


def curvature() -> sp.Expr:
    """What a small loop in the plane of the two action values adds to the gap, per area, under the softmax gradient.

    Learning arm 1 moves the gap along ``2 (1 - p) / tau``, learning arm 2 along ``-2 p / tau``: the Lie
    bracket of the two directions. If it were zero, the gap would be a function of q."""
    policy = sp.Function("pi_1", positive=True)(GAP)
    first, second = 2 * (1 - policy) / TAU, -2 * policy / TAU
    bracket = first * second.diff(GAP) - second * first.diff(GAP)
    bracket = bracket.subs(policy.diff(GAP), policy * (1 - policy))  # the logistic function's derivative
    return sp.factor(bracket.subs(policy, sp.Symbol("pi_1", positive=True)))


def extreme_gaps() -> tuple[sp.Expr, sp.Expr]:
    """End gaps in small steps under the softmax gradient: arm 1 learned before arm 2, and after it.

    Each leg separates: ``x + e^x`` rises by ``2 E_1 / tau`` while arm 1 is learned, and
    ``x - e^-x`` falls by ``2 E_2 / tau`` while arm 2 is. From even odds."""
    level = sp.Symbol("k", real=True)

    def learn(gap: sp.Expr, arm: int) -> sp.Expr:
        sign = 1 - 2 * arm
        height = GAP + sign * sp.exp(sign * GAP)
        (end,) = sp.solve(height - level, GAP)
        return end.subs(level, height.subs(GAP, gap) + sign * 2 * FIRST_ERRORS[arm] / TAU)

    start = sp.Integer(0)
    return learn(learn(start, 0), 1), learn(learn(start, 1), 0)


def on_policy_series(order: int = 3) -> sp.Expr:
    """End gap of the softmax gradient on-policy in small steps, from even odds, to ``order`` in 1 / tau.

    With ``s = exp(-alpha t / 2)``, the errors are ``E_1 s e^w`` and ``E_2 s e^-w``, and::

        dx/ds = -(Delta cosh w + Sigma sinh w) sech(x / 2)^2 / tau,    dw/ds = tanh(x / 2) / s

    from ``x = w = 0`` at s = 1 to s = 0. Each Picard step is exact to one order more; its integrands
    are polynomials in s and log s."""
    small, z = sp.Symbol("h", positive=True), sp.Symbol("z", real=True)

    def cut(expression: sp.Expr, terms: int) -> sp.Expr:
        expression = sp.expand(expression)
        return sum(expression.coeff(small, k) * small**k for k in range(terms + 1))

    def of(function: sp.Expr, argument: sp.Expr, terms: int) -> sp.Expr:
        return cut(sp.series(function, z, 0, terms + 1).removeO().subs(z, argument), terms)

    gap, tilt = sp.Integer(0), sp.Integer(0)
    for k in range(1, order + 1):
        errors = DIFFERENCE * of(sp.cosh(z), tilt, k - 1) + TOTAL * of(sp.sinh(z), tilt, k - 1)
        gap = cut(_integral(-small * cut(of(sp.sech(z / 2) ** 2, gap, k - 1) * errors, k - 1)), k)
        tilt = cut(_integral(of(sp.tanh(z / 2), gap, k) / _EPISODE), k)
    end = sp.expand(gap).subs(_EPISODE, 0)
    return sum(sp.factor(end.coeff(small, k)) / TAU**k for k in range(1, order + 1))


def natural_step(arms: int = 3) -> sp.ImmutableMatrix:
    """Fisher matrix of the softmax times the raw step ``onehot / pi_1``: the score of arm 1, onehot - pi."""
    policy = sp.Matrix(simplex(arms))
    step = sp.Matrix([1 / policy[0], *[0] * (arms - 1)])
    return sp.ImmutableMatrix(sp.simplify((sp.diag(*policy) - policy * policy.T) * step))


def expected_gradient(errors: Callable[[int], sp.Expr], arms: int = 3) -> list[sp.Expr]:
    """Mean of ``error(a) * grad log pi(a)`` over arms a drawn from the policy, one entry for each logit."""
    pushes = [p * errors(a) for a, p in enumerate(simplex(arms))]
    return [
        sp.factor(sum(push * (sp.Integer(a == b) - p) for a, push in enumerate(pushes)))
        for b, p in enumerate(simplex(arms))
    ]


def _integral(integrand: sp.Expr) -> sp.Expr:
    """Integral from 1 to s of a sum of powers of s (-1 or more) times powers of log s.

    ``log s`` stands as its own symbol; what it multiplies vanishes at s = 0."""
    result = sp.Integer(0)
    for (power, logs), factor in sp.Poly(sp.expand(integrand * _EPISODE), _EPISODE, _LOG_EPISODE).terms():
        if power == 0:
            result += factor * _LOG_EPISODE ** (logs + 1) / (logs + 1)
            continue
        for k in range(logs + 1):  # by parts, k times
            part = (-1) ** k * sp.ff(logs, k) / sp.Integer(power) ** (k + 1)
            result += factor * part * _EPISODE**power * _LOG_EPISODE ** (logs - k)
    return sp.expand(result - result.subs({_LOG_EPISODE: 0, _EPISODE: 1}))
