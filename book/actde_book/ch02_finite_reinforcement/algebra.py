"""Chapter 2: what the action-conditioned error does to one state, in exact algebra.

``tau = alpha / eta`` is the critic's step over the policy's. Two-armed results are written with the
logit gap ``x`` and the first errors ``E_a = R_a - q_0(a)``; ``Delta`` and ``Sigma`` are their
difference and sum.
"""

from collections.abc import Callable

import sympy as sp

from actde_nb.tables.symbolic import ALPHA, BETA, ETA, TAU, simplex

VISITS = sp.Symbol("n", integer=True, nonnegative=True)


REWARD, INITIAL_Q, INITIAL_LOGIT, ERROR = sp.symbols("R q_0 theta_0 delta", real=True)


GAP = sp.Symbol("x", real=True)


FIRST_ERRORS = sp.symbols("E_1 E_2", positive=True)


DIFFERENCE, TOTAL = sp.symbols("Delta Sigma", positive=True)


SCALE = sp.Symbol("c", positive=True)


PRIOR_ODDS = sp.Symbol("o", positive=True)


_EPISODE = sp.Symbol("s", positive=True)


_LOG_EPISODE = sp.Symbol("ell", real=True)


def in_lines(left: sp.Expr, *lines: sp.Expr | str) -> str:
    """LaTeX of ``left`` = sum of ``lines``, one under the other: a long equation that fits a phone."""
    right = [line if isinstance(line, str) else sp.latex(line) for line in lines]
    signed = [line if line.startswith(("-", "+")) else f"+ {line}" for line in right[1:]]
    below = "".join(rf" \\[6pt] &\quad {line}" for line in signed)
    return rf"\begin{{aligned}} {sp.latex(left)} &= {right[0]}{below} \end{{aligned}}"


def conserved() -> sp.Expr:
    """What one episode adds to ``theta_a - q_a / tau`` for the arm taken; zero."""
    return sp.simplify(ETA * ERROR - ALPHA * ERROR / (ALPHA / ETA))


def after_visits() -> sp.Eq:
    """Logit of an arm after n visits: the critic's recursion solved, then telescoped."""
    q = sp.Function("q")
    recursion = q(VISITS + 1) - q(VISITS) - ALPHA * (REWARD - q(VISITS))
    learned = sp.rsolve(recursion, q(VISITS), {q(0): INITIAL_Q})
    share = sp.simplify((learned - INITIAL_Q) / (REWARD - INITIAL_Q))
    return sp.Eq(sp.Symbol("theta_n"), INITIAL_LOGIT + (REWARD - INITIAL_Q) / TAU * share)


