"""Figures of chapter 11: PPO, AWR and APA on the small language."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actde_nb import checks
from actde_nb.compare.frontiers import curve, last, path
from actde_nb.experiments.results import windows
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION, figure, panels

Points = Float[np.ndarray, "beta"]

METHODS = {
    "PPO": {"color": VERMILION, "linestyle": "-", "marker": "o"},
    "APA": {"color": BLUE, "linestyle": "--", "marker": "s"},
    "AWR": {"color": ORANGE, "linestyle": "-.", "marker": "^"},
}
BASELINES = {
    "RLOO": {"color": PURPLE, "marker": "D"},
    "GRPO": {"color": GREEN, "marker": "v"},
}
PRICES = (
    {"color": BLACK, "linestyle": ":", "marker": "D"},
    {"color": VERMILION, "linestyle": "-", "marker": "o"},
    {"color": PURPLE, "linestyle": (0, (5, 1)), "marker": "v"},
)


def _lines(axes: Axes, x: Float[np.ndarray, "point"], samples: Float[np.ndarray, "trial point"], label=None, **look):
    """The median over trials thick, each trial thin."""
    look = {name: value for name, value in look.items() if name != "marker"}
    axes.plot(x, samples.T, linewidth=0.6, alpha=0.45, **look)
    axes.plot(x, np.median(samples, 0), label=label, **look)


@figure
def training(runs: Mapping[str, Mapping[str, xr.Dataset]], window: int = 5) -> Figure:
    """Reward above and divergence below against updates, a column for each size of network.

    Args:
        runs: title of the column -> method as in :data:`METHODS` -> run.
        window: points of the reward's curve that are averaged.
    """
    drawn, axes_of = panels(2, len(runs), height=2.7, sharex=True, sharey="row", squeeze=False)
    for (title, methods), (above, below) in zip(runs.items(), axes_of.T, strict=True):
        for name, data in methods.items():
            look = METHODS[checks.one_of("method", name, tuple(METHODS))]
            reward = windows(data["sentence"].sel(measure="reward").values.T, window).T
            _lines(above, windows(data["update"].values[:, None], window)[:, 0], reward, name, **look)
            _lines(below, data["evaluated"].values, curve(data, "kl"), **look)
        above.set(title=title, ylim=(-0.02, 1.03))
        below.set(xlabel="updates", ylim=(0, 20))
        below.set_xticks([0, 200, 400])
    axes_of[0, 0].set(ylabel="reward")
    axes_of[1, 0].set(ylabel="KL, nats")
    axes_of[0, 0].legend(loc="lower right", handlelength=1.8)
    return drawn


@figure
def plane(
    best: Mapping[str, Points],
    runs: Mapping[str, Sequence[xr.Dataset]],
    optima: Mapping[float, tuple[float, float]],
    rests: Mapping[float, tuple[float, float]],
    released: Mapping[str, xr.Dataset],
) -> Figure:
    """Where runs went in the plane of divergence and reward: near the start above, all below.

    Args:
        best: ``kl`` and ``reward`` of the frontier.
        runs: method -> its runs at several prices.
        optima: price -> divergence and reward of the optimum.
        rests: price -> the same of APA's fixed point.
        released: method -> its run with the settings as released.
    """
    drawn, (near, far) = panels(2, 1, height=3.9)
    for axes in (near, far):
        axes.plot(best["kl"], best["reward"], color=GREY, linewidth=5, alpha=0.35, label="exact frontier", zorder=1)
        for name, several in runs.items():
            look = METHODS[checks.one_of("method", name, tuple(METHODS))]
            style = {key: value for key, value in look.items() if key != "marker"}
            for k, data in enumerate(several):
                went = path(data)
                axes.plot(*went.mean(0).T, linewidth=1.3, label=name if k == 0 else None, **style)
                axes.plot(*went[:, -1].T, linestyle="", marker=look["marker"], color=look["color"], markersize=5,
                          markeredgecolor="white", markeredgewidth=0.5, zorder=4)  # fmt: skip
    for places, look in (
        (optima, {"marker": "o", "label": "optimum"}),
        (rests, {"marker": "s", "label": "APA's fixed point"}),
    ):
        points = np.array(list(places.values()))
        near.plot(*points.T, linestyle="", markersize=11, markerfacecolor="none", color=BLACK, zorder=5, **look)
    for price, (kl, reward) in optima.items():
        near.annotate(f"β = {price:g}".replace("0.", "."), (kl, reward), xytext=(-4, 10), textcoords="offset points",
                      ha="right", fontsize=10)  # fmt: skip
    for name, data in released.items():
        look = METHODS[name]
        far.plot(*path(data)[:, -1].T, linestyle="", marker=look["marker"], color=look["color"], markersize=6,
                 markerfacecolor="white", markeredgewidth=1.4, zorder=4,
                 label="hollow: as released" if name == "PPO" else None)  # fmt: skip
    near.set(xlim=(0, 3.4), ylim=(0.4, 0.97), ylabel="reward (gold)", xlabel="KL from the initial policy, nats")
    far.set(xlim=(0, None), ylim=(0.4, 1.01), ylabel="reward (gold)", xlabel="KL from the initial policy, nats")
    near.legend(loc="lower right")
    handles, labels = far.get_legend_handles_labels()
    far.legend(handles[-1:], labels[-1:], loc="lower right")
    return drawn


@figure
def diversity(
    best: Mapping[str, Points], rest: Mapping[str, Points], runs: Mapping[str, Sequence[xr.Dataset]]
) -> Figure:
    """Effective number of sentences against reward: what is left of diversity at each reward.

    Args:
        best: ``reward`` and ``entropy`` of the frontier.
        rest: the same of APA's fixed points.
        runs: method, as in :data:`METHODS` or :data:`BASELINES` -> runs, of which the ends are shown.
    """
    drawn, axes = panels(height=4.6)
    axes.plot(best["reward"], np.exp(best["entropy"]), color=GREY, linewidth=5, alpha=0.35, label="optima")
    axes.plot(rest["reward"], np.exp(rest["entropy"]), color=BLUE, linewidth=1.4, label="APA's fixed points")
    for name, several in runs.items():
        look = (METHODS | BASELINES)[checks.one_of("method", name, tuple(METHODS | BASELINES))]
        for k, data in enumerate(several):
            axes.plot(last(data, "reward"), np.exp(last(data, "entropy")), linestyle="", marker=look["marker"],
                      color=look["color"], markersize=6, markeredgecolor="white", markeredgewidth=0.5,
                      label=name if k == 0 else None)  # fmt: skip
    axes.set(yscale="log", xlabel="reward (gold)", ylabel="effective sentences", xlim=(0.4, 1.005))
    axes.legend(loc="lower left")
    return drawn


@figure
def nearing(runs: Mapping[str, Mapping[str, np.ndarray]], targets: Sequence[str]) -> Figure:
    """Divergence of runs from some policies, update by update; a panel for each of these.

    Args:
        runs: method -> ``update`` ``[point]`` and, under each target's name, ``[trial, point]``.
        targets: their names.
    """
    drawn, axes_of = panels(1, len(targets), height=3.4, sharey=True, squeeze=False)
    for axes, target in zip(axes_of[0], targets, strict=True):
        for name, seen in runs.items():
            _lines(axes, seen["update"], seen[target], name, **METHODS[name])
        axes.set(title=f"from {target}", xlabel="updates", yscale="log")
    axes_of[0, 0].set(ylabel="KL(policy || it), nats")
    axes_of[0, 0].legend(loc="lower left")
    return drawn


@figure
def log_ratios(runs: Mapping[float, xr.Dataset]) -> Figure:
    """APA's regression: log-ratio against A / beta of words that the policies say above, log Z below, by price."""
    drawn, axes_of = panels(2, len(runs), height=2.7, squeeze=False, sharey="row")
    for (price, data), (above, below) in zip(runs.items(), axes_of.T, strict=True):
        x = data["word_advantage"].values.ravel() / price
        limits = np.quantile(x, [0.003, 0.997])
        above.plot(
            x, data["word_log_ratio"].values.ravel(), ".", color=BLUE, markersize=2.5, alpha=0.5, rasterized=True
        )
        above.plot(limits, limits, **LOOK["theory"])
        above.set(xlim=limits, title=f"β = {price:g}".replace("0.", "."), xlabel="A / β")
        edges = np.linspace(-2.5, 1, 36)
        below.hist(np.clip(data["word_log_z"].values.ravel(), -2.5, 1), edges, color=ORANGE, density=True)
        below.axvline(0, **LOOK["theory"])
        below.set(xlabel="log Z", yscale="log")
    axes_of[0, 0].set(ylabel="log π/π_init", ylim=(-3.5, 3.5))
    axes_of[1, 0].set(ylabel="density")
    return drawn


