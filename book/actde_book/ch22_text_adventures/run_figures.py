"""Figures of the chapter's stored runs: one mark a trial, at both learning rates."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actde_book.ch22_text_adventures.programme import RATES
from actde_book.ch22_text_adventures.verdicts import curve, end
from actde_nb.pages.style import BLACK, BLUE, GREY, VERMILION, figure, method_looks, panels

Trials = Float[np.ndarray, "trial"]
Runs = Mapping[str, Mapping[str, xr.Dataset]]  # label -> rate -> run
FILLS = {"low": "none", "high": "full"}
ROWS = {"all": {"color": BLUE, "marker": "o"}, "last": {"color": VERMILION, "marker": "s"}}
ROWS_SAID = {"all": "all rows", "last": "last row of each minibatch"}


@figure
def over_updates(runs: Runs) -> Figure:
    """Share of games won against updates, a panel for each learning rate: thin lines are trials, thick ones means."""
    drawn, grid = panels(2, height=2.3, sharex=True, sharey=True)
    looks = method_looks(runs)
    for axes, rate in zip(grid, RATES, strict=True):
        for label, of_rate in runs.items():
            data, look = of_rate[rate], looks[label]
            updates, wins = data["evaluated"].values, curve(data, "wins")
            axes.plot(updates, wins.T, linewidth=0.5, alpha=0.35, color=look["color"], linestyle=look["linestyle"])
            axes.plot(updates, wins.mean(0), label=label, markevery=2, markersize=5, **look)
        axes.set_ylabel("games won")
        axes.set_title(f"learning rate {RATES[rate]:g}", loc="left", fontsize="medium")
    grid[-1].set_xlabel("updates")
    drawn.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


@figure
def coins_and_wins(runs: Runs) -> Figure:
    """Share of the red coin in the wins, and the entropy of a game: a row a method, a mark a trial."""
    drawn, (left, right) = panels(1, 2, height=0.55 * len(runs) + 1.1, sharey=True)
    looks = method_looks(runs)
    for row, (label, of_rate) in enumerate(runs.items()):
        for rate in RATES:
            data, wins = of_rate[rate], end(of_rate[rate], "wins")
            red = np.divide(end(data, "red"), wins, out=np.full(len(wins), np.nan), where=wins > 1e-3)
            for axes, values in ((left, red), (right, end(data, "entropy"))):
                _marks(axes, row, values, rate, looks[label]["color"], looks[label]["marker"])
    left.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    left.set(xlabel="red coin's share of the wins", xlim=(-0.05, 1.05), yticks=range(len(runs)), yticklabels=list(runs))
    left.invert_yaxis()
    right.set(xlabel="entropy of a game (nats)")
    _say_rates(drawn)
    return drawn


@figure
def by_trial(runs: Runs, quantity: str, label: str) -> Figure:
    """An exact number at the end, a row an arm, a mark a trial."""
    drawn, axes = panels(height=0.5 * len(runs) + 1.2)
    for row, of_rate in enumerate(runs.values()):
        for rate in RATES:
            _marks(axes, row, end(of_rate[rate], quantity), rate, BLUE, "o")
    axes.set(xlabel=label, yticks=range(len(runs)), yticklabels=list(runs))
    axes.invert_yaxis()
    _say_rates(drawn)
    return drawn


@figure
def published_grid(runs: Mapping[str, Mapping[str, Runs]]) -> Figure:
    """Games won at the end, a panel for each reward, a row for each setting; ``runs`` are by reward, setting, and by
    which rows are learned from."""
    drawn, grid = panels(2, height=0.36 * 6 + 1.0, sharex=True)
    for axes, (reward, settings) in zip(grid, runs.items(), strict=True):
        for place, of_rows in enumerate(settings.values()):
            for offset, (rows, of_rate) in zip((-0.17, 0.17), of_rows.items(), strict=True):
                for rate in RATES:
                    _marks(axes, place + offset, end(of_rate[rate], "wins"), rate, **ROWS[rows], spread=0.05)
        axes.set(yticks=range(len(settings)), yticklabels=list(settings), xlim=(-0.03, 1.03))
        axes.set_title(reward, loc="left", fontsize="medium")
        axes.invert_yaxis()
    grid[-1].set_xlabel("games won")
    shown = [Line2D([], [], linestyle="", label=ROWS_SAID[rows], **look) for rows, look in ROWS.items()]
    _say_rates(drawn, shown)
    return drawn


@figure
def letters(runs: Runs) -> Figure:
    """Mean reward of a command, and share of admissible commands, over the rollouts of the letter counters."""
    drawn, grid = panels(2, height=1.9, sharex=True)
    looks = ({"color": BLUE, "linestyle": "-"}, {"color": VERMILION, "linestyle": "--"})
    for axes, (quantity, said) in zip(grid, (("earned", "reward"), ("admissible", "admissible")), strict=True):
        for look, (label, of_rate) in zip(looks, runs.items(), strict=True):
            data = of_rate["high"]
            axes.plot(data["update"], data[quantity].values.T, linewidth=0.6, alpha=0.45, **look)
            axes.plot(data["update"], data[quantity].values.mean(0), linewidth=2.2, label=label, **look)
        axes.set_ylabel(said)
    grid[-1].set_xlabel("updates")
    drawn.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn


def _marks(axes: Axes, row: float, values: Trials, rate: str, color: str, marker: str, spread: float = 0.09) -> None:
    """One mark a trial, those of the two rates above one another, and a bar at their mean."""
    height = row + (-spread if rate == "low" else spread)
    axes.plot(
        values, np.full(len(values), height), linestyle="", marker=marker, markersize=4.5, color=color, alpha=0.8,
        fillstyle=FILLS[rate], clip_on=False,
    )  # fmt: skip
    if np.isfinite(values).any():
        axes.plot(np.nanmean(values), height, marker="|", markersize=11, markeredgewidth=2, color=BLACK, clip_on=False)


def _say_rates(drawn: Figure, more: list[Line2D] | None = None) -> None:
    shown = [
        Line2D(
            [], [], linestyle="", marker="o", color=GREY, fillstyle=FILLS[rate], label=f"learning rate {RATES[rate]:g}"
        )
        for rate in RATES
    ]
    mean = Line2D([], [], linestyle="", marker="|", markersize=10, color=BLACK, label="mean")
    drawn.legend(handles=[*(more or []), *shown, mean], loc="outside lower center", ncols=3)


@figure
def over_rollouts(runs: Mapping[str, xr.Dataset]) -> Figure:
    """Of the pretrained player: admissible commands, different commands and score against rollouts; a line a seed."""
    drawn, grid = panels(3, height=1.7, sharex=True)
    looks = method_looks(runs)
    for axes, quantity in zip(grid, ("admissible", "different", "score"), strict=True):
        for label, data in runs.items():
            values, look = data["record"].sel(quantity=quantity).values, looks[label]
            rollouts = np.arange(1, values.shape[1] + 1)
            axes.plot(rollouts, values.T, color=look["color"], linestyle=look["linestyle"], linewidth=1.2)
            axes.plot([], [], label=label, color=look["color"], linestyle=look["linestyle"])
        axes.set_ylabel(quantity)
    grid[-1].set_xlabel("rollout")
    drawn.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn
