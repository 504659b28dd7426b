"""More than one state: how a value answers to its action values, and what follows from it.

Temperatures, rewards and values are in units of reward, logits and log-odds in nats."""

import functools

import numpy as np
import sympy as sp
from jaxtyping import Float
from scipy.optimize import brentq

from actde_nb.checks import SettingError
from actde_nb.tables.symbolic import DISCOUNT, PAYOFFS, TEMPERATURE

REWARD, Q = sp.symbols("r q", real=True)
LOG_ODDS, GAP = sp.symbols("c u", real=True)  # prior log-odds of the action in question; (q_1 - q_2) / tau of two
ROOM = sp.symbols("w_A w_B", real=True)  # gamma * v of each room
STAY, LAMBDA = sp.symbols("R lambda", positive=True)  # reward for staying in a room; decay of GAE
_ROOT = sp.sqrt(sp.Rational(15, 2))
POST_PAYOFFS = dict(zip(PAYOFFS, (sp.Rational(1, 2), 2, 2 - _ROOT, _ROOT - sp.Rational(9, 2)), strict=True))
COOPERATION = sp.symbols("x y", positive=True)  # probabilities of cooperating after c and after d
BALANCE = sp.Symbol("kappa", real=True)  # payoffs for repeating a move minus those for changing it
CONTINUATION = sp.Symbol("w", real=True)  # gamma * (v(c) - v(d))


def _sigmoid(logit: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-logit))


def boltzmann_value(actions: int) -> tuple[sp.Expr, list[sp.Symbol], list[sp.Symbol]]:
    """Value of the policy ``prior * exp(q / tau)``, normalised, with its action values and priors as symbols."""
    q, prior = sp.symbols(f"q_1:{actions + 1}", real=True), sp.symbols(f"p_1:{actions + 1}", positive=True)
    weights = [p * sp.exp(x / TEMPERATURE) for p, x in zip(prior, q, strict=True)]
    return sum(w * x for w, x in zip(weights, q, strict=True)) / sum(weights), list(q), list(prior)


@functools.cache
def value_response() -> sp.Eq:
    """How the Boltzmann value moves with one of its action values; checked for three actions and any prior."""
    pi_b, q_b, v = sp.symbols("pi_b q_b v")
    response = pi_b * (1 + (q_b - v) / TEMPERATURE)
    value, (q, *_), (prior, *_) = boltzmann_value(3)
    policy = prior * sp.exp(q / TEMPERATURE) / sp.denom(value)
    if sp.simplify(sp.diff(value, q) - response.subs({pi_b: policy, q_b: q, v: value})) != 0:
        raise ArithmeticError(f"the derivative of {value} by {q} is not {response}")
    return sp.Eq(sp.Derivative(v, q_b), response, evaluate=False)


def soft_value(actions: int) -> sp.Expr:
    """The soft value ``tau * log(sum(prior * exp(q / tau)))``, in the symbols of :func:`boltzmann_value`."""
    return TEMPERATURE * sp.log(sp.denom(boltzmann_value(actions)[0]))


def overshoot() -> sp.Expr:
    """Minus the response of a two-action value to its worse action; s is the probability of the better one.

    The responses sum to one, so where this is positive their absolute values sum to one plus twice this."""
    s = _sigmoid(GAP + LOG_ODDS)
    return (1 - s) * (GAP * s - 1)


@functools.cache
def overshoot_stationarity() -> sp.Expr:
    """What must vanish where the overshoot is largest."""
    s = _sigmoid(GAP + LOG_ODDS)
    slope = sp.simplify(sp.diff(overshoot(), GAP) / (s * (1 - s)))
    # SymPy leaves exponentials: dividing numerator and denominator by exp((u + c) / 2) makes the tanh.
    wanted = 2 - GAP * sp.tanh((GAP + LOG_ODDS) / 2)
    if sp.simplify((slope - wanted).rewrite(sp.exp)) != 0:
        raise ArithmeticError(f"slope of the overshoot is {slope}, not proportional to {wanted}")
    return wanted


