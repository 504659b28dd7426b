"""Figures of chapter 13: PPO and greedy-advantage-aware learning on honeypots in the language."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from actde_nb import checks
from actde_nb.compare.frontiers import curve, last
from actde_nb.compare.intervals import Estimate
from actde_nb.pages.style import (
    BLUE,
    GREEN,
    GREY,
    LOOK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    figure,
    panels,
)  # fmt: skip

Points = Float[np.ndarray, "beta"]

METHODS = {
    "PPO": {"color": VERMILION, "linestyle": "-", "marker": "o"},
    "text, per token": {"color": GREEN, "linestyle": "--", "marker": "^"},
    "same, a scales all": {"color": SKY, "linestyle": (0, (5, 1)), "marker": "v"},
    "text, batch means": {"color": PURPLE, "linestyle": "-.", "marker": "s"},
    "code": {"color": ORANGE, "linestyle": ":", "marker": "D"},
    "code, a on A only": {"color": BLUE, "linestyle": (0, (3, 1, 1, 1)), "marker": "P"},
}

READINGS = {
    "honeypot": ("honeypot rate", lambda values: values),
    "gold": ("gold", lambda values: values),
    "kl": ("KL, nats", lambda values: values),
    "entropy": ("effective sentences", np.exp),
}


def _line(method: str) -> dict:
    look = METHODS[checks.one_of("method", method, tuple(METHODS))]
    return {name: look[name] for name in ("color", "linestyle")}


def _trials(axes: Axes, x: Float[np.ndarray, "point"], samples: Float[np.ndarray, "trial point"], **look) -> None:
    """Each trial thin, their mean thick."""
    label = look.pop("label", None)
    axes.plot(x, samples.T, linewidth=0.5, alpha=0.4, **look)
    axes.plot(x, samples.mean(0), label=label, **look)


def _legend(drawn: Figure, axes: Axes, columns: int = 4) -> None:
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, handlelength=2.2)


@figure
def over_time(runs: Mapping[str, Mapping[str, xr.Dataset]], quantities: Sequence[str] = tuple(READINGS)) -> Figure:
    """Quantities of :data:`READINGS` against updates, a row for each, a column for each leash.

    Args:
        runs: title of the column -> method as in :data:`METHODS` -> run.
        quantities: the rows.
    """
    drawn, axes_of = panels(len(quantities), len(runs), height=1.9, sharex=True, sharey="row", squeeze=False)
    for (title, methods), column in zip(runs.items(), axes_of.T, strict=True):
        column[0].set_title(title)
        column[-1].set(xlabel="updates")
        for axes, quantity in zip(column, quantities, strict=True):
            read = READINGS[checks.one_of("quantity", quantity, tuple(READINGS))][1]
            for name, data in methods.items():
                _trials(axes, data["evaluated"].values, read(curve(data, quantity)), label=name, **_line(name))
    for axes, quantity in zip(axes_of[:, 0], quantities, strict=True):
        axes.set_ylabel(READINGS[quantity][0])
        axes.set_ylim(0, None)
        if quantity == "entropy":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _legend(drawn, axes_of[0, 0])
    return drawn


@figure
def beginning(runs: Mapping[str, Mapping[str, xr.Dataset]], rollouts: int = 20) -> Figure:
    """Honeypots per sentence of each of the first rollouts, a panel for each leash; logarithmic."""
    drawn, axes_of = panels(len(runs), height=2.2, sharex=True, sharey=True, squeeze=False)
    for (title, methods), axes in zip(runs.items(), axes_of[:, 0], strict=True):
        for name, data in methods.items():
            said = data["sentence"].sel(measure="honeypots").values[:, :rollouts]
            rollout = np.arange(1, said.shape[1] + 1)
            axes.plot(rollout, said.T, linewidth=0.5, alpha=0.3, **_line(name))
            axes.plot(rollout, said.mean(0), label=name, **_line(name))
        axes.set_title(title, loc="left")
        axes.set(ylabel="honeypots", yscale="log", ylim=(0.012, 1.3), xlim=(1, rollouts))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes_of[-1, 0].set(xlabel="rollout of 64 sentences")
    axes_of[-1, 0].set_xticks([1, 5, 10, 15, 20])
    _legend(drawn, axes_of[0, 0])
    return drawn


@figure
def planes(
    best: Mapping[str, Points],
    runs: Mapping[str, Sequence[xr.Dataset]],
    quantities: Sequence[str] = ("honeypot", "gold"),
) -> Figure:
    """Ends of runs over their divergence: means with lines between the leashes of a method, trials as small marks.

    Args:
        best: the exact frontier, with ``kl`` and the quantities.
        runs: method as in :data:`METHODS` -> its runs at several leashes.
        quantities: one for each panel.
    """
    drawn, axes_of = panels(len(quantities), height=3.1, sharex=True, squeeze=False)
    for axes, quantity in zip(axes_of[:, 0], quantities, strict=True):
        axes.plot(best["kl"], best[quantity], color=GREY, linewidth=5, alpha=0.35, label="exact frontier", zorder=1)
        for name, several in runs.items():
            look = METHODS[name]
            ends = np.array([np.stack([last(data, "kl"), last(data, quantity)]) for data in several])
            axes.plot(*ends.transpose(1, 0, 2).reshape(2, -1), linestyle="", marker=look["marker"], markersize=3,
                      color=look["color"], alpha=0.45)  # fmt: skip
            means = ends.mean(-1)
            means = means[means[:, 0].argsort()]
            axes.plot(*means.T, label=name, linewidth=1.2, markersize=7, markeredgecolor="white", **look)
        axes.set_ylabel(READINGS[quantity][0])
    axes_of[-1, 0].set(xlabel="KL from the initial policy, nats a sentence", xlim=(0, None))
    _legend(drawn, axes_of[0, 0], 3)
    return drawn


@figure
def rests(
    held: Mapping[str, Points],
    beyond: Mapping[str, Points],
    runs: Mapping[str, Mapping[float, xr.Dataset]],
) -> Figure:
    """Honeypot rate against the leash: where exact advantages come to rest, and where runs ended.

    Args:
        held: ``leash`` and ``honeypot`` of rests that hold.
        beyond: of those that do not.
        runs: method as in :data:`METHODS` -> leash -> run.
    """
    drawn, axes = panels(height=4.2)
    axes.plot(held["leash"], held["honeypot"], color=GREY, linewidth=5, alpha=0.45, label="PPO’s rests, exact")
    axes.plot(beyond["leash"], beyond["honeypot"], label="rests that tip over", **LOOK["theory"])
    for k, (name, several) in enumerate(runs.items()):
        look = METHODS[checks.one_of("method", name, tuple(METHODS))]
        for leash, data in several.items():
            aside = leash * 1.018 ** (k - (len(runs) - 1) / 2 if sum(leash in r for r in runs.values()) > 1 else 0)
            rates = last(data, "honeypot")
            axes.plot(np.full(len(rates), aside), rates, linestyle="", marker=look["marker"], markersize=3.5,
                      color=look["color"], alpha=0.5)  # fmt: skip
            axes.plot(aside, rates.mean(), linestyle="", marker=look["marker"], markersize=8, color=look["color"],
                      markeredgecolor="white", label=name if leash == next(iter(several)) else None)  # fmt: skip
    axes.set(xscale="log", xlim=(0.27, 1.7), ylim=(0, 1.03), xlabel="leash (weight of the divergence in the loss)",
             ylabel="honeypot rate")  # fmt: skip
    axes.set_xticks([0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _legend(drawn, axes, 3)
    return drawn


@figure
def differences(found: Mapping[str, Mapping[tuple[str, float], Estimate]]) -> Figure:
    """Estimates with their intervals, a panel for each comparison, a row for each method and leash.

    Args:
        found: label of the comparison -> (method as in :data:`METHODS`, leash) -> estimate.
    """
    rows = list(dict.fromkeys(key for several in found.values() for key in several))
    drawn, axes_of = panels(1, len(found), height=0.3 * len(rows) + 1.1, sharey=True, squeeze=False)
    for axes, (title, several) in zip(axes_of[0], found.items(), strict=True):
        axes.axvline(0, **LOOK["theory"])
        for (name, leash), (value, low, high, _) in several.items():
            look, row = METHODS[name], rows.index((name, leash))
            axes.plot([low, high], [row, row], color=look["color"], linewidth=1.8)
            axes.plot(value, row, marker=look["marker"], color=look["color"], markersize=7)
        axes.set_title(title, fontsize=11)
    axes_of[0, 0].set_yticks(range(len(rows)), [f"{name}, {leash:g}".replace("0.", ".") for name, leash in rows])
    axes_of[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    return drawn
