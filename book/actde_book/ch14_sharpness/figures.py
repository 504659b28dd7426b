"""Figures of chapter 14: a probe that stands elsewhere, curvature along a run, noise in weights and in nats."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from actde_nb.pages.style import BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION, figure, panels

RUNS = {
    "honeypot": {"color": VERMILION, "marker": "o", "linestyle": "-"},
    "praise": {"color": BLUE, "marker": "s", "linestyle": "--"},
    "gold": {"color": GREEN, "marker": "^", "linestyle": "-."},
}
METHODS = {
    "PPO": {"color": VERMILION, "marker": "o"},
    "PPO, dearer": {"color": ORANGE, "marker": "D"},
    "GAA, text": {"color": BLUE, "marker": "s"},
    "GAA, code": {"color": PURPLE, "marker": "^"},
    "PPO, on its way": {"color": GREY, "marker": "x"},
}
Measure = Mapping[str, Float[np.ndarray, "trial"]]


@figure
def probe(
    meant: Float[np.ndarray, "points"],
    stood: Float[np.ndarray, "points"],
    plotted: Float[np.ndarray, "points"],
    wide: Float[np.ndarray, "more"],
    true: Float[np.ndarray, "more"],
) -> Figure:
    """The published probe: where it stands for each offset, and what it plots beside what is there.

    Args:
        meant: offsets on its axis.
        stood: where it was.
        plotted: loss that it found.
        wide: offsets over the whole range that it visited.
        true: loss there.
    """
    drawn, (above, below) = panels(2, 1, height=2.9)
    above.plot(meant, meant, label="meant", **LOOK["theory"])
    above.plot(meant, stood, color=VERMILION, marker="o", markersize=4, label="as run")
    above.set(xlabel="offset on the axis", ylabel="true offset")
    _above(above, 2)
    below.plot(wide, true, label="the loss", **LOOK["theory"])
    below.plot(meant, plotted, color=VERMILION, marker="o", markersize=4, label="as plotted")
    below.set(xlabel="offset along the gradient", ylabel="loss")
    _above(below, 2)
    return drawn


def _plain(*axes: Axis) -> None:
    """Label 1, 2, 5 and so on of logarithmic axes, as plain numbers."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _above(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.2, handletextpad=0.5)


def _dots(axes: Axes, place: float, values: Float[np.ndarray, "trial"], **look) -> None:
    spread = np.linspace(-0.05, 0.05, len(values)) if len(values) > 1 else [0.0]
    axes.plot(place + np.asarray(spread), values, linestyle="none", markersize=5, markerfacecolor="none", **look)


@figure
def stages(names: Sequence[str], measured: Mapping[str, Sequence[Measure]], prices: Mapping[str, float]) -> Figure:
    """Highest eigenvalue of the loss, in units of its price, and of the Fisher matrix, at each stage of three runs.

    Args:
        names: of the stages.
        measured: by run as in :data:`RUNS`, portraits at each stage.
        prices: of a nat.
    """
    drawn, both = panels(2, 1, height=2.9, sharex=True)
    for k, (run, portraits) in enumerate(measured.items()):
        look, shift = RUNS[run], 0.16 * (k - 1)
        marks = {"color": look["color"], "marker": look["marker"]}
        for axes, key, unit in zip(both, ("highest", "fisher"), (prices[run], 1.0), strict=True):
            values = [portrait[key] / unit for portrait in portraits]
            places = np.arange(len(values)) + shift
            for place, found in zip(places, values, strict=True):
                _dots(axes, place, found, **marks)
            middle = [np.exp(np.log(np.maximum(found, 1e-9)).mean()) for found in values]
            axes.plot(places, middle, linewidth=1.4, color=look["color"], linestyle=look["linestyle"], label=run)
    both[0].set(yscale="log", ylabel="loss, per price")
    both[1].set(yscale="log", ylabel="Fisher matrix")
    both[1].set_xticks(range(len(names)), names)
    _plain(both[0].yaxis, both[1].yaxis)
    _above(both[0], 3)
    return drawn


