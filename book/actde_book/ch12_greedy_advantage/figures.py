"""Figures of chapter 12: what GAA's coefficients are, and where its update leads in one state."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from actde_nb.pages.drawing import CORNERS, simplex
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION, figure, panels

VERSIONS = {
    "PPO": LOOK["value"],
    "text, per token": {"color": ORANGE, "linestyle": "-."},
    "text, batch means": {"color": BLUE, "linestyle": "-"},
    "code": {"color": GREEN, "linestyle": "--"},
    "code, tempered": {"color": PURPLE, "linestyle": (0, (1, 1))},
}


@figure
def surfaces(
    sigma: Float[np.ndarray, "columns"],
    eta: Float[np.ndarray, "rows"],
    a: Float[np.ndarray, "rows columns"],
    b: Float[np.ndarray, "rows columns"],
) -> Figure:
    """The two coefficients over the square of their arguments, with the text's four cases at the corners."""
    drawn, rows = panels(2, 1, height=3.7, sharex=True)
    for axes, values, levels, name in (
        (rows[0], a, np.linspace(0, 2, 11), "a"),
        (rows[1], b, np.linspace(-1, 0, 11), "b"),
    ):
        filled = axes.contourf(sigma, eta, values, levels=levels, cmap="cividis")
        axes.contour(sigma, eta, a + b, levels=[0], colors="white", linewidths=1.6, linestyles="--")
        axes.plot(sigma, 1 / (1 + sigma**2), color=VERMILION)
        bar = drawn.colorbar(filled, ax=axes, ticks=levels[::2])
        bar.ax.set_title(name)
        for k, (x, y) in enumerate(((0, 0), (0, 1), (2, 0), (2, 1)), start=1):
            mark = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": BLACK}
            axes.text(x, y, f"{k}", ha="center", va="center", bbox=mark, zorder=6, fontsize=10)
        axes.set(ylabel="η, greedy probability")
        axes.tick_params(pad=9)
        axes.grid(visible=False)
    rows[1].set(xlabel="σ, greedy minus sampled advantage (sd)")
    return drawn


@figure
def speeds(eta: Float[np.ndarray, "points"], relative: Mapping[str, Float[np.ndarray, "points"]]) -> Figure:
    """How fast two tokens' logit gap grows, over the speed under PPO, against the greedy token's probability."""
    drawn, axes = panels(height=3.9)
    for name, values in relative.items():
        axes.plot(eta, values, label=name, **VERSIONS[name])
    axes.set(xlabel="η, greedy probability", ylabel="speed relative to PPO", xlim=(0.5, 1), ylim=(-0.03, 1.08))
    axes.legend(loc="center left", bbox_to_anchor=(0.02, 0.76))
    return drawn


@figure
def triangles(
    fields: Mapping[str, tuple[Float[np.ndarray, "rows columns 2"], Sequence[Float[np.ndarray, "points 3"]]]],
    rests: Mapping[str, Float[np.ndarray, "points 3"]],
    grid: tuple[Float[np.ndarray, "columns"], Float[np.ndarray, "rows"]],
    names: Sequence[str],
) -> Figure:
    """Flows on the triangle of policies over three arms, four panels.

    Args:
        fields: by title, velocities in the plane on the grid (NaN outside the triangle) and the stretches of ties that
            attract.
        rests: by title, policies to mark, where the flow rests inside the triangle.
        grid: coordinates of the columns and of the rows.
        names: arms, in the order of their corners: left, right, top.
    """
    drawn, cells = panels(2, 2, height=3.0)
    policy = triangle_grid(len(grid[0]))[2]
    for axes, (title, (velocity, ties)) in zip(cells.ravel(), fields.items(), strict=True):
        for arm in range(3):  # each side of a tie on its own: the flow jumps there
            side = np.where((policy.argmax(-1) == arm)[..., None], velocity, np.nan)
            axes.streamplot(*grid, side[..., 0], side[..., 1], color=BLUE, linewidth=0.8, density=0.75, arrowsize=0.9)
        _borders(axes)
        for stretch in ties:
            axes.plot(*(stretch @ CORNERS).T, color=VERMILION, linewidth=3.2, solid_capstyle="round", zorder=4)
        for point in rests.get(title, ()):
            axes.plot(*(point @ CORNERS), "o", color="white", markeredgecolor=BLACK, markersize=9, zorder=6)
        simplex(axes, names)
        axes.set(title=title, ylim=(-0.13, 0.99))
    return drawn


