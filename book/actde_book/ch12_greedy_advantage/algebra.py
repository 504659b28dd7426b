"""Chapter 12: greedy-advantage-aware RLHF in exact algebra.

``eta`` is the probability of the greedy token, ``sigma`` how many standard deviations its advantage lies above that
of the sampled token, ``s`` the same after scaling and cutting (``sigma / 2`` in the text), in [0, 1]."""

from typing import Literal

import sympy as sp

ETA, SIGMA = sp.symbols("eta sigma", nonnegative=True)
SCALED = sp.Symbol("s", nonnegative=True)
A, B = sp.symbols("a b", real=True)
GREEDY_ADVANTAGE = sp.Symbol("A^*", real=True)


def coefficients(scaled: sp.Expr = SIGMA / 2) -> tuple[sp.Expr, sp.Expr]:
    """a and b, with ``scaled`` in the place of the text's ``sigma / 2``."""
    decay = (1 - scaled) ** 10
    return (1 - ETA) * (scaled + 1) + ETA * decay, -(1 - ETA) * scaled + ETA * (decay - 1)


def corners() -> list[tuple[int, int, sp.Expr, sp.Expr]]:
    """The text's four cases: sigma, eta, a, b."""
    a, b = coefficients()
    cases = [(0, 0), (0, 1), (2, 0), (2, 1)]
    return [(s, e, *(f.subs({SIGMA: s, ETA: e}) for f in (a, b))) for s, e in cases]


def sum_and_difference() -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """What is left of ``a + b - (1 - 2 eta (1 - (1 - s)^10))`` and ``a - b - ((1 - eta)(1 + 2 s) + eta)``; zeros. The
    third is ``a + b`` where the greedy token has half the probability, ``(1 - s)^10``."""
    a, b = coefficients(SCALED)
    decay = (1 - SCALED) ** 10
    total = sp.expand(a + b - (1 - 2 * ETA * (1 - decay)))
    difference = sp.expand(a - b - ((1 - ETA) * (1 + 2 * SCALED) + ETA))
    return total, difference, sp.factor((a + b).subs(ETA, sp.Rational(1, 2)))


def slopes() -> tuple[sp.Expr, sp.Expr]:
    """Derivatives of a and b by sigma at zero."""
    return tuple(sp.factor(f.diff(SIGMA).subs(SIGMA, 0)) for f in coefficients())


def greedy_term(ratio: Literal["greedy", "sampled"], tokens: int = 3, on_policy: bool = True) -> list[sp.Expr]:
    """Expected gradient of ``b A* ratio`` in the logits, the first token greedy, by enumerating tokens. ``ratio``:
    whose probability it is, now over then. In ``pi_x``; off-policy in ``theta_x`` (now) and ``p_x`` (then)."""
    logits = sp.symbols(f"theta_1:{tokens + 1}", real=True)
    total = sum(sp.exp(t) for t in logits)
    now = [sp.exp(t) / total for t in logits]
    policy = _simplex(tokens, "pi" if on_policy else "p")
    gradient = [0] * tokens
    for sampled, probability in enumerate(policy):
        moving = 0 if ratio == "greedy" else sampled
        term = B * GREEDY_ADVANTAGE * now[moving] / policy[moving]
        for k, logit in enumerate(logits):
            gradient[k] += probability * term.diff(logit)
    if on_policy:
        here = {t: sp.log(p) for t, p in zip(logits, policy, strict=True)}
        gradient = [entry.subs(here) for entry in gradient]
    return [sp.factor(sp.simplify(entry)) for entry in gradient]


def two_tokens(version: Literal["batch", "token"]) -> sp.Expr:
    """Speed of two tokens' logit gap over ``2 A*``, A* the greedy and better token's advantage. PPO's is eta.

    ``"batch"``: one pair a, b, in ``s``. ``"token"``: sampling the greedy token has sigma zero, sampling the other one
    at least 2, so that its a and b are those of the cut, s = 1."""
    worse = -GREEDY_ADVANTAGE * ETA / (1 - ETA)  # advantages have mean zero
    steps = {"batch": [coefficients(SCALED)] * 2, "token": [(1, 0), coefficients(sp.Integer(1))]}[version]
    policy, advantages = (ETA, 1 - ETA), (GREEDY_ADVANTAGE, worse)
    logits = [0, 0]
    for k, (a, b) in enumerate(steps):
        for j, p in enumerate(policy):
            logits[j] += policy[k] * (a * advantages[k] * (int(j == k) - p) + b * GREEDY_ADVANTAGE * (int(j == 0) - p))
    speed = sp.cancel((logits[0] - logits[1]) / (2 * GREEDY_ADVANTAGE))
    if version == "token":
        return sp.factor(speed)
    form = (1 - ETA) * (2 * ETA - 1) * SCALED + ETA * (1 - SCALED) ** 10
    return form + sp.expand(speed - form)


def largest_sigma() -> sp.Expr:
    """The most that the mean of sigma can be: the greedy advantage if all other tokens share one value."""
    better, worse = sp.symbols("A^* A", real=True)
    mean, variance = ETA * better + (1 - ETA) * worse, ETA * better**2 + (1 - ETA) * worse**2
    solutions = sp.solve([mean, variance - 1], [better, worse], dict=True)
    (square,) = {sp.simplify(found[better] ** 2) for found in solutions}
    form = (1 - ETA) / ETA
    return sp.sqrt(form + sp.simplify(square - form))


def held_among_many() -> sp.Expr:
    """Where the code's update holds the greedy token if, tempered, it is the only one sampled; in ``x``, factor of eta.
    At rest ``eta / mu = 1 - a`` with mu = 1, and at the cut of sigma ``a = 2 (1 - x eta)``."""
    factor = sp.Symbol("x_eta", positive=True)
    (held,) = sp.solve(1 - ETA - coefficients(sp.Integer(1))[0].subs(ETA, factor * ETA), ETA)
    return held


def _simplex(arms: int, letter: str = "pi") -> list[sp.Expr]:
    free = list(sp.symbols(f"{letter}_1:{arms}", positive=True))
    return [*free, 1 - sum(free)]
