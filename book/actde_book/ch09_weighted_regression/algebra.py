"""Chapter 9: weighted regression in one state, in exact algebra.

``pi_old`` sampled the data, ``pi_init`` is the policy to stay near, ``beta`` the price of leaving it, ``A`` the
advantage and ``Z`` what normalises ``pi_init * exp(A / beta)``. Policies are given by their logits wherever a
gradient is taken."""

from functools import cache

import sympy as sp

from actde_nb.tables.symbolic import BETA

KL = sp.Symbol("K", positive=True)
INNER_TIME = sp.Symbol("T", positive=True)
WEIGHT, MULTIPLIER = sp.symbols("w_a mu", positive=True)
TARGET = sp.Symbol("y_a", real=True)
DISTURBANCE = sp.Symbol(r"\epsilon", real=True)
RESPONSE = sp.Symbol(r"\epsilon^{\prime}", real=True)
_PROBABILITY = sp.Symbol("pi_a", positive=True)


def two_state_returns() -> tuple[sp.Expr, sp.Expr, sp.Expr, tuple[sp.Symbol, ...], tuple[sp.Symbol, ...]]:
    """Gain of a new policy in a world whose two states are the last action and whose play starts in the first: J(new) -
    J(old); the old advantages over the new policy's discounted visits, and over the old one's; old and new
    probabilities."""
    discount = sp.Symbol("gamma", positive=True)
    rewards = sp.Matrix(2, 2, sp.symbols("r_:4", real=True))
    old, new = sp.symbols("x_1:3", positive=True), sp.symbols("z_1:3", positive=True)

    def table(first):
        return sp.Matrix([[p, 1 - p] for p in first])

    def value(policy):
        paid = sp.Matrix([policy.row(s).dot(rewards.row(s)) for s in range(2)])
        return (sp.eye(2) - discount * policy).inv() * paid

    def visits(policy):
        return (sp.Matrix([[1, 0]]) * (sp.eye(2) - discount * policy).inv()).T

    before, after = value(table(old)), value(table(new))
    advantage = rewards + discount * sp.ones(2, 1) * before.T - before * sp.ones(1, 2)
    better = sp.Matrix([table(new).row(s).dot(advantage.row(s)) for s in range(2)])
    gain = after[0] - before[0]
    return gain, visits(table(new)).dot(better), visits(table(old)).dot(better), old, new


def first_order_mismatch() -> tuple[sp.Expr, list[sp.Expr]]:
    """Equation (1): what the exact form leaves out, and what the approximate one does to first order. All zero."""
    gain, exact, approximate, old, new = two_state_returns()
    here = dict(zip(new, old, strict=True))
    slopes = [sp.simplify((gain - approximate).diff(p).subs(here)) for p in new]
    return sp.simplify(gain - exact), slopes


def printed_direction() -> sp.Eq:
    """Stationary policy of equation (2) as printed, E[A] - beta KL(old || new), with price lambda of normalising."""
    old, advantage, price = sp.Symbol(r"\pi_\text{old}", positive=True), sp.Symbol("A"), sp.Symbol("lambda")
    policy = sp.Symbol("pi", positive=True)
    lagrangian = policy * advantage - BETA * old * sp.log(old / policy) - price * policy
    (solution,) = sp.solve(lagrangian.diff(policy), policy)
    return sp.Eq(policy, solution)


def partition_series(order: int = 3) -> sp.Expr:
    """Z to the given order in 1 / beta, in moments of the advantage under the initial policy; its mean is zero."""
    step, advantage = sp.Symbol("h"), sp.Symbol("A")
    series = sp.series(sp.exp(step * advantage), step, 0, order + 1).removeO()
    moments = [1, 0, *(sp.Symbol(rf"\mathrm{{E}}[A^{k}]") for k in range(2, order + 1))]
    return sum(series.coeff(step, k).subs(advantage, 1) * moments[k] / BETA**k for k in range(order + 1))


def partition_identity(arms: int = 3) -> sp.Expr:
    """log Z - KL(pi || pi*) + KL(pi || pi_init), for any policy pi and its own advantages; zero."""
    policy = _simplex(arms)
    initial = sp.symbols(f"p_1:{arms + 1}", positive=True)
    rewards = sp.symbols(f"R_1:{arms + 1}", real=True)
    value = sum(p * r for p, r in zip(policy, rewards, strict=True))
    total = sum(p * sp.exp(r / BETA) for p, r in zip(initial, rewards, strict=True))
    optimum = [p * sp.exp(r / BETA) / total for p, r in zip(initial, rewards, strict=True)]
    log_partition = sp.log(total * sp.exp(-value / BETA))  # exp((R - V) / beta) has a common factor
    divergence = _divergence(policy, optimum) - _divergence(policy, initial)
    return sp.simplify(sp.expand(sp.expand_log(log_partition - divergence, force=True)))


def on_policy_gradient(arms: int = 3) -> tuple[list[sp.Expr], list[sp.Expr]]:
    """Gradient of APA's loss at the policy that sampled the data, and -2 times that of E[R] / beta - KL. Both hold for
    any constant in place of ``log Z`` in the target; the first contains it."""
    logits, policy = _softmax(arms)
    initial = sp.symbols(f"p_1:{arms + 1}", positive=True)
    rewards = sp.symbols(f"R_1:{arms + 1}", real=True)
    log_partition = sp.Symbol(r"\log Z", real=True)
    value = sum(p * r for p, r in zip(policy, rewards, strict=True))
    sampled = sp.symbols(f"w_1:{arms + 1}", positive=True)  # held fixed while the loss is differentiated
    old_value = sp.Symbol("V", real=True)
    loss = sum(
        w * (sp.log(p / p0) - (r - old_value) / BETA + log_partition) ** 2
        for w, p, p0, r in zip(sampled, policy, initial, rewards, strict=True)
    )
    now = dict(zip(sampled, policy, strict=True)) | {old_value: value}
    objective = value / BETA - _divergence(policy, initial)
    return [loss.diff(t).subs(now) for t in logits], [-2 * objective.diff(t) for t in logits]


