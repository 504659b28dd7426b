"""The figure of the first page."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from actde_nb.compare.curves import alternating
from actde_nb.pages.style import LOOK, METHODS, figure, panels
from actde_nb.tables.bandit import Trajectory

Curve = tuple[Int[np.ndarray, "point"], Float[np.ndarray, "trial point"]]
PPO, ACTDE = (METHODS[name]["color"] for name in ("PPO", "ACTDE"))
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
        (bottom, 0.42, 0.1, "PPO with a KL penalty", PPO),
        (bottom, 0.03, 0.05, "PPO", PPO),
    ):
        axes.text(x, y, text, color=color, transform=axes.transAxes, weight="bold")
    return drawn
