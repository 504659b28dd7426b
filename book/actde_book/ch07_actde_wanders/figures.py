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
from actde_nb.pages.drawing import LAST_MOVE, OUTCOMES, curves
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, VERMILION, figure, panels

LEARNERS = {"ACTDE": LOOK["actde"], "PPO": {**LOOK["value"], "linestyle": "--"}}


@figure
def beside_ppo(pairs: Mapping[str, tuple[xr.Dataset, xr.Dataset]], until: float) -> Figure:
    """Share of alternating games for ACTDE and PPO with the same draws, and below the difference, with its interval.

    Args:
        pairs: title -> results of ACTDE, results of PPO; a panel each, and one for their differences.
        until: last update to show.
    """
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
    rows[-1].legend(loc="lower left")
    return fig


def difference(
    actde: xr.Dataset, ppo: xr.Dataset
) -> tuple[Float[np.ndarray, "update"], Float[np.ndarray, "trial update"]]:
    """Updates, and trial by trial how much more of its games ACTDE alternates in than PPO."""
    other = aligned(ppo, actde, alternating(ppo))
    return actde["update"].values[: other.shape[1]], alternating(actde)[:, : other.shape[1]] - other


@figure
def race(actde: xr.Dataset, ppo: xr.Dataset, true: Float[np.ndarray, "trial update last_move"], rate: float,
         until: float) -> Figure:  # fmt: skip
    """How q catches up: its gaps beside the exact ones, and the size of what the policy learns from.

    Args:
        actde: results.
        ppo: results with the same draws.
        true: gaps in the exact action values of the policies that ACTDE played.
        rate: units of reward an update, drawn as a falling line.
        until: last update to show.
    """
    fig, (top, bottom) = panels(2, height=3.3, sharex=True)
    update = actde["update"].values
    shown = update <= until
    for index, (move, (label, look)) in enumerate(LAST_MOVE.items()):
        curves(top, actde, actde["q_gap"].sel(last_move=move).values, None, **look)
        top.plot(update, true[..., index].mean(0), linewidth=1.2, color=BLACK, linestyle=(0, (4, 2)))
        end = actde["q_gap"].sel(last_move=move).values[:, shown].mean(0)[-1]
        top.annotate(label, (until, end), (-4, -8), textcoords="offset points", ha="right", va="top",
                     color=look["color"])  # fmt: skip
    top.set(ylabel="gap in q, c minus d")
    for (name, look), data in zip(LEARNERS.items(), (actde, ppo), strict=True):
        curves(bottom, data, data["advantage_sd"].values, name, **look)
    start = float(actde["advantage_sd"][:, 0].mean())
    falling = np.array([update[0], update[0] + start / rate])
    bottom.plot(falling, [start, 0], label="as fast as Adam moves a head", **LOOK["theory"])
    bottom.set(xlabel="update", ylabel="sd of advantages", xlim=(0, until), ylim=(-0.03, 1.1 * start))
    bottom.legend(loc="upper right")
    return fig


@figure
def all_updates(runs: Mapping[str, xr.Dataset], source: Sequence[tuple[float, float]] = ()) -> Figure:
    """Shares of games over a whole run: single trials, their mean, a ribbon of one standard deviation.

    Args:
        runs: title -> results, one panel each.
        source: points (update, share of alternating) of one run that somebody else measured.
    """
    fig, rows = panels(len(runs), height=3.7, sharex=True, sharey=True, squeeze=False)
    for axes, (title, data) in zip(rows[:, 0], runs.items(), strict=True):
        for name, outcomes in OUTCOMES.items():
            share = data["outcome_share"].sel(outcome=list(outcomes)).sum("outcome").values
            curves(axes, data, share, name, **LOOK[name])
            mean, deviation = share.mean(0), share.std(0, ddof=1)
            axes.fill_between(data["update"], mean - deviation, mean + deviation, color=LOOK[name]["color"],
                              alpha=0.15, linewidth=0)  # fmt: skip
        axes.plot(*zip(*source, strict=True), linestyle="none", marker="o", markersize=8, color=BLACK,
                  markerfacecolor="white", markeredgewidth=2, label="published run", zorder=5)  # fmt: skip
        longest = max(float(run["update"][-1]) for run in runs.values())
        axes.set(title=title, ylabel="share of games", ylim=(-0.02, 1.02), xlim=(-0.01 * longest, 1.01 * longest))
    rows[-1, 0].set_xlabel("update")
    rows[0, 0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=4, columnspacing=1, handlelength=1.6)
    return fig


