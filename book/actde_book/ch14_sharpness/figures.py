"""Figures of chapter 14: a probe that stands elsewhere, curvature along a run, noise in weights and in nats."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from actde_nb.pages.drawing import finish, line_of, marks, plain_numbers
from actde_nb.pages.style import BLUE, GREEN, LOOK, VERMILION, figure, method_looks, panels

RUNS = {
    "honeypot": {"color": VERMILION, "marker": "o", "linestyle": "-"},
    "praise": {"color": BLUE, "marker": "s", "linestyle": "--"},
    "gold": {"color": GREEN, "marker": "^", "linestyle": "-."},
}
Measure = Mapping[str, Float[np.ndarray, "_trials"]]
Noise = Mapping[str, Float[np.ndarray, "size samples"]]
Points = Float[np.ndarray, "points"]
More = Float[np.ndarray, "more"]


@figure
def probe(meant: Points, stood: Points, plotted: Points, wide: More, true: More) -> Figure:
    """The published probe: where it stood for each offset that was meant, and its plot beside the true loss.
    ``wide``: offsets over the whole range that it visited, with the ``true`` loss there."""
    drawn, (above, below) = panels(2, 1, height=2.9)
    look = {"color": VERMILION, "marker": "o", "markersize": 4}
    above.plot(meant, meant, label="meant", **LOOK["theory"])
    above.plot(meant, stood, label="as run", **look)
    above.set(xlabel="offset on the axis", ylabel="true offset")
    below.plot(wide, true, label="the loss", **LOOK["theory"])
    below.plot(meant, plotted, label="as plotted", **look)
    below.set(xlabel="offset along the gradient", ylabel="loss")
    _above(above, 2)
    _above(below, 2)
    return drawn


def _logarithmic(axes: Axes, *names: str) -> None:
    """Label 1, 2, 5 and so on of logarithmic axes, as plain numbers."""
    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plain_numbers(axis)


def _above(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.2, handletextpad=0.5)


@figure
def stages(
    names: Sequence[str], measured: Mapping[str, Sequence[Measure]], coefficients: Mapping[str, float]
) -> Figure:
    """Highest eigenvalue of the loss, over the KL coefficient, and of the Fisher matrix, by stage of three runs."""
    drawn, both = panels(2, 1, height=2.9, sharex=True)
    for k, (run, portraits) in enumerate(measured.items()):
        look, places = RUNS[run], np.arange(len(portraits)) + 0.16 * (k - 1)
        for axes, key, unit in zip(both, ("highest", "fisher"), (coefficients[run], 1.0), strict=True):
            values = [portrait[key] / unit for portrait in portraits]
            for place, found in zip(places, values, strict=True):
                spread = np.linspace(-0.05, 0.05, len(found)) if len(found) > 1 else 0.0
                marks(axes, place + spread, found, look, markersize=5, markerfacecolor="none")
            middle = [np.exp(np.log(np.maximum(found, 1e-9)).mean()) for found in values]
            axes.plot(places, middle, linewidth=1.4, label=run, **line_of(look))
    both[0].set_ylabel("loss / KL coefficient")
    both[1].set_ylabel("Fisher matrix")
    both[1].set_xticks(range(len(names)), names)
    for axes in both:
        _logarithmic(axes, "y")
    _above(both[0], 3)
    return drawn


@figure
def landscape(sizes: Float[np.ndarray, "size"], rises: Noise, nats: Noise) -> Figure:
    """Rise of the loss over the KL coefficient: against the noise in the weights, and the nats that it moves."""
    drawn, (above, below) = panels(2, 1, height=3.1)
    most = max(found.max() for found in nats.values())
    below.plot([0, most], [0, most], label="one for one", linewidth=1.4, **LOOK["theory"])
    for run, found in rises.items():
        look = RUNS[run]
        low, middle, high = np.quantile(found, (0.1, 0.5, 0.9), axis=1)
        above.plot(sizes, middle, label=run, **line_of(look))
        above.fill_between(sizes, low, high, color=look["color"], alpha=0.15, linewidth=0)
        marks(below, nats[run].ravel(), found.ravel(), look, markersize=4, markerfacecolor="none", label=run)
    above.set(xlabel="noise, relative to the weights", ylabel="rise of loss / KL coefficient")
    below.set(xlabel="nats moved", ylabel="rise of loss / KL coefficient")
    _above(above, 3)
    return finish(below, legend="upper left")


@figure
def optimum(measured: Mapping[str, Sequence[Measure]], coefficients: Mapping[str, float]) -> Figure:
    """Highest eigenvalue of the loss against the Fisher matrix's times the KL coefficient; filled: end of training."""
    drawn, axes = panels(height=3.8)
    ends = [np.inf, 0.0]
    for run, portraits in measured.items():
        for k, portrait in enumerate(portraits, start=1):
            x, y, look = coefficients[run] * portrait["fisher"], portrait["highest"], RUNS[run]
            ends = [min(ends[0], x.min()), max(ends[1], x.max())]
            face, label = (look["color"], run) if k == len(portraits) else ("none", None)
            marks(axes, x, y, look, markersize=6, markerfacecolor=face, label=label)
    axes.plot(ends, ends, linewidth=1.4, **LOOK["theory"])
    axes.set(xlabel="KL coefficient × Fisher matrix", ylabel="highest eigenvalue of the loss")
    _logarithmic(axes, "x", "y")
    return finish(axes, legend="upper left")


@figure
def methods(nats: Measure, curvature: Measure, fisher: Measure) -> Figure:
    """Highest eigenvalue of minus the expected reward, and of the Fisher matrix, against divergence; by method."""
    drawn, both = panels(2, 1, height=3.0, sharex=True)
    looks = method_looks(nats)
    for axes, values in zip(both, (curvature, fisher), strict=True):
        for name, found in values.items():
            marks(axes, nats[name], found, looks[name], label=name, markersize=6, alpha=0.8)
        _logarithmic(axes, "y")
    both[0].set_ylabel("reward")
    both[1].set(xlabel="KL from the initial policy, nats", ylabel="Fisher matrix")
    _above(both[0], 3)
    return drawn