@figure
def landscape(
    sizes: Float[np.ndarray, "size"],
    rises: Mapping[str, Float[np.ndarray, "size samples"]],
    nats: Mapping[str, Float[np.ndarray, "size samples"]],
) -> Figure:
    """Rise of the loss in units of its price: against the noise in the weights, and against the nats that it moves.

    Args:
        sizes: of the noise, relative to each filter.
        rises: by run, over networks and directions.
        nats: likewise.
    """
    drawn, (above, below) = panels(2, 1, height=3.1)
    most = max(found.max() for found in nats.values())
    below.plot([0, most], [0, most], label="one for one", linewidth=1.4, **LOOK["theory"])
    for run, found in rises.items():
        look = RUNS[run]
        low, middle, high = np.quantile(found, (0.1, 0.5, 0.9), axis=1)
        above.plot(sizes, middle, color=look["color"], linestyle=look["linestyle"], label=run)
        above.fill_between(sizes, low, high, color=look["color"], alpha=0.15, linewidth=0)
        below.plot(
            nats[run].ravel(), found.ravel(), linestyle="none", marker=look["marker"], markersize=4,
            markerfacecolor="none", color=look["color"], label=run,
        )  # fmt: skip
    above.set(xlabel="noise, relative to the weights", ylabel="rise of loss / price")
    below.set(xlabel="nats moved", ylabel="rise of loss / price")
    _above(above, 3)
    below.legend(loc="upper left")
    return drawn


@figure
def optimum(measured: Mapping[str, Sequence[Measure]], prices: Mapping[str, float]) -> Figure:
    """Highest eigenvalue of the loss against price times that of the Fisher matrix; filled at the end of training."""
    drawn, axes = panels(height=3.8)
    ends = [np.inf, 0.0]
    for run, portraits in measured.items():
        look = RUNS[run]
        for k, portrait in enumerate(portraits):
            x, y, last = prices[run] * portrait["fisher"], portrait["highest"], k + 1 == len(portraits)
            ends = [min(ends[0], x.min()), max(ends[1], x.max())]
            axes.plot(
                x, y, linestyle="none", marker=look["marker"], color=look["color"], markersize=6,
                markerfacecolor=look["color"] if last else "none", label=run if last else None,
            )  # fmt: skip
    axes.plot(ends, ends, linewidth=1.4, **LOOK["theory"])
    axes.set(xscale="log", yscale="log", xlabel="price × Fisher matrix", ylabel="highest eigenvalue of the loss")
    _plain(axes.xaxis, axes.yaxis)
    axes.legend(loc="upper left")
    return drawn


@figure
def methods(
    nats: Mapping[str, Float[np.ndarray, "trial"]],
    curvature: Mapping[str, Float[np.ndarray, "trial"]],
    fisher: Mapping[str, Float[np.ndarray, "trial"]],
) -> Figure:
    """Curvature of the expected reward and of the policy against divergence, for networks of several methods.

    Args:
        nats: divergence from the initial policy, by method as in :data:`METHODS`.
        curvature: highest eigenvalue of minus the expected reward.
        fisher: highest eigenvalue of the Fisher matrix.
    """
    drawn, both = panels(2, 1, height=3.0, sharex=True)
    for axes, values in zip(both, (curvature, fisher), strict=True):
        for name, found in values.items():
            axes.plot(
                nats[name], found, linestyle="none", markersize=6, markerfacecolor="none", markeredgewidth=1.6,
                label=name, **METHODS[name],
            )  # fmt: skip
        axes.set_yscale("log")
    both[0].set_ylabel("reward")
    both[1].set(xlabel="KL from the initial policy, nats", ylabel="Fisher matrix")
    _plain(both[0].yaxis, both[1].yaxis)
    _above(both[0], 3)
    return drawn
