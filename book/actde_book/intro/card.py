"""The picture of the README, light and dark, and the card that is shown where a page of the book is linked to.

``python -m actde_book.intro.card`` draws them anew from the stored runs, into ``book/_static``."""

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from actde_book.intro.figures import Curve
from actde_nb.compare import frontiers
from actde_nb.pages.style import METHODS, STYLE
from actde_nb.paths import RESULTS, SOURCES

STATIC = SOURCES / "_static"
TITLE = "Does the update\ncollapse the policy?"
RUNS = {"ppo_free": "PPO", "ppo_010": "PPO with\na KL penalty"}
INK = {"light": "#24292f", "dark": "#e6edf3"}
COLOURS = {"light": METHODS["PPO"]["color"], "dark": "#ff9a5c"}  # PPO's, and a lighter one that is read on black
STYLES = dict(zip(RUNS, ("-", "--"), strict=True))


def curves() -> dict[str, Curve]:
    """Updates and entropy in nats per sentence of the runs that are drawn, from the stored results."""
    stored = {name: frontiers.stored(name, folder=RESULTS)[name] for name in RUNS}
    return {name: (run["evaluated"].values, frontiers.curve(run, "entropy", "sampled")) for name, run in stored.items()}


def entropies(axes: Axes, runs: Mapping[str, Curve], scheme: str) -> None:
    """A line for each trial, its method named beside it, in ink that is read on a ``scheme`` light or dark."""
    for name, (updates, entropy) in runs.items():
        color = COLOURS[scheme]
        axes.plot(updates, entropy.T, color=color, linestyle=STYLES[name], linewidth=1.5, alpha=0.85)
        place = (updates[-1] * 1.02, entropy[:, -1].mean())
        axes.annotate(RUNS[name], place, color=color, weight="bold", va="center", annotation_clip=False)
    axes.set(xlabel="update", ylabel="entropy, nats per sentence", ylim=(0, 8.2), xlim=(0, None))
    axes.grid(alpha=0.25)
    axes.tick_params(colors=INK[scheme])
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(INK[scheme])
    for spine in axes.spines.values():
        spine.set_color(INK[scheme])


def picture(runs: Mapping[str, Curve], scheme: str) -> Figure:
    """For the README: entropy of a language model while it is tuned, five trials a method."""
    with plt.style.context(STYLE):
        drawn, axes = plt.subplots(figsize=(8, 3))
        entropies(axes, runs, scheme)
        plt.close(drawn)
    return drawn


def card(runs: Mapping[str, Curve]) -> Figure:
    """1200 by 630 pixels: what the book asks, beside what happens."""
    with plt.style.context([STYLE, {"figure.constrained_layout.use": False, "font.size": 13}]):
        drawn = plt.figure(figsize=(12, 6.3), dpi=100)
        drawn.text(0.06, 0.93, TITLE, size=38, weight="bold", color=INK["light"], va="top", linespacing=1.15)
        told = "Mode collapse in PPO, GRPO and RLHF,\nfrom two actions to a language model: proofs, exact numbers, code"
        drawn.text(0.06, 0.65, told, size=20, color=INK["light"], va="top", linespacing=1.3)
        entropies(drawn.add_axes((0.09, 0.11, 0.74, 0.36)), runs, "light")
        plt.close(drawn)
    return drawn


def save(folder: Path = STATIC) -> None:
    """Write ``collapse-light.svg``, ``collapse-dark.svg`` and ``card.png``."""
    runs = curves()
    with plt.rc_context({"svg.hashsalt": "actde-nb"}):  # the same picture is the same file
        for scheme in INK:
            out = folder / f"collapse-{scheme}.svg"
            picture(runs, scheme).savefig(out, transparent=True, metadata={"Date": None})
    card(runs).savefig(whole := io.BytesIO())
    Image.open(whole).convert("P", palette=Image.Palette.ADAPTIVE, colors=48).save(folder / "card.png", optimize=True)


if __name__ == "__main__":
    save()
