"""Figures of chapter 2: where the action-conditioned error stops, and what it costs to stop there."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.stats import sem

from actde_nb.pages.drawing import PATCH, finish, note, on_triangle, simplex
from actde_nb.pages.interactive import Interactive
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, VERMILION, band, figure, panels
from actde_nb.tables.bandit import Bandit, Trajectory, boltzmann

REGRET = {
    "ACTDE, fixed temperature": LOOK["actde"],
    "ACTDE, falling temperature": LOOK["actde"] | {"linestyle": "--"},
    "ordinary TD error": LOOK["value"] | {"linestyle": "-."},
}
Gaps = Float[np.ndarray, "records runs"]


@figure
def four_steps(
    runs: Mapping[str, Trajectory], rewards: Float[np.ndarray, "2"], arms: Sequence[int], names: Sequence[str]
) -> Figure:
    """What each episode's error does to the logits of two arms, a panel for each baseline, the state's above.

    ``runs``: title -> one run, recorded after every episode; ``arms``: the arm of each episode."""
    drawn, rows = panels(2, height=2.9, sharex=True, sharey=True)
    for axes, (title, run), look in zip(rows, runs.items(), (LOOK["value"], LOOK["actde"]), strict=True):
        logits = run.logits[:, 0] - run.logits[0, 0]
        for arm, (line, fill) in enumerate((("-", "full"), ("--", "none"))):
            axes.plot(logits[:, arm], marker="o", fillstyle=fill, **look | {"linestyle": line})
            note(axes, names[arm], (4, logits[-1, arm]), (9, 0), va="center", color=look["color"])
        for episode, arm in enumerate(arms, start=1):
            error = run.advantages[episode, 0]
            text = f"{rewards[arm]:g}\n− {rewards[arm] - error:g}\n= {error or 0:g}".replace("-", "−")
            axes.text(episode, 2.3, text, ha="center", va="center")
            if error:
                ends = {"xy": (episode, logits[episode, arm]), "xytext": (episode, logits[episode - 1, arm])}
                axes.annotate("", **ends, arrowprops={"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 4})
        axes.text(0, 2.3, "reward\n− baseline\n= error", ha="center", va="center", color=GREY)
        axes.set(title=f"{title}; the logits end {run.gap[-1, 0]:g} apart", xlim=(-0.6, 4.9))
        axes.set(ylabel="logit (nats)", ylim=(-0.75, 2.9), yticks=[0, 1, 2])
    rows[1].set_xticks(range(5), ["start", *(names[arm] for arm in arms)])
    return drawn


@figure
def stops(runs: Mapping[str, Trajectory], end: float) -> Figure:
    """Logit gap over episodes under the two errors; ``end`` is where theory says ACTDE stops."""
    drawn, axes = panels(height=4.0)
    for (name, run), look in zip(runs.items(), (LOOK["value"] | {"linestyle": "-."}, LOOK["actde"]), strict=True):
        band(axes, run.episodes[1:], run.gap[1:], name, **look)
    axes.axhline(end, linewidth=1.4, label="reward difference", **LOOK["theory"])
    axes.set(xscale="log", xlabel="episode", ylabel="logit gap x (nats)")
    return finish(axes, legend={"loc": "upper left", "fontsize": 12})


def baselines(runs: Mapping[str, Trajectory], bandit: Bandit, arms: Sequence[str], told: Sequence[int]) -> Interactive:
    """One run under each of several baselines, recorded after every episode: what was played, its error, how far
    the logits have come. The table has the gap after the episodes ``told``."""
    data = []
    for (name, run), look in zip(runs.items(), (LOOK["value"], LOOK["actde"]), strict=True):
        played = np.diff(run.visits[:, 0], axis=0).argmax(-1)
        data.append(
            {"name": name, "color": look["color"], "played": played, "errors": run.advantages[1:, 0]}
            | {"logits": (run.logits[:, 0] - run.logits[0, 0]).T, "gap": run.gap[:, 0], "chance": run.policy[:, 0, 0]}
        )
    rows = [(f"{t:d}", *(f"{run.gap[t, 0]:.1f}" for run in runs.values())) for t in told]
    head = ("after episode", *(f"logit gap, {name}" for name in runs))
    return Interactive("baselines", {"arms": arms, "rewards": bandit.rewards, "runs": data}, head, rows)


@figure
def orders(logit: Gaps, softmax: Gaps, lateness: Float[np.ndarray, "runs"], end: float) -> Figure:
    """Gap along every order of visits: the raw logit update, whose end theory gives, above the softmax gradient.
    Colour is ``lateness``: the mean episode at which the first arm is visited, from 0 (early) to 1."""
    drawn, rows = panels(2, 2, height=3.3, sharey=True, width_ratios=(5, 1))
    shades = plt.get_cmap("cividis")
    drawing_order = np.argsort(np.abs(lateness - 0.5))  # the extreme orders go on top
    titles = ("error added to the logit of the arm taken", "error times the gradient of log π")
    for (axes, side), gaps, title in zip(rows, (logit, softmax), titles, strict=True):
        episodes, halfway = np.arange(len(gaps)), len(gaps) // 2
        lines = [np.column_stack([episodes, gaps[:, run]]) for run in drawing_order]
        axes.add_collection(LineCollection(lines, colors=shades(lateness[drawing_order]), linewidths=0.7, alpha=0.55))
        for run, style, label in ((lateness.argmax(), "-", "party first"), (lateness.argmin(), "--", "wedding first")):
            axes.plot(episodes, gaps[:, run], style, color=shades(lateness[run]), linewidth=2.6)
            note(axes, label, (halfway, gaps[halfway, run]), (8, 0), va="center")
        axes.set(xlim=(0, len(gaps) - 1), ylabel="logit gap x (nats)", title=title)
        axes.axhline(end, linewidth=1.2, **LOOK["theory"])
        bins = np.linspace(*axes.get_ylim(), 61)
        side.hist(gaps[-1], bins=bins, orientation="horizontal", color=GREY)
        side.axhline(end, linewidth=1.2, **LOOK["theory"])
        side.set(xticks=[], title="ends")
        side.grid(visible=False)
        side.spines["bottom"].set_visible(False)
    return finish(rows[1, 0], xlabel="episode")


@figure
def learning_paths(
    extremes: Trajectory, sampled: Trajectory, rewards: Float[np.ndarray, "2"], limit: float, raw: float
) -> Figure:
    """Gap against how much has been learned, in small steps under the softmax gradient.

    ``extremes`` are two runs, wedding before party and party before wedding; ``limit`` is the end of the on-policy
    mean field, ``raw`` that of the raw logit update."""
    drawn, axes = panels(height=4.6)
    learned, some_learned = (run.action_values.sum(-1) / rewards.sum() for run in (extremes, sampled))
    for run, (colour, style) in enumerate(((PURPLE, "-."), (VERMILION, "--"))):
        axes.plot(learned[:, run], extremes.gap[:, run], style, color=colour)
    axes.plot(some_learned[:, :40], sampled.gap[:, :40], color=GREY, linewidth=0.5, alpha=0.6)
    low, high = np.sort(extremes.gap[-1])
    axes.plot([1, 1], [low, high], color=ORANGE, linewidth=7, alpha=0.5, solid_capstyle="butt")
    axes.plot(1, limit, "o", color=ORANGE, markeredgecolor=BLACK, markersize=9, zorder=5)
    axes.plot(1, raw, "D", color=BLUE, markeredgecolor=BLACK, markersize=8, zorder=5)
    for label, x, y, side in (
        ("wedding first", 0.6, extremes.gap[:, 0].max(), "right"),
        ("party first", 0.4, extremes.gap[:, 1].min(), "left"),
        ("on-policy runs", 0.36, -0.08, "center"),
        ("raw logit update", 1.04, raw, "left"),
        ("on-policy limit", 1.04, limit, "left"),
        ("reachable ends", 1.04, low, "left"),
    ):
        axes.text(x, y, label, va="center", ha=side)
    axes.set(xlabel="share of the two rewards learned", ylabel="logit gap x (nats)", xlim=(0, 1.42))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    return drawn


@figure
def temperature_family(
    rewards: Sequence[float], priors: Sequence[Sequence[float]], temperatures: Sequence[float],
    ends: Sequence[Float[np.ndarray, "runs 3"]], names: Sequence[str],
) -> Figure:  # fmt: skip
    """End policies of three arms from several priors as the temperature falls, with the ends of runs for each prior."""
    drawn, axes = panels(height=5.4)
    looks = ((BLUE, "-", "o"), (VERMILION, "--", "s"), (GREEN, "-.", "^"))
    marks = [np.array([boltzmann(rewards, tau, prior) for tau in temperatures]) for prior in priors]
    for (colour, style, marker), prior, mark in zip(looks, priors, marks, strict=True):
        curve = np.array([boltzmann(rewards, tau, prior) for tau in np.geomspace(50, 0.03, 200)])
        axes.plot(*on_triangle(curve), style, color=colour)
        axes.plot(*on_triangle(prior), marker="*", color=colour, markersize=17, markeredgecolor="white")
        hollow = {"color": "white", "markeredgecolor": colour, "markeredgewidth": 1.6}
        axes.plot(*on_triangle(mark), marker, markersize=9, **hollow)
    axes.plot(*on_triangle(np.concatenate(ends)), "x", color=BLACK, markersize=5, markeredgewidth=1.2)
    for temperature, point in zip(temperatures, on_triangle(marks[0]).T, strict=True):
        note(axes, f"τ = {temperature:g}", point, (-10, -3), ha="right", bbox=PATCH | {"pad": 0.5})
    simplex(axes, names)
    handles = [
        plt.Line2D([], [], linestyle="", marker="*", color=GREY, markersize=14, label="prior"),
        plt.Line2D([], [], linestyle="", marker="o", color="white", markeredgecolor=GREY, markersize=9, label="theory"),
        plt.Line2D([], [], linestyle="", marker="x", color=BLACK, markersize=6, label="sampled runs"),
    ]
    return finish(axes, legend={"handles": handles, "loc": "upper left", "fontsize": 12})


@figure
def waits(shifts: Int[np.ndarray, "shifts"], sampled: Sequence[Int[np.ndarray, "runs"]], law: Callable) -> Figure:
    """Mean number of episodes until both arms have been tried, against a constant added to every reward."""
    drawn, axes = panels(height=3.8)
    fine = np.linspace(min(shifts) - 0.3, max(shifts) + 0.3, 100)
    axes.plot(fine, law(fine), label="closed form", linewidth=1.4, **LOOK["theory"])
    means, errors = [np.mean(s) for s in sampled], [2 * sem(s) for s in sampled]
    axes.errorbar(shifts, means, errors, fmt="o", color=BLUE, capsize=4, label="sampled, ± 2 standard errors")
    axes.set(yscale="log", xlabel="added to every reward", ylabel="episodes until both tried")
    axes.set_yticks([2, 5, 10, 20], ["2", "5", "10", "20"])
    axes.minorticks_off()
    return finish(axes, legend={"loc": "upper left", "fontsize": 12})


@figure
def regrets(
    runs: Mapping[str, Trajectory], difference: float, laws: Mapping[str, Float[np.ndarray, "records"]]
) -> Figure:
    """Mean reward forgone over episodes, on logarithmic axes; ``laws`` are predictions at the recorded episodes."""
    drawn, axes = panels(height=4.4)
    for name, run in runs.items():
        regret = difference * run.visits[1:, :, 1].mean(1)
        axes.plot(run.episodes[1:], regret, label=name, **REGRET[name])
    for k, law in enumerate(laws.values()):
        axes.plot(run.episodes[1:], law, linewidth=1.3, label="theory" if k == 0 else None, **LOOK["theory"])
    axes.set(xscale="log", yscale="log", xlabel="episode", ylabel="regret so far")
    return finish(axes, legend={"loc": "upper left", "fontsize": 12})
