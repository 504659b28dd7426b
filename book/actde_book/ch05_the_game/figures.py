"""Figures of chapter 5: the prisoner's dilemma against one's own last move."""

from collections.abc import Mapping

import numpy as np
import sympy as sp
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from actde_book.ch05_the_game import algebra
from actde_nb.pages.drawing import HOLLOW, PATCH, note
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, PURPLE, VERMILION, figure, panels
from actde_nb.tables.games import COOPERATE, DEFECT

MOVE_COLORS = (BLUE, VERMILION)
STRATEGY_LOOK = {name: LOOK[name] for name in ("cooperate", "defect", "alternate")}
STRATEGY_LOOK["repeat"] = {"color": PURPLE, "linestyle": (0, (1, 1))}
TINTS = ("#cfe2f3", "#f9d5bf", "#c6e8dc", "#f0d9e6")  # of the four strategies, light enough for black text
CENTRED = {"ha": "center", "va": "center"}


def _earned(payoffs: Float[np.ndarray, "2 2"], now: int, before: int) -> str:
    return f"{payoffs[now, before]:+.2f}".replace("-", "−")


@figure
def one_player(payoffs: Float[np.ndarray, "2 2"], moves: str) -> Figure:
    """The game as a walk between two moves, and one sequence of moves with what each earns."""
    fig, (graph, tape) = panels(2, height=2.7, height_ratios=[1.35, 1])
    for move, x in ((COOPERATE, -1.2), (DEFECT, 1.2)):
        graph.add_patch(Circle((x, 0), 0.42, color=MOVE_COLORS[move]))
        graph.text(x, 0, "cd"[move], color="white", fontsize=22, **CENTRED)
    arrow = {"arrowstyle": "-|>", "mutation_scale": 20, "color": BLACK}
    for start, end, bend, now, before, at in (
        ((-0.8, 0.22), (0.8, 0.22), -0.35, DEFECT, COOPERATE, (0, 0.72)),
        ((0.8, -0.22), (-0.8, -0.22), -0.35, COOPERATE, DEFECT, (0, -0.72)),
        ((-1.5, -0.34), (-1.5, 0.34), -1.9, COOPERATE, COOPERATE, (-2.75, 0)),
        ((1.5, 0.34), (1.5, -0.34), -1.9, DEFECT, DEFECT, (2.75, 0)),
    ):
        graph.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", linewidth=2, **arrow))
        graph.text(*at, _earned(payoffs, now, before), fontsize=15, **CENTRED)
    graph.set(xlim=(-3.3, 3.3), ylim=(-1, 1), aspect="equal")
    numbers = ["cd".index(move) for move in moves]
    for place, move in enumerate(numbers):
        tape.add_patch(Rectangle((place - 0.3, -0.3), 0.6, 0.6, color=MOVE_COLORS[move]))
        tape.text(place, -0.02, "cd"[move], color="white", fontsize=18, **CENTRED)
    for place, (before, now) in enumerate(zip(numbers, numbers[1:], strict=False)):
        ends = (place, 0.33), (place + 1, 0.33)
        tape.add_patch(FancyArrowPatch(*ends, connectionstyle="arc3,rad=-0.45", linewidth=1.5, **arrow))
        tape.text(place + 0.5, 0.72, _earned(payoffs, now, before), fontsize=14, ha="center", va="bottom")
    tape.set(xlim=(-0.6, len(moves) - 0.4), ylim=(-0.4, 1.1), aspect="equal")
    for axes in (graph, tape):
        axes.axis("off")
    return fig


@figure
def strategy_values(
    discounts: Float[np.ndarray, "discounts"], returns: Float[np.ndarray, "4 2 discounts"],
    equal: tuple[float, float], switches: tuple[float, float],
) -> Figure:  # fmt: skip
    """Return of each strategy over the discount, after either move; the best strategy's range is tinted."""
    fig, axes = panels(2, height=3.5, sharex=True)
    names = list(STRATEGY_LOOK)
    ranges = tuple(zip(("defect", "alternate", "cooperate"), (0.0, *switches), (*switches, 1.0), strict=True))
    for before, (panel, even, shift) in enumerate(zip(axes, equal, ((-150, -42), (12, -34)), strict=True)):
        for best, left, right in ranges:
            panel.axvspan(left, right, color=TINTS[names.index(best)], linewidth=0)
        for name in ("cooperate", "defect", "alternate"):
            panel.plot(discounts, returns[names.index(name), before], linewidth=2.5, **STRATEGY_LOOK[name])
        level = np.interp(even, discounts, returns[names.index("defect"), before])
        panel.plot(even, level, marker="o", markersize=9, color=BLACK, **HOLLOW)
        note(panel, "cooperate = defect", (even, level), shift, arrowprops={"arrowstyle": "-", "color": GREY})
        panel.set(ylabel="return × $(1-\\gamma)$", title=f"starting from {('cooperate', 'defect')[before]}")
        panel.set(xlim=(0, 1), xticks=np.linspace(0, 1, 6))
    top = axes[0].get_ylim()[1] + 0.25
    axes[0].set_ylim(None, top)
    for best, left, right in ranges:
        look = {"color": STRATEGY_LOOK[best]["color"], "ha": "center", "va": "top", "fontsize": 13}
        axes[0].text((left + right) / 2, top - 0.05, f"{best}\nis best", **look)
    axes[1].set_xlabel("discount $\\gamma$")
    return fig


