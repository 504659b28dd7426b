"""Figures of the chapter: frontiers estimated from a sample, beside what is known and beside what methods reach."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from actde_book.ch20_frontier_unlisted.frontier import Frontier
from actde_nb.experiments.pretrained_runs import curve, end
from actde_nb.pages.drawing import finish, marks, note
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, METHODS, ORANGE, figure, method_looks, panels

Plane = tuple[float, float]


@figure
def beside_the_truth(
    exact: Mapping[str, Float[np.ndarray, "_beta"]], estimates: Mapping[str, Frontier], until: Plane
) -> Figure:
    """The exact frontier of the small language, and estimates of it from samples of several sizes."""
    drawn, axes = panels(height=3.6)
    axes.plot(exact["kl"], exact["reward"], color=BLACK, linewidth=1.2, label="exact")
    for (label, best), colour in zip(estimates.items(), (BLUE, ORANGE, GREEN), strict=False):
        axes.fill_between(best.kl, *best.interval, color=colour, alpha=0.25, linewidth=0)
        axes.plot(best.kl, best.reward, color=colour, linestyle="--", label=label)
        axes.plot(best.kl[-1], best.reward[-1], color=colour, marker="o", markersize=8)
    axes.set(xlabel="KL from the initial policy (nats)", ylabel="reward", xlim=(0, until[0]), ylim=(None, until[1]))
    return finish(axes, legend="lower right")


@figure
def planes(
    frontiers: Mapping[str, Frontier], alone: Mapping[str, Frontier],
    runs: Mapping[str, Mapping[str, Sequence[xr.Dataset]]], nats: Mapping[str, float],
) -> Figure:  # fmt: skip
    """Score over KL, a panel a reward: the estimated frontier, the tangent of what samples ``alone`` say, and where the
    runs of each method end, a mark a seed. ``runs`` are by reward and method; ``nats`` is how far each panel goes."""
    drawn, grid = panels(len(frontiers), height=2.8, squeeze=False)
    for axes, (reward, best) in zip(grid[:, 0], frontiers.items(), strict=True):
        axes.plot(best.kl, best.reward, label="best, estimated", **LOOK["theory"])
        axes.fill_between(best.kl, *best.interval, color=GREY, alpha=0.3, linewidth=0)
        beyond = np.array([alone[reward].kl[-1], nats[reward]])
        axes.plot(beyond, alone[reward].tangent(beyond), label="tangent of the samples alone", **LOOK["source"])
        highest = 0.0
        for method, several in runs[reward].items():
            for data in several:
                kl, score = end(data, "kl"), end(data, "score")
                marks(axes, kl, score, METHODS[method], alpha=0.8, markersize=6)
                highest = max(highest, float(score.max()), best.reward[-1])
        axes.set(ylabel="score", xlim=(0, nats[reward]), ylim=(0, 1.15 * highest))
        note(axes, reward, (0.98, 0.06), (0, 0), xycoords="axes fraction", ha="right")
    grid[-1, 0].set_xlabel("KL from the initial model (nats a sequence)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    for method in dict.fromkeys(method for several in runs.values() for method in several):
        handles.append(grid[0, 0].plot([], [], **METHODS[method] | {"linestyle": ""})[0])
        labels.append(method)
    drawn.legend(handles, labels, loc="outside lower center", ncols=4)
    return drawn


@figure
def ways(best: Frontier, runs: Mapping[str, xr.Dataset], nats: float) -> Figure:
    """The first nats of several rows, as the mean over seeds of each rollout, under the estimated frontier."""
    drawn, axes = panels(height=3.6)
    axes.plot(best.kl, best.reward, label="best, estimated", **LOOK["theory"])
    for name, look in method_looks(runs).items():
        kl, score = (curve(runs[name], quantity).mean("trial") for quantity in ("kl", "score"))
        axes.plot(kl, score, label=name, markersize=4, **look)
    axes.set(
        xlabel="KL from the initial model (nats a sequence)",
        ylabel="score",
        xlim=(0, nats),
        ylim=(0, float(np.interp(nats, best.kl, best.reward))),
    )
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn
