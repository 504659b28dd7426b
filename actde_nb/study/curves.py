"""What is read off the curves of stored and live runs."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from actde_nb import checks
from actde_nb.checks import SettingError


def alternating(data: xr.Dataset) -> Float[np.ndarray, "trial update"]:
    """Share of games whose move differs from the one before."""
    return data["outcome_share"].sel(outcome=["cd", "dc"]).sum("outcome").values


def towards_alternating(data: xr.Dataset) -> Float[np.ndarray, "trial update"]:
    """Half the difference of the logit gaps after cooperating and after defecting, in nats: 0 without a habit."""
    gaps = data["logit_gap"].values.astype(float)
    return (gaps[..., 1] - gaps[..., 0]) / 2


def moved(data: xr.Dataset, low: float, high: float, over: float = 500) -> Float[np.ndarray, "trial"]:
    """How far each trial's :func:`towards_alternating` goes in ``over`` updates: root mean square, in nats.

    Points at which a trial has not made one of its moves, and so has no gap after it, are left out.

    Args:
        data: a run's results, with points equally far apart.
        low: first update at which such a change may begin.
        high: last at which one may end.
        over: updates between two points compared, up to the spacing of the points.

    Raises:
        SettingError: no two points between ``low`` and ``high`` are so far apart.
    """
    update = data["update"].values
    lag = int(np.argmin(np.abs(update - update[0] - over)))
    gap = towards_alternating(data)[:, (low <= update) & (update <= high)]
    if not 0 < lag < gap.shape[1]:
        raise SettingError(f"low = {low}, high = {high}: allowed are limits with two points {over} updates apart")
    return np.sqrt(np.nanmean((gap[:, lag:] - gap[:, :-lag]) ** 2, axis=1))


def later_shares(data: xr.Dataset, part: float = 0.5) -> Float[np.ndarray, "trial game"]:
    """Shares of cc, dd and alternating games over the last ``part`` of a run, the order of the tables' predictions."""
    checks.unit_interval("part", part)
    since = (1 - part) * float(data["update"][-1])
    kept = data["outcome_share"].sel(update=slice(since, None)).mean("update")
    alternating = kept.sel(outcome="cd") + kept.sel(outcome="dc")
    return np.stack([kept.sel(outcome="cc").values, kept.sel(outcome="dd").values, alternating.values], axis=-1)


def at_update(data: xr.Dataset, curve: Float[np.ndarray, "trial update"], update: float) -> Float[np.ndarray, "trial"]:
    """The curve's point nearest to ``update``.

    Raises:
        SettingError: the run ended before.
    """
    done = data["update"].values
    if not 0 <= update <= done[-1] + (done[-1] - done[-2] if len(done) > 1 else 0):
        raise SettingError(f"update = {update}: allowed are numbers from 0 to {done[-1]:g}, where the run ends")
    return curve[:, np.abs(done - update).argmin()]


def first_update(
    data: xr.Dataset, curve: Float[np.ndarray, "trial update"], level: float
) -> Float[np.ndarray, "trial"]:
    """Updates done when each trial's curve was first at ``level`` or above; NaN where it never was."""
    checks.unit_interval("level", level)
    above = curve >= level
    return np.where(above.any(1), data["update"].values[above.argmax(1)], np.nan)


def slope(
    data: xr.Dataset, curve: Float[np.ndarray, "trial update"], low: float, high: float, *, of_log: bool = False
) -> Float[np.ndarray, "trial"]:
    """Least-squares slope of each trial's curve between two updates, in the update or in its logarithm.

    Raises:
        SettingError: fewer than two points between ``low`` and ``high``.
    """
    update = data["update"].values
    chosen = (low <= update) & (update <= high)
    if chosen.sum() < 2:
        raise SettingError(f"low = {low}, high = {high}: allowed are limits with two points or more between them")
    clock = np.log(update[chosen]) if of_log else update[chosen]
    return np.polyfit(clock, curve[:, chosen].T, 1)[0]
