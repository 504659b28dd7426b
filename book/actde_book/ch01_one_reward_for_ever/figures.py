"""Figures of chapter 1: how a two- or three-armed bandit collapses under the ordinary TD error."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from scipy.special import softmax

from actde_book.ch01_one_reward_for_ever import algebra as theory
from actde_nb.pages import style
from actde_nb.pages.drawing import CORNERS, PATCH, finish, note, on_triangle, to_plane, triangle_grid
from actde_nb.pages.style import BLACK, GREEN, LOOK, ORANGE, PURPLE, SERIES, SKY, VERMILION, band
from actde_nb.tables import symbolic
from actde_nb.tables.bandit import Trajectory

DOTS = (0, (1, 1))
# Label and look of each critic; the first and the last get a band.
GROWTH = {
    "last reward": ("last reward, α = 1", {"color": VERMILION, "linestyle": "-"}),
    "constant": ("α = 0.1", {"color": ORANGE, "linestyle": "-.", "marker": "s", "markersize": 5, "markevery": (0, 12)}),
    "root": ("α = 1/√n", {"color": SKY, "linestyle": DOTS, "marker": "^", "markersize": 6, "markevery": (4, 12)}),
    "exact": ("exact value", {"color": GREEN, "linestyle": ":", "marker": "o", "markersize": 5, "markevery": (8, 12)}),
    "running mean": ("running mean, α = 1/n", {"color": PURPLE, "linestyle": "--"}),
}


@style.figure
def staircase(runs: Mapping[str, Trajectory]) -> Figure:
    """Value above, logit gap below, over the episodes of one run for each critic."""
    drawn, (above, below) = style.panels(2, height=3.0, sharex=True)
    looks = {"last reward": LOOK["value"] | {"linewidth": 1.4}, "running mean": LOOK["running_mean"]}
    for name, run in runs.items():
        above.step(run.episodes[1:], run.values[1:, 0], where="post", label=name, **looks[name])
        below.step(run.episodes[1:], run.gap[1:, 0], where="post", label=name, **looks[name])
    above.set(ylabel="value v", ylim=(0.4, 1.1), yticks=[0.5, 1])
    below.set(xscale="log", xlabel="episode", ylabel="logit gap x (nats)")
    return finish(below, legend={"loc": "upper left", "title": "v is the"})


@style.figure
def gap_growth(runs: Mapping[float, Mapping[str, Trajectory]], difference: float) -> Figure:
    """Logit gap over episodes, one panel for each policy step, with its critics; theory in black."""
    drawn, rows = style.panels(len(runs), height=4.0, sharex=True, squeeze=False)
    for axes, (step, critics) in zip(rows[:, 0], runs.items(), strict=True):
        for name, run in critics.items():
            time, gaps, (label, look) = run.episodes[1:], run.gap[1:], GROWTH[name]
            if name in ("last reward", "running mean"):
                band(axes, time, gaps, label, **look)
            else:
                axes.plot(time, np.median(gaps, axis=1), label=label, **look)
        for law, label in ((symbolic.gap_at, "mean-field laws"), (theory.running_mean_gap_at, None)):
            axes.plot(time, law(step * difference * time), label=label, linewidth=1.4, **LOOK["theory"])
        axes.set(xscale="log", ylabel="logit gap x (nats)", title=f"policy step η = {step:g}", ylim=(-1, None))
        axes.set_xlim(1, None)
    rows[0, 0].legend(loc="upper left", fontsize=12)
    return finish(rows[-1, 0], xlabel="episode")


@style.figure
def policy_steps(runs: Mapping[str, Trajectory], clocks: Mapping[str, Float[np.ndarray, "records"]]) -> Figure:
    """Gap for each schedule of the policy step; the law's clock is ``Delta`` times the sum of the steps so far."""
    drawn, axes = style.panels(height=4.6)
    for (label, run), look in zip(runs.items(), SERIES, strict=True):
        time = run.episodes[1:]
        band(axes, time, run.gap[1:], label, markevery=13, markersize=5, **look)
        axes.plot(time, symbolic.gap_at(clocks[label][1:]), linewidth=1.2, **LOOK["theory"])
    axes.plot([], [], linewidth=1.2, label="mean-field law", **LOOK["theory"])
    axes.set(xscale="log", xlabel="episode", ylabel="logit gap x (nats)")
    return finish(axes, legend={"loc": "upper left", "title": "policy step", "fontsize": 12})


