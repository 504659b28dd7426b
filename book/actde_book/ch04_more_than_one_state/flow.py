"""The update in the limit of small steps: a differential equation on tables of action values."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from actde_nb.checks import SettingError
from actde_nb.tables.fixed_points import Map, state_values
from actde_nb.tables.mdp import MDP, Tables, backup, log_anchor


def mean_field(
    mdp: MDP, temperature: float, start: Tables, times: Float[np.ndarray, "times"], *,
    prior: ArrayLike | None = None, bootstrap: Map = "expected",
) -> Float[np.ndarray, "times *batch states actions"]:  # fmt: skip
    """Action values at each time under q' = r + gamma P v(q) - q, every entry at the same speed, from ``times[0]``.

    One unit of time is 1 / (critic step) updates of an entry. ``prior`` is the policy where all action values are
    zero, broadcast to [states, actions], uniform if left out; ``bootstrap`` is that of
    :func:`~actde_nb.tables.fixed_points.state_values`."""
    anchor = log_anchor(mdp, temperature, prior)

    def flow(_, flat):
        q = flat.reshape(start.shape)
        return (backup(mdp, state_values(q, anchor, temperature, bootstrap)) - q).ravel()

    solved = solve_ivp(flow, times[[0, -1]], start.ravel(), method="DOP853", t_eval=times, rtol=1e-9, atol=1e-10)
    return solved.y.T.reshape(len(times), *start.shape)


def period(times: Float[np.ndarray, "times"], signal: Float[np.ndarray, "times"]) -> float:
    """Mean time between upward crossings of the middle of the range, over the second half of a recorded signal."""
    half = len(times) // 2
    times, signal = times[half:], signal[half:]
    above = signal - (float(signal.min()) + float(signal.max())) / 2
    up = np.flatnonzero((above[:-1] < 0) & (above[1:] >= 0))
    if len(up) < 2:
        raise SettingError(f"signal crosses its middle upwards {len(up)} times: allowed is twice or more")
    crossings = times[up] - above[up] * (times[up + 1] - times[up]) / (above[up + 1] - above[up])
    return float(np.diff(crossings).mean())