@figure
def optimal_map(
    ratios: Float[np.ndarray, "ratios"], discounts: Float[np.ndarray, "discounts"],
    best: Int[np.ndarray, "discounts ratios"], designs: Mapping[str, float],
) -> Figure:  # fmt: skip
    """The best strategy for every designed matrix and every discount, with the equal-return discounts."""
    fig, axes = panels(height=5.6)
    axes.pcolormesh(ratios, discounts, best, cmap=ListedColormap(TINTS), vmin=-0.5, vmax=3.5, shading="nearest")
    axes.contour(ratios, discounts, best, levels=[0.5, 1.5, 2.5], colors="white", linewidths=1)
    after_c = sp.lambdify(algebra.RATIO, algebra.design_discount())(ratios)
    axes.plot(ratios, after_c, color=BLACK, linewidth=1.6, label="after cooperating")
    axes.plot(ratios, 1 - after_c, color=BLACK, linewidth=1.6, linestyle="--", label="after defecting")
    for name, at, color in (
        ("cooperate", (0.42, 0.87), BLUE),
        ("defect", (0.3, 0.1), VERMILION),
        ("alternate", (-0.1, 0.6), "#007a59"),
        ("repeat", (0.83, 0.6), "#a3487a"),
    ):
        axes.text(*at, name, fontsize=17, color=color, weight="bold", **CENTRED)
    for name, ratio in designs.items():
        axes.plot(ratio, 0.5, marker="o", markersize=9, color=BLACK, **HOLLOW)
        # Two of the circles are close: one has its name at the left, the other above.
        nearest = min(designs.values(), key=lambda other, ratio=ratio: (other == ratio, abs(other - ratio)))
        shift, align = (0, -16), "center"
        if abs(nearest - ratio) < 0.1:
            shift, align = ((-10, 0), "right") if ratio < nearest else ((0, 17), "center")
        note(axes, name, (ratio, 0.5), shift, ha=align, va="center", fontsize=13)
    fig.legend(loc="outside upper center", ncols=2, title="discount at which cooperating and defecting are even")
    axes.set(xlabel="$a/b$, cooperation's payoff over the temptation", ylabel="discount $\\gamma$", ylim=(0, 1))
    axes.set_xlim(ratios[0], ratios[-1])
    axes.grid(False)
    return fig


@figure
def policy_square(
    curve: Float[np.ndarray, "temperatures 2 2"], at_one: Float[np.ndarray, "2 2"], line: Float[np.ndarray, "2 2"],
    untrained: Float[np.ndarray, "networks 2"],
) -> Figure:  # fmt: skip
    """All players with a memory of one move; below, the middle enlarged. Contours: share of alternating games."""
    fig, (whole, middle) = panels(2, height=5.4)
    for axes, (low, high), levels in (
        (whole, (0.0, 1.0), np.arange(0.3, 1, 0.2)),
        (middle, (0.37, 0.63), np.arange(0.4, 0.66, 0.05)),
    ):
        _alternation_contours(axes, low, high, levels)
        axes.plot(*untrained.T, marker=".", markersize=4, linestyle="none", color=GREY)
        axes.plot(curve[:, 0, COOPERATE], curve[:, 1, COOPERATE], color=GREEN, linewidth=2.5)
        axes.plot(*at_one[:, COOPERATE], marker="o", markersize=10, color=GREEN, linestyle="none")
        axes.plot(*line[:, COOPERATE], marker="D", markersize=9, color=BLACK, linestyle="none", **HOLLOW)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", ylabel="$\\pi(c$ after $d)$")
    for (x, y), (name, look) in zip(((1, 1), (0, 0), (0, 1), (1, 0)), STRATEGY_LOOK.items(), strict=True):
        whole.plot(x, y, marker="s", markersize=13, color=look["color"], clip_on=False, zorder=5)
        inward = {"ha": "left" if x == 0 else "right", "va": "bottom" if y == 0 else "top"}
        at = x + 0.045 * (1 - 2 * x), y + 0.045 * (1 - 2 * y)
        whole.text(*at, name, fontsize=14, color=look["color"], **inward)
    whole.add_patch(Rectangle((0.37, 0.37), 0.26, 0.26, fill=False, edgecolor=BLACK, linewidth=1))
    for x, y, text, color, align in (
        (at_one[0, 0] - 0.004, at_one[1, 0] + 0.009, "ACTDE, $\\tau = 1$", "#007a59", "bottom"),
        (line[0, 0], line[1, 0] - 0.01, "the post's lines", BLACK, "top"),
        (0.5, 0.443, "untrained\nnetworks", GREY, "top"),
    ):
        middle.text(x, y, text, color=color, ha="center", va=align, bbox=PATCH | {"alpha": 0.8, "pad": 1})
    middle.set_xlabel("$\\pi(c$ after $c)$")
    return fig


def _alternation_contours(axes: Axes, low: float, high: float, levels: Float[np.ndarray, "levels"]) -> None:
    share = sp.lambdify(sp.symbols("x y", positive=True), algebra.alternation())
    side = np.linspace(low + 1e-6, high - 1e-6, 201)
    after_c, after_d = np.meshgrid(side, side)
    lines = axes.contour(after_c, after_d, share(after_c, after_d), levels=levels, colors="#b4bcc4", linewidths=1)
    axes.clabel(lines, fmt="%.2g", fontsize=11, colors=GREY)
    axes.grid(False)
