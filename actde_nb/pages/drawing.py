"""What the figures of several chapters draw alike: triangles of policies, trials and their middle, rows of runs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION, figure, panels

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])  # of the triangle: left, right, top
OUTCOMES = {"alternate": ("cd", "dc"), "cooperate": ("cc",), "defect": ("dd",)}
LAST_MOVE = {"c": ("after cooperating", LOOK["cooperate"]), "d": ("after defecting", LOOK["defect"])}
# In the order in which conditions are given; each has a line style of its own.
CONDITIONS = (
    (VERMILION, "-", "o"), (BLUE, "--", "s"), (GREEN, "-.", "^"),
    (PURPLE, ":", "D"), (ORANGE, (0, (6, 2)), "v"), (BLACK, (0, (1, 1)), "P"),
)  # fmt: skip
FRONTIER = {"color": GREY, "linewidth": 5, "alpha": 0.35}
HOLLOW = {"markerfacecolor": "white", "markeredgewidth": 2}
PATCH = {"facecolor": "white", "edgecolor": "none"}  # behind a text


def note(axes: Axes, text: str, place: Sequence | np.ndarray, shift: tuple[float, float], **look) -> None:
    """A text beside a place of the data, ``shift`` in points."""
    axes.annotate(text, place, shift, textcoords="offset points", **look)


def finish(axes: Axes, legend: str | Mapping | None = None, **settings) -> Figure:
    """Set what is given and add a legend (its place, or all that ``Axes.legend`` takes); return the figure."""
    axes.set(**settings)
    if legend is not None:
        axes.legend(**({"loc": legend} if isinstance(legend, str) else legend))
    return axes.figure


def simplex(axes: Axes, names: Sequence[str]) -> None:
    """The triangle of policies over three arms, its corners at :data:`CORNERS` named left, right, top."""
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color=GREY, linewidth=1.2, zorder=0)
    for corner, name, (dx, dy) in zip(CORNERS, names, ((0, -0.035), (0, -0.035), (0, 0.03)), strict=True):
        axes.text(corner[0] + dx, corner[1] + dy, name, ha="center", va="bottom" if dy > 0 else "top")
    axes.set(aspect="equal", xlim=(-0.12, 1.12), ylim=(-0.11, 0.97))
    axes.axis("off")


def on_triangle(policy: Float[np.ndarray, "*batch 3"] | Sequence[float]) -> Float[np.ndarray, "2 *batch"]:
    """Across and up of policies, for a plotting call."""
    return (policy @ CORNERS).T


def triangle_grid(columns: int, margin: float = 1e-3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A grid over the triangle: columns, rows, policies at its points, and which have all arms above ``margin``."""
    across, up = np.linspace(0, 1, columns), np.linspace(0, CORNERS[2, 1], columns)
    x, y = np.meshgrid(across, up)
    right = x - (top := y / CORNERS[2, 1]) / 2
    policy = np.stack([1 - top - right, right, top], axis=-1)
    inside = (policy > margin).all(-1)
    return across, up, np.where(inside[..., None], policy, 1 / 3), inside


def to_plane(policy: Float[np.ndarray, "*batch 3"], velocity: Float[np.ndarray, "*batch 3"]):
    """Velocity in the plane of the triangle that a velocity of the logits makes of the policy, [*batch, 2]."""
    return (policy * (velocity - (policy * velocity).sum(-1, keepdims=True))) @ CORNERS


def line_of(look: Mapping) -> dict:
    """A look without its marker."""
    return {name: look[name] for name in look if name not in ("marker", "fillstyle")}


def marks(axes: Axes, x: np.ndarray | float, y: np.ndarray | float, look: Mapping, **more) -> None:
    """Points with the marker of a look, without its line."""
    axes.plot(x, y, **look | {"linestyle": ""} | more)


def lines(
    axes: Axes, x: np.ndarray, samples: Float[np.ndarray, "trial point"],
    label: str | None = None, middle: Callable = np.mean, thin: tuple[float, float] = (0.6, 0.45), **look,
) -> None:  # fmt: skip
    """One thin line a trial (width, opacity), one thick one for their middle."""
    axes.plot(x, samples.T, linewidth=thin[0], alpha=thin[1], **line_of(look))
    axes.plot(x, middle(samples, 0), label=label, **line_of(look))


def curves(axes: Axes, data: xr.Dataset, samples: np.ndarray, label: str | None = None, **look) -> None:
    """The same over the updates of a run, with solid thin lines and the mean of the trials that are there."""
    axes.plot(data["update"].values, samples.T, linewidth=0.6, alpha=0.45, color=look["color"])
    axes.plot(data["update"].values, np.nanmean(samples, 0), label=label, **look)


def game_shares(axes: Axes, title: str, data: xr.Dataset, ribbon: bool = False) -> None:
    """Shares of alternating, cooperating and defecting; ``ribbon``: one standard deviation over trials."""
    for name, outcomes in OUTCOMES.items():
        share = data["outcome_share"].sel(outcome=list(outcomes)).sum("outcome").values
        curves(axes, data, share, name, **LOOK[name])
        if ribbon:
            low, high = share.mean(0) - share.std(0, ddof=1), share.mean(0) + share.std(0, ddof=1)
            axes.fill_between(data["update"], low, high, color=LOOK[name]["color"], alpha=0.15, linewidth=0)
    axes.set(title=title, ylabel="share of games", ylim=(-0.02, 1.02))


def published(axes: Axes, points: Sequence[tuple[float, float]], label: str) -> None:
    """Points (update, share) that somebody else measured."""
    x, y = zip(*points, strict=True)
    axes.plot(x, y, "o", markersize=8, color=BLACK, label=label, zorder=5, **HOLLOW)


def row_names(axes: Axes, names: Sequence[str], above: float = 0.5, below: float = 0.5) -> None:
    """One named row for each of ``names``, the first at the top, and so much room above and below them."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 1 + below, -above)


def interval(
    axes: Axes, row: float, ends: Sequence[float] | np.ndarray, value: float, look: Mapping, width: float, size: float
) -> None:
    """A horizontal interval with a mark at its estimate."""
    axes.plot(ends, [row, row], color=look["color"], linewidth=width)
    axes.plot(value, row, marker=look["marker"], color=look["color"], markersize=size)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, at its major ticks only."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


@figure
def tapes(played: Mapping[str, Int[np.ndarray, "sequences moves"]]) -> Figure:
    """Sequences of moves as strips, several a player; dark is defecting."""
    fig, axes = panels(len(played), height=1.0, sharex=True)
    look = {"cmap": ListedColormap(["#bcd9ee", VERMILION]), "vmin": 0, "vmax": 1, "edgecolors": "white"}
    for panel, (name, moves) in zip(axes, played.items(), strict=True):
        panel.pcolormesh(moves[::-1], linewidth=0.6, **look)
        panel.set_title(name, loc="left", fontsize=12.5, pad=3)
        panel.axis("off")
    return fig
