"""Where ACTDE ends up when there is more than one state.

Telescoping ties the policy to the action values, ``pi = pi_0 exp((q - q_0) / tau)`` with
``tau`` the ratio of the critic's step to the policy's. What is left to study is one map on tables
of action values, ``q -> r + gamma P v(q)``, and its fixed points."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.mdp import MDP, States, Tables, backup, evaluate, log_anchor

Map = Literal["expected", "max", "soft"]


def state_values(
    q: Tables, anchor: Float[np.ndarray, "states actions"], temperature: float, bootstrap: Map = "expected"
) -> States:
    """Value of each state, from its action values.

    ``bootstrap`` is ``"expected"``, the policy's mean of q; ``"max"``, the largest q; or ``"soft"``,
    ``tau log sum_a exp(anchor + q / tau)``. ``anchor`` are the log-probabilities of the policy that zero action
    values mean, see :func:`~actde_nb.tables.mdp.log_anchor`."""
    checks.one_of("bootstrap", bootstrap, ("expected", "max", "soft"))
    if bootstrap == "max":
        return q.max(-1)
    if bootstrap == "soft":
        return temperature * logsumexp(anchor + q / temperature, axis=-1)
    return (softmax(anchor + q / temperature, axis=-1) * q).sum(-1)


def _value_slopes(q: Tables, anchor, temperature: float) -> Tables:
    """Derivative of a state's value, the policy's mean of q, by its own action values; each row sums to one."""
    policy = softmax(anchor + q / temperature, axis=-1)
    return policy * (1 + (q - (policy * q).sum(-1, keepdims=True)) / temperature)


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A table of action values that is its own target, and how it responds to a push."""

    q: Float[np.ndarray, "states actions"]
    policy: Float[np.ndarray, "states actions"]
    eigenvalues: np.ndarray  # of the map's derivative, largest real part first

    @property
    def stable_flow(self) -> bool:
        """Small steps return: every eigenvalue has real part below one."""
        return bool(self.eigenvalues.real.max() < 1)


def fixed_points(
    mdp: MDP, temperature: float, *, prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0, starts: int = 200,
    rng: np.random.Generator,
) -> list[FixedPoint]:  # fmt: skip
    """Search for all fixed points of the map with the expected bootstrap, by increasing mean state value.

    The unknowns are the state values v, since q = r + gamma P v: Newton's method runs from random v
    in the invariant box, from values of random policies, and from what damped iteration makes of
    both. The box is mapped into itself, so the signs of det(1 - derivative) over all fixed points
    sum to one; a list that fails this is incomplete and the search goes on with more starts. (One
    that passes may still lack a pair of opposite signs: the check is necessary, not sufficient.)

    ``temperature`` is the critic's step over the policy's, in units of reward. The initial policy ``prior``, uniform
    if left out, and ``initial_q`` are broadcast to [states, actions]. ``rng`` draws ``starts`` starts of either kind.
    """
    low, high = invariant_interval(mdp, initial_q)
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    if starts < 1:
        raise SettingError(f"starts = {starts}: allowed are whole numbers of one or more")
    found, index = np.empty((0, mdp.shape[0])), 0
    for _ in range(4):
        box = rng.uniform(low, high, (starts, mdp.shape[0]))
        logits = rng.standard_normal((starts, *mdp.shape)) * np.exp(rng.uniform(-2, 4, (starts, 1, 1)))
        policies = softmax(anchor + logits, axis=-1)
        v = np.concatenate([box, (policies * evaluate(mdp, policies)).sum(-1)])
        iterated = v
        for _ in range(60):
            iterated = (iterated + state_values(backup(mdp, iterated), anchor, temperature)) / 2
        ends = _newton(mdp, np.concatenate([v, iterated]), anchor, temperature, (low, high))
        found = _distinct(np.concatenate([found, ends]), 1e-7 * (1 + high - low))
        signs = np.sign(np.linalg.det(np.eye(mdp.shape[0]) - _state_jacobian(mdp, found, anchor, temperature)))
        index = int(signs.sum())
        if index == 1:
            break
        starts *= 3
    else:
        raise RuntimeError(f"fixed points found have indices that sum to {index}, not 1: raise starts = {starts}")
    return [_fixed_point(mdp, backup(mdp, v), anchor, temperature) for v in found[found.mean(-1).argsort()]]


