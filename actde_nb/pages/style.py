"""One look for every figure: legible on a phone, in dark mode and without colour vision.

Faces stay white and opaque, because the page's dark mode dims images rather than inverting them.
Colours are Okabe and Ito's; whatever differs in colour differs in line style or marker too."""

import functools
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
GREY = "#5f6368"

# How a thing is drawn wherever it appears: pass as keywords to a plotting call.
LOOK = {
    "value": {"color": VERMILION, "linestyle": "-"},  # ordinary TD error, PPO
    "running_mean": {"color": PURPLE, "linestyle": "--"},
    "actde": {"color": BLUE, "linestyle": "-"},
    "policy_gradient": {"color": ORANGE, "linestyle": "-."},
    "theory": {"color": BLACK, "linestyle": (0, (4, 2))},
    "source": {"color": GREY, "linestyle": ":"},
    "alternate": {"color": GREEN, "linestyle": "-"},
    "cooperate": {"color": BLUE, "linestyle": "--"},
    "defect": {"color": VERMILION, "linestyle": "-."},
}

# Things of one kind that have no look of their own, in order.
SERIES = [
    {"color": BLUE, "linestyle": "-", "marker": "o"}, {"color": ORANGE, "linestyle": "-.", "marker": "s"},
    {"color": GREEN, "linestyle": "--", "marker": "^"}, {"color": VERMILION, "linestyle": ":", "marker": "D"},
]  # fmt: skip
WIDTH = 6.4  # inches; wider figures shrink their labels below what a phone can show
STYLE = Path(__file__).with_suffix(".mplstyle")


def figure(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Give a drawing function the common style and let a notebook cell show its result exactly once."""

    @functools.wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        with plt.style.context(STYLE):
            drawn = draw(*args, **kwargs)
        plt.close(drawn)  # the cell displays the returned figure; pyplot must not display it again
        return drawn

    return styled


def panels(rows: int = 1, columns: int = 1, height: float = 3.6, **kwargs) -> tuple[Figure, np.ndarray | Axes]:
    """Axes of the common width; ``height`` is that of one row, in inches. Prefer rows to columns."""
    return plt.subplots(rows, columns, figsize=(WIDTH, height * rows), **kwargs)


def band(
    axes: Axes, x: Num[np.ndarray, "points"], samples: Float[np.ndarray, "points runs"], label: str,
    quantiles: tuple[float, float] = (0.05, 0.95), **look,
) -> None:  # fmt: skip
    """Median over runs as a line, the given quantiles as a band around it."""
    low, middle, high = np.quantile(samples, [quantiles[0], 0.5, quantiles[1]], axis=1)
    axes.plot(x, middle, label=label, **look)
    axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
