"""Methods at the same divergence from where they started, since reward can be bought with nats.

A run at its end is compared with a curve, such as an exact frontier, or with a method that has a knob, whose
settings are joined by straight lines. Both go trial by trial."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from actde_nb.checks import SettingError
from actde_nb.compare import frontiers, intervals
from actde_nb.compare.frontiers import Samples, Source
from actde_nb.compare.intervals import LEVEL, Estimate


def between(
    settings: Sequence[xr.Dataset], kl: Samples, quantity: str, source: Source = "best", at: str = "kl"
) -> Samples:
    """What a method has at the end at each trial's divergence ``kl``, between ``settings``, runs with the same trials.

    On the line between the two settings whose divergences (or numbers of ``at``) are nearest below and above; NaN
    outside all of them. ``quantity`` and ``source`` are as for :func:`actde_nb.compare.frontiers.curve`; fewer than
    two settings, or another number of trials, are a SettingError."""
    if len(settings) < 2 or any(run.sizes["trial"] != len(kl) for run in settings):
        sizes = [run.sizes["trial"] for run in settings]
        raise SettingError(
            f"settings have {sizes} trials, kl {len(kl)}: allowed are two settings or more, as many trials"
        )
    spent = np.stack([frontiers.last(run, at, source) for run in settings])
    had = np.stack([frontiers.last(run, quantity, source) for run in settings])
    order = spent.argsort(axis=0)
    spent, had = (np.take_along_axis(values, order, axis=0) for values in (spent, had))
    found = [np.interp(*point, left=np.nan, right=np.nan) for point in zip(kl, spent.T, had.T, strict=True)]
    return np.array(found)


def apart(
    data: xr.Dataset, settings: Sequence[xr.Dataset], quantity: str, source: Source = "best", level: float = LEVEL,
    at: str = "kl",
) -> Estimate:  # fmt: skip
    """By how much a quantity at the end is higher than that of another method at the same ``at``.

    A trial outside all settings is a SettingError."""
    ours, there = (frontiers.last(data, name, source) for name in (quantity, at))
    return intervals.mean(ours - between(settings, there, quantity, source, at), level)


def on_the_way(data: xr.Dataset, quantity: str, level: float, at: str = "gold", source: Source = "best") -> Samples:
    """A quantity where each trial's ``at`` first rose to ``level``, on the line between two evaluations; NaN where it
    never did."""
    passed, had = (frontiers.curve(data, name, source) for name in (at, quantity))
    found = np.full(len(passed), np.nan)
    for trial, (x, y) in enumerate(zip(passed, had, strict=True)):
        rises = np.flatnonzero((x[:-1] < level) & (x[1:] >= level))
        if len(rises):
            found[trial] = np.interp(level, x[rises[0] :][:2], y[rises[0] :][:2])
    return found
