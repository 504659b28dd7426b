"""Figures of chapter 16: all methods on one frontier."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actde_book.ch16_one_frontier import comparison
from actde_nb.compare import frontiers, intervals
from actde_nb.pages.drawing import finish, interval, plain_numbers, row_names
from actde_nb.pages.style import BLUE, LOOK, METHODS, SKY, VERMILION, figure, panels

APART = {"linestyle": ""}  # the settings are no scale
#: How a family of methods is drawn.
FAMILIES = {
    "PPO": METHODS["PPO"],
    "RLOO, GRPO": METHODS["RLOO"] | APART,
    "AWR": METHODS["AWR"] | APART,
    "APA": METHODS["APA"],
    "APA, whitened": METHODS["APA, whitened"] | APART,
    "ACTDE, published": METHODS["ACTDE"] | APART,
    "ACTDE, return − q": METHODS["return − q"] | APART,
    "tied to q": METHODS["tied"],
    "tied to soft q": METHODS["tied, soft"] | APART,
    "GAA, text": METHODS["GAA"],
    "GAA, batch": METHODS["GAA, batch"],
    "GAA, code": METHODS["GAA, code"],
}
LABELS = {"gold": "gold", "reward": "reward", "honeypot": "P(jackpot)", "entropy": "effective sentences"}
Frontier = Mapping[str, Float[np.ndarray, "_beta"]]


def _quantity(axes: Axes, quantity: str) -> None:
    axes.set_ylabel(LABELS[quantity])
    if quantity == "entropy":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.0f}")


@figure
def plane(
    best: Frontier, families: Mapping[str, Sequence[xr.Dataset]], quantities: Sequence[str] = ("gold", "entropy"),
    rest: Frontier | None = None, kl: tuple[float, float] = (0.2, 120.0),
) -> Figure:  # fmt: skip
    """Ends of runs over their divergence, a panel for each quantity of :data:`LABELS`; ``rest``: of exact advantages.
    Small marks are trials, large ones means over them, with lines between the settings of one method."""
    drawn, axes_of = panels(len(quantities), height=3.5, sharex=True, squeeze=False)
    for axes, quantity in zip(axes_of[:, 0], quantities, strict=True):
        _quantity(axes, quantity)
        read = np.exp if quantity == "entropy" else np.asarray
        axes.plot(best["kl"], read(best[quantity]), label="optimum", **LOOK["theory"])
        if rest is not None:
            axes.plot(rest["kl"], read(rest[quantity]), label="APA, tie: exact", **LOOK["source"])
        for family, runs in families.items():
            look = FAMILIES[family]
            points = [frontiers.path(run, "kl", quantity)[:, -1] for run in runs]
            if quantity == "entropy":  # what is said outside the language is not counted in sentences
                inside = [comparison.known_exactly(run)[:, -1] for run in runs]
                points = [p[i] for p, i in zip(points, inside, strict=True) if i.any()]
            for trials in points:
                axes.plot(trials[:, 0], read(trials[:, 1]), markersize=3, alpha=0.5, **look | {"linestyle": ""})
            means = np.array(sorted(tuple(trials.mean(0)) for trials in points)).reshape(-1, 2)
            axes.plot(means[:, 0], read(means[:, 1]), markersize=8, linewidth=1.3, label=family, **look)
    axes_of[-1, 0].set(xscale="log", xlim=kl, xlabel="KL from the initial policy, nats a sentence")
    plain_numbers(axes_of[-1, 0].xaxis)
    drawn.legend(*axes_of[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


@figure
def beside(best: Frontier, runs: Mapping[str, xr.Dataset]) -> Figure:
    """Against the optimum at the same divergence: gold missed on the left, diversity kept on the right.
    A row for each run: its trials as small marks, their mean, and Student's interval. What is far out is cut off."""
    drawn, axes_of = panels(1, 2, height=0.27 * len(runs) + 0.9, sharey=True)
    readings = (("gold", lambda more: -more, 0), ("entropy", np.exp, 1))
    for axes, (quantity, read, optimum) in zip(axes_of, readings, strict=True):
        for row, data in enumerate(runs.values()):
            samples = frontiers.beyond(data, best, quantity)
            value, low, high, _ = intervals.mean(samples)
            axes.plot(read(samples), np.full(len(samples), row), linestyle="", marker="o", markersize=3, color=SKY)
            interval(axes, row, read(np.array([low, high])), read(value), {"color": BLUE, "marker": "D"}, 1.6, 6)
        axes.axvline(optimum, **LOOK["theory"])
    left, right = axes_of
    row_names(left, list(runs))
    left.set(xlabel="gold missed", xlim=(-0.01, 0.3))
    right.set(xlabel="sentences, times optimum’s", xscale="log", xlim=(0.02, 200))
    right.xaxis.set_major_formatter("{x:g}")
    return drawn


