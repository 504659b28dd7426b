"""Figures of the chapter: what runs on the real model do over their rollouts."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from actde_nb.experiments.pretrained_runs import curve
from actde_nb.pages.style import BLACK, GREY, METHODS, SETTINGS, figure, method_looks, panels

LABELS = {
    "score": "score",
    "kl": "KL (nats)",
    "entropy": "entropy (nats)",
    "distinct_2": "distinct-2",
    "found": "share with word",
}
#: PPO without a KL penalty, then by where it is (colour) and by its coefficient (line and filling).
PENALTIES = {
    "none": METHODS["PPO"] | {"color": GREY},
    **{
        f"KL in the reward {at}": METHODS["PPO"] | line for at, line in zip((".05", ".2", ".5"), SETTINGS, strict=False)
    },
    **{
        f"KL in the loss {at}": METHODS["PPO"] | {"color": BLACK} | line
        for at, line in zip((".1", ".3"), SETTINGS, strict=False)
    },
}


@figure
def over_rollouts(runs: Mapping[str, xr.Dataset], quantities: Sequence[str], longest: int | None = None) -> Figure:
    """Quantities of :data:`LABELS` against rollouts, a panel each: thin lines are seeds, thick ones means over them."""
    drawn, grid = panels(len(quantities), height=2.2, sharex=True, squeeze=False)
    looks = {name: PENALTIES[name] for name in runs if name in PENALTIES}
    looks |= method_looks(name for name in runs if name not in PENALTIES)
    for axes, quantity in zip(grid[:, 0], quantities, strict=True):
        for name, data in runs.items():
            look = looks[name]
            values = curve(data, quantity).isel(rollout=slice(longest))
            rollouts = np.arange(1, values.sizes["rollout"] + 1)
            axes.plot(rollouts, values.T, linewidth=0.6, alpha=0.45, color=look["color"], linestyle=look["linestyle"])
            axes.plot(rollouts, values.mean("trial"), label=name, markevery=4, markersize=5, **look)
        axes.set_ylabel(LABELS[quantity])
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    grid[-1, 0].set_xlabel("rollout")
    drawn.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn
