"""One look for every figure: legible on a phone, in dark mode and without colour vision.

Faces stay white and opaque, because the page's dark mode dims images rather than inverting them.
Colours are Okabe and Ito's, then some of Paul Tol's muted ones and a brown; whatever differs in colour differs in line
style or marker too."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actde_nb.checks import SettingError

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
INDIGO, TEAL, OLIVE, WINE, BROWN = "#332288", "#44aa99", "#999933", "#882255", "#7f4f1f"
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

# How a method is drawn in every chapter. No two have a colour and a marker in common, and the methods proper (not the
# forms of one method) differ in both. The optimum is LOOK["theory"], the frontier drawing.FRONTIER: without a marker.
METHODS = {
    "PPO": {"color": VERMILION, "marker": "o", "linestyle": "-"},
    "RLOO": {"color": PURPLE, "marker": "s", "linestyle": (0, (5, 1))},
    "GRPO": {"color": BROWN, "marker": "v", "linestyle": (0, (3, 1, 1, 1))},
    "Dr. GRPO": {"color": OLIVE, "marker": ">", "linestyle": (0, (1, 1))},
    "RWR": {"color": GREY, "marker": "p", "linestyle": ":"},
    "REPS": {"color": TEAL, "marker": "H", "linestyle": "--"},
    "AWR": {"color": ORANGE, "marker": "^", "linestyle": "-."},
    "APA": {"color": GREEN, "marker": "D", "linestyle": (0, (2, 1))},
    "APA, whitened": {"color": GREEN, "marker": "d", "linestyle": ":", "fillstyle": "none"},
    "GAA": {"color": SKY, "marker": "<", "linestyle": "--"},
    "GAA, scaled": {"color": SKY, "marker": ">", "linestyle": (0, (5, 1))},
    "GAA, batch": {"color": TEAL, "marker": "s", "linestyle": "-."},
    "GAA, code": {"color": OLIVE, "marker": "D", "linestyle": ":"},
    "GAA, code unscaled": {"color": OLIVE, "marker": "P", "linestyle": (0, (3, 1, 1, 1))},
    "GAA, code tempered": {"color": PURPLE, "marker": "D", "linestyle": (0, (1, 1))},
    "ACTDE": {"color": BLUE, "marker": "X", "linestyle": "--"},
    "ACTDE, λ = .5": {"color": OLIVE, "marker": "X", "linestyle": (0, (3, 1, 1, 1))},
    "ACTDE, λ = .95": {"color": TEAL, "marker": "X", "linestyle": (0, (5, 1))},
    "ACTDE, corrected": {"color": PURPLE, "marker": "X", "linestyle": ":"},
    "return − q": {"color": INDIGO, "marker": "P", "linestyle": "-."},
    "tied": {"color": WINE, "marker": "*", "linestyle": ":"},
    "tied, soft": {"color": WINE, "marker": "h", "linestyle": (0, (1, 1)), "fillstyle": "none"},
}
# Several settings of one method keep its colour and marker, and differ in the line and the marker's filling.
SETTINGS = (
    {"linestyle": "-"}, {"linestyle": ":", "fillstyle": "none"}, {"linestyle": "--", "fillstyle": "left"},
    {"linestyle": "-.", "fillstyle": "top"},
)  # fmt: skip

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


def method_looks(labels: Iterable[str]) -> dict[str, dict]:
    """Label -> look of the method that it begins with; labels that begin with the same one are settings of it.

    Raises:
        SettingError: a label that begins with no name in :data:`METHODS`, or too many of one method."""
    looks = {}
    named = {label: max((n for n in METHODS if label.startswith(n)), key=len, default=None) for label in labels}
    for label, method in named.items():
        settings = [other for other in named if named[other] == method]
        if method is None or len(settings) > len(SETTINGS):
            raise SettingError(f"label = {label!r}: allowed are up to {len(SETTINGS)} of each of {', '.join(METHODS)}")
        looks[label] = METHODS[method] | (SETTINGS[settings.index(label)] if len(settings) > 1 else {})
    return looks


def band(
    axes: Axes, x: Num[np.ndarray, "points"], samples: Float[np.ndarray, "points runs"], label: str,
    quantiles: tuple[float, float] = (0.05, 0.95), **look,
) -> None:  # fmt: skip
    """Median over runs as a line, the given quantiles as a band around it."""
    low, middle, high = np.quantile(samples, [quantiles[0], 0.5, quantiles[1]], axis=1)
    axes.plot(x, middle, label=label, **look)
    axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