def _fixed_point(mdp: MDP, q, anchor, temperature: float) -> FixedPoint:
    slopes = _value_slopes(q, anchor, temperature)
    derivative = (mdp.discount * mdp.transitions[..., None] * slopes).reshape(q.size, q.size)
    eigenvalues = np.linalg.eigvals(derivative).astype(complex)
    order = np.lexsort((eigenvalues.imag, -eigenvalues.real))
    return FixedPoint(q, softmax(anchor + q / temperature, axis=-1), eigenvalues[order])


def _state_jacobian(mdp: MDP, v: States, anchor, temperature: float) -> Float[np.ndarray, "*batch states states"]:
    slopes = _value_slopes(backup(mdp, v), anchor, temperature)
    return mdp.discount * np.einsum("...sa,sat->...st", slopes, mdp.transitions)


def _newton(mdp: MDP, v, anchor, temperature: float, box: tuple[float, float]) -> Float[np.ndarray, "points states"]:
    """Newton's method with step halving from every start at once; only what converged comes back."""
    halves = 0.5 ** np.arange(8)[:, None, None]
    scale = 1 + max(abs(b) for b in box)

    def residual(v):
        return state_values(backup(mdp, v), anchor, temperature) - v

    done = []
    for _ in range(80):
        here = residual(v)
        slope = np.eye(mdp.shape[0]) - _state_jacobian(mdp, v, anchor, temperature)
        try:
            step = np.linalg.solve(slope, here[..., None])[..., 0]
        except np.linalg.LinAlgError:  # a start sits exactly on a fold
            step = np.einsum("...st,...t->...s", np.linalg.pinv(slope), here)
        arrived = (np.abs(step).max(-1) <= 1e-13 * scale) & (np.abs(here).max(-1) <= 1e-12 * scale)
        done.append(v[arrived])
        v, here, step = v[~arrived], here[~arrived], step[~arrived]
        if not len(v):
            break
        trials = np.clip(v + halves * step, *box)
        sizes = np.abs(residual(trials)).max(-1)
        closer = sizes < np.abs(here).max(-1)
        v = trials[closer.argmax(0), np.arange(len(v))]
        # A start that no step brings closer sits on a hump of the residual, or on a root up to rounding.
        stuck = ~closer.any(0)
        done.append(v[stuck & (np.abs(here).max(-1) <= 1e-12 * scale)])
        v = v[~stuck]
    return np.concatenate(done)


def _distinct(points: Float[np.ndarray, "points states"], tolerance: float) -> Float[np.ndarray, "distinct states"]:
    kept = np.empty((0, points.shape[1]))
    for point in points:
        if not (np.abs(kept - point).max(-1) <= tolerance).any():
            kept = np.vstack([kept, point])
    return kept


def invariant_interval(mdp: MDP, initial_q: ArrayLike = 0.0) -> tuple[float, float]:
    """Interval that no action value leaves, on any path, while critic steps are at most one.

    An action after which the process may go on needs r / (1 - gamma) inside, one that may end the
    episode needs r itself; the start needs ``initial_q``, broadcast to [states, actions]. (A separate critic v must
    start inside too.) Both ends are in units of reward."""
    initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), mdp.shape)
    goes_on = mdp.transitions.sum(-1) > 0
    if mdp.discount == 1 and goes_on.any():
        raise SettingError("discount = 1 with actions that go on: allowed are discounts below one")
    needed = [initial_q.ravel(), mdp.rewards[mdp.ending > 0]]
    if goes_on.any():
        needed.append(mdp.rewards[goes_on] / (1 - mdp.discount))
    needed = np.concatenate(needed)
    return float(needed.min()), float(needed.max())
