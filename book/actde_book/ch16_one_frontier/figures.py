"""Figures of chapter 16: all methods on one frontier."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from actde_book.ch16_one_frontier import comparison
from actde_nb import checks
from actde_nb.compare import frontiers, intervals
from actde_nb.pages.style import (
    BLACK,
    BLUE,
    GREEN,
    LOOK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    figure,
    panels,
)

#: How a family of methods is drawn; those that begin alike share a colour.
FAMILIES = {
    "PPO": {"color": VERMILION, "marker": "o", "linestyle": "-"},
    "RLOO, GRPO": {"color": PURPLE, "marker": "s", "linestyle": ""},
    "AWR": {"color": ORANGE, "marker": "^", "linestyle": ""},
    "APA": {"color": GREEN, "marker": "D", "linestyle": "-."},
    "APA, whitened": {"color": GREEN, "marker": "d", "linestyle": "", "fillstyle": "none"},
    "ACTDE, published": {"color": BLUE, "marker": "X", "linestyle": ""},
    "ACTDE, return − q": {"color": BLUE, "marker": "P", "linestyle": ""},
    "tied to q": {"color": SKY, "marker": "v", "linestyle": ":"},
    "tied to soft q": {"color": BLACK, "marker": "*", "linestyle": ""},
    "GAA, text": {"color": GREEN, "marker": "^", "linestyle": "-."},
    "GAA, batch": {"color": PURPLE, "marker": "s", "linestyle": "--"},
    "GAA, code": {"color": ORANGE, "marker": "D", "linestyle": ":"},
}

#: What is on an axis: label, from the numbers of a frontier or a run, and whether the axis is logarithmic.
READINGS = {
    "gold": ("gold", lambda values: values, False),
    "reward": ("reward", lambda values: values, False),
    "honeypot": ("P(jackpot)", lambda values: values, False),
    "entropy": ("effective sentences", np.exp, True),
}


def _look(family: str) -> dict:
    return FAMILIES[checks.one_of("family", family, tuple(FAMILIES))]


def _axes(axes: Axes, quantity: str) -> None:
    label, _, logarithmic = READINGS[checks.one_of("quantity", quantity, tuple(READINGS))]
    axes.set_ylabel(label)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


@figure
def plane(
    best: Mapping[str, Float[np.ndarray, "beta"]],
    families: Mapping[str, Sequence[xr.Dataset]],
    quantities: Sequence[str] = ("gold", "entropy"),
    rest: Mapping[str, Float[np.ndarray, "beta"]] | None = None,
    kl: tuple[float, float] = (0.2, 120.0),
) -> Figure:
    """Ends of runs over their divergence, a panel for each quantity.

    Small marks are trials, large ones means over them, with lines between the settings of one method.

    Args:
        best: the exact frontier.
        families: name, of :data:`FAMILIES`, -> runs.
        quantities: of :data:`READINGS`.
        rest: another curve, as ``best``: where exact advantages would come to rest.
        kl: ends of the logarithmic axis.
    """
    drawn, axes_of = panels(len(quantities), height=3.5, sharex=True, squeeze=False)
    for axes, quantity in zip(axes_of[:, 0], quantities, strict=True):
        _axes(axes, quantity)
        read = READINGS[quantity][1]
        axes.plot(best["kl"], read(best[quantity]), label="optimum", **LOOK["theory"])
        if rest is not None:
            axes.plot(rest["kl"], read(rest[quantity]), label="APA, tie: exact", **LOOK["source"])
        for family, runs in families.items():
            look = _look(family)
            marker = {name: look[name] for name in ("color", "marker", "fillstyle") if name in look}
            points = [frontiers.path(run, "kl", quantity)[:, -1] for run in runs]
            if quantity == "entropy":  # what is said outside the language is not counted in sentences
                inside = [comparison.known_exactly(run)[:, -1] for run in runs]
                points = [p[i] for p, i in zip(points, inside, strict=True) if i.any()]
            for trials in points:
                axes.plot(trials[:, 0], read(trials[:, 1]), linestyle="", markersize=3, alpha=0.5, **marker)
            means = np.array(sorted(tuple(trials.mean(0)) for trials in points)).reshape(-1, 2)
            axes.plot(means[:, 0], read(means[:, 1]), markersize=8, linewidth=1.3, label=family, **look)
    axes_of[-1, 0].set(xscale="log", xlim=kl, xlabel="KL from the initial policy, nats a sentence")
    axes_of[-1, 0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes_of[-1, 0].xaxis.set_minor_formatter(NullFormatter())
    drawn.legend(*axes_of[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


@figure
def beside(best: Mapping[str, Float[np.ndarray, "beta"]], runs: Mapping[str, xr.Dataset]) -> Figure:
    """Against the optimum at the same divergence: gold missed on the left, diversity kept on the right.

    A row for each run: its trials as small marks, their mean, and Student's interval. What is far out is cut off.

    Args:
        best: the exact frontier.
        runs: what to call it -> run.
    """
    drawn, axes_of = panels(1, 2, height=0.27 * len(runs) + 0.9, sharey=True)
    readings = (("gold", lambda more: -more), ("entropy", np.exp))
    for axes, (quantity, read) in zip(axes_of, readings, strict=True):
        for row, data in enumerate(runs.values()):
            samples = comparison.beyond(data, best, quantity)
            value, low, high, _ = intervals.mean(samples)
            axes.plot(read(samples), np.full(len(samples), row), linestyle="", marker="o", markersize=3, color=SKY)
            axes.plot(read(np.array([low, high])), [row, row], color=BLUE, linewidth=1.6)
            axes.plot(read(value), row, marker="D", markersize=6, color=BLUE)
    left, right = axes_of
    left.axvline(0, **LOOK["theory"])
    right.axvline(1, **LOOK["theory"])
    left.set_yticks(range(len(runs)), list(runs))
    left.set(xlabel="gold missed", ylim=(len(runs) - 0.5, -0.5), xlim=(-0.01, 0.3))
    right.set(xlabel="sentences, times optimum’s", xscale="log", xlim=(0.02, 200))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return drawn


@figure
def seeds(runs: Mapping[str, xr.Dataset], quantity: str = "gold") -> Figure:
    """One mark a trial at the end, a row for each run; crosses for policies that have left the language."""
    drawn, axes = panels(height=0.27 * len(runs) + 0.9)
    for row, data in enumerate(runs.values()):
        inside, values = comparison.known_exactly(data)[:, -1], frontiers.last(data, quantity)
        for chosen, look in (
            (inside, {"color": BLUE, "marker": "o", "label": "in the language"}),
            (~inside, {"color": VERMILION, "marker": "x", "label": "left it"}),
        ):
            look |= {"label": look["label"] if row == 0 else None}
            axes.plot(values[chosen], np.full(chosen.sum(), row), linestyle="", alpha=0.7, **look)
    axes.set_yticks(range(len(runs)), list(runs))
    axes.set(xlabel=READINGS[quantity][0], ylim=(len(runs) - 0.5, -0.5))
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


@figure
def own(best: Mapping[str, Float[np.ndarray, "beta"]], path: Float[np.ndarray, "trial evaluated 2"]) -> Figure:
    """Where trials went in the plane of divergence and reward, under the frontier of that reward."""
    drawn, axes = panels(height=3.2)
    axes.plot(best["kl"], best["reward"], label="optimum", **LOOK["theory"])
    for trial, points in enumerate(path):
        axes.plot(*points.T, color=BLUE, marker="o", markersize=4, label="yours" if trial == 0 else None)
    axes.set(xlabel="KL from the initial policy, nats a sentence", ylabel="your reward")
    axes.set_xlim(-0.02 * path[..., 0].max(), 1.3 * path[..., 0].max())
    axes.legend(loc="lower right")
    return drawn
