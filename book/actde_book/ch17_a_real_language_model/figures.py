"""Figures of chapter 17."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from actde_book.ch17_a_real_language_model.verdicts import curve
from actde_nb.pages.drawing import lines, marks
from actde_nb.pages.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, figure, panels

METHODS = {
    "PPO": {"color": VERMILION, "linestyle": "-", "marker": "o"},
    "RLOO": {"color": SKY, "linestyle": (0, (5, 1)), "marker": "v"},
    "GAA": {"color": GREEN, "linestyle": "--", "marker": "^"},
    "return − q": {"color": BLUE, "linestyle": "-.", "marker": "s"},
    "APA": {"color": ORANGE, "linestyle": ":", "marker": "D"},
}
OTHERS = [
    {"color": PURPLE, "linestyle": (0, (3, 1, 1, 1)), "marker": "P"}, {"color": GREY, "linestyle": "-", "marker": "X"},
    {"color": VERMILION, "linestyle": ":", "marker": "*"}, {"color": BLUE, "linestyle": "--", "marker": "<"},
]  # fmt: skip
LABELS = {
    "score": "score", "found": "share with the word", "kl": "KL, nats", "entropy": "entropy, nats a token",
    "distinct_2": "distinct-2", "different": "share different",
}  # fmt: skip


@figure
def over_rollouts(runs: Mapping[str, xr.Dataset], quantities: Sequence[str], longest: int | None = None) -> Figure:
    """Quantities of :data:`LABELS` against rollouts, a row for each: a thin line a seed, a thick one for the mean."""
    drawn, rows = panels(len(quantities), height=1.7, sharex=True, squeeze=False)
    spare = iter(OTHERS)
    looks = {name: METHODS[name] if name in METHODS else next(spare) for name in runs}
    for axes, quantity in zip(rows[:, 0], quantities, strict=True):
        for name, data in runs.items():
            values = curve(data, quantity)[:, :longest]
            lines(axes, np.arange(values.shape[1]), values, name, thin=(0.5, 0.4), **looks[name])
        axes.set(ylabel=LABELS[quantity])
        axes.set_ylim(0, None)
    axes.set_xlabel("rollouts")
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=2.4)
    return drawn


@figure
def plane(runs: Mapping[str, xr.Dataset], quantity: str = "score") -> Figure:
    """Each seed's way through KL and a quantity, with a mark at its end."""
    drawn, axes = panels(height=4.2)
    spare = iter(OTHERS)
    for name, data in runs.items():
        look = METHODS[name] if name in METHODS else next(spare)
        kl, values = curve(data, "kl"), curve(data, quantity)
        axes.plot(kl.T, values.T, linewidth=0.7, alpha=0.5, color=look["color"], linestyle=look["linestyle"])
        marks(axes, kl[:, -1], values[:, -1], look, label=name, markersize=7)
    axes.set(xlabel="KL from the initial model, nats a sequence", ylabel=LABELS[quantity])
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return drawn
