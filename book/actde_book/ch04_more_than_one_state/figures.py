"""Figures of chapter 4: what more than one state adds."""

import numpy as np
import sympy as sp
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actde_book.ch04_more_than_one_state import algebra
from actde_book.ch04_more_than_one_state.learner import Learning
from actde_nb.pages.drawing import HOLLOW, PATCH, finish, note
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, SKY, VERMILION, figure, panels
from actde_nb.tables import symbolic
from actde_nb.tables.fixed_points import FixedPoint
from actde_nb.tables.mdp import MDP

STABLE = {"marker": "o", "color": BLACK, "markersize": 10, "linestyle": "none"}
UNSTABLE = STABLE | HOLLOW
EVEN = {"color": BLACK, "marker": "_", "markersize": 14, "markeredgewidth": 2, "linestyle": "none"}
MATRIX_LOOK = {"main": (BLUE, "o"), "b=1": (ORANGE, "s"), "b=.7": (VERMILION, "^"), "extreme": (GREEN, "D")}
Shares = dict[str, Float[np.ndarray, "temperatures 3"]]
Lines = dict[str, Float[np.ndarray, "3"]]


@figure
def runaway(learned: dict[float, Learning], bounds: dict[float, float]) -> Figure:
    """Logit gap of two identical loops over time, one thin line a run, for each discount; dotted: its bound."""
    fig, axes = panels(height=4.4)
    looks = [LOOK["value"], {"color": PURPLE, "linestyle": "--"}, LOOK["actde"]]
    for (discount, runs), look in zip(learned.items(), looks, strict=True):
        gap = np.abs(runs.logits[..., 0, 0] - runs.logits[..., 0, 1])[1:]
        axes.plot(runs.steps[1:], gap, alpha=0.45, linewidth=0.8, **look)
        text, at, align = f"$\\gamma = {discount:g}$", (runs.steps[-1] / 3, np.median(gap[-1]) * 0.8), "right"
        if discount in bounds:
            axes.axhline(bounds[discount], color=look["color"], linestyle=":")
            text, at, align = text + ": its bound", (1, bounds[discount] * 1.1), "left"
        axes.text(*at, text, color=look["color"], fontsize=13, ha=align)
    return finish(axes, xscale="log", yscale="symlog", xlabel="steps", ylabel="logit gap, size (nats)", ylim=(0, None))


@figure
def value_dip() -> Figure:
    """A two-action state's value as one action gets better, the other being worth nothing; temperature one."""
    fig, axes = panels(height=4.2)
    value, q, prior = algebra.boltzmann_value(2)
    other = {q[1]: 0, prior[1]: 1 - prior[0], symbolic.TEMPERATURE: 1}
    mean, soft = (sp.lambdify((q[0], prior[0]), v.subs(other)) for v in (value, algebra.soft_value(2)))
    x = np.linspace(-7, 4.4, 400)
    for values, color, style, text, at in (
        (np.maximum(x, 0), GREY, ":", "the better of the two", (-7, 0.4)),
        (soft(x, 0.5), GREEN, "-.", "soft value", (-7, -0.76)),
        (mean(x, 0.95), VERMILION, "--", "policy's mean,\nprior .95 for $b$", (-7, -1.4)),
        (mean(x, 0.5), BLUE, "-", "policy's mean,\neven prior", (1.1, -0.3)),
    ):
        axes.plot(x, values, color=color, linestyle=style)
        axes.text(*at, text, color=color, va="top", fontsize=13)
    return finish(axes, xlabel="$q_b$ (the other action is worth 0)", ylabel="value of the state", ylim=(-2.1, 3.2))


