"""Figures of chapter 12: what GAA's coefficients are, and where its update leads in one state."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from actde_nb.pages.drawing import CORNERS, finish, line_of, on_triangle, simplex, triangle_grid
from actde_nb.pages.style import BLACK, BLUE, GREY, LOOK, METHODS, VERMILION, figure, panels

VERSIONS = {
    "PPO": METHODS["PPO"],
    "text, per token": METHODS["GAA"],
    "text, batch means": METHODS["GAA, batch"],
    "code": METHODS["GAA, code"],
    "code, tempered": METHODS["GAA, code tempered"],
}
Field = Float[np.ndarray, "rows columns"]
Policies = Float[np.ndarray, "_points 3"]
Times = Float[np.ndarray, "records"]
Samples = Float[np.ndarray, "samples"]
Runs = Float[np.ndarray, "samples runs"]
Sizes = Float[np.ndarray, "sizes"]


@figure
def surfaces(sigma: Float[np.ndarray, "columns"], eta: Float[np.ndarray, "rows"], a: Field, b: Field) -> Figure:
    """The two coefficients over the square of their arguments, with the text's four cases at the corners."""
    drawn, rows = panels(2, 1, height=3.7, sharex=True)
    mark = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": BLACK}
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
            axes.text(x, y, f"{k}", ha="center", va="center", bbox=mark, zorder=6, fontsize=10)
        axes.set(ylabel="η, greedy probability")
        axes.tick_params(pad=9)
        axes.grid(visible=False)
    return finish(rows[1], xlabel="σ, greedy minus sampled advantage (sd)")


@figure
def speeds(eta: Float[np.ndarray, "points"], relative: Mapping[str, Float[np.ndarray, "points"]]) -> Figure:
    """How fast two tokens' logit gap grows, over the speed under PPO, against the greedy token's probability."""
    drawn, axes = panels(height=3.9)
    for name, values in relative.items():
        axes.plot(eta, values, label=name, **line_of(VERSIONS[name]))
    axes.set(xlabel="η, greedy probability", ylabel="speed relative to PPO", xlim=(0.5, 1), ylim=(-0.03, 1.08))
    return finish(axes, legend={"loc": "center left", "bbox_to_anchor": (0.02, 0.76)})


@figure
def triangles(
    fields: Mapping[str, tuple[Float[np.ndarray, "rows columns 2"], Sequence[Policies]]],
    rests: Mapping[str, Policies], grid: Sequence[np.ndarray], names: Sequence[str],
) -> Figure:  # fmt: skip
    """Flows on the triangle of policies over three arms, four panels.

    ``fields``: title -> velocities in the plane on the grid (NaN outside) and the stretches of ties that attract;
    ``rests``: title -> policies where the flow rests inside."""
    drawn, cells = panels(2, 2, height=3.0)
    policy = triangle_grid(len(grid[0]))[2]
    for axes, (title, (velocity, ties)) in zip(cells.ravel(), fields.items(), strict=True):
        for arm in range(3):  # each side of a tie on its own: the flow jumps there
            side = np.where((policy.argmax(-1) == arm)[..., None], velocity, np.nan)
            axes.streamplot(*grid, side[..., 0], side[..., 1], color=BLUE, linewidth=0.8, density=0.75, arrowsize=0.9)
        _borders(axes)
        for stretch in ties:
            axes.plot(*on_triangle(stretch), color=VERMILION, linewidth=3.2, solid_capstyle="round", zorder=4)
        for point in rests.get(title, ()):
            axes.plot(*on_triangle(point), "o", color="white", markeredgecolor=BLACK, markersize=9, zorder=6)
        simplex(axes, names)
        axes.set(title=title, ylim=(-0.13, 0.99))
    return drawn


def _borders(axes: Axes) -> None:
    """Where the greedy arm changes."""
    for j, k in ((0, 1), (0, 2), (1, 2)):
        border = np.stack([CORNERS.mean(0), (CORNERS[j] + CORNERS[k]) / 2])
        axes.plot(*border.T, color=GREY, linewidth=1, linestyle=":", zorder=3)
    axes.add_patch(Polygon(CORNERS, closed=True, fill=False, edgecolor=GREY))


@figure
def honeypot(
    times: Times, exact: Mapping[str, Times], sampled_times: Samples, sampled: Mapping[str, Runs], held: float
) -> Figure:
    """Probability of the honeypot over time (learning rate times updates): expected updates above, samples below.
    ``held``: where theory has the tempered code hold it."""
    drawn, rows = panels(2, 1, height=3.6, sharex=True)
    for name, line in exact.items():
        rows[0].plot(times[1:], line[1:], label=name, **line_of(VERSIONS[name]))
    for name, runs in sampled.items():
        low, middle, high = np.quantile(runs[1:], [0.05, 0.5, 0.95], axis=1)
        rows[1].plot(sampled_times[1:], middle, **line_of(VERSIONS[name]))
        rows[1].fill_between(sampled_times[1:], low, high, color=VERSIONS[name]["color"], alpha=0.2, linewidth=0)
    for axes, title in zip(rows, ("expected updates", "runs from batches of 64"), strict=True):
        axes.axhline(held, linewidth=1.1, **LOOK["theory"])
        axes.set(xscale="log", ylabel="P(honeypot)", ylim=(0, 1.03), title=title)
    rows[1].set(xlabel="time (learning rate × updates)")
    return finish(rows[0], legend={"loc": "upper left", "fontsize": 10})


@figure
def holding(sizes: Sizes, exits: Mapping[str, Sizes]) -> Figure:
    """How long a tie with the honeypot holds, against how much the honeypot pays."""
    drawn, axes = panels(height=3.6)
    for name, times in exits.items():
        axes.plot(sizes, times, markersize=6, label=name, **VERSIONS[name])
    axes.set(xscale="log", yscale="log", xlabel="reward of the honeypot", ylabel="time the tie holds")
    return finish(axes, legend="upper left")
