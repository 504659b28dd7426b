"""Figures of chapter 16: all methods on one frontier."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actde_book.ch16_one_frontier import comparison
from actde_nb.compare import frontiers, intervals
from actde_nb.pages.drawing import PATCH, finish, interval, line_of, marks, note, plain_numbers, row_names
from actde_nb.pages.interactive import Interactive
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


#: Where :func:`plane` writes a family's name, by panel: beside which of its runs, by how many points, to which side.
NAMED = {
    "gold": {
        "PPO": (1, (-8, 3), "right"),
        "RLOO, GRPO": (2, (-9, -1), "right"),
        "AWR": (1, (9, -14), "left"),
        "APA": (1, (7, -14), "left"),
        "APA, whitened": (0, (8, -14), "left"),
        "ACTDE, published": (5, (-9, -2), "right"),
        "ACTDE, return − q": (0, (8, -15), "left"),
        "tied to q": (0, (4, -16), "left"),
        "tied to soft q": (1, (-10, 6), "right"),
    },
    "entropy": {
        "PPO": (4, (-3, -17), "right"),
        "RLOO, GRPO": (2, (-8, -14), "right"),
        "AWR": (2, (13, 5), "left"),
        "APA": (0, (0, 11), "center"),
        "APA, whitened": (0, (9, 8), "left"),
        "ACTDE, published": (5, (-9, -4), "right"),
        "ACTDE, return − q": (0, (9, -2), "left"),
        "tied to q": (2, (3, -17), "left"),
        "tied to soft q": (2, (-9, -4), "right"),
    },
}
BEHIND = PATCH | {"alpha": 0.6, "pad": 0.5}  # such a name
GOLD_TICKS = (0, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)


def _missing(gold: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Up an axis of gold on which what is missing to 1 has a logarithmic scale."""
    return -np.log10(np.maximum(1 - gold, 1e-4))


def _quantity(axes: Axes, quantity: str, stretched: bool) -> None:
    axes.set_ylabel(LABELS[quantity])
    if quantity == "entropy":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.0f}")
    elif quantity == "gold" and stretched:
        axes.set_yscale("function", functions=(_missing, lambda up: 1 - 10.0**-up))
        axes.set_ylim(-0.06, 0.9985)
        axes.set_yticks(GOLD_TICKS, [f"{tick:g}" for tick in GOLD_TICKS])


def _ends(runs: Sequence[xr.Dataset], quantity: str, inside: bool) -> list[Float[np.ndarray, "trial 2"]]:
    """Divergence and a quantity of the trials of each run that ended inside the language, or of those outside."""
    return [frontiers.path(run, "kl", quantity)[comparison.known_exactly(run)[:, -1] == inside, -1] for run in runs]


def _across(axes_of: np.ndarray, kl: tuple[float, float]) -> None:
    """Divergence under the lowest panel of either column that is shown."""
    axes_of[0, 1].set_title("left the\nlanguage", fontsize="medium")
    for column, limits in zip(axes_of.T, (kl, (2, 300)), strict=True):
        lowest = [axes for axes in column if axes.axison][-1]
        lowest.set(xscale="log", xlim=limits)
        lowest.tick_params(labelbottom=True)
        plain_numbers(lowest.xaxis)
    axes_of[-1, 0].set_xlabel("KL from the initial policy, nats a sentence")


@figure
def plane(
    best: Frontier, families: Mapping[str, Sequence[xr.Dataset]], quantities: Sequence[str] = ("gold", "entropy"),
    rest: Frontier | None = None, kl: tuple[float, float] = (0.2, 15.0), stretched: bool = True,
) -> Figure:  # fmt: skip
    """Ends of runs over their divergence, a panel for each quantity of :data:`LABELS`; ``rest``: of exact advantages.
    Small marks are trials, large ones means over those of a run, with lines between the settings of one method. Trials
    that have left the language stand in a strip of their own at the right, without means.

    ``stretched``: gold has an axis that spreads what is near 1, and names of families stand beside their marks."""
    grid = {"sharex": "col", "sharey": "row", "gridspec_kw": {"width_ratios": (4, 1), "wspace": 0.03}}
    drawn, axes_of = panels(len(quantities), 2, height=3.6, squeeze=False, **grid)
    for (axes, strip), quantity in zip(axes_of, quantities, strict=True):
        _quantity(axes, quantity, stretched)
        read = np.exp if quantity == "entropy" else np.asarray
        axes.plot(best["kl"], read(best[quantity]), label="optimum", **LOOK["theory"])
        if rest is not None:
            axes.plot(rest["kl"], read(rest[quantity]), label="exact rest of APA, tie", **LOOK["source"])
        for family, runs in families.items():
            look = FAMILIES[family]
            axes.plot([], [], label=family, linewidth=1.3, markersize=7.5, **look)
            points = _ends(runs, quantity, inside=True)
            for nats, value in (trials.T for trials in points):
                marks(axes, nats, read(value), look, markersize=3, alpha=0.5)
            if means := sorted(tuple(trials.mean(0)) for trials in points if len(trials)):
                nats, value = np.transpose(means)
                # Straight before an axis is stretched: a line then crosses no optimum that no mark crosses.
                along = np.geomspace(nats[0], nats[-1], 99)
                axes.plot(along, read(np.interp(along, nats, value)), linewidth=1.3, **line_of(look))
                marks(axes, nats, read(value), look, markersize=7.5)
            if stretched:
                run, shift, side = NAMED[quantity][family]
                nats, value = points[run].mean(0)
                note(axes, family, (nats, read(value)), shift, ha=side, color=look["color"], fontsize=10, bbox=BEHIND)
            if quantity != "entropy":  # what is said outside the language is not counted in sentences
                for nats, value in (trials.T for trials in _ends(runs, quantity, inside=False)):
                    marks(strip, nats, value, look, markersize=4, alpha=0.5)
        strip.tick_params(left=False)
        if quantity == "entropy":
            strip.set_axis_off()
    _across(axes_of, kl)
    if stretched:
        handles, labels = axes_of[0, 0].get_legend_handles_labels()
        curves = [k for k, label in enumerate(labels) if label not in families]
        axes_of[0, 0].legend([handles[k] for k in curves], [labels[k] for k in curves], loc="upper left")
    else:
        drawn.legend(*axes_of[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


def plane_with_numbers(best: Frontier, families: Mapping[str, Mapping[str, xr.Dataset]]) -> Interactive:
    """Where runs ended, by name in each family: means over the trials that ended in the language, of effective
    sentences the geometric mean. Left out are runs of which half the trials or more have left it."""
    points = []
    for family, runs in families.items():
        for name, data in runs.items():
            inside = data.isel(trial=comparison.known_exactly(data)[:, -1])
            of, trials = inside.sizes["trial"], data.sizes["trial"]
            if 2 * of > trials:
                label = comparison.in_words(name) + (f" ({of} of {trials} trials)" if of < trials else "")
                means = {"nats": frontiers.last(inside, "kl").mean(), "reward": frontiers.last(inside, "gold").mean()}
                sentences = frontiers.effective_sentences(inside).value
                points.append({"label": label, "series": family, "sentences": sentences} | means)
    return Interactive.frontier(points, best, FAMILIES)


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
