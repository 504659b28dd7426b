"""The figures of the first page."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actde_nb.compare.curves import alternating
from actde_nb.pages.style import BLACK, GREY, LOOK, METHODS, figure, method_looks, panels
from actde_nb.tables.bandit import Trajectory

Curve = tuple[Int[np.ndarray, "point"], Float[np.ndarray, "trial point"]]
PPO, ACTDE = (METHODS[name]["color"] for name in ("PPO", "ACTDE"))
WORLDS = ("table", "dilemma", "language", "real model")
#: How far a pull held a policy in a world: look of its mark.
HELD = {
    "wherever tried": {"marker": "o", "fillstyle": "full", "color": BLACK},
    "not always": {"marker": "o", "fillstyle": "left", "color": BLACK},
    "never": {"marker": "o", "fillstyle": "none", "color": BLACK},
    "not tried": {"marker": "_", "color": GREY},
}
#: What pulls a policy back: height in the drawing, methods that have it, and how far it held in each world.
PULLS = {
    "KL penalty in the reward": (
        5.45, ("PPO", "RLOO"), ("wherever tried", "not tried", "not always", "not always"),
    ),
    "KL penalty in the loss": (
        3.95, ("GRPO", "GAA"), ("not always", "not tried", "not always", "never"),
    ),
    "anchor in the target": (
        2.45, ("APA",), ("not always", "not tried", "not always", "not always"),
    ),
    "logits tied to a critic": (
        0.95, ("tied", "tied, soft", "ACTDE in a table"),
        ("wherever tried", "wherever tried", "not always", "not tried"),
    ),
}  # fmt: skip
#: Stages of an update: height in the drawing, lines, and what pulls there.
STAGES = {
    "generation:\ntexts of π": (6.4, ()),
    "reward": (5.45, ("KL penalty in the reward",)),
    "advantage": (4.5, ()),
    "loss, with\nor without\na target": (3.2, ("KL penalty in the loss", "anchor in the target")),
    "new logits\nof π": (0.95, ("logits tied to a critic",)),
}
LOOKS = LOOK | {
    "free": LOOK["value"],
    "priced": LOOK["value"] | {"linestyle": "--"},
    "masked": LOOK["actde"],
    "open": LOOK["actde"] | {"linestyle": (0, (3, 1))},
}


@figure
def three_worlds(
    table: Mapping[str, Trajectory], games: Mapping[str, xr.Dataset], language: Mapping[str, Curve]
) -> Figure:
    """``value`` and ``actde`` in a table and in the dilemma; PPO ``free`` and ``priced`` and ACTDE ``masked`` and
    ``open`` on the language (updates, nats)."""
    drawn, (top, middle, bottom) = panels(rows=3, height=2.7)
    for name, trajectory in table.items():
        top.loglog(trajectory.episodes[1:], trajectory.policy[1:, :, 1], linewidth=0.6, alpha=0.35, **LOOKS[name])
    top.set(xlabel="episode", ylabel="P(worse arm)", ylim=(None, 6), title="A table: one state, two arms")
    for name, data in games.items():
        middle.plot(data["update"], alternating(data).T, linewidth=0.7, alpha=0.5, **LOOKS[name])
    middle.set(xscale="log", xlim=(8, 10_000), xlabel="update", ylabel="games alternating")
    middle.set(title="A small transformer in a prisoner's dilemma", ylim=(0.2, 1.08))
    for name, (updates, entropy) in language.items():
        bottom.plot(updates, entropy.T, linewidth=0.7, alpha=0.6, **LOOKS[name])
    bottom.set(xlabel="update", ylabel="entropy, nats per sentence", ylim=(0, 27))
    bottom.set(title="A language model of a small language")
    for axes, x, y, text, color in (
        (top, 0.03, 0.12, "baseline v(s)", PPO),
        (top, 0.2, 0.88, "baseline q(s, a): ACTDE", ACTDE),
        (middle, 0.3, 0.85, "PPO", PPO),
        (middle, 0.6, 0.2, "ACTDE", ACTDE),
        (bottom, 0.03, 0.88, "ACTDE as published", ACTDE),
        (bottom, 0.42, 0.33, "ACTDE, within the grammar", ACTDE),
        (bottom, 0.03, 0.05, "PPO with a KL penalty: dashed", PPO),
        (bottom, 0.68, 0.02, "PPO", PPO),
    ):
        axes.text(x, y, text, color=color, transform=axes.transAxes, weight="bold")
    return drawn


@figure
def four_places() -> Figure:
    """From generation to update, with the places where something can pull a policy back to where it began."""
    drawn, axes = panels(height=6.9)
    axes.set(xlim=(0, 6.4), ylim=(-0.5, 6.8))
    axes.axis("off")
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": BLACK}
    arrow = {"arrowprops": {"arrowstyle": "-|>", "color": BLACK, "shrinkA": 0, "shrinkB": 0}}
    bottom = None
    for stage, (height, pulls) in STAGES.items():
        half = 0.06 + 0.11 * len(stage.splitlines())
        axes.text(0.95, height, stage, ha="center", va="center", bbox=box)
        if bottom is not None:
            axes.annotate("", (0.95, height + half), (0.95, bottom), **arrow)
        for pull in pulls:
            title = PULLS[pull][0]
            axes.annotate("", (1.55, height + 0.15 * np.sign(title - height)), (2.2, title), **arrow)
        bottom = height - half
    first, last = STAGES["generation:\ntexts of π"][0], height
    axes.plot([0.4, 0.05, 0.05], [last, last, first], color=BLACK, linewidth=1)
    axes.annotate("", (0.36, first), (0.05, first), **arrow)
    for pull, (height, methods, held) in PULLS.items():
        axes.text(2.3, height, pull, va="center", weight="bold")
        _in_a_row(axes, 2.45, height - 0.4, method_looks(methods))
        _in_a_row(axes, 2.45, height - 0.8, {world: HELD[how] for world, how in zip(WORLDS, held, strict=True)})
    axes.text(0.0, -0.4, "held:", va="center")
    _in_a_row(axes, 0.7, -0.4, HELD)
    return drawn


def _in_a_row(axes: Axes, x: float, y: float, marks: Mapping[str, Mapping]) -> None:
    """Marks with their names beside them."""
    for name, look in marks.items():
        axes.plot(x, y, markersize=9, **look)
        axes.text(x + 0.14, y, name, va="center", fontsize=11)
        x += 0.42 + 0.085 * len(name)