@figure
def two_basins(world: MDP, temperature: float, fixed_points: list[FixedPoint], runs: Learning) -> Figure:
    """The landscape over q(stay), and below it sampled runs falling off the ridge, time going down."""
    fig, (top, bottom) = panels(2, height=3.4, sharex=True, height_ratios=[1, 1.3])
    setting = {algebra.REWARD: world.rewards[0, 0], symbolic.DISCOUNT: world.discount}
    setting |= {symbolic.TEMPERATURE: temperature, algebra.LOG_ODDS: 0}
    q = np.linspace(-0.8, 11.3, 800)
    height = algebra.potential(q, sp.lambdify(algebra.Q, algebra.stay_or_quit_flow().subs(setting))(q))
    top.plot(q, height, color=BLACK)
    top.fill_between(q, height, height.min() - 0.2, color="#dfe7ee", linewidth=0)
    for point in fixed_points:
        at, stays = point.q[0, 0], point.policy[0, 0]
        level = np.interp(at, q, height)
        top.plot(at, level + 0.06, **(STABLE if point.stable_flow else UNSTABLE))
        name = f"stays {stays:.0%}" if stays < 0.99 else "stays > 99%"
        note(top, name, (at, level), (0, -12), ha="center", va="top", fontsize=13)
    top.set(ylabel="height", ylim=(height.min() - 0.2, height.max()), yticks=[])
    paths, ridge = runs.q[..., 0, 0], fixed_points[1].q[0, 0]
    for side, color in ((paths[-1] <= ridge, VERMILION), (paths[-1] > ridge, BLUE)):
        bottom.plot(paths[:, side], runs.steps, color=color, linewidth=0.7, alpha=0.55)
    bottom.axvline(ridge, color=GREY, linestyle=":")
    bottom.invert_yaxis()
    return finish(bottom, xlabel="$q$(stay)", ylabel="steps", xlim=(q[0], q[-1]))


@figure
def broken_symmetry(world: MDP, temperature: float, fixed_points: list[FixedPoint], runs: Learning) -> Figure:
    """Flow of the two rooms, drawn over how much more A is worth than B, with sampled runs that leave the middle."""
    fig, axes = panels(height=5.0)
    reward = world.rewards[0, 0]
    # Swapping the rooms turns the difference around and leaves the mean, so these are the natural axes.
    flow = sp.lambdify((*algebra.ROOM, algebra.STAY, symbolic.DISCOUNT, symbolic.TEMPERATURE), algebra.rooms_flow())
    across, up = np.meshgrid(np.linspace(-2.6, 2.6, 60), np.linspace(17.5, 22.5, 60))
    first, second = flow(up + across / 2, up - across / 2, reward, world.discount, temperature)
    axes.streamplot(across, up, first - second, (first + second) / 2, color="#b9c6d2", density=1.1, linewidth=1)
    future_a, future_b = runs.q[..., 0, 0] - reward, runs.q[..., 1, 0] - reward
    prefers_a = runs.policy[-1, :, 0, 0] > runs.policy[-1, :, 1, 0]
    for side, color in ((prefers_a, BLUE), (~prefers_a, VERMILION)):
        across, up = (future_a - future_b)[:, side], (future_a + future_b)[:, side] / 2
        axes.plot(across[:, :12], up[:, :12], color=color, linewidth=0.5, alpha=0.4)
        axes.plot(across[-1], up[-1], color=color, marker=".", markersize=5, linestyle="none")
    for point in fixed_points:
        ahead, behind = point.q[0, 0] - reward, point.q[1, 0] - reward
        axes.plot(ahead - behind, (ahead + behind) / 2, zorder=5, **(STABLE if point.stable_flow else UNSTABLE))
    axes.set(xlim=(-2.6, 2.6), ylim=(17.5, 22.5), ylabel="future to be expected,\nmean of the rooms")
    axes.set_xlabel("future to be expected, room A minus room B")
    look = {"va": "top", "fontsize": 13, "bbox": PATCH | {"alpha": 0.85}}
    axes.text(-2.5, 22.2, "B is worth more", color=VERMILION, **look)
    axes.text(2.5, 22.2, "A is worth more", color=BLUE, ha="right", **look)
    return fig


