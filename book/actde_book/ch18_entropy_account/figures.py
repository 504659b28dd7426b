"""Figures of the chapter: entropy beside reward, the account of a run, the law, and bonuses."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from actde_book.ch18_entropy_account.measures import Law
from actde_nb.compare import frontiers
from actde_nb.compare.intervals import Estimate
from actde_nb.pages import style
from actde_nb.pages.drawing import CONDITIONS, finish, marks, plain_numbers
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, SKY, VERMILION, figure, panels

Line = Float[np.ndarray, "_point"]
Reach = tuple[float, float]
BARS = (GREY, BLUE, ORANGE)
#: Remedies by the names of their runs.
REMEDIES = {
    "ppo_clip_high": "PPO, clip-higher", "grpo_clip_high": "GRPO, clip-higher", "clip_cov": "Clip-Cov, one token",
    "kl_cov": "KL-Cov, one token", "clip_cov_020": "Clip-Cov, a fiftieth", "kl_cov_020": "KL-Cov, a fiftieth",
    "grpo_entropy_003": "GRPO, bonus .03", "grpo_entropy_010": "GRPO, bonus .1",
    "ppo_entropy_adaptive": "PPO, adaptive bonus", "grpo_entropy_adaptive": "GRPO, adaptive bonus",
}  # fmt: skip


@figure
def plane(
    best: Mapping[str, Float[np.ndarray, "_beta"]], flow: tuple[Line, Line], runs: Mapping[str, xr.Dataset],
    gold: Reach = (0.4, 1.0),
) -> Figure:  # fmt: skip
    """Entropy over gold: the optimum, the plain gradient flow (gold, entropy), and means over trials of runs on their
    way. Below the optimum is what the reward did not ask for."""
    drawn, axes = panels(height=4.0)
    axes.plot(best["reward"], best["entropy"], label="optimum", **LOOK["theory"])
    axes.fill_between(best["reward"], 0, best["entropy"], color=GREY, alpha=0.12, linewidth=0)
    axes.plot(*flow, label="plain gradient, exact", color=BLACK, linestyle=":")
    for label, look in style.method_looks(runs).items():
        way = frontiers.path(runs[label], "gold", "entropy").mean(0)
        axes.plot(*way.T, label=label, markersize=5, **look)
    axes.set(xlabel="gold", ylabel="entropy of a sentence (nats)", xlim=gold, ylim=(0, 8))
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


@figure
def remedies(apart: Mapping[str, Mapping[str, Estimate]]) -> Figure:
    """What each remedy changes, a panel a quantity: estimates and their intervals by quantity and remedy."""
    drawn, grid = panels(len(apart), height=2.9, squeeze=False)
    for axes, (quantity, found) in zip(grid[:, 0], apart.items(), strict=True):
        rows = np.arange(len(found))[::-1]
        value, low, high, _ = np.transpose(list(found.values()))
        axes.axvline(0, color=GREY, linewidth=1)
        axes.errorbar(value, rows, xerr=(value - low, high - value), fmt="o", color=BLUE, markersize=5, capsize=3)
        axes.set_yticks(rows, [REMEDIES[name] for name in found])
        axes.set_xlabel(quantity)
    return drawn


@figure
def run_account(update: Line, lines: Mapping[str, Float[np.ndarray, "_trial _point"]]) -> Figure:
    """Change of a run's entropy since its start, and what several formulas make of it; means of few trials."""
    drawn, axes = panels(height=3.6)
    looks = (
        {"color": BLACK, "linestyle": "-"}, {"color": SKY, "linestyle": "--"}, {"color": BLUE, "linestyle": "-."},
        {"color": VERMILION, "linestyle": ":"}, {"color": GREEN, "linestyle": (0, (6, 2))},
    )  # fmt: skip
    for (label, samples), look in zip(lines.items(), looks, strict=True):
        axes.plot(update, samples.T, linewidth=0.6, alpha=0.45, color=look["color"])
        axes.plot(update, samples.mean(0), label=label, **look)
    axes.set(xlabel="update", ylabel="change of entropy (nats)")
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn


@figure
def positions(booked: Mapping[str, tuple[Line, Line]]) -> Figure:
    """Where in a sentence entropy is lost, by the words said so far: in the choices above, by other visits below."""
    drawn, grid = panels(2, height=2.3, sharex=True)
    width = 0.8 / len(booked)
    for number, (label, parts) in enumerate(booked.items()):
        for axes, part in zip(grid, parts, strict=True):
            place = np.arange(len(part)) + (number - (len(booked) - 1) / 2) * width
            axes.bar(place, part, width, label=label, color=BARS[number], hatch=("", "//", "..")[number])
    for axes, name in zip(grid, ("choices", "visits"), strict=True):
        axes.axhline(0, color=BLACK, linewidth=0.8)
        axes.set(ylabel=f"nats, {name}")
    grid[1].set(xlabel="words said after the prompt", xticks=range(0, len(part), 2))
    drawn.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawn


@figure
def law(
    entropy: Line, reward: Line, early: Law, seen: int, best: Mapping[str, Float[np.ndarray, "_beta"]], highest: float
) -> Figure:
    """Gold over e to the entropy of a word: a run, the law fitted to its beginning, the optimum, and what there is."""
    _, axes = panels(height=3.8)
    x = np.exp(entropy)
    parts = {"PPO, fitted": slice(seen), "PPO, later": slice(seen, None)}
    for label, look in style.method_looks(parts).items():
        marks(axes, x[parts[label]], reward[parts[label]], look, label=label, markersize=4)
    ends = np.array([1.0, x.max()])
    axes.plot(ends, early(np.log(ends)), color=PURPLE, linestyle="--", label="law of the first third")
    axes.plot(np.exp(best["per_word"]), best["reward"], label="optimum", **LOOK["theory"])
    axes.axhline(highest, label="highest gold there is", **LOOK["source"])
    return finish(
        axes, "lower left", xlabel="e to the entropy of a word", ylabel="gold", xlim=(0.95, 3.8), ylim=(0.35, 1.32)
    )


@figure
def bonuses(bonus: Sequence[float] | Line, leaks: Mapping[str, Line], leaving: float) -> Figure:
    """Share of texts outside the language at the resting places of an entropy bonus, in units of reward a nat."""
    _, axes = panels(height=3.2)
    for (label, leak), (colour, line, _) in zip(leaks.items(), CONDITIONS, strict=False):
        axes.semilogx(bonus, leak, label=label, color=colour, linestyle=line)
    axes.axvline(leaving, **LOOK["source"])
    plain_numbers(axes.xaxis)
    return finish(
        axes, "upper left", xlabel="bonus (units of reward a nat)", ylabel="share outside", ylim=(-0.02, 1.02)
    )
