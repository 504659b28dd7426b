"""The figure of the first page."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from actde_nb.compare.curves import alternating
from actde_nb.pages.style import BLUE, GREEN, LOOK, VERMILION, figure, panels
from actde_nb.tables.bandit import Trajectory

Curve = tuple[Float[np.ndarray, "point"], Float[np.ndarray, "trial point"]]
COLOURS = {"value": VERMILION, "actde": BLUE, "price": GREEN}


@figure
def three_worlds(
    table: Mapping[str, Trajectory], games: Mapping[str, xr.Dataset], language: Mapping[str, Curve]
) -> Figure:
    """The two updates in a table, in the dilemma and on the language, every run a line.

    Args:
        table: ``value`` and ``actde``, simulated in one state.
        games: the same, stored runs in the dilemma.
        language: the same and ``price``, each with its updates and the entropy of a sentence, in nats.
    """
    drawn, (top, middle, bottom) = panels(rows=3, height=2.7)
    for look, trajectory in table.items():
        top.loglog(trajectory.episodes[1:], trajectory.policy[1:, :, 1], linewidth=0.6, alpha=0.35, **LOOK[look])
    top.set(xlabel="episode", ylabel="P(worse arm)", ylim=(None, 6), title="A table: one state, two arms")
    top.text(0.03, 0.12, "baseline v(s)", color=VERMILION, transform=top.transAxes, weight="bold")
    top.text(0.2, 0.88, "baseline q(s, a): ACTDE", color=BLUE, transform=top.transAxes, weight="bold")
    for look, data in games.items():
        middle.plot(data["update"], alternating(data).T, linewidth=0.7, alpha=0.5, **LOOK[look])
    middle.set(xscale="log", xlim=(8, 10_000), xlabel="update", ylabel="games alternating")
    middle.set(title="A small transformer in a prisoner's dilemma", ylim=(0.2, 1.08))
    middle.text(0.3, 0.85, "PPO", color=VERMILION, transform=middle.transAxes, weight="bold")
    middle.text(0.6, 0.2, "ACTDE", color=BLUE, transform=middle.transAxes, weight="bold")
    styles = {"value": "-", "price": "--", "actde": "-"}
    for look, (updates, entropy) in language.items():
        bottom.plot(updates, entropy.T, linewidth=0.7, alpha=0.6, color=COLOURS[look], linestyle=styles[look])
    bottom.set(xlabel="update", ylabel="nats a sentence", title="A language model of a small language", ylim=(0, 12))
    bottom.text(0.03, 0.88, "ACTDE, return − q(s, a)", color=BLUE, transform=bottom.transAxes, weight="bold")
    bottom.text(0.55, 0.43, "PPO, each nat at a price", color=GREEN, transform=bottom.transAxes, weight="bold")
    bottom.text(0.03, 0.12, "PPO", color=VERMILION, transform=bottom.transAxes, weight="bold")
    return drawn
