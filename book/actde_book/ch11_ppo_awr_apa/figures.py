"""Figures of chapter 11: PPO, AWR and APA on the small language."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from actde_nb.compare.frontiers import curve, effective_sentences, last, path
from actde_nb.experiments.results import windows
from actde_nb.pages.drawing import FRONTIER, finish, line_of, lines, marks, note
from actde_nb.pages.interactive import Interactive
from actde_nb.pages.style import BLACK, GREY, LOOK, METHODS, figure, method_looks, panels

Points = Float[np.ndarray, "beta"]
END = {"markeredgecolor": "white", "markeredgewidth": 0.5}  # of a run


@figure
def training(runs: Mapping[str, Mapping[str, xr.Dataset]], window: int = 5) -> Figure:
    """Reward above, averaged over ``window`` points, and divergence below against updates, a column a network."""
    drawn, axes_of = panels(2, len(runs), height=2.7, sharex=True, sharey="row", squeeze=False)
    for (title, methods), (above, below) in zip(runs.items(), axes_of.T, strict=True):
        for name, data in methods.items():
            reward = windows(data["sentence"].sel(measure="reward").values.T, window).T
            update = windows(data["update"].values[:, None], window)[:, 0]
            lines(above, update, reward, name, np.median, **METHODS[name])
            lines(below, data["evaluated"].values, curve(data, "kl"), None, np.median, **METHODS[name])
        above.set(title=title, ylim=(-0.02, 1.03))
        below.set(xlabel="updates", ylim=(0, 20))
        below.set_xticks([0, 200, 400])
    axes_of[0, 0].set(ylabel="reward")
    axes_of[1, 0].set(ylabel="KL, nats")
    return finish(axes_of[0, 0], legend={"loc": "lower right", "handlelength": 1.8})


@figure
def plane(
    best: Mapping[str, Points], runs: Mapping[str, Sequence[xr.Dataset]], optima: Mapping[float, tuple[float, float]],
    rests: Mapping[float, tuple[float, float]], released: Mapping[str, xr.Dataset],
) -> Figure:  # fmt: skip
    """Where runs went in the plane of divergence and reward: near the start above, and below where all ended.
    ``optima`` and APA's fixed points ``rests``: β -> divergence and reward; ``released``: runs as released."""
    drawn, (near, far) = panels(2, 1, height=3.9)
    for axes in (near, far):
        axes.plot(best["kl"], best["reward"], label="exact frontier", zorder=1, **FRONTIER)
        for name, several in runs.items():
            look = METHODS[name]
            for data in several:
                went = path(data)
                axes.plot(*went.mean(0).T, linewidth=1.3 if axes is near else 0.7, **line_of(look))
                marks(axes, *went[:, -1].T, look, markersize=5, zorder=4, **END)
            axes.plot([], [], label=name, linewidth=1.3, markersize=5, **look)
        axes.set(ylabel="reward (gold)", xlabel="KL from the initial policy, nats")
    for places, marker, label in ((optima, "o", "optimum"), (rests, METHODS["APA"]["marker"], "APA's fixed point")):
        x, y = np.transpose(list(places.values()))
        near.plot(x, y, marker, color=BLACK, markersize=11, markerfacecolor="none", zorder=5, label=label)
    for beta, place in optima.items():
        note(near, f"β = {beta:g}".replace("0.", "."), place, (-4, 10), ha="right", fontsize=10)
    hollow = {"markersize": 6.5, "markerfacecolor": "white", "markeredgewidth": 1.4, "zorder": 4}
    for name in runs:
        marks(far, *path(released[name])[:, -1].T, METHODS[name], label=f"{name}, as released", **hollow)
    farthest = max(path(data)[:, -1, 0].max() for data in (*released.values(), *sum(map(list, runs.values()), [])))
    near.set(xlim=(0, 3.4), ylim=(0.4, 0.97))
    far.set(xlim=(0, 1.05 * farthest), ylim=(0.4, 1.01))
    near.legend(loc="lower right")
    far.legend(loc="lower right")
    return drawn


def plane_with_numbers(best: Mapping[str, Points], runs: Mapping[str, Mapping[float, xr.Dataset]]) -> Interactive:
    """Where runs ended, by method and KL coefficient: means over trials, of effective sentences the geometric mean."""
    points = [
        {"label": f"{method}, β = {price:g}".replace("0.", "."), "series": method}
        | {"nats": last(data, "kl").mean(), "reward": last(data, "reward").mean()}
        | {"sentences": effective_sentences(data).value}
        for method, several in runs.items()
        for price, data in several.items()
    ]
    return Interactive.frontier(points, best, {name: METHODS[name] for name in runs})


