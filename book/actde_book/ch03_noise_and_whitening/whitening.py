"""What rescaling the errors does to two arms in the limit of large batches: the mean field, integrated.

Whitening replaces a batch's errors by ``(error - mean) / sqrt(variance + epsilon)``. The state is the logit
gap of the two arms and what the critic still misses on each of them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import sympy as sp
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import expit

from actde_book.ch03_noise_and_whitening import algebra
from actde_nb import checks
from actde_nb.tables.bandit import Bandit, Trajectory

NORMALISED = ("nothing", "error", "both")
whitened_gap = sp.lambdify((algebra.eta, algebra.time), algebra.whitened_gap())
orbit_energy = sp.lambdify((algebra.log_ratio, algebra.gap, algebra.eta, algebra.alpha), algebra.orbit_energy())
orbit_turn = sp.lambdify((algebra.log_ratio, algebra.eta, algebra.alpha), algebra.orbit_turn())
orbit_period = sp.lambdify((algebra.gap, algebra.eta), algebra.orbit_period())
walk_potential = sp.lambdify(algebra.gap, algebra.walk_potential())


@dataclass(frozen=True)
class Flow:
    """A mean-field path: the gap in nats and the critic's errors in reward, at each number of updates."""

    updates: Float[np.ndarray, "points"]
    gap: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points arms"]


def log_error_ratio(bandit: Bandit, run: Trajectory) -> Float[np.ndarray, "records runs"]:
    """Log of what the critic misses on the first of two arms over what it misses on the second, both above zero."""
    missing = np.log(bandit.rewards - run.action_values)
    return missing[..., 0] - missing[..., 1]


def whitened_flow(
    errors: ArrayLike, *, policy_step: float, critic_step: float, learning: Literal["together", "per_visit"],
    epsilon: float, updates: float, points: int = 400,
) -> Flow:  # fmt: skip
    """Follow ACTDE with whitened errors and no noise from a uniform policy, at ``points`` even times.

    ``errors`` are the initial ``R - q_0`` of the two arms, above zero. Both shrink at the rate ``critic_step``
    (``"together"``), or each at ``critic_step`` times the arm's probability (``"per_visit"``). ``epsilon``, in
    reward squared, is above zero."""

    def move(_, state):
        gap, *log_errors = state
        policy = expit([gap, -gap])
        first, second = np.exp(log_errors)
        deviation = np.sqrt(policy.prod()) * (first - second)  # signed standard deviation of the error
        speed = 2 * policy_step * np.sqrt(policy.prod()) * deviation / np.sqrt(deviation**2 + epsilon)
        return [speed, *(-critic_step * (policy if learning == "per_visit" else np.ones(2)))]

    checks.one_of("learning", learning, ("together", "per_visit"))
    times, path = _integrate(move, [0.0, *np.log(errors)], updates, points)
    return Flow(times, path[0], np.exp(path[1:]).T)


def corrected_gradient(
    policy: Float[np.ndarray, "arms"], bandit: Bandit, action_values: Float[np.ndarray, "arms"],
    normalised: Literal["nothing", "error", "both"], correction: bool = True,
) -> Float[np.ndarray, "arms"]:  # fmt: skip
    """Exact gradient in the logits of a policy gradient with an action-dependent baseline q, in expectation.

    It is ``E[(r - q_a) grad log pi] + grad sum_a pi_a q_a``. Its first term alone is ACTDE in softmax form;
    the second is the ``correction`` which Q-Prop adds back. The ``normalised`` terms are divided by the standard
    deviation of the errors ``r - q_a``."""
    checks.one_of("normalised", normalised, NORMALISED)
    errors = bandit.rewards - action_values
    deviation = np.sqrt(policy @ (bandit.noise**2 + errors**2) - (policy @ errors) ** 2)
    signal = errors / (1 if normalised == "nothing" else deviation)
    if correction:
        signal = signal + action_values / (deviation if normalised == "both" else 1)
    return policy * (signal - policy @ signal)


def corrected_flow(
    bandit: Bandit, *, policy_step: float, critic_step: float, normalised: Literal["nothing", "error", "both"],
    correction: bool = True, initial_q: ArrayLike = (0.0, 0.0), updates: float, points: int = 400,
) -> Flow:  # fmt: skip
    """Follow :func:`corrected_gradient` for two arms from a uniform policy; q is learned per visit.

    A ``critic_step`` of zero leaves the critic as it is."""

    def move(_, state):
        policy = expit([state[0], -state[0]])
        gradient = corrected_gradient(policy, bandit, state[1:], normalised, correction)
        return [policy_step * (gradient[0] - gradient[1]), *(critic_step * policy * (bandit.rewards - state[1:]))]

    times, path = _integrate(move, [0.0, *initial_q], updates, points)
    return Flow(times, path[0], bandit.rewards - path[1:].T)


def _integrate(move, start: list[float], updates: float, points: int) -> tuple[np.ndarray, np.ndarray]:
    times = np.linspace(0, updates, points)
    solution = solve_ivp(move, (0, updates), start, method="LSODA", t_eval=times, rtol=1e-9, atol=1e-12)
    if not solution.success:
        raise ArithmeticError(f"the mean field could not be integrated: {solution.message}")
    return times, solution.y