@figure
def limit_cycle(
    times: Float[np.ndarray, "times"], mean_field: Float[np.ndarray, "times states"],
    sampled: Float[np.ndarray, "records states"], fixed: float,
) -> Figure:  # fmt: skip
    """The ring's orbit in the plane of two states' probabilities, and the three states' rhythm."""
    fig, (plane, rhythm) = panels(2, height=4.0, height_ratios=[1.4, 0.7])
    late = times >= times[-1] - 4  # a little more than one round
    plane.plot(mean_field[~late, 0], mean_field[~late, 1], color=GREY, linewidth=0.9, linestyle="--")
    plane.plot(sampled[:, 0], sampled[:, 1], color=SKY, linewidth=0.8, alpha=0.8, label="sampled run")
    plane.plot(mean_field[late, 0], mean_field[late, 1], color=BLUE, linewidth=2.5, label="mean field")
    plane.plot(fixed, fixed, label="fixed point", **UNSTABLE)
    start = np.flatnonzero(late)[0]
    arrow = {"arrowstyle": "-|>", "color": BLUE, "lw": 2.5, "mutation_scale": 22, "shrinkA": 0}
    plane.annotate("", mean_field[start + 16, :2], mean_field[start + 8, :2], arrowprops=arrow)
    plane.set(xlabel="$\\pi$(go) in state 1", ylabel="$\\pi$(go) in state 2", xlim=(0, 1), ylim=(0, 1.15))
    plane.set_yticks(np.linspace(0, 1, 6))
    shown = times >= times[-1] - 11
    for state, (color, style) in enumerate(((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."))):
        look = {"color": color, "linestyle": style, "label": f"state {state + 1}"}
        rhythm.plot(times[shown] - times[shown][0], mean_field[shown, state], **look)
    rhythm.axhline(fixed, color=GREY, linestyle=":")
    rhythm.set(xlabel="time (updates of an entry × critic step)", ylabel="$\\pi$(go)", ylim=(0, 1.35))
    rhythm.set_yticks([0, 0.5, 1])
    for axes in (plane, rhythm):
        axes.legend(loc="upper center", ncols=3)
    return fig


@figure
def prisoner_sweep(
    temperatures: Float[np.ndarray, "temperatures"], shares: Shares, lines: Lines, titles: dict[str, str]
) -> Figure:
    """Predicted shares of the three games over temperature, one panel a matrix, with the post's dotted lines."""
    fig, axes = panels(2, 2, height=3.6, sharex=True, sharey=True)
    for panel, name in zip(axes.flat, shares, strict=True):
        for outcome, column, even in (("alternate", 2, 0.5), ("cooperate", 0, 0.25), ("defect", 1, 0.25)):
            look = LOOK[outcome]
            panel.plot(temperatures, shares[name][:, column], label=outcome, **look)
            panel.axhline(lines[name][column], color=look["color"], linestyle=":", linewidth=1.5)
            panel.plot(temperatures[-1], even, clip_on=False, **EVEN)
        panel.axvline(1, color=GREY, linewidth=0.8)
        panel.set(title=titles[name], xscale="log", ylim=(-0.02, 1.02), xlim=(temperatures[0], temperatures[-1]))
        panel.set(xlabel="temperature $\\tau$", ylabel="share of games")
        panel.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        panel.label_outer()
    handles, _ = axes[0, 0].get_legend_handles_labels()
    line = Line2D([], [], color=GREY, linestyle=":", label="the post's line")
    even = Line2D([], [], label="uniform play", **EVEN)
    # The legend fills its columns from top to bottom.
    entries = [handles[0], line, handles[1], even, handles[2]]
    fig.legend(handles=entries, loc="outside upper center", ncols=3, fontsize=13)
    return fig


@figure
def share_triangle(shares: Shares, at_one: Lines, lines: Lines, titles: dict[str, str]) -> Figure:
    """Every mixture of the three games is a point; each matrix allows one curve, run through by temperature."""
    fig, axes = panels(height=5.6)

    def place(share: Float[np.ndarray, "*points 3"]) -> tuple:
        return share[..., 1] - share[..., 0], share[..., 2]

    axes.fill([-1, 1, 0, -1], [0, 0, 1, 0], facecolor="#f6f8fa", edgecolor=GREY, linewidth=1)
    for level in (0.25, 0.5, 0.75):
        axes.plot([level - 1, 1 - level], [level, level], color="#dcdcdc", linewidth=0.8)
    for name, (color, marker) in MATRIX_LOOK.items():
        axes.plot(*place(shares[name]), color=color, label=titles[name])
        mark = {"color": color, "marker": marker, "markersize": 9, "linestyle": "none"}
        axes.plot(*place(at_one[name]), **mark)
        axes.plot(*place(lines[name]), zorder=4, **mark, **HOLLOW)
    axes.plot(0, 0.5, marker="*", markersize=17, color=BLACK, linestyle="none")
    axes.annotate("uniform play", (0, 0.5), (-0.62, 0.66), arrowprops={"arrowstyle": "-", "color": GREY}, ha="center")
    axes.text(-1, -0.05, "all cooperate", ha="left", va="top")
    axes.text(1, -0.05, "all defect", ha="right", va="top")
    axes.text(0, 1.02, "all alternate", ha="center", va="bottom")
    axes.legend(loc="upper right", bbox_to_anchor=(1.02, 1.02), title="filled: $\\tau = 1$\nhollow: the post's line")
    axes.set(xlim=(-1.05, 1.05), ylim=(-0.12, 1.1), aspect=3**0.5)
    axes.axis("off")
    return fig