def minimiser() -> sp.Eq:
    """Probability at which ``w (y - log pi) = mu pi``: the stationary policy of the weighted squared loss."""
    (solution,) = sp.solve(WEIGHT * (TARGET - sp.log(_PROBABILITY)) - MULTIPLIER * _PROBABILITY, _PROBABILITY)
    return sp.Eq(_PROBABILITY, sp.simplify(solution))


@cache
def round_response() -> sp.Eq:
    """What one exact round makes of a relative disturbance epsilon of the fixed point, to first order.

    With targets ``log pi* - K + change`` an arm is stationary, to first order, where
    ``(1 + epsilon) (change - K - epsilon') = (change - K) (1 + epsilon')``, since the multiplier must change as much
    as the target does (sum over arms; disturbances have mean zero)."""
    order, change = sp.symbols("h c", real=True)
    left = (1 + order * DISTURBANCE) * (order * change - KL - order * RESPONSE)
    right = (order * change - KL) * (1 + order * RESPONSE)
    first = sp.expand(left - right).coeff(order, 1)
    (solution,) = sp.solve(first, RESPONSE)
    return sp.Eq(RESPONSE, -KL / (1 - KL) * DISTURBANCE + sp.simplify(solution + KL / (1 - KL) * DISTURBANCE))


def round_jacobian(policy: list[sp.Expr], kl: sp.Expr) -> tuple[sp.Matrix, sp.Matrix]:
    """Derivatives of the loss's gradient at the fixed point ``policy``, by the new logits and by the old ones. Rewards
    are eliminated through ``R / beta = log(pi* / pi_init) + constant``; ``kl`` is KL(pi* || pi_init)."""
    arms = len(policy)
    new, new_policy = _softmax(arms, "t")
    old, old_policy = _softmax(arms, "u")
    # pi_init e^(A/beta) with A = R - E_old R: log pi* - K at the fixed point; the mean of R / beta moves with old.
    rewards = sp.symbols(f"R_1:{arms + 1}", real=True)  # in units of beta
    moved = sum((q - p) * r for q, p, r in zip(old_policy, policy, rewards, strict=True))
    residuals = [sp.log(q) - (sp.log(p) - kl - moved) for q, p in zip(new_policy, policy, strict=True)]
    total = sum(w * d for w, d in zip(old_policy, residuals, strict=True))
    gradient = sp.Matrix([2 * (old_policy[b] * residuals[b] - new_policy[b] * total) for b in range(arms)])
    here = {t: sp.log(p) for t, p in zip((*new, *old), (*policy, *policy), strict=True)}
    return gradient.jacobian(new).subs(here), gradient.jacobian(old).subs(here)


@cache
def inner_multiplier() -> sp.Expr:
    """Factor by which a round multiplies a disturbance of the fixed point if its regression stops at time T: twice the
    step, times steps, times the Fisher eigenvalue. It relaxes at rate ``1 - K`` towards :func:`round_response`."""
    time = sp.Symbol("t", positive=True)
    inner = sp.Function("e")
    aim = round_response().rhs.subs(DISTURBANCE, 1)
    solved = sp.dsolve(sp.Eq(inner(time).diff(time), -(1 - KL) * (inner(time) - aim)), inner(time), ics={inner(0): 1})
    slowed = (sp.exp(-(1 - KL) * INNER_TIME) - KL) / (1 - KL)
    found = solved.rhs.subs(time, INNER_TIME)
    return slowed + sp.simplify(found - slowed)


@cache
def critical_time() -> sp.Expr:
    """Inner time beyond which the fixed point repels: where :func:`inner_multiplier` is -1."""
    decayed = sp.Symbol("s", positive=True)
    condition = inner_multiplier().subs(sp.exp(-(1 - KL) * INNER_TIME), decayed) + 1
    (share,) = sp.solve(condition, decayed)
    return sp.log(sp.expand(share)) / (KL - 1)


def gradient_noise(arms: int = 3) -> tuple[sp.Expr, sp.Expr]:
    """Trace of one sample's gradient covariance at the fixed point: summed over arms, and in closed form."""
    policy = _simplex(arms)
    scores = [[sp.Integer(a == b) - policy[b] for b in range(arms)] for a in range(arms)]
    trace = sum(policy[a] * (2 * KL) ** 2 * sum(entry**2 for entry in scores[a]) for a in range(arms))
    return sp.expand(trace), sp.expand(4 * KL**2 * (1 - sum(p**2 for p in policy)))


def _simplex(arms: int) -> list[sp.Expr]:
    free = list(sp.symbols(f"pi_1:{arms}", positive=True))
    return [*free, 1 - sum(free)]


def _softmax(arms: int, letter: str = "theta") -> tuple[tuple[sp.Symbol, ...], list[sp.Expr]]:
    logits = sp.symbols(f"{letter}_1:{arms + 1}", real=True)
    total = sum(sp.exp(t) for t in logits)
    return logits, [sp.exp(t) / total for t in logits]


def _divergence(first, second) -> sp.Expr:
    return sum(p * sp.log(p / q) for p, q in zip(first, second, strict=True))