def largest_response() -> sp.Expr:
    """Sum of the absolute responses at their largest, as a function of the gap there: ``u / 2``."""
    s = sp.Symbol("s", positive=True)
    total = 1 + 2 * (1 - s) * (GAP * s - 1)
    total = sp.factor(total.subs(GAP, 2 / (2 * s - 1)))  # at stationarity tanh((u + c) / 2) = 2 s - 1
    return sp.simplify(total.subs(s, (1 + 2 / GAP) / 2))


def critical_gap(least_prior: float = 0.5) -> float:
    """Gap at which a value answers most, when no action has a prior below ``least_prior``."""
    if not 0 < least_prior <= 0.5:
        raise SettingError(f"least_prior = {least_prior}: allowed are numbers above 0 and up to 1/2")
    c = np.log(least_prior / (1 - least_prior))
    condition = sp.lambdify((GAP, LOG_ODDS), overshoot_stationarity())
    return brentq(condition, -c, -c + 4, args=(c,), xtol=1e-14)


def critical_discount(least_prior: float = 0.5) -> float:
    """Discount below which the fixed point is unique at every temperature."""
    return float(1 / largest_response().subs(GAP, critical_gap(least_prior)))


def runaway_drift() -> sp.Expr:
    """Expected change of the action-value gap u per step, over the critic step, for two loops that pay one each.

    Discount 1, equal steps (temperature 1), even prior; values are counted from the second action value."""
    pi = _sigmoid(GAP)
    loop = 1 + pi * GAP  # reward of the loop and what follows; the same for both
    drift = pi * (loop - GAP) - (1 - pi) * loop
    wanted = (sp.sinh(GAP) - GAP) / (1 + sp.cosh(GAP))
    if sp.simplify((drift - wanted).rewrite(sp.exp)) != 0:
        raise ArithmeticError(f"the gap drifts by {drift}, not by {wanted}")
    return wanted


def stay_or_quit_flow() -> sp.Expr:
    """Mean-field velocity of q(stay) in the one-state world where quitting pays 0 and ends the episode."""
    return REWARD + DISCOUNT * Q * _sigmoid(LOG_ODDS + Q / TEMPERATURE) - Q


def stay_or_quit_reward() -> sp.Expr:
    """Reward for which a given q(stay) is a fixed point."""
    return sp.expand(REWARD - stay_or_quit_flow())


def rooms_flow() -> tuple[sp.Expr, sp.Expr]:
    """Mean-field velocity of the two rooms' gamma * v; staying pays R, switching to the other room nothing."""
    return tuple(
        DISCOUNT * (s * (STAY + here) + (1 - s) * there) - here
        for here, there in (ROOM, ROOM[::-1])
        for s in (_sigmoid((STAY + here - there) / TEMPERATURE),)
    )


def rooms_eigenvalues() -> tuple[sp.Expr, sp.Expr]:
    """Eigenvalues of the rooms' flow on the line where both rooms are worth the same: kept, then broken symmetry."""
    jacobian = sp.Matrix(rooms_flow()).jacobian(ROOM).subs(ROOM[1], ROOM[0])
    together, apart = ((jacobian * sp.Matrix([1, sign]))[0].subs(STAY, GAP * TEMPERATURE) for sign in (1, -1))
    return sp.simplify(together), sp.simplify(apart)


def ring_gain() -> sp.Expr:
    """Loop gain of a ring at its symmetric fixed point: how hard a state's value pushes back, times the discount.

    Every state offers *quit* (0, the end) and *go* (a cost, on to the next state); q is that of *go*."""
    slope, pi = sp.diff(Q * _sigmoid(LOG_ODDS + Q / TEMPERATURE), Q), sp.Symbol("pi", positive=True)
    at_policy = slope.subs(LOG_ODDS, sp.log(pi / (1 - pi)) - Q / TEMPERATURE)
    return sp.factor(sp.simplify(-DISCOUNT * at_policy))


def ring_eigenvalues(states: int) -> list[sp.Expr]:
    """Eigenvalues of the ring's mean field at the symmetric fixed point: -1 - k times the roots of unity."""
    gain = sp.Symbol("k", positive=True)
    return [-1 - gain * sp.exp(2 * sp.pi * sp.I * turn / states) for turn in range(states)]


