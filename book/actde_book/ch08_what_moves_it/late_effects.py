"""What a condition does late in a run: shares in a window, effects, how far a trial moves."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from actde_nb.compare.curves import alternating, towards_alternating
from actde_nb.compare.intervals import LEVEL, Estimate, difference, mean


def end(data: xr.Dataset) -> float:
    """Updates in a run, up to the spacing of its curves."""
    update = data["update"].values
    return float(update[-1] + (update[-1] - update[-2] if len(update) > 1 else 0))


def between(
    data: xr.Dataset, curve: Float[np.ndarray, "trial update"], low: float, high: float
) -> Float[np.ndarray, "trial"]:
    """Each trial's mean of ``curve`` over the updates from ``low`` to ``high``."""
    update = data["update"].values
    chosen = (low <= update) & (update < high)
    return curve[:, chosen].mean(1, dtype=np.float64)


def fall(data: xr.Dataset) -> Float[np.ndarray, "trial"]:
    """Share of alternating games between updates 300 and 500, minus that between 9,000 and 10,000."""
    share = alternating(data)
    return between(data, share, 300, 500) - between(data, share, 9_000, 10_000)


def late_window(data: xr.Dataset, low: float, high: float) -> tuple[float, float]:
    """``low`` to ``high``, or the second half of a run that ends before ``high``."""
    last = end(data)
    return (low, high) if last >= 0.98 * high else (last / 2, last)


def late_effects(runs: Mapping[str, xr.Dataset], low: float, high: float, level: float = LEVEL) -> xr.Dataset:
    """Late share of alternating games of several runs, and how far each is from the first, with intervals.

    From update ``low`` to ``high``; for a shorter run its second half counts, and the first run's mean over the same
    updates. ``share`` and ``effect`` ``[run, estimate]`` have estimates value, low, high and error (the first's effect
    on itself is NaN); ``deviation`` is over trials."""
    reference = next(iter(runs.values()))
    rows = []
    for data in runs.values():
        window = late_window(data, low, high)
        samples = between(data, alternating(data), *window)
        own = data is reference
        effect = None if own else difference(samples, between(reference, alternating(reference), *window), level)
        row = {"share": mean(samples, level), "effect": 4 * [np.nan] if own else effect}
        rows.append(row | {"deviation": samples.std(ddof=1)})
    data = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    data = {name: (("run", "estimate")[: values.ndim], values) for name, values in data.items()}
    return xr.Dataset(data, {"run": list(runs), "estimate": list(Estimate._fields)})


def moved(data: xr.Dataset, low: float, high: float, over: float = 500) -> Float[np.ndarray, "trial"]:
    """How far each trial's ``towards_alternating`` goes in ``over`` updates between ``low`` and ``high``: root mean
    square, in nats. Points at which a trial has not made one of its moves, and so has no gap after it, are left out."""
    update = data["update"].values
    lag = int(np.argmin(np.abs(update - update[0] - over)))
    gap = towards_alternating(data)[:, (low <= update) & (update <= high)]
    return np.sqrt(np.nanmean((gap[:, lag:] - gap[:, :-lag]) ** 2, axis=1))
