"""Figures of the chapter: what runs on the real model do over their rollouts."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from actde_nb.experiments.pretrained_runs import curve
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, PURPLE, SKY, VERMILION, figure, panels

LABELS = {
    "score": "score",
    "kl": "KL (nats)",
    "entropy": "entropy (nats)",
    "distinct_2": "distinct-2",
    "found": "share with word",
}
METHODS = {
    "PPO": {"color": VERMILION, "linestyle": "-", "marker": "o"},
    "RLOO": {"color": PURPLE, "linestyle": (0, (5, 1)), "marker": "s"},
    "GAA": {"color": SKY, "linestyle": "--", "marker": "^"},
    "return − q": {"color": BLUE, "linestyle": "-.", "marker": "P"},
    "APA, β = .1": {"color": GREEN, "linestyle": ":", "marker": "D"},
}
#: Without a KL penalty, then by where it is and by its coefficient.
PENALTIES = {
    "none": {"color": BLACK, "linestyle": "-", "marker": "o"},
    "reward .05": {"color": VERMILION, "linestyle": "-", "marker": "v"},
    "reward .2": {"color": VERMILION, "linestyle": "--", "marker": "s"},
    "reward .5": {"color": VERMILION, "linestyle": ":", "marker": "^"},
    "loss .1": {"color": BLUE, "linestyle": "--", "marker": "P"},
    "loss .3": {"color": BLUE, "linestyle": ":", "marker": "D"},
}
OTHERS = {"color": GREY, "linestyle": "-", "marker": "x"}


@figure
def over_rollouts(runs: Mapping[str, xr.Dataset], quantities: Sequence[str], longest: int | None = None) -> Figure:
    """Quantities of :data:`LABELS` against rollouts, a panel each: thin lines are seeds, thick ones means over them."""
    drawn, grid = panels(len(quantities), height=2.2, sharex=True, squeeze=False)
    for axes, quantity in zip(grid[:, 0], quantities, strict=True):
        for name, data in runs.items():
            look = METHODS.get(name) or PENALTIES.get(name) or OTHERS
            values = curve(data, quantity).isel(rollout=slice(longest))
            rollouts = np.arange(1, values.sizes["rollout"] + 1)
            axes.plot(rollouts, values.T, linewidth=0.6, alpha=0.45, color=look["color"], linestyle=look["linestyle"])
            axes.plot(rollouts, values.mean("trial"), label=name, markevery=4, markersize=5, **look)
        axes.set_ylabel(LABELS[quantity])
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    grid[-1, 0].set_xlabel("rollout")
    drawn.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn
