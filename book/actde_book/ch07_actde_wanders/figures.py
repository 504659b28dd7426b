"""Figures of ACTDE's runs in the prisoner's dilemma: its race with q, its wandering, and where that leads."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actde_book.ch07_actde_wanders.time_series import aligned
from actde_nb.compare.curves import alternating
from actde_nb.compare.intervals import t_interval
from actde_nb.pages.drawing import LAST_MOVE, curves, finish, game_shares, line_of, note, published, row_names
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, METHODS, ORANGE, VERMILION, figure, panels

LEARNERS = {name: line_of(METHODS[name]) for name in ("ACTDE", "PPO")}
Trials = Float[np.ndarray, "trial update"]
Lags = Float[np.ndarray, "lag"]
Resampled = Float[np.ndarray, "resample lag"]


@figure
def beside_ppo(pairs: Mapping[str, tuple[xr.Dataset, xr.Dataset]], until: float) -> Figure:
    """Share of alternating games for ACTDE and PPO with the same draws, and below the difference, with its interval."""
    fig, rows = panels(len(pairs) + 1, height=2.6, sharex=True)
    lowest = 0.0
    for (title, pair), axes, color, style in zip(pairs.items(), rows, (BLUE, ORANGE), ("-", "-."), strict=False):
        for (name, look), data in zip(LEARNERS.items(), pair, strict=True):
            curves(axes, data, alternating(data), name, **look)
        axes.set(title=title, ylabel="share alternating", ylim=(0.45, 1.02))
        update, apart = difference(*pair)
        mean, half = t_interval(apart)
        rows[-1].plot(update, mean, color=color, linestyle=style, label=title)
        rows[-1].fill_between(update, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
        lowest = min(lowest, (mean - half)[update <= until].min())
    rows[-1].axhline(0, linewidth=1, **LOOK["source"])
    rows[-1].set(xlabel="update", ylabel="ACTDE minus PPO", xlim=(0, until), ylim=(1.05 * lowest, 0.05))
    rows[0].legend(loc="lower right")
    return finish(rows[-1], legend="lower left")


def difference(actde: xr.Dataset, ppo: xr.Dataset) -> tuple[Float[np.ndarray, "update"], Trials]:
    """Updates, and trial by trial how much more of its games ACTDE alternates in than PPO."""
    other = aligned(ppo, actde, alternating(ppo))
    return actde["update"].values[: other.shape[1]], alternating(actde)[:, : other.shape[1]] - other


@figure
def race(
    actde: xr.Dataset, ppo: xr.Dataset, true: Float[np.ndarray, "trial update last_move"], rate: float, until: float
) -> Figure:
    """How q catches up: its gaps beside the ``true`` ones of ACTDE's policies, and what the policies learn from.
    A line falls by ``rate`` units of reward an update."""
    fig, (top, bottom) = panels(2, height=3.3, sharex=True)
    update = actde["update"].values
    for index, (move, (label, look)) in enumerate(LAST_MOVE.items()):
        gaps = actde["q_gap"].sel(last_move=move).values
        curves(top, actde, gaps, None, **look)
        top.plot(update, true[..., index].mean(0), linewidth=1.2, **LOOK["theory"])
        end = gaps[:, update <= until].mean(0)[-1]
        note(top, label, (until, end), (-4, -8), ha="right", va="top", color=look["color"])
    top.set(ylabel="gap in q, c minus d")
    for (name, look), data in zip(LEARNERS.items(), (actde, ppo), strict=True):
        curves(bottom, data, data["advantage_sd"].values, name, **look)
    start = float(actde["advantage_sd"][:, 0].mean())
    falling = np.array([update[0], update[0] + start / rate])
    bottom.plot(falling, [start, 0], label="as fast as Adam moves a head", **LOOK["theory"])
    bottom.set(xlabel="update", ylabel="sd of advantages", xlim=(0, until), ylim=(-0.03, 1.1 * start))
    return finish(bottom, legend="upper right")


@figure
def all_updates(runs: Mapping[str, xr.Dataset], source: Sequence[tuple[float, float]]) -> Figure:
    """Shares of games over whole runs: single trials, mean, standard deviation; another's points (``source``)."""
    fig, rows = panels(len(runs), height=3.7, sharex=True, sharey=True, squeeze=False)
    longest = max(float(run["update"][-1]) for run in runs.values())
    for axes, (title, data) in zip(rows[:, 0], runs.items(), strict=True):
        game_shares(axes, title, data, ribbon=True)
        published(axes, source, "published run")
        axes.set_xlim(-0.01 * longest, 1.01 * longest)
    rows[-1, 0].set_xlabel("update")
    rows[0, 0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=4, columnspacing=1, handlelength=1.6)
    return fig


@figure
def single_trials(data: xr.Dataset) -> Figure:
    """Every trial in a strip of its own: share of alternating games, and entropy of a move as a share of a coin's."""
    share, entropy = alternating(data), data["entropy"].values / np.log(2)
    fig, rows = panels(len(share), height=0.78, sharex=True, sharey=True)
    update, dashed = data["update"].values, (0, (3, 1))
    for trial, axes in enumerate(rows):
        axes.plot(update, share[trial], linewidth=1.6, color=GREEN, label="share alternating")
        axes.plot(update, entropy[trial], linewidth=1.2, color=BLACK, linestyle=dashed, label="entropy, of a coin's")
        axes.text(1.01, 0.5, str(trial), transform=axes.transAxes, va="center")
        axes.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1], yticklabels=["0", "", "1"])
    rows[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return finish(rows[-1], xlabel="update", xlim=(0, update[-1]))


@figure
def restoring(
    lags: Lags, spreads: Mapping[str, tuple[Lags, Resampled]], fit: Lags, data: xr.Dataset, ribbon: float
) -> Figure:
    """Half the mean squared change over each lag (resampled: bands) beside the fitted pull back; below, their spread.
    ``ribbon``: the deviation over trials that a source shows."""
    fig, (top, bottom) = panels(2, height=3.4)
    looks = ((BLUE, "o", "-"), (VERMILION, "s", "-."), (GREEN, "^", "--"))
    for (label, (spread, resampled)), (color, marker, style) in zip(spreads.items(), looks, strict=False):
        low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
        top.fill_between(lags, low, high, color=color, alpha=0.15, linewidth=0)
        top.plot(lags, spread, marker=marker, markersize=5, color=color, linestyle=style, label=label)
    top.plot(lags, fit, label="pulled back, as fitted", **LOOK["theory"])
    highest = max(spread.max() for spread, _ in spreads.values())
    walk = next(iter(spreads.values()))[0][0] * lags / lags[0]
    free = walk <= 1.15 * highest
    top.plot(lags[free], walk[free], label="walk without a pull", **LOOK["source"])
    top.set(xlabel="lag (updates)", ylabel="half mean squared\nchange (nats²)", xlim=(0, None), ylim=(0, 1.2 * highest))
    top.legend(loc="upper left", fontsize=10)
    bottom.plot(data["update"], alternating(data).std(0, ddof=1), color=GREEN)
    bottom.axhline(ribbon, **LOOK["source"])
    note(bottom, "published ribbon", (0, ribbon), (4, 3), color=GREY, va="bottom")
    bottom.set(xlabel="update", ylabel="sd over trials of\nshare alternating", ylim=(0, None))
    bottom.set_xlim(0, float(data["update"][-1]))
    return fig


@figure
def thermometer(data: xr.Dataset, by_shares: Trials, since: float) -> Figure:
    """Logit gaps against gaps in q from update ``since`` on, with lines for temperatures; below, inverse temperatures.
    ``by_shares``: the inverse temperature by the share law; what is not finite is left out."""
    fig, (top, bottom) = panels(2, height=3.9, height_ratios=[1.15, 1])
    late = data["update"].values >= since
    widest = 0.0
    for index, (move, (label, look)) in enumerate(LAST_MOVE.items()):
        q, logit = (data[name].sel(last_move=move).values[:, late].ravel() for name in ("q_gap", "logit_gap"))
        top.plot(q, logit, "os"[index], markersize=2.5, alpha=0.35, color=look["color"], label=label)
        widest = max(widest, np.nanmax(np.abs(q)))
    low, high = top.get_ylim()
    for temperature, above in ((1.0, 5), (0.1, -16)):
        ends = np.array([max(-1.1 * widest, low * temperature), min(1.1 * widest, high * temperature)])
        top.plot(ends, ends / temperature, linewidth=1.4, **LOOK["theory"])
        note(top, f"$\\tau$ = {temperature:g}", (ends[0], ends[0] / temperature), (3, above), fontsize=11)
    top.set(xlabel="gap in q (reward)", ylabel="logit gap (nats)", ylim=(low, high))
    for handle in top.legend(loc="lower right", markerscale=2.5).legend_handles:
        handle.set_alpha(1)
    _inverse_temperatures(bottom, data, by_shares)
    return fig


def _inverse_temperatures(axes: Axes, data: xr.Dataset, by_shares: Trials) -> None:
    update = data["update"].values
    shown = np.where(np.isfinite(by_shares), by_shares, np.nan)
    axes.plot(update, shown.T, linewidth=0.6, alpha=0.5, color=GREEN)
    axes.plot(update, np.nanmedian(shown, 0), color=GREEN, label="share law")
    for move, (label, look) in LAST_MOVE.items():
        ratio = data["logit_gap"].sel(last_move=move).values / data["q_gap"].sel(last_move=move).values
        axes.plot(update[update > 250], np.nanmedian(ratio, 0)[update > 250], label=label, **look)
    axes.axhline(1, linewidth=1.2, **LOOK["theory"])
    axes.set(xlabel="update", ylabel="nats per unit of reward", ylim=(-4, 17), xlim=(0, update[-1]))
    axes.legend(loc="lower left", ncols=3, columnspacing=1, handlelength=1.6)


@figure
def where_to(
    samples: Mapping[str, Float[np.ndarray, "trial"]], rest: Mapping[str, float], line: Mapping[str, float]
) -> Figure:
    """Late share of alternating games, one row a payoff matrix: trials, mean, fixed point, the post's line."""
    fig, axes = panels(height=0.62 * len(samples) + 1.7)
    axes.axvline(0.5, linewidth=1.2, **LOOK["source"])
    labels = ("trials", "mean, 95 %", "fixed point, $\\tau = 1$", "post's line")
    for row, (name, values) in enumerate(samples.items()):
        trials, interval, fixed, dotted = labels if row == 0 else 4 * [None]
        (mean, half), low = t_interval(values), row + 0.16
        axes.plot(values, np.full(len(values), row - 0.16), "o", color=GREEN, alpha=0.7, markersize=6, label=trials)
        axes.errorbar(mean, low, xerr=half, fmt="s", color=GREEN, capsize=4, markersize=5, label=interval)
        axes.plot(rest[name], low, "x", color=BLACK, markersize=9, markeredgewidth=2.4, label=fixed)
        hollow = {"color": GREY, "markerfacecolor": "white", "markeredgewidth": 1.6}
        axes.plot(line[name], low, "D", markersize=7, label=dotted, **hollow)
    row_names(axes, list(samples))
    axes.set(xlim=(-0.02, 1.02), xlabel="share alternating, later half of the run")
    axes.grid(axis="y", visible=False)
    return finish(axes, legend={"loc": "lower center", "bbox_to_anchor": (0.45, 1.0), "ncols": 2, "columnspacing": 1})
