"""Figures of the chapter: what runs record, and what three pitfalls do to ratios and to gradients."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.stats import sem

from actde_nb.finetune.loop import FineTuning
from actde_nb.pages import style
from actde_nb.pages.drawing import finish, marks, note, row_names
from actde_nb.pages.style import BLACK, GREY, SERIES

RECORDS = {
    "score": "score",
    "kl": "KL (nats a sequence)",
    "entropy": "entropy (nats a token)",
    "distinct_2": "distinct-2",
}
RANKS = [look | {"markersize": 7} for look in SERIES]


@style.figure
def records(runs: Mapping[str, Sequence[FineTuning]]) -> Figure:
    """Score, divergence, entropy and diversity over the rollouts of a few runs of each kind."""
    drawn, grid = style.panels(2, 2, height=2.7, sharex=True)
    for axes, (name, title) in zip(grid.flat, RECORDS.items(), strict=True):
        for label, look in style.method_looks(runs).items():
            columns = np.stack([run.records.column(name)[:, 0] for run in runs[label]])
            rollouts, every = np.arange(1, columns.shape[1] + 1), max(columns.shape[1] // 5, 1)
            axes.plot(rollouts, columns.T, linewidth=0.7, alpha=0.5, color=look["color"])
            axes.plot(rollouts, columns.mean(0), label=label, markevery=every, markersize=6, **look)
        axes.set(title=title)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    for axes in grid[1]:
        axes.set_xlabel("rollout")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="upper center", ncols=len(runs), bbox_to_anchor=(0.5, 0.01))
    return drawn


@style.figure
def padding(apart: Mapping[str, Mapping[int, float]], clip: float) -> Figure:
    """Mean size of the log-ratio a word, by the places of padding: label -> places -> nats. ``clip``: PPO's epsilon."""
    drawn, axes = style.panels(height=3.8)
    for (label, found), look in zip(apart.items(), SERIES, strict=False):
        axes.plot(list(found), [max(value, 1e-8) for value in found.values()], label=label, markersize=8, **look)
    axes.axhline(np.log1p(clip), color=GREY, linestyle=(0, (1, 2)))
    note(axes, f"PPO's clip, log {1 + clip:g}", (0.98, np.log1p(clip)), (0, -5), xycoords=("axes fraction", "data"),
         ha="right", va="top", color=GREY)  # fmt: skip
    axes.set(
        yscale="log", ylim=(3e-9, 30), xlabel="places of padding before the prompt", ylabel="|log-ratio| (nats a word)"
    )
    return finish(axes, legend={"loc": "lower center", "bbox_to_anchor": (0.5, 0.26)})


@style.figure
def ratios(found: Mapping[str, Float[np.ndarray, "words"]], clip: float) -> Figure:
    """Ratios of the learner's probabilities to the sampler's before any update, a row for each way to draw."""
    drawn, axes = style.panels(height=0.75 * len(found) + 1.1)
    scatter = np.random.default_rng(0)  # for the eye alone
    axes.axvspan(1 - clip, 1 + clip, color=GREY, alpha=0.15, linewidth=0)
    axes.axvline(1, color=BLACK, linewidth=1)
    for row, (values, look) in enumerate(zip(found.values(), 2 * SERIES, strict=False)):
        shown = values[:: max(len(values) // 300, 1)]
        places = row + scatter.uniform(-0.28, 0.28, len(shown))
        marks(axes, shown, places, look, markersize=3.5, alpha=0.35, markeredgewidth=0)
        marks(axes, values.mean(), row, look, markersize=11, markeredgecolor="white", markeredgewidth=1.5)
    row_names(axes, list(found))
    axes.set(xscale="log", xlabel="ratio, whole softmax over the distribution drawn from")
    ticks = (0.3, 0.5, 0.8, 1, 1.2, 2, 3)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0.2, 4)
    return drawn


@style.figure
def local_means(spreads: Sequence[float], errors: Mapping[int, Float[np.ndarray, "spread batch"]], size: int) -> Figure:
    """Relative error of the gradient by how much lengths vary: mean over batches, two standard errors to each side."""
    drawn, axes = style.panels(height=3.8)
    for (ranks, samples), look in zip(errors.items(), RANKS, strict=False):
        label = f"{ranks} ranks of {size // ranks}"
        axes.errorbar(spreads, samples.mean(1), 2 * sem(samples, axis=1), capsize=4, label=label, **look)
    axes.set(xlabel="standard deviation of lengths over their mean", ylabel="relative error of the gradient")
    axes.set_ylim(bottom=0)
    return finish(axes, legend="upper left")
