"""What rescaling the errors does to two arms in the limit of large batches: the mean field, integrated.

Whitening replaces a batch's errors by ``(error - mean) / sqrt(variance + epsilon)``. The state is the logit
gap of the two arms and what the critic still misses on each of them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import sympy as sp
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import expit

from actde_book.ch03_noise_and_whitening import algebra as symbolic
from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.bandit import Bandit, Trajectory

LEARNING = ("together", "per_visit")


NORMALISED = ("nothing", "error", "both")


whitened_gap = sp.lambdify((symbolic.eta, symbolic.time), symbolic.whitened_gap())


orbit_energy = sp.lambdify((symbolic.log_ratio, symbolic.gap, symbolic.eta, symbolic.alpha), symbolic.orbit_energy())


orbit_turn = sp.lambdify((symbolic.log_ratio, symbolic.eta, symbolic.alpha), symbolic.orbit_turn())


orbit_period = sp.lambdify((symbolic.gap, symbolic.eta), symbolic.orbit_period())


walk_potential = sp.lambdify(symbolic.gap, symbolic.walk_potential())


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
    errors: ArrayLike,
    *,
    policy_step: float,
    critic_step: float,
    learning: Literal["together", "per_visit"],
    epsilon: float,
    updates: float,
    points: int = 400,
) -> Flow:
    """Follow ACTDE with whitened errors and no noise from a uniform policy.

    Args:
        errors: initial errors ``R - q_0`` of the two arms, above zero, in reward.
        policy_step: logits per whitened error.
        critic_step: dimensionless.
        learning: ``"together"``, both errors shrink at the rate ``critic_step``; ``"per_visit"``, each
            at ``critic_step`` times the arm's probability.
        epsilon: added to the variance, above zero, in reward squared.
        updates: how long to follow it.
        points: how many points to return, evenly spaced in time.

    Raises:
        SettingError: errors or epsilon of zero or less, an unknown ``learning``.
    """
    errors = checks.finite("errors", errors)
    if errors.shape != (2,) or (errors <= 0).any():
        raise SettingError(f"errors = {errors.tolist()}: allowed are two numbers above zero")
    checks.positive("epsilon", epsilon)
    checks.one_of("learning", learning, LEARNING)

    def move(_, state):
        gap, *log_errors = state
        policy = expit([gap, -gap])
        first, second = np.exp(log_errors)
        deviation = np.sqrt(policy.prod()) * (first - second)  # signed standard deviation of the error
        speed = 2 * policy_step * np.sqrt(policy.prod()) * deviation / np.sqrt(deviation**2 + epsilon)
        return [speed, *(-critic_step * (policy if learning == "per_visit" else np.ones(2)))]

    times = np.linspace(0, updates, points)
    path = _integrate(move, [0.0, *np.log(errors)], times)
    return Flow(times, path[0], np.exp(path[1:]).T)


def corrected_gradient(
    policy: ArrayLike,
    bandit: Bandit,
    action_values: ArrayLike,
    normalised: Literal["nothing", "error", "both"],
    correction: bool = True,
) -> Float[np.ndarray, "arms"]:
    """Exact expectation of a policy gradient with an action-dependent baseline.

    The gradient is ``E[(r - q_a) grad log pi] + grad sum_a pi_a q_a``. Its first term alone is ACTDE in softmax form;
    the second is the correction which Q-Prop adds back.

    Args:
        policy: probabilities, [arms].
        bandit: rewards and their noise.
        action_values: the baseline q, [arms].
        normalised: which terms are divided by the standard deviation of the errors ``r - q_a``.
        correction: whether the second term is there.

    Returns:
        Gradient in the logits, [arms].
    """
    checks.one_of("normalised", normalised, NORMALISED)
    policy, action_values = checks.probabilities("policy", policy), checks.finite("action_values", action_values)
    errors = bandit.rewards - action_values
    deviation = np.sqrt(policy @ (bandit.noise**2 + errors**2) - (policy @ errors) ** 2)
    signal = errors / (1 if normalised == "nothing" else deviation)
    if correction:
        signal = signal + action_values / (deviation if normalised == "both" else 1)
    return policy * (signal - policy @ signal)


def corrected_flow(
    bandit: Bandit,
    *,
    policy_step: float,
    critic_step: float,
    normalised: Literal["nothing", "error", "both"],
    correction: bool = True,
    initial_q: ArrayLike = 0.0,
    updates: float,
    points: int = 400,
) -> Flow:
    """Follow :func:`corrected_gradient` for two arms from a uniform policy; q is learned per visit.

    A ``critic_step`` of zero leaves the critic as it is. See :func:`corrected_gradient` for the other arguments.
    """
    initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), (2,))

    def move(_, state):
        policy = expit([state[0], -state[0]])
        gradient = corrected_gradient(policy, bandit, state[1:], normalised, correction)
        return [policy_step * (gradient[0] - gradient[1]), *(critic_step * policy * (bandit.rewards - state[1:]))]

    times = np.linspace(0, updates, points)
    path = _integrate(move, [0.0, *initial_q], times)
    return Flow(times, path[0], bandit.rewards - path[1:].T)


def _integrate(move, start: list[float], times: Float[np.ndarray, "points"]) -> Float[np.ndarray, "states points"]:
    solution = solve_ivp(move, times[[0, -1]], start, method="LSODA", t_eval=times, rtol=1e-9, atol=1e-12)
    if not solution.success:
        raise ArithmeticError(f"the mean field could not be integrated: {solution.message}")
    return solution.y