def to_plane(policy: Float[np.ndarray, "*batch 3"], velocity: Float[np.ndarray, "*batch 3"]):
    """Velocity in the plane of the triangle that a velocity of the logits makes of the policy, [*batch, 2]."""
    return (policy * (velocity - (policy * velocity).sum(-1, keepdims=True))) @ CORNERS


def triangle_grid(
    columns: int,
) -> tuple[Float[np.ndarray, "columns"], Float[np.ndarray, "rows"], np.ndarray, Bool[np.ndarray, "*grid"]]:
    """A grid over the triangle: columns, rows, the policies at its points, and which of them are policies."""
    across, up = np.linspace(0, 1, columns), np.linspace(0, CORNERS[2, 1], columns)
    x, y = np.meshgrid(across, up)
    top = y / CORNERS[2, 1]
    right = x - top / 2
    policy = np.stack([1 - top - right, right, top], axis=-1)
    inside = (policy > 1e-3).all(-1)
    return across, up, np.where(inside[..., None], policy, 1 / 3), inside


def _borders(axes: Axes) -> None:
    """Where the greedy arm changes."""
    centre = CORNERS.mean(0)
    for j, k in ((0, 1), (0, 2), (1, 2)):
        axes.plot(
            *np.stack([centre, (CORNERS[j] + CORNERS[k]) / 2]).T, color=GREY, linewidth=1, linestyle=":", zorder=3
        )
    axes.add_patch(Polygon(CORNERS, closed=True, fill=False, edgecolor=GREY))


@figure
def honeypot(
    times: Float[np.ndarray, "records"],
    exact: Mapping[str, Float[np.ndarray, "records"]],
    sampled_times: Float[np.ndarray, "samples"],
    sampled: Mapping[str, Float[np.ndarray, "samples runs"]],
    held: float,
) -> Figure:
    """Probability of the honeypot over time: expected updates above, runs from samples below.

    Args:
        times: of the records, learning rate times updates.
        exact: probability along the flow, by version.
        sampled_times: of the records of the runs.
        sampled: probability in each run, by version.
        held: where theory has the tempered code hold it.
    """
    drawn, rows = panels(2, 1, height=3.6, sharex=True)
    for name, line in exact.items():
        rows[0].plot(times[1:], line[1:], label=name, **VERSIONS[name])
    for name, runs in sampled.items():
        low, middle, high = np.quantile(runs[1:], [0.05, 0.5, 0.95], axis=1)
        rows[1].plot(sampled_times[1:], middle, **VERSIONS[name])
        rows[1].fill_between(sampled_times[1:], low, high, color=VERSIONS[name]["color"], alpha=0.2, linewidth=0)
    for axes, title in zip(rows, ("expected updates", "runs from batches of 64"), strict=True):
        axes.axhline(held, linewidth=1.1, color=BLACK, linestyle=(0, (4, 2)))
        axes.set(xscale="log", ylabel="P(honeypot)", ylim=(0, 1.03), title=title)
    rows[1].set(xlabel="time (learning rate × updates)")
    rows[0].legend(loc="upper left", fontsize=10)
    return drawn


@figure
def holding(sizes: Float[np.ndarray, "sizes"], exits: Mapping[str, Float[np.ndarray, "sizes"]]) -> Figure:
    """How long a tie with the honeypot holds, against how much the honeypot pays."""
    drawn, axes = panels(height=3.6)
    for (name, times), marker in zip(exits.items(), "os", strict=True):
        axes.plot(sizes, times, marker=marker, markersize=6, label=name, **VERSIONS[name])
    axes.set(xscale="log", yscale="log", xlabel="reward of the honeypot", ylabel="time the tie holds")
    axes.legend(loc="upper left")
    return drawn
