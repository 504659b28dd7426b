"""Orders of visits: all of them, and what a rule makes of each when nothing else is left to chance."""

from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from actde_nb.checks import SettingError
from actde_nb.tables.bandit import Bandit, Rule, Trajectory, simulate


def interleavings(first: int, second: int) -> Int[np.ndarray, "episodes orders"]:
    """Every order of ``first`` visits to arm 0 and ``second`` visits to arm 1, one order a column."""
    places = np.array(list(combinations(range(first + second), first)))
    orders = np.ones((first + second, len(places)), dtype=int)
    orders[places.T, np.arange(len(places))] = 0
    return orders


def lateness(orders: Int[np.ndarray, "episodes orders"]) -> Float[np.ndarray, "orders"]:
    """How late arm 0 is visited in each order: 0 if all its visits come first, 1 if all come last."""
    early = orders == 0
    visits = early.sum(0)
    mean_episode = (np.arange(len(orders)) @ early) / visits
    return (mean_episode - (visits - 1) / 2) / (len(orders) - visits)


def play(bandit: Bandit, rule: Rule, orders: Int[np.ndarray, "episodes orders"]) -> Trajectory:
    """Play every order in a run of its own, from a uniform policy and q = 0; each episode is recorded."""
    if np.any(bandit.noise):
        raise SettingError(f"noise = {bandit.noise.tolist()}: allowed are rewards without noise")
    (episodes, runs), rng = orders.shape, np.random.default_rng(0)  # nothing is drawn
    return simulate(bandit, rule, actions=orders, episodes=episodes, runs=runs, record_at=range(episodes + 1), rng=rng)