@figure
def single_trials(data: xr.Dataset) -> Figure:
    """Every trial in a strip of its own: share of alternating games, and entropy of a move as a share of a coin's."""
    share, entropy = alternating(data), data["entropy"].values / np.log(2)
    fig, rows = panels(len(share), height=0.78, sharex=True, sharey=True)
    update = data["update"].values
    for trial, axes in enumerate(rows):
        axes.plot(update, share[trial], linewidth=1.6, color=GREEN, label="share alternating")
        axes.plot(
            update, entropy[trial], linewidth=1.2, color=BLACK, linestyle=(0, (3, 1)), label="entropy, of a coin's"
        )
        axes.text(1.01, 0.5, str(trial), transform=axes.transAxes, va="center")
        axes.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1], yticklabels=["0", "", "1"])
    rows[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    rows[-1].set(xlabel="update", xlim=(0, update[-1]))
    return fig


@figure
def restoring(
    lags: Float[np.ndarray, "lag"],
    spreads: Mapping[str, tuple[Float[np.ndarray, "lag"], Float[np.ndarray, "resample lag"]]],
    fit: Float[np.ndarray, "lag"],
    data: xr.Dataset,
    ribbon: float,
) -> Figure:
    """How far trials get from where they were, by the time they take; below, how far they are from one another.

    Args:
        lags: in updates.
        spreads: label -> half the mean squared change over each lag, and the same for resampled trials.
        fit: what the fitted pull back makes of it.
        data: results; the deviation over its trials is drawn over updates.
        ribbon: deviation that a source shows.
    """
    fig, (top, bottom) = panels(2, height=3.4)
    looks = zip((BLUE, VERMILION, GREEN), ("o", "s", "^"), ("-", "-.", "--"), strict=True)
    first = next(iter(spreads.values()))[0]
    for (label, (spread, resampled)), (color, marker, style) in zip(spreads.items(), looks, strict=False):
        low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
        top.fill_between(lags, low, high, color=color, alpha=0.15, linewidth=0)
        top.plot(lags, spread, marker=marker, markersize=5, color=color, linestyle=style, label=label)
    top.plot(lags, fit, label="pulled back, as fitted", **LOOK["theory"])
    highest = max(spread.max() for spread, _ in spreads.values())
    walk = first[0] * lags / lags[0]
    free = walk <= 1.15 * highest
    top.plot(lags[free], walk[free], label="walk without a pull", **LOOK["source"])
    top.set(xlabel="lag (updates)", ylabel="half mean squared\nchange (nats²)", xlim=(0, None), ylim=(0, 1.2 * highest))
    top.legend(loc="upper left", fontsize=10)
    bottom.plot(data["update"], alternating(data).std(0, ddof=1), color=GREEN)
    bottom.axhline(ribbon, **LOOK["source"])
    bottom.annotate("published ribbon", (0, ribbon), (4, 3), textcoords="offset points", color=GREY, va="bottom")
    bottom.set(xlabel="update", ylabel="sd over trials of\nshare alternating", ylim=(0, None),
               xlim=(0, float(data["update"][-1])))  # fmt: skip
    return fig


@figure
def thermometer(data: xr.Dataset, by_shares: Float[np.ndarray, "trial update"], since: float) -> Figure:
    """Logit gaps against gaps in q, with straight lines for temperatures; below, inverse temperatures over updates.

    Args:
        data: results.
        by_shares: inverse temperature by the share law; what is not finite is left out.
        since: first update of the upper panel.
    """
    fig, (top, bottom) = panels(2, height=3.9, height_ratios=[1.15, 1])
    late = data["update"].values >= since
    widest = 0.0
    for index, (move, (label, look)) in enumerate(LAST_MOVE.items()):
        q, logit = (data[name].sel(last_move=move).values[:, late].ravel() for name in ("q_gap", "logit_gap"))
        top.plot(q, logit, "os"[index], markersize=2.5, alpha=0.35, color=look["color"], label=label)
        widest = max(widest, np.nanmax(np.abs(q)))
    low, high = top.get_ylim()
    for temperature in (1.0, 0.1):
        ends = np.array([max(-1.1 * widest, low * temperature), min(1.1 * widest, high * temperature)])
        top.plot(ends, ends / temperature, linewidth=1.4, color=BLACK, linestyle=(0, (4, 2)))
        place = (ends[0], ends[0] / temperature), (3, 5 if temperature == 1 else -16)
        top.annotate(f"$\\tau$ = {temperature:g}", *place, textcoords="offset points", fontsize=11)
    top.set(xlabel="gap in q (reward)", ylabel="logit gap (nats)", ylim=(low, high))
    for handle in top.legend(loc="lower right", markerscale=2.5).legend_handles:
        handle.set_alpha(1)
    _inverse_temperatures(bottom, data, by_shares)
    return fig


def _inverse_temperatures(axes: Axes, data: xr.Dataset, by_shares: Float[np.ndarray, "trial update"]) -> None:
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
    """Late share of alternating games, one row a payoff matrix: trials, their mean with its interval, candidates.

    Args:
        samples: row -> trials.
        rest: row -> share at the tabular fixed point of temperature one.
        line: row -> the post's dotted line.
    """
    fig, axes = panels(height=0.62 * len(samples) + 1.7)
    axes.axvline(0.5, linewidth=1.2, **LOOK["source"])
    for row, (name, values) in enumerate(samples.items()):
        mean, half = t_interval(values)
        axes.plot(values, np.full(len(values), row - 0.16), "o", color=GREEN, alpha=0.7, markersize=6,
                  label="trials" if row == 0 else None)  # fmt: skip
        axes.errorbar(mean, row + 0.16, xerr=half, fmt="s", color=GREEN, capsize=4, markersize=5,
                      label="mean, 95 %" if row == 0 else None)  # fmt: skip
        axes.plot(rest[name], row + 0.16, "x", color=BLACK, markersize=9, markeredgewidth=2.4,
                  label="fixed point, $\\tau = 1$" if row == 0 else None)  # fmt: skip
        axes.plot(line[name], row + 0.16, "D", color=GREY, markerfacecolor="white", markersize=7, markeredgewidth=1.6,
                  label="post's line" if row == 0 else None)  # fmt: skip
    axes.set_yticks(range(len(samples)), list(samples))
    axes.set(ylim=(len(samples) - 0.5, -0.5), xlim=(-0.02, 1.02), xlabel="share alternating, later half of the run")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, columnspacing=1)
    return fig
