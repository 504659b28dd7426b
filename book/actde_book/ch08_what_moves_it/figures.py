"""Figures of chapter 8: what moves the policy."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from actde_nb.compare.curves import alternating
from actde_nb.pages.drawing import CONDITIONS, LAST_MOVE, curves, finish, note, row_names
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION, figure, panels

FORCES = {
    "policy": ("policy loss", {"color": BLUE, "linestyle": "-"}),
    "q": ("q loss", {"color": ORANGE, "linestyle": "-."}),
    "value": ("value loss", {"color": PURPLE, "linestyle": (0, (5, 1))}),
    "rest": ("the rest", {"color": GREEN, "linestyle": "--"}),
}
Updates = Int[np.ndarray, "update"]
Trials = Float[np.ndarray, "trial update"]


@figure
def pushes(places: Mapping[str, xr.Dataset], forces: Sequence[str] = ("policy", "q", "value")) -> Figure:
    """Push on the gap in an update (``update_decomposition.pushes``): mean over rollouts against its noise."""
    fig, axes_of = panels(columns=2, height=3.6, sharey=True)
    for axes, kind, title in zip(axes_of, ("plain", "adam"), ("plain descent", "Adam"), strict=True):
        names = []
        for (label, data), (color, _, marker) in zip(places.items(), CONDITIONS, strict=False):
            for force in forces:
                if force not in data["force"]:
                    continue
                push, row = data[kind].sel(force=force), len(names)
                size, noise = np.abs(push.mean("rollout")).values.ravel(), push.std("rollout", ddof=1).values.ravel()
                axes.plot(size, np.full(size.shape, row), marker, color=color, markersize=7, alpha=0.8)
                axes.plot(noise, np.full(noise.shape, row + 0.3), "|", color=BLACK, markersize=9)
                names.append(f"{label}: {FORCES[force][0]}")
        size = np.abs(next(iter(places.values()))["decay"]).values.ravel()
        axes.plot(size, np.full(size.shape, len(names)), "P", color=GREEN, markersize=7, alpha=0.8)
        names.append("weight decay")
        axes.set(xscale="log", xlabel="nats an update", title=title)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", numticks=5)
    row_names(axes_of[0], names, 0.5, 0.6)
    return fig


@figure
def sizes(update: Updates, gradient: Trials, step: Trials) -> Figure:
    """Root mean squares over all weights: of the gradient as Adam knows it, and of its steps."""
    fig, axes = panels(height=3.5)
    for values, label, color, style in ((gradient, "gradient", VERMILION, "-"), (step, "Adam's step", BLUE, "--")):
        axes.plot(update, values.T, linewidth=0.6, alpha=0.45, color=color)
        mean, middle = np.exp(np.log(values).mean(0)), len(update) // 2
        axes.plot(update, mean, color=color, linestyle=style)
        note(axes, label, (update[middle], mean[middle]), (14, 12), color=color, ha="left", fontsize=13)
    return finish(axes, yscale="log", xlabel="update", ylabel="root mean square", xlim=(0, update[-1]))


@figure
def ledger(data: xr.Dataset, trials: int = 3, apart: Sequence[str] = ("policy", "q")) -> Figure:
    """What the forces of ``update_decomposition.Ledger`` have added to the gap: a row a trial, a column a move.
    A line for each force of ``apart``, one for all others ("the rest"), and one for the sum of all."""
    shown = data["trial"].values[:trials]
    fig, axes = panels(len(shown), 2, height=2.3, sharex=True, sharey=True, squeeze=False)
    total = data["push"].cumsum("update")
    update = data["update"].values + 1
    for trial, row in zip(shown, axes, strict=True):
        for panel, (move, (title, _)) in zip(row, LAST_MOVE.items(), strict=True):
            entry = total.sel(trial=trial, last_move=move)
            drawn = {force: entry.sel(force=force) for force in apart}
            drawn["rest"] = entry.drop_sel(force=list(apart)).sum("force")
            panel.axhline(0, color=GREY, linewidth=0.8)
            panel.plot(update, entry.sum("force"), color=BLACK, linewidth=4, alpha=0.4, label="all together")
            for force, pushed in drawn.items():
                label, look = FORCES[force]
                panel.plot(update, pushed, label=label, **look)
            panel.set(title=title if trial == shown[0] else "", xlim=(update[0], update[-1]))
            panel.set(xlabel="update", ylabel=f"trial {trial}: nats")
            panel.label_outer()
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1.2)
    return fig


def _pairs(count: int, height: float) -> tuple[Figure, np.ndarray]:
    """So many panels of shares over updates, in two columns."""
    fig, axes = panels(-(-count // 2), 2, height=height, sharex=True, sharey=True, squeeze=False)
    for panel in axes[:, 0]:
        panel.set_ylabel("alternating")
    for panel in axes.flat[max(0, count - 2) : count]:
        panel.set_xlabel("update")
        panel.tick_params(labelbottom=True)
    for panel in axes.flat[count:]:
        panel.axis("off")
    return fig, axes.flat[:count]


@figure
def branches(runs: Mapping[str, Trials], update: Updates, start: float) -> Figure:
    """Share of alternating games of runs that are one run up to ``start``, one panel a setting, one line a trial.
    All trials look alike; behind those of a setting stand, thin, those of the first one."""
    fig, axes = _pairs(len(runs), 2.2)
    before, after, plain = update <= start, update >= start, next(iter(runs.values()))
    for panel, (label, shares) in zip(axes, runs.items(), strict=True):
        panel.plot(update, plain.T, color=GREY, linewidth=0.9, alpha=0.7)
        panel.plot(update[before], shares[:, before].T, color=GREY, linewidth=1.6)
        panel.plot(update[after], shares[:, after].T, linewidth=1.6, **LOOK["actde"])
        panel.axvline(start, linewidth=1, **LOOK["source"])
        panel.set(title=label, xlim=(update[0], update[-1]))
    return fig


@figure
def trajectories(runs: Mapping[str, xr.Dataset], level: float, until: float = np.inf) -> Figure:
    """Share of alternating games over updates, a panel a run; ``level``: the share at the tabular fixed point."""
    longest = max(float(data["update"][-1]) for data in runs.values())
    fig, axes = _pairs(len(runs), 2.5)
    for panel, (label, data), (color, style, _) in zip(axes, runs.items(), CONDITIONS, strict=False):
        curves(panel, data, alternating(data), None, color=color, linestyle=style)
        panel.axhline(level, linewidth=1.2, **LOOK["theory"])
        panel.axhline(0.5, linewidth=1.2, **LOOK["source"])
        panel.set(title=label, xlim=(0, min(until, longest)), ylim=(-0.02, 1.02))
    return fig


@figure
def forest(table: xr.Dataset, lines: Mapping[str, float]) -> Figure:
    """Late share of alternating games and its difference to the first run, with intervals: a row a run.
    ``table`` is from ``late_effects.late_effects``; ``lines``: shares to mark, the higher one first."""
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
    row_names(left, list(names), 0.7, 0.6)
    left.set_xlabel("share alternating")
    right.set_xlabel("minus the plain run")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    return fig


@figure
def control(runs: Mapping[str, xr.Dataset], levels: Mapping[str, tuple[float, float]], until: float) -> Figure:
    """Networks that play the softmax of their q: share of alternating games beside the table's fixed point and the
    answer to the q of uniform play, ``levels``."""
    fig, axes = panels(height=3.8)
    for (label, data), (color, style, _) in zip(runs.items(), CONDITIONS[1:], strict=False):
        curves(axes, data, alternating(data), None, color=color, linestyle=style)
        for level, look in zip(levels[label], ("theory", "source"), strict=True):
            axes.axhline(level, linewidth=1.5, **LOOK[look])
        axes.text(0.98 * until, max(levels[label]) + 0.02, label, color=color, ha="right", va="bottom", fontsize=13)
    return finish(axes, xlabel="update", ylabel="share alternating", xlim=(0, until), ylim=(0, 0.85))