@style.figure
def untried(runs: Mapping[str, Trajectory], arm: int, predicted: Float[np.ndarray, "records"]) -> Figure:
    """Share of runs that have not yet tried ``arm``, over episodes; ``predicted`` is the law for ACTDE."""
    drawn, axes = style.panels(height=4.2)
    for (label, run), key in zip(runs.items(), ("running_mean", "value", "actde"), strict=True):
        waiting = (run.visits[1:, :, arm] == 0).mean(1)
        axes.plot(run.episodes[1:], waiting, label=label, **LOOK[key])
    axes.plot(run.episodes, predicted, label="geometric law for ACTDE", linewidth=1.4, **LOOK["theory"])
    axes.set(xscale="log", xlabel="episode", ylabel="runs that never tried it", ylim=(0, 1.04), xlim=(1, None))
    axes.legend(loc="lower left", fontsize=12)
    axes.yaxis.set_major_formatter("{x:.0%}")
    return drawn


@style.figure
def simplex_flow(
    rewards: Float[np.ndarray, "3"], names: list[str], prior: Float[np.ndarray, "3"], sampled: Trajectory
) -> Figure:
    """Exact-gradient flow of three arms on the simplex: one path from ``prior`` highlighted, sampled runs thin."""
    drawn, axes = style.panels(height=6.0)
    across, up, policy, inside = triangle_grid(161, margin=1e-4)
    push = policy * (rewards - (policy @ rewards)[..., None])
    velocity = np.where(inside[..., None], to_plane(policy, push), np.nan)
    speed = np.log10(np.hypot(velocity[..., 0], velocity[..., 1]))
    filled = axes.contourf(across, up, speed, levels=np.arange(-4, 0.01, 0.25), cmap="YlGnBu_r", extend="min")
    look = {"color": "white", "density": 1.5, "linewidth": 0.8, "arrowsize": 0.9}
    axes.streamplot(across, up, velocity[..., 0], velocity[..., 1], **look)
    for run in range(sampled.policy.shape[1]):
        axes.plot(*on_triangle(sampled.policy[:, run]), color=BLACK, linewidth=0.9, alpha=0.75)
    _highlight(axes, rewards, prior)
    axes.fill(*CORNERS.T, fill=False, edgecolor=BLACK, linewidth=1.2)
    for corner, name, reward, shift in zip(CORNERS, names, rewards, ((0, -20), (0, -20), (0, 8)), strict=True):
        note(axes, f"{name}, R = {reward:g}", corner, shift, ha="center")
    axes.set(aspect="equal", xlim=(-0.12, 1.12), ylim=(-0.1, 0.96))
    axes.axis("off")
    bar = drawn.colorbar(filled, ax=axes, orientation="horizontal", shrink=0.7, pad=0.02, ticks=[-4, -3, -2, -1, 0])
    bar.set_label("speed of the policy, powers of ten per episode at η = 1")
    return drawn


def _highlight(axes: Axes, rewards: Float[np.ndarray, "3"], prior: Float[np.ndarray, "3"]) -> None:
    """The exact path from ``prior``, with marks at t = 0, 10, 100 and where the third arm reaches one half."""

    def move(_, logits):
        policy = softmax(logits)
        return policy * (rewards - policy @ rewards)

    path = solve_ivp(move, (0, 1e4), np.log(prior), rtol=1e-8, atol=1e-10, dense_output=True)
    times = np.r_[0, np.geomspace(1e-2, 1e4, 4000)]
    policies = softmax(path.sol(times), axis=0).T
    axes.plot(*on_triangle(policies), color=ORANGE, linewidth=2.6)
    halfway = times[np.argmax(policies[:, 2] > 0.5)]
    for time, shift in ((0, (4, 10)), (10, (4, 10)), (100, (-54, 6)), (halfway, (12, -4))):
        point = on_triangle(softmax(path.sol(time)))
        axes.plot(*point, "o", color=ORANGE, markeredgecolor=BLACK, markersize=7)
        note(axes, f"t = {time:.0f}", point, shift, fontsize=11, bbox=PATCH | {"alpha": 0.85, "pad": 1})