@figure
def seeds(runs: Mapping[str, xr.Dataset], quantity: str = "gold") -> Figure:
    """One mark a trial at the end, a row for each run; crosses for policies that have left the language."""
    drawn, axes = panels(height=0.27 * len(runs) + 0.9)
    for row, data in enumerate(runs.values()):
        inside, values = comparison.known_exactly(data)[:, -1], frontiers.last(data, quantity)
        for chosen, mark, color, name in ((inside, "o", BLUE, "in the language"), (~inside, "x", VERMILION, "left it")):
            look = {"color": color, "label": name if row == 0 else None}
            axes.plot(values[chosen], np.full(chosen.sum(), row), mark, alpha=0.7, **look)
    row_names(axes, list(runs))
    axes.set_xlabel(LABELS[quantity])
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


@figure
def own(best: Frontier, path: Float[np.ndarray, "trial evaluated 2"]) -> Figure:
    """Where trials went in the plane of divergence and reward, under the frontier of that reward."""
    drawn, axes = panels(height=3.2)
    axes.plot(best["kl"], best["reward"], label="optimum", **LOOK["theory"])
    for trial, points in enumerate(path):
        axes.plot(*points.T, color=BLUE, marker="o", markersize=4, label="yours" if trial == 0 else None)
    axes.set(xlabel="KL from the initial policy, nats a sentence", ylabel="your reward")
    axes.set_xlim(-0.02 * path[..., 0].max(), 1.3 * path[..., 0].max())
    return finish(axes, legend="lower right")


@figure
def diversity(best: Mapping[str, Frontier], runs: Mapping[str, Mapping[str, xr.Dataset]]) -> Figure:
    """Sentences against the optimum at the same divergence: a panel a grammar, a row a method, named alike in each;
    their trials as small marks, the mean, and Student's interval. What is far out is cut off."""
    rows = list(next(iter(runs.values())))
    drawn, axes_of = panels(1, len(runs), height=0.27 * len(rows) + 1.1, sharex=True, sharey=True)
    for axes, (grammar, of) in zip(axes_of, runs.items(), strict=True):
        for row, name in enumerate(rows):
            more = frontiers.beyond(of[name], best[grammar], "entropy")
            value, low, high, _ = intervals.mean(more)
            axes.plot(np.exp(more), np.full(len(more), row), linestyle="", marker="o", markersize=3, color=SKY)
            interval(axes, row, np.exp([low, high]), np.exp(value), {"color": BLUE, "marker": "D"}, 1.6, 6)
        axes.axvline(1, **LOOK["theory"])
        axes.set_title(grammar, loc="left", fontsize="small")
    row_names(axes_of[0], rows)
    axes_of[0].set(xscale="log", xlim=(0.02, 50))
    axes_of[0].xaxis.set_major_formatter("{x:g}")
    drawn.supxlabel("sentences, times optimum’s", fontsize="medium")
    return drawn
