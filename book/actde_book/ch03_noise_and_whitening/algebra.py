"""Noise, decaying steps and whitening: the expressions chapter 3 prints, derived rather than typed."""

import sympy as sp
from sympy import stats

alpha, eta, sigma, temperature = sp.symbols("alpha eta sigma tau", positive=True)
time, odds, decay, offset = sp.symbols("t w c n_0", positive=True)
gap, log_ratio, mean = sp.symbols("x rho mu", real=True)
gap_symbols = sp.symbols("m s_1 s_2 f", real=True)


def stationary_critic_variance() -> sp.Expr:
    """Variance of q once its spread has settled, constant critic step.

    The move ``q += alpha (r - q)`` maps a variance V to ``(1 - alpha)^2 V + alpha^2 sigma^2``; this is the fixed point.
    """
    variance, margin = sp.symbols("V u", positive=True)  # u = 2 - alpha, so that what is printed has no minus signs
    step = sp.Eq(variance, (1 - alpha) ** 2 * variance + alpha**2 * sigma**2)
    (solution,) = sp.solve(step, variance)
    return sp.factor(solution.subs(alpha, 2 - margin)).subs(margin, 2 - alpha)


def stationary_logit_variance() -> sp.Expr:
    """Variance of a logit, which follows q at the rate eta / alpha (the telescoping identity)."""
    return stationary_critic_variance() * (eta / alpha) ** 2


def stationary_error_variance() -> sp.Expr:
    """Variance of the error ``r - q`` on an arm that is being played: the new noise plus the critic's own."""
    sign = sp.together(sigma**2 + stationary_critic_variance())
    return sp.expand(sp.numer(sign)) / sp.denom(sign)


def choice_log_weight() -> sp.Expr:
    """Log of an arm's long-run weight ``1 / E[exp(-theta)]`` for a Gaussian logit of mean mu / tau.

    The variance is :func:`stationary_logit_variance`; the prior and q_0 are left out."""
    spread = sp.Symbol("s", positive=True)
    logit = stats.Normal("theta", mean / temperature, spread)
    patience = stats.characteristic_function(logit)(sp.I)  # E[exp(i t theta)] at t = i
    return sp.expand(-sp.log(patience), force=True).subs(spread**2, stationary_logit_variance())


def gap_moments() -> tuple[sp.Expr, sp.Expr]:
    """Stationary mean and variance of the logit gap of two arms, noisy rewards, constant steps.

    The gap is a mixture of two Gaussians of variance ``s_1^2 + s_2^2``: of mean ``m + s_2^2`` with frequency f, else of
    mean ``m - s_1^2``. Here m is the difference of the arms' mean logits, s_a^2 the variance of their logits on
    their own visits, f the long-run share of the first arm."""
    m, s_1, s_2, f = gap_symbols
    centres = (m + s_2**2, m - s_1**2)
    average = m + f * (centres[0] - m) + (1 - f) * (centres[1] - m)
    within, between = s_1**2 + s_2**2, f * (1 - f) * sp.expand(centres[0] - centres[1]) ** 2
    return average, within + between


def recursive_residual_covariance(visits: int) -> sp.ImmutableMatrix:
    """Covariance of the first errors of an arm whose critic is the running mean, in units of sigma^2.

    Each error is a known combination of independent rewards: ``r_1``, then ``r_k`` minus the mean of those before."""
    rows = [[-sp.Rational(1, k)] * k + [1] + [0] * (visits - k - 1) for k in range(1, visits)]
    weights = sp.Matrix([[1] + [0] * (visits - 1), *rows])
    return sp.ImmutableMatrix(weights * weights.T)


def decaying_total() -> sp.Expr:
    """Sum over all visits of the error relative to the first one, for critic steps ``c / (n + n_0)`` and no noise.

    The n-th error is the product of ``1 - c / (k + n_0)`` over the visits k before it. For c > 1 their sum is
    Gauss's value of a hypergeometric series at 1."""
    a, b, c = offset + 1 - decay, sp.Integer(1), offset + 1
    return sp.gammasimp(sp.gamma(c) * sp.gamma(c - a - b) / (sp.gamma(c - a) * sp.gamma(c - b)))


def whitened_errors() -> tuple[sp.Expr, sp.Expr]:
    """Errors of two arms after whitening without epsilon, in terms of the odds of the first arm; e_1 > e_2."""
    difference, second = sp.Symbol("d", positive=True), sp.Symbol("e_2", real=True)
    first, p = second + difference, odds / (1 + odds)
    average = p * first + (1 - p) * second
    variance = sp.factor(p * (first - average) ** 2 + (1 - p) * (second - average) ** 2)
    return tuple(sp.simplify((error - average) / sp.sqrt(variance)) for error in (first, second))


def whitened_speed() -> sp.Expr:
    """Growth of the logit gap per update when whitened errors move the logits; e_1 > e_2."""
    first, second = whitened_errors()
    p = odds / (1 + odds)
    speed = sp.simplify(eta * (p * first - (1 - p) * second)).subs(odds, sp.exp(gap))
    return sp.simplify(speed.rewrite(sp.cosh))


def whitened_gap() -> sp.Expr:
    """The gap after t updates from a uniform policy: the solution of ``x' = whitened_speed()``."""
    return 2 * sp.asinh(eta * time / 2)


def orbit_energy() -> sp.Expr:
    """What stays constant when a whitened critic learns one arm at a time: a function of the gap and of rho."""
    return sp.Abs(log_ratio) + 2 * alpha / eta * sp.cosh(gap / 2)


def orbit_turn() -> sp.Expr:
    """Largest gap on the orbit that starts at a gap of zero and at rho: there the other rho is zero."""
    largest = sp.Symbol("y", positive=True)  # cosh(x/2)
    start = orbit_energy().subs(gap, 0)
    end = orbit_energy().subs(log_ratio, 0).subs(sp.cosh(gap / 2), largest)
    (solution,) = sp.solve(sp.Eq(start, end), largest)
    return 2 * sp.acosh(sp.expand(solution))


def orbit_period() -> sp.Expr:
    """Updates for one turn of the orbit whose largest gap is x: four quarters of ``dx / whitened_speed()``."""
    return 4 * sp.integrate(sp.cosh(gap / 2) / eta, (gap, 0, gap))


def walk_potential() -> sp.Expr:
    """Function of the gap whose mean grows by exactly ``s^2`` a step on the walk ``dx = s sech(x/2) dW``.

    Solves f'' = 1 + cosh x with f(0) = 1 and f'(0) = 0."""
    f = sp.Function("f")
    equation = sp.Eq(f(gap).diff(gap, 2), 1 + sp.cosh(gap))  # 2 cosh(x/2)^2 = 1 + cosh x
    return sp.dsolve(equation, f(gap), ics={f(0): 1, f(gap).diff(gap).subs(gap, 0): 0}).rhs
