"""The update in the limit of small steps: a differential equation on tables of action values."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import softmax

from actde_book.ch04_more_than_one_state.chains import chain_shares, restarted_chain
from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.fixed_points import MAPS, Map, state_values
from actde_nb.tables.mdp import MDP, Tables, backup, log_anchor, start_distribution

WEIGHTINGS = ("uniform", "on_policy")


def mean_field(
    mdp: MDP,
    temperature: float,
    start: Tables,
    times: Float[np.ndarray, "times"],
    *,
    prior: ArrayLike | None = None,
    initial_q: ArrayLike = 0.0,
    weighting: Literal["uniform", "on_policy"] = "uniform",
    bootstrap: Map = "expected",
    restart: ArrayLike | None = None,
) -> Float[np.ndarray, "times *batch states actions"]:
    """The update in the limit of small steps, the flow q' = w (F(q) - q).

    F is :func:`~actde_nb.tables.fixed_points.value_map`.

    Args:
        mdp: the model.
        temperature: critic step over policy step, in units of reward.
        start: action values at ``times[0]``, [*batch, states, actions].
        times: increasing; one unit is 1 / (critic step) updates of an entry (``"uniform"``) or of
            the whole table (``"on_policy"``).
        prior: initial policy, broadcast to [states, actions]; uniform if left out.
        initial_q: action values at which the policy is the prior, broadcast to [states, actions].
        weighting: ``"uniform"``, every entry at the same speed, or ``"on_policy"``, each as often as
            the policy visits it.
        bootstrap: see :func:`~actde_nb.tables.fixed_points.value_map`.
        restart: where episodes begin, [states], for ``"on_policy"``; uniform if left out.

    Returns:
        Action values at each time, [times, *batch, states, actions].
    """
    checks.one_of("weighting", weighting, WEIGHTINGS)
    checks.one_of("bootstrap", bootstrap, MAPS)
    if start.shape[-2:] != mdp.shape:
        raise SettingError(f"start has shape {start.shape}: allowed is (..., {mdp.shape[0]}, {mdp.shape[1]})")
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    restart = start_distribution("restart", restart, mdp)

    def flow(_, flat):
        q = flat.reshape(start.shape)
        pull = backup(mdp, state_values(q, anchor, temperature, bootstrap)) - q
        if weighting == "on_policy":
            policy = softmax(anchor + q / temperature, axis=-1)
            pull *= chain_shares(restarted_chain(mdp, policy, restart))[..., None] * policy
        return pull.ravel()

    span = (times[0], times[-1])
    solved = solve_ivp(flow, span, start.ravel(), method="DOP853", t_eval=times, rtol=1e-9, atol=1e-10)
    return solved.y.T.reshape(len(times), *start.shape)


@dataclass(frozen=True)
class Oscillation:
    """Lowest and highest point of a signal that goes round, and the time of one round."""

    low: float
    high: float
    period: float


def oscillation(times: Float[np.ndarray, "times"], signal: Float[np.ndarray, "times"]) -> Oscillation:
    """Extremes and period over the second half of a recorded signal.

    The period is the mean time between upward crossings of the middle of the range.

    Raises:
        SettingError: fewer than two upward crossings.
    """
    half = len(times) // 2
    times, signal = times[half:], signal[half:]
    low, high = float(signal.min()), float(signal.max())
    above = signal - (low + high) / 2
    up = np.flatnonzero((above[:-1] < 0) & (above[1:] >= 0))
    if len(up) < 2:
        raise SettingError(f"signal crosses its middle upwards {len(up)} times: allowed is twice or more")
    crossings = times[up] - above[up] * (times[up + 1] - times[up]) / (above[up + 1] - above[up])
    return Oscillation(low, high, float(np.diff(crossings).mean()))
