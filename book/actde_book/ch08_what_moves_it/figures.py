"""Figures of chapter 8: what moves the policy."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from actde_nb.compare.curves import alternating
from actde_nb.pages.drawing import CONDITIONS, curves
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION, figure, panels

FORCES = {
    "policy": ("policy loss", {"color": BLUE, "linestyle": "-"}),
    "q": ("q loss", {"color": ORANGE, "linestyle": "-."}),
    "value": ("value loss", {"color": PURPLE, "linestyle": (0, (5, 1))}),
    "decay": ("weight decay", {"color": GREEN, "linestyle": "--"}),
    "before": ("before", {"color": BLACK, "linestyle": (0, (1, 2))}),
    "curvature": ("curvature", {"color": GREY, "linestyle": ":"}),
}
MOVES = {"c": "after cooperating", "d": "after defecting"}


@figure
def pushes(places: Mapping[str, xr.Dataset], forces: Sequence[str] = ("policy", "q", "value")) -> Figure:
    """Size of the push on the gap in an update, mean over rollouts against noise from rollout to rollout, log scale.

    Args:
        places: label -> what ``update_decomposition.pushes`` found; two of them.
        forces: which, in order from the top.
    """
    fig, axes = panels(columns=2, height=3.6, sharey=True)
    rows = {}
    for column, (kind, title) in enumerate({"plain": "plain descent", "adam": "Adam"}.items()):
        row = 0
        for (label, data), (color, _, marker) in zip(places.items(), CONDITIONS, strict=False):
            for force in forces:
                if force not in data["force"]:
                    continue
                rows[row] = f"{label}: {FORCES[force][0]}"
                push = data[kind].sel(force=force)
                size, noise = np.abs(push.mean("rollout")).values.ravel(), push.std("rollout", ddof=1).values.ravel()
                axes[column].plot(size, np.full(size.shape, row), marker, color=color, markersize=7, alpha=0.8)
                axes[column].plot(noise, np.full(noise.shape, row + 0.3), "|", color=BLACK, markersize=9)
                row += 1
        size = np.abs(next(iter(places.values()))["decay"]).values.ravel()
        axes[column].plot(size, np.full(size.shape, row), "P", color=GREEN, markersize=7, alpha=0.8)
        rows[row] = "weight decay"
        axes[column].set(xscale="log", xlabel="nats an update", title=title)
        axes[column].grid(axis="y", visible=False)
        axes[column].locator_params(axis="x", numticks=5)
    axes[0].set_yticks(list(rows), list(rows.values()))
    axes[0].set_ylim(len(rows) - 0.4, -0.5)
    return fig


@figure
def sizes(update: np.ndarray, gradient: np.ndarray, step: np.ndarray) -> Figure:
    """Root mean squares over all weights, ``[trial, update]``: of the gradient as Adam knows it, and of its steps."""
    fig, axes = panels(height=3.5)
    for values, label, look in (
        (gradient, "gradient", {"color": VERMILION, "linestyle": "-"}),
        (step, "Adam's step", {"color": BLUE, "linestyle": "--"}),
    ):
        axes.plot(update, values.T, linewidth=0.6, alpha=0.45, color=look["color"])
        mean = np.exp(np.log(values).mean(0))
        axes.plot(update, mean, **look)
        axes.annotate(label, (update[len(update) // 2], mean[len(update) // 2]), (14, 12), textcoords="offset points",
                      color=look["color"], ha="left", fontsize=13)  # fmt: skip
    axes.set(yscale="log", xlabel="update", ylabel="root mean square", xlim=(0, update[-1]))
    return fig


@figure
def ledger(data: xr.Dataset, trials: int = 3) -> Figure:
    """What each force has added to the gap since the first entry: a row a trial, a column a last move.

    Args:
        data: from ``update_decomposition.Ledger.dataset``.
        trials: how many to show.
    """
    shown = data["trial"].values[:trials]
    fig, axes = panels(len(shown), 2, height=2.3, sharex=True, sharey=True, squeeze=False)
    total = data["push"].cumsum("update")
    update = data["update"].values + 1
    for row, trial in enumerate(shown):
        for column, (move, title) in enumerate(MOVES.items()):
            entry, panel = total.sel(trial=trial, last_move=move), axes[row, column]
            for force, (label, look) in FORCES.items():
                panel.plot(update, entry.sel(force=force), label=label, **look)
            panel.plot(update, entry.sum("force"), color=BLACK, linewidth=3, alpha=0.55, label="all together")
            panel.axhline(0, color=GREY, linewidth=0.8)
            panel.set_xlim(update[0], update[-1])
            if row == 0:
                panel.set_title(title)
        axes[row, 0].set_ylabel(f"trial {trial}: nats")
    for panel in axes[-1]:
        panel.set_xlabel("update")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


@figure
def branches(runs: Mapping[str, np.ndarray], update: np.ndarray, start: float) -> Figure:
    """Share of alternating games of runs that are one run up to ``start``, one panel a setting, one line a trial.

    Args:
        runs: label -> shares [trial, update].
        update: of the points.
        start: where the runs part.
    """
    columns = 2
    rows = -(-len(runs) // columns)
    fig, axes = panels(rows, columns, height=2.2, sharex=True, sharey=True, squeeze=False)
    for panel, (label, shares) in zip(axes.flat, runs.items(), strict=False):
        for trial, (color, style, _) in zip(shares, CONDITIONS, strict=False):
            panel.plot(update, trial, color=color, linestyle=style, linewidth=1.5)
        panel.axvline(start, linewidth=1, **LOOK["source"])
        panel.set(title=label, xlim=(update[0], update[-1]))
    for panel in axes.flat[len(runs) :]:
        panel.axis("off")
    for panel in axes[:, 0]:
        panel.set_ylabel("alternating")
    for column in range(columns):
        used = [row for row in range(rows) if row * columns + column < len(runs)]
        axes[used[-1], column].set_xlabel("update")
        axes[used[-1], column].tick_params(labelbottom=True)
    return fig


@figure
def trajectories(runs: Mapping[str, xr.Dataset], level: float, until: float = np.inf) -> Figure:
    """Share of alternating games over updates, one panel a run, one line a trial and their mean thick.

    Args:
        runs: label -> results.
        level: a share to mark, the tabular fixed point's.
        until: last update to show.
    """
    rows = -(-len(runs) // 2)
    longest = max(float(data["update"][-1]) for data in runs.values())
    fig, axes = panels(rows, 2, height=2.5, sharex=True, sharey=True, squeeze=False)
    for panel, (label, data), (color, style, _) in zip(axes.flat, runs.items(), CONDITIONS, strict=False):
        curves(panel, data, alternating(data), None, color=color, linestyle=style)
        panel.axhline(level, linewidth=1.2, **LOOK["theory"])
        panel.axhline(0.5, linewidth=1.2, **LOOK["source"])
        panel.set(title=label, xlim=(0, min(until, longest)), ylim=(-0.02, 1.02))
    for panel in axes.flat[len(runs) :]:
        panel.axis("off")
    for panel in axes[:, 0]:
        panel.set_ylabel("alternating")
    for column in range(2):
        used = [row for row in range(rows) if 2 * row + column < len(runs)]
        axes[used[-1], column].set_xlabel("update")
        axes[used[-1], column].tick_params(labelbottom=True)
    return fig


@figure
def forest(table: xr.Dataset, lines: Mapping[str, float]) -> Figure:
    """Late share of alternating games and its difference to the first run, with intervals: a row a run.

    Args:
        table: from :func:`actde_nb.compare.intervals.late_effects`.
        lines: label -> share to mark; two, the higher one first.
    """
    names = table["run"].values
    fig, (left, right) = panels(columns=2, height=0.42 * len(names) + 1.5, sharey=True)
    for row, name in enumerate(names):
        color, _, marker = CONDITIONS[0] if row == 0 else (BLUE, "", "o")
        for axes, what in ((left, "share"), (right, "effect")):
            value, low, high, _ = table[what].sel(run=name).values
            if np.isfinite(value):
                axes.plot([low, high], [row, row], color=color, linewidth=2.5, solid_capstyle="butt")
                axes.plot(value, row, marker, color=color, markersize=8)
    for (label, share), look, side in zip(lines.items(), ("theory", "source"), ("left", "right"), strict=False):
        left.axvline(share, linewidth=1.4, **LOOK[look])
        left.text(share, -0.75, label, ha=side, va="bottom", fontsize=10, color=LOOK[look]["color"])
    right.axvline(0, linewidth=1.2, **LOOK["source"])
    left.set_yticks(range(len(names)), list(names))
    left.set(ylim=(len(names) - 0.4, -0.7), xlabel="share alternating")
    right.set_xlabel("minus the plain run")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    return fig


@figure
def control(runs: Mapping[str, xr.Dataset], points: Mapping[str, float], until: float) -> Figure:
    """Networks that play the softmax of their q: share of alternating games beside the table's fixed point.

    Args:
        runs: label -> results.
        points: label -> the fixed point's share.
        until: last update to show.
    """
    fig, axes = panels(height=3.4)
    for (label, data), (color, style, _) in zip(runs.items(), CONDITIONS[1:], strict=False):
        curves(axes, data, alternating(data), None, color=color, linestyle=style)
        axes.axhline(points[label], **{**LOOK["theory"], "linewidth": 1.5})
        axes.text(0.98 * until, points[label] + 0.02, label, color=color, ha="right", va="bottom", fontsize=13)
    axes.set(xlabel="update", ylabel="share alternating", xlim=(0, until), ylim=(None, max(points.values()) + 0.08))
    return fig