@figure
def over_optimisation(best: Mapping[str, Points], runs: Mapping[str, tuple[str, xr.Dataset]]) -> Figure:
    """Learned reward above and gold below against divergence, on an axis of square roots; sampled.

    Args:
        best: ``kl``, ``reward`` and ``gold`` of the optima of the learned reward, within the language.
        runs: label -> method as in :data:`METHODS`, or ``"price"`` for one of several prices of PPO, and run.
    """
    drawn, axes_of = panels(2, 1, height=3.3, sharex=True)
    prices = iter(PRICES)
    for axes, quantity in zip(axes_of, ("reward", "gold"), strict=True):
        axes.plot(best["kl"], best[quantity], color=GREY, linewidth=5, alpha=0.35, label="optima within the language")
    for label, (method, data) in runs.items():
        look = next(prices) if method == "price" else METHODS[method]
        style = {key: value for key, value in look.items() if key != "marker"}
        for axes, quantity in zip(axes_of, ("reward", "gold"), strict=True):
            went = path(data, "kl", quantity, "sampled")
            for trial in went:
                axes.plot(*trial.T, linewidth=0.9, alpha=0.75, **style)
            axes.plot(
                *went[:, -1].T, linestyle="", marker=look["marker"], color=look["color"], markersize=5.5, zorder=4
            )
        axes_of[0].plot([], [], label=label, linewidth=1.6, marker=look["marker"], markersize=5, **style)
    for axes, label in zip(axes_of, ("learned reward", "gold"), strict=True):
        axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
        axes.set(ylabel=label)
    axes_of[1].set(xlabel="KL from the initial policy, nats (square-root axis)", xlim=(0, None))
    axes_of[1].set_xticks([0, 1, 5, 10, 20, 50, 100, 150])
    axes_of[0].legend(loc="upper left")
    return drawn
