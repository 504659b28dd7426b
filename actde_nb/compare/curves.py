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


def at_update(data: xr.Dataset, curve: Float[np.ndarray, "trial update"], update: float) -> Float[np.ndarray, "trial"]:
    """The curve's point nearest to ``update``; a SettingError if the run ended before."""
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
    """Least-squares slope of each trial's curve between two updates, in the update or its logarithm."""
    update = data["update"].values
    chosen = (low <= update) & (update <= high)
    if chosen.sum() < 2:
        raise SettingError(f"low = {low}, high = {high}: allowed are limits with two points or more between them")
    clock = np.log(update[chosen]) if of_log else update[chosen]
    return np.polyfit(clock, curve[:, chosen].T, 1)[0]