def policy_of(q: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
    """Probability of arm a, out of K, once the action values are ``q``: the telescoped logits under a softmax."""
    a, b, arms = sp.symbols("a b K", integer=True, positive=True)
    prior, initial_q = sp.Function("pi_0"), sp.Function("q_0")

    def weight(arm: sp.Expr) -> sp.Expr:
        return prior(arm) * sp.exp((q(arm) - initial_q(arm)) / TAU)

    return weight(a) / sp.Sum(weight(b), (b, 1, arms))


def fixed_point() -> sp.Eq:
    """The policy where the errors are zero: ``q`` equal to the rewards in :func:`policy_of`."""
    return sp.Eq(sp.Function(r"\pi_{\infty}")(sp.Symbol("a", integer=True, positive=True)), policy_of(sp.Function("R")))


def regularised_optimum(arms: int = 3) -> list[sp.Expr]:
    """Policy that maximises ``E[R] - beta KL(policy || prior)``, from the Lagrangian's stationarity conditions."""
    policy, prior, rewards, price = _arms(arms)
    lagrangian = sum(
        p * r - BETA * p * sp.log(p / p0) for p, p0, r in zip(policy, prior, rewards, strict=True)
    ) - price * (sum(policy) - 1)
    stationary = [sp.solve(lagrangian.diff(p), p)[0] for p in policy]
    # The price of the constraint is one factor common to all arms: normalising removes it.
    return [sp.simplify(p / sum(stationary)) for p in stationary]


def power_rule_error() -> sp.Expr:
    """Log-odds that the rule "raise to the power c" gives for rewards times c, minus the true ones.

    The first arm's prior odds are ``o``; the rewards differ by ``Delta``.
    """
    ends = sp.log(PRIOR_ODDS) + DIFFERENCE / TAU
    scaled = sp.log(PRIOR_ODDS) + SCALE * DIFFERENCE / TAU
    return sp.factor(sp.expand(SCALE * ends - scaled))


def mean_wait() -> sp.Expr:
    """Mean episodes until both arms have been tried, when the first visit teaches all (alpha = 1).

    The first arm is taken from the prior, the other after a geometric wait at the new odds.
    """
    prior = simplex(2)
    waits = []
    for arm, error in enumerate(FIRST_ERRORS):
        odds = prior[arm] * sp.exp(error / TAU) / prior[1 - arm]
        waits.append(prior[arm] * (1 + odds))
    return 1 + sum(waits)


def mean_field_regret() -> sp.Expr:
    """Regret of the ordinary TD error from even odds, in units of 1 / eta, as a function of the gap it has reached.

    In a small step the gap grows by ``eta Delta / (1 + cosh x)``, while an episode costs ``Delta`` times the
    probability of the worse arm.
    """
    reached = sp.Symbol("y", real=True)
    worse = 1 / (1 + sp.exp(reached))
    per_gap = sp.simplify((1 + sp.cosh(reached)).rewrite(sp.exp) * worse)
    return sp.simplify(sp.integrate(sp.expand(per_gap), (reached, 0, GAP)))


def remainder(arms: int = 3) -> list[sp.Expr]:
    """Softmax-gradient move of each logit, minus ``(dq_b - pi_b dQ) / tau``, arm 1 taken; all zero.

    ``dQ`` is the sum of the critic's moves over arms, here that of the arm taken.
    """
    policy = simplex(arms)
    taken = [sp.Integer(b == 0) for b in range(arms)]
    return [
        sp.simplify(
            ETA * ERROR * (taken[b] - policy[b]) - (ALPHA * ERROR * taken[b] - policy[b] * ALPHA * ERROR) * ETA / ALPHA
        )
        for b in range(arms)
    ]


def curvature() -> sp.Expr:
    """What a small loop in the plane of the two action values adds to the gap, per area, under the softmax gradient.

    Learning arm 1 moves the gap along ``2 (1 - p) / tau``, learning arm 2 along ``-2 p / tau``: the Lie
    bracket of the two directions. If it were zero, the gap would be a function of q.
    """
    policy = sp.Function("pi_1", positive=True)(GAP)
    first, second = 2 * (1 - policy) / TAU, -2 * policy / TAU
    bracket = first * second.diff(GAP) - second * first.diff(GAP)
    probability = sp.Symbol("pi_1", positive=True)
    bracket = bracket.subs(policy.diff(GAP), policy * (1 - policy))  # the logistic function's derivative
    return sp.factor(bracket.subs(policy, probability))


def one_visit_gap(order: tuple[int, int]) -> sp.Expr:
    """Gap after one visit to each arm in this order under the softmax gradient; from even odds, alpha = 1."""
    gap = sp.Integer(0)
    for arm in order:
        p = 1 / (1 + sp.exp(-gap))
        gap += 2 * FIRST_ERRORS[arm] / TAU * ((1 - p) if arm == 0 else -p)
    return gap


def extreme_gaps() -> tuple[sp.Expr, sp.Expr]:
    """End gaps in small steps under the softmax gradient: arm 1 learned before arm 2, and after it.

    Each leg separates: ``x + e^x`` rises by ``2 E_1 / tau`` while arm 1 is learned, and
    ``x - e^-x`` falls by ``2 E_2 / tau`` while arm 2 is. From even odds.
    """
    first, second = (2 * error / TAU for error in FIRST_ERRORS)

    def learn_first(gap: sp.Expr) -> sp.Expr:
        return _root(GAP + sp.exp(GAP), gap + sp.exp(gap) + first)

    def learn_second(gap: sp.Expr) -> sp.Expr:
        return _root(GAP - sp.exp(-GAP), gap - sp.exp(-gap) - second)

    return learn_second(learn_first(sp.Integer(0))), learn_first(learn_second(sp.Integer(0)))


def on_policy_series(order: int = 3) -> sp.Expr:
    """End gap of the softmax gradient on-policy in small steps, from even odds, to ``order`` in 1 / tau.

    With ``s = exp(-alpha t / 2)``, the errors are ``E_1 s e^w`` and ``E_2 s e^-w``, and::

        dx/ds = -(Delta cosh w + Sigma sinh w) sech(x / 2)^2 / tau,    dw/ds = tanh(x / 2) / s

    from ``x = w = 0`` at s = 1 to s = 0. Each Picard step is exact to one order more; its integrands
    are polynomials in s and log s.
    """
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
    fisher = sp.diag(*policy) - policy * policy.T
    step = sp.zeros(arms, 1)
    step[0] = 1 / policy[0]
    return sp.ImmutableMatrix(sp.simplify(fisher * step))


def expected_gradient(errors: Callable[[int], sp.Expr], arms: int = 3) -> list[sp.Expr]:
    """Mean of ``error(a) * grad log pi(a)`` over arms a drawn from the policy, one entry for each logit."""
    policy = simplex(arms)
    return [
        sp.factor(sum(policy[a] * errors(a) * (sp.Integer(a == b) - policy[b]) for a in range(arms)))
        for b in range(arms)
    ]


def _arms(arms: int):
    """Positive symbols for a policy and its prior, real ones for the rewards, and the constraint's price."""
    return (
        sp.symbols(f"pi_1:{arms + 1}", positive=True),
        sp.symbols(f"p_1:{arms + 1}", positive=True),
        sp.symbols(f"R_1:{arms + 1}", real=True),
        sp.Symbol("lambda", real=True),
    )


def _root(function: sp.Expr, level: sp.Expr) -> sp.Expr:
    """The gap at which an increasing function reaches a level."""
    target = sp.Symbol("k", real=True)
    (solution,) = sp.solve(function - target, GAP)
    return solution.subs(target, level)


def _integral(integrand: sp.Expr) -> sp.Expr:
    """Integral from 1 to s of a sum of powers of s (-1 or more) times powers of log s.

    ``log s`` stands as its own symbol; what it multiplies vanishes at s = 0.
    """
    result = sp.Integer(0)
    for (power, logs), factor in sp.Poly(sp.expand(integrand * _EPISODE), _EPISODE, _LOG_EPISODE).terms():
        if power == 0:
            result += factor * _LOG_EPISODE ** (logs + 1) / (logs + 1)
            continue
        for k in range(logs + 1):  # by parts, k times
            part = (-1) ** k * sp.ff(logs, k) / sp.Integer(power) ** (k + 1)
            result += factor * part * _EPISODE**power * _LOG_EPISODE ** (logs - k)
    return sp.expand(result - result.subs({_LOG_EPISODE: 0, _EPISODE: 1}))
