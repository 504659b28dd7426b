"""The processes that chapter 4 walks through."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from actde_nb.checks import SettingError
from actde_nb.tables.fixed_points import fixed_points, invariant_interval
from actde_nb.tables.mdp import MDP


def two_action_prior(log_odds: float) -> Float[np.ndarray, "2"]:
    """Initial policy whose first action has these log-odds, in nats."""
    return expit(np.array([log_odds, -log_odds]))


def stay_or_quit(reward: float, discount: float) -> MDP:
    """One state. Action 0 stays and pays ``reward``; action 1 pays nothing and ends the episode."""
    return MDP(np.array([[reward, 0.0]]), np.array([[[1.0], [0.0]]]), discount)


def ring(states: int = 3, reward: float = -7.35, discount: float = 0.95) -> MDP:
    """States in a circle. Action 0 pays ``reward`` and moves on to the next; action 1 pays nothing and ends."""
    transitions = np.zeros((states, 2, states))
    transitions[:, 0] = np.roll(np.eye(states), 1, axis=1)
    return MDP(np.tile([reward, 0.0], (states, 1)), transitions, discount)


def self_loops(discount: float = 1.0) -> MDP:
    """One state, two actions that pay one each and return, for ever; without discount no value is finite."""
    return MDP(np.ones((1, 2)), np.ones((1, 2, 1)), discount)


def temperature_at(
    mdp: MDP, measure: Callable[[Float[np.ndarray, "states actions"]], float], target: float,
    between: tuple[float, float], *, rng: np.random.Generator,
) -> float:  # fmt: skip
    """Temperature, between two, at which a measure of the fixed point's policy takes the value ``target``.

    The prior is uniform; the measure is below its target at one of the two temperatures and above at the other."""

    def miss(temperature: float) -> float:
        points = fixed_points(mdp, temperature, starts=3, rng=rng)
        if len(points) > 1:
            raise SettingError(f"mdp has {len(points)} fixed points at temperature {temperature}: allowed is one")
        return measure(points[0].policy) - target

    if miss(between[0]) * miss(between[1]) > 0:
        raise SettingError(f"between = {between}: allowed are temperatures on the two sides of the target")
    return brentq(miss, *between, xtol=1e-8)


def reinforcement_bound(mdp: MDP, temperature: float, initial_q: ArrayLike = 0.0) -> float:
    """Largest move, ever and on any path, of the difference of two logits of one state, in nats.

    It is the length of :func:`invariant_interval` over the temperature; where ``initial_q`` differs
    between actions, their largest difference is added to the length."""
    low, high = invariant_interval(mdp, initial_q)
    return (high - low + float(np.ptp(np.broadcast_to(initial_q, mdp.shape), axis=-1).max())) / temperature