@figure
def diversity(
    best: Mapping[str, Points], rest: Mapping[str, Points], runs: Mapping[str, Sequence[xr.Dataset]]
) -> Figure:
    """Effective number of sentences against reward: optima, APA's fixed points ``rest``, and ends of runs by method."""
    drawn, axes = panels(height=4.6)
    axes.plot(best["reward"], np.exp(best["entropy"]), label="optima", **FRONTIER)
    apa = {"color": METHODS["APA"]["color"], "linewidth": 1.4}
    axes.plot(rest["reward"], np.exp(rest["entropy"]), label="APA's fixed points", **apa)
    for name, several in runs.items():
        for k, data in enumerate(several):
            look, label = METHODS[name], name if k == 0 else None
            marks(axes, last(data, "reward"), np.exp(last(data, "entropy")), look, markersize=6, label=label, **END)
    axes.set(yscale="log", xlabel="reward (gold)", ylabel="effective sentences", xlim=(0.4, 1.005))
    return finish(axes, legend="lower left")


@figure
def nearing(runs: Mapping[str, Mapping[str, np.ndarray]], targets: Sequence[str]) -> Figure:
    """Divergence from each of some policies, a panel each: method -> ``update`` and, by target, ``[trial, point]``."""
    drawn, axes_of = panels(1, len(targets), height=3.4, sharey=True, squeeze=False)
    for axes, target in zip(axes_of[0], targets, strict=True):
        for name, seen in runs.items():
            lines(axes, seen["update"], seen[target], name, np.median, **METHODS[name])
        axes.set(title=f"from {target}", xlabel="updates", yscale="log")
    return finish(axes_of[0, 0], legend="lower left", ylabel="KL(policy || it), nats")


@figure
def log_ratios(runs: Mapping[float, xr.Dataset]) -> Figure:
    """APA's regression: log-ratio against A / beta of words that the policies say above, log Z below, by β."""
    drawn, axes_of = panels(2, len(runs), height=2.7, squeeze=False, sharey="row")
    dots = {"color": METHODS["APA"]["color"], "markersize": 2.5, "alpha": 0.5, "rasterized": True}
    for (beta, data), (above, below) in zip(runs.items(), axes_of.T, strict=True):
        x = data["word_advantage"].values.ravel() / beta
        limits = np.quantile(x, [0.003, 0.997])
        above.plot(x, data["word_log_ratio"].values.ravel(), ".", **dots)
        above.plot(limits, limits, **LOOK["theory"])
        above.set(xlim=limits, title=f"β = {beta:g}".replace("0.", "."), xlabel="A / β")
        edges = np.linspace(-2.5, 1, 36)
        below.hist(np.clip(data["word_log_z"].values.ravel(), -2.5, 1), edges, color=GREY, density=True)
        below.axvline(0, **LOOK["theory"])
        below.set(xlabel="log Z", yscale="log")
    axes_of[0, 0].set(ylabel="log π/π_init", ylim=(-3.5, 3.5))
    return finish(axes_of[1, 0], ylabel="density")


@figure
def over_optimisation(best: Mapping[str, Points], runs: Mapping[str, xr.Dataset]) -> Figure:
    """Learned reward above and gold below against divergence, on an axis of square roots; sampled.
    ``runs``: label that begins with the method's name -> run."""
    drawn, axes_of = panels(2, 1, height=3.3, sharex=True)
    looks = method_looks(runs)
    for axes, quantity, title in zip(axes_of, ("reward", "gold"), ("learned reward", "gold"), strict=True):
        axes.plot(best["kl"], best[quantity], label="optima within the language", **FRONTIER)
        for label, data in runs.items():
            look, went = looks[label], path(data, "kl", quantity, "sampled")
            for trial in went:
                axes.plot(*trial.T, linewidth=0.9, alpha=0.75, **line_of(look))
            marks(axes, *went[:, -1].T, look, markersize=5.5, zorder=4)
            axes.plot([], [], label=label, linewidth=1.6, markersize=5, **look)
        axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
        axes.set(ylabel=title)
    axes_of[1].set(xlabel="KL from the initial policy, nats (square-root axis)", xlim=(0, None))
    axes_of[1].set_xticks([0, 1, 5, 10, 20, 50, 100, 150])
    return finish(axes_of[0], legend="upper left")