def ring_threshold(states: int) -> sp.Expr:
    """Gain above which a ring of an odd number of states turns into a cycle: 1 / cos(pi / states)."""
    fastest = ring_eigenvalues(states)[states // 2]  # the root of unity nearest to -1
    return sp.solve(sp.re(fastest), sp.Symbol("k", positive=True))[0]


def prisoner_logits() -> tuple[sp.Expr, sp.Expr]:
    """Log-odds of cooperating after c and after d, at any fixed point with a uniform prior."""
    cc, dc, dd, cd = PAYOFFS
    return (cc - dc + CONTINUATION) / TEMPERATURE, (cd - dd + CONTINUATION) / TEMPERATURE


def prisoner_shares() -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Long-run fractions of games cc, dd and alternating, from the two log-odds."""
    after_c, after_d = (_sigmoid(logit) for logit in prisoner_logits())
    cooperating = after_d / (1 - after_c + after_d)
    defecting = 1 - cooperating
    changes = cooperating * (1 - after_c) + defecting * after_d
    return cooperating * after_c, defecting * (1 - after_d), changes


def payoff_balance() -> sp.Expr:
    """What the payoffs say for repeating a move over changing it, ``kappa``, in units of reward."""
    cc, dc, dd, cd = PAYOFFS
    return cc + dd - dc - cd


@functools.cache
def share_law() -> sp.Eq:
    """The combination of the three shares in which the values cancel, for a uniform prior.

    Checked against :func:`prisoner_shares` at temperature one, which is a choice of unit."""
    f_cc, f_dd, f_alt = sp.symbols("f_cc f_dd f_alt", positive=True)
    cc, dd, alt = (share.subs(TEMPERATURE, 1) for share in prisoner_shares())
    if sp.simplify(sp.log(sp.simplify(4 * cc * dd / alt**2)) - payoff_balance()) != 0:
        raise ArithmeticError("the continuation does not cancel from 4 f_cc f_dd / f_alt^2")
    return sp.Eq(4 * f_cc * f_dd / f_alt**2, sp.exp(BALANCE / TEMPERATURE), evaluate=False)


def continuation_map() -> sp.Expr:
    """gamma * (v(c) - v(d)) of a policy, from its cooperation probabilities after c and after d."""
    after_c, after_d = COOPERATION
    cc, dc, dd, cd = PAYOFFS
    v_c, v_d = sp.symbols("v_c v_d")
    bellman = [
        sp.Eq(v_c, after_c * (cc + DISCOUNT * v_c) + (1 - after_c) * (dc + DISCOUNT * v_d)),
        sp.Eq(v_d, after_d * (cd + DISCOUNT * v_c) + (1 - after_d) * (dd + DISCOUNT * v_d)),
    ]
    solution = sp.solve(bellman, [v_c, v_d])
    return sp.simplify(DISCOUNT * (solution[v_c] - solution[v_d]))


def gae_difference(steps: int) -> sp.Expr:
    """Policy error minus critic error of generalised advantage estimation, over ``steps`` steps to the episode's end.

    The policy moves by the discounted sum of ``r + gamma v(next) - q(here)``, the critic by the lambda-return minus q.
    """
    r, v, q = (sp.symbols(f"{name}_0:{steps}", real=True) for name in "rvq")
    following = [*v[1:], 0]
    decay = [(DISCOUNT * LAMBDA) ** k for k in range(steps)]
    policy_error = sum(d * (r[k] + DISCOUNT * following[k] - q[k]) for k, d in enumerate(decay))
    target = v[0] + sum(d * (r[k] + DISCOUNT * following[k] - v[k]) for k, d in enumerate(decay))
    return sp.expand(policy_error - (target - q[0]))


def potential(q: Float[np.ndarray, "points"], flow: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Height whose downhill slope is the flow, by the trapezoid rule; its lowest point is 0."""
    height = np.r_[0, -np.cumsum((flow[1:] + flow[:-1]) / 2 * np.diff(q))]
    return height - height.min()
