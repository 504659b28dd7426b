"""Figures of training runs in the prisoner's dilemma: curves over updates, single trials thin, means thick."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from actde_nb.compare.curves import alternating
from actde_nb.pages import drawing
from actde_nb.pages.drawing import CONDITIONS, LAST_MOVE, curves, finish, note
from actde_nb.pages.style import GREY, LOOK, figure, panels


@figure
def shares(runs: Mapping[str, xr.Dataset], source: Sequence[tuple[float, float]] = (), until: float = np.inf) -> Figure:
    """Shares of games over updates, one panel a run; ``source``: points (update, share alternating) of another's."""
    fig, rows = panels(len(runs), height=3.7, sharex=True, sharey=True, squeeze=False)
    longest = max(float(run["update"][-1]) for run in runs.values())
    for axes, (title, data) in zip(rows[:, 0], runs.items(), strict=True):
        drawing.game_shares(axes, title, data)
        for even in (0.25, 0.5):
            axes.axhline(even, linewidth=1, **LOOK["source"])
        axes.set_xlim(0, min(until, longest))
    if len(source):
        drawing.published(rows[0, 0], source, "published trainer")
    rows[0, 0].legend(loc="center right")
    return finish(rows[-1, 0], xlabel="update")


@figure
def variants(runs: Mapping[str, xr.Dataset], until: float, level: float = 0.9) -> Figure:
    """Share of alternating of several runs with the same draws, and below how far each is from the first, by trial."""
    fig, (top, bottom) = panels(2, height=3.3, sharex=True, height_ratios=[1.2, 1])
    first = next(iter(runs.values()))
    for (label, data), (color, style, _) in zip(runs.items(), CONDITIONS, strict=False):
        look = {"color": color, "linestyle": style}
        curves(top, data, alternating(data), label, **look)
        both = min(data.sizes["update"], first.sizes["update"])
        trials = np.intersect1d(data["trial"], first["trial"])
        apart = alternating(data.sel(trial=trials))[:, :both] - alternating(first.sel(trial=trials))[:, :both]
        if data is first:
            bottom.axhline(0, **look)
        else:
            curves(bottom, data.isel(update=slice(both)), apart, None, **look)
    top.axhline(level, linewidth=1, **LOOK["source"])
    top.set(ylabel="share alternating", ylim=(0.45, 1.02), xlim=(0, until))
    top.legend(loc="lower right")
    return finish(bottom, xlabel="update", ylabel=f"minus {next(iter(runs))}")


@figure
def times(samples: Mapping[str, Float[np.ndarray, "trial"]], level: float) -> Figure:
    """When each trial first reached a level: one row a condition, one mark a trial, a bar at the median."""
    fig, axes = panels(height=0.62 * len(samples) + 1.1)
    for row, (values, (color, _, marker)) in enumerate(zip(samples.values(), CONDITIONS, strict=False)):
        # Trials come in steps of a rollout; those that coincide are drawn above one another.
        ordered = np.sort(values)
        above = np.array([np.sum(ordered[:i] == value) for i, value in enumerate(ordered)])
        axes.plot(ordered, row - 0.2 * above, marker, color=color, alpha=0.8, markersize=7)
        axes.plot(2 * [np.median(values)], [row - 0.35, row + 0.3], color=color, linewidth=2.5)
    drawing.row_names(axes, list(samples), 0.6, 0.55)
    axes.set_xlabel(f"updates until {level:.0%} of the games alternate")
    axes.grid(axis="y", visible=False)
    return fig


@figure
def cooperation(runs: Mapping[str, xr.Dataset], until: float) -> Figure:
    """Probability of cooperating after either move over updates, one panel a run."""
    fig, rows = panels(len(runs), height=3.1, sharex=True, sharey=True, squeeze=False)
    for axes, (title, data) in zip(rows[:, 0], runs.items(), strict=True):
        for move, (label, look) in LAST_MOVE.items():
            curves(axes, data, data["cooperation"].sel(last_move=move).values, label, **look)
        axes.axhline(0.5, linewidth=1, **LOOK["source"])
        axes.set(title=title, ylabel="probability of c", ylim=(-0.02, 1.02), xlim=(0, until))
    rows[0, 0].legend(loc="center right")
    return finish(rows[-1, 0], xlabel="update")


@figure
def histories(gaps: Float[np.ndarray, "trial history"], names: Sequence[str]) -> Figure:
    """Logit gap after every history, one mark a trial; histories are ordered by their moves, the latest first."""
    fig, axes = panels(height=4.2)
    order = sorted(range(len(names)), key=lambda i: names[i][::-1])
    for (move, (label, look)), marker in zip(LAST_MOVE.items(), "os", strict=True):
        at = [place for place, i in enumerate(order) if names[i][-1] == move]
        chosen, color = gaps[:, [order[place] for place in at]], look["color"]
        axes.plot(at, chosen.T, marker, color=color, alpha=0.5, markersize=4)
        axes.plot(at, chosen.mean(0), color=color, linewidth=1.5)
        height = chosen.mean() - np.sign(chosen.mean()) * 0.22 * np.ptp(gaps)
        axes.text(np.mean(at), height, label, color=color, ha="center", va="center", fontsize=13)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(ylabel="logit gap, c minus d (nats)", xlabel="history: 64 ways to have played the last six moves")
    ticks = [0, len(names) // 2 - 1, len(names) // 2, len(names) - 1]
    axes.set_xticks(ticks, [names[order[i]] for i in ticks])
    for label, align in zip(axes.get_xticklabels(), ("left", "right", "left", "right"), strict=True):
        label.set_horizontalalignment(align)
    return fig


@figure
def logit_gap(data: xr.Dataset, rate: float, games: int, late: float) -> Figure:
    """Size of the logit gap after either move over updates; below, from update ``late`` on, one line a trial.
    A line rises by ``rate`` nats an update; another marks one mistake on average in a rollout of ``games``."""
    fig, (top, bottom) = panels(2, height=3.5)
    update = data["update"].values
    gaps = {move: np.abs(data["logit_gap"].sel(last_move=move).values) for move in LAST_MOVE}
    for move, (label, look) in LAST_MOVE.items():
        curves(top, data, gaps[move], label, **look)
        bottom.plot(update, gaps[move].T, linewidth=1.1, alpha=0.8, **look)
    highest = max(gap.max() for gap in gaps.values())
    shown = update[rate * update < highest + 0.5]
    top.plot(shown, rate * shown, **LOOK["theory"])
    note(top, "as fast as Adam\nmoves the head", (5 / rate, 5), (16, -4), va="top")
    top.axhline(np.log(games), linewidth=1.2, **LOOK["source"])
    top.text(update[-1], np.log(games) - 0.25, "one mistake a rollout", color=GREY, ha="right", va="top")
    top.set(xlim=(0, update[-1]), ylim=(0, highest + 0.5), ylabel="logit gap, size (nats)")
    top.legend(loc="lower right")
    lowest = min(gap[:, update >= late].min() for gap in gaps.values())
    bottom.set(xlim=(late, update[-1]), ylim=(lowest - 0.2, highest + 0.2), ylabel="logit gap, size (nats)")
    return finish(bottom, xlabel="update")
