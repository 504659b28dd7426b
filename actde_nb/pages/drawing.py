"""What the figures of several chapters draw alike: the triangle of policies over three arms, curves of trials."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes

from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION

#: Corners of the triangle: left, right, top.
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])

OUTCOMES = {"alternate": ("cd", "dc"), "cooperate": ("cc",), "defect": ("dd",)}
LAST_MOVE = {"c": ("after cooperating", LOOK["cooperate"]), "d": ("after defecting", LOOK["defect"])}
# In the order in which conditions are given; each has a line style of its own.
CONDITIONS = (
    (VERMILION, "-", "o"),
    (BLUE, "--", "s"),
    (GREEN, "-.", "^"),
    (PURPLE, ":", "D"),
    (ORANGE, (0, (6, 2)), "v"),
    (BLACK, (0, (1, 1)), "P"),
)


def simplex(axes: Axes, names: Sequence[str]) -> None:
    """The triangle of policies over three arms, its corners at :data:`CORNERS` named left, right, top."""
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color=GREY, linewidth=1.2, zorder=0)
    for corner, name, (dx, dy) in zip(CORNERS, names, ((0, -0.035), (0, -0.035), (0, 0.03)), strict=True):
        axes.text(corner[0] + dx, corner[1] + dy, name, ha="center", va="bottom" if dy > 0 else "top")
    axes.set(aspect="equal", xlim=(-0.12, 1.12), ylim=(-0.11, 0.97))
    axes.axis("off")


def curves(
    axes: Axes, data: xr.Dataset, samples: Float[np.ndarray, "trial update"], label: str | None = None, **look
) -> None:
    """One thin line a trial, one thick one for their mean."""
    update = data["update"].values
    axes.plot(update, samples.T, linewidth=0.6, alpha=0.45, color=look["color"])
    axes.plot(update, np.nanmean(samples, 0), label=label, **look)
