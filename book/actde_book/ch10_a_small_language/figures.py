"""Figures of chapter 10: a grammar, what its sentences are worth, and what its best policies say."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from actde_book.ch10_a_small_language.graph_layout import Arrow, arrows, places, rows, way
from actde_nb.pages import style
from actde_nb.pages.drawing import PATCH, finish, note
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, SKY, VERMILION
from actde_nb.worlds.grammar import Grammar

PROXIES = {
    "gold": {"color": BLACK, "linestyle": (0, (4, 2))},
    "hp_cap": {"color": VERMILION, "linestyle": "-"},
    "hp_unc": {"color": PURPLE, "linestyle": "-."},
    "bow": {"color": ORANGE, "linestyle": ":"},
    "learned": {"color": BLUE, "linestyle": "-"},
}
LESSONS = (
    {"color": BLUE, "linestyle": "-"},
    {"color": VERMILION, "linestyle": "--"},
    {"color": GREEN, "linestyle": "-."},
    {"color": ORANGE, "linestyle": ":"},
)
SHORT = 3  # rows that an arrow may go down; longer ones are written beside the state
ROW = 0.62  # inches, as is the next
LINE = 0.14
Points = Float[np.ndarray, "points"]


def _label(arrow: Arrow, names: int = 2) -> str:
    names = names if len(arrow.words) > 2 else 2
    said = ", ".join(f"“{word}”" if word == "." else word for word in arrow.words[:names])
    if len(arrow.words) > names:
        said += f" +{len(arrow.words) - names}"
    return said if arrow.chance > 0.995 else f"{said}  {arrow.chance:.2g}".replace("0.", ".")


@style.figure
def automaton(grammar: Grammar) -> Figure:
    """States as boxes, from the start down; arrows as wide as they are used, with the likeliest words and chances.

    Words that lead to one state from several are written once, at the arrow that is used most. Arrows that go far down
    are written below the state that they leave."""
    depth, at, joined = rows(grammar), places(grammar, SHORT), arrows(grammar)
    far = [arrow for arrow in joined if depth[arrow.end] - depth[arrow.start] > SHORT]
    beside = {state: [f"{_label(a, 1)} → {a.end}" for a in far if a.start == state] for state in depth}
    lines = [max(len(beside[state]) for state in depth if depth[state] == row) for row in range(max(depth.values()))]
    level = -np.cumsum([0, *(ROW + LINE * count for count in lines)])  # inches
    widest = [max(abs(x) for x, at_row in at.values() if at_row == row) for row in range(len(level))]
    stretch = [style.WIDTH / max(2 * width + 1.05, 2.9) for width in widest]
    spot = {thing: np.array([x * stretch[row], level[row]]) for thing, (x, row) in at.items()}
    drawn, axes = style.panels(height=0.8 * ROW - level[-1])
    written: list[tuple[tuple[str, ...], str]] = []
    labelled: list[str] = []
    centred = {"ha": "center", "va": "center"}
    for arrow in sorted(joined, key=lambda arrow: -arrow.flow):
        if arrow in far:
            continue
        points = [spot[thing] for thing in way(depth, arrow)]
        points[0] = points[0] - np.array([0, LINE * len(beside[arrow.start])])
        label_at = _bend(axes, points, 0.6 + 3 * np.sqrt(arrow.flow), 0.38 if arrow.start not in labelled else 0.62)
        if (arrow.words, arrow.end) not in written:
            written.append((arrow.words, arrow.end))
            labelled.append(arrow.start)
            text, box = _label(arrow, 2 if len(points) == 2 else 1), PATCH | {"pad": 0.4, "alpha": 0.85}
            axes.text(*label_at, text, fontsize=9, color=BLUE, bbox=box, zorder=4, **centred)
    for state, row in depth.items():
        x, y = spot[state, row]
        frame = {"boxstyle": "round,pad=0.25", "facecolor": "#eef3f8", "edgecolor": GREY}
        axes.text(x, y, state, fontsize=10, bbox=frame, zorder=5, **centred)
        axes.text(x, y - 0.17, "\n".join(beside[state]), fontsize=8, ha="center", va="top", color=GREY)
    axes.set(xlim=(-style.WIDTH / 2, style.WIDTH / 2), ylim=(level[-1] - 0.4 * ROW, 0.4 * ROW))
    axes.axis("off")
    return drawn


def _bend(axes: Axes, points: Sequence[Float[np.ndarray, "2"]], width: float, share: float) -> Float[np.ndarray, "2"]:
    """An arrow that cuts its waypoints smoothly; returns a place on it, for a straight one ``share`` of the way."""
    edge = np.array([0, 0.13])
    stops = [points[0] - edge, *points[1:-1], points[-1] + edge]
    bends = list(zip(stops[1:-1], stops[2:], strict=True))
    ends = [then if then is stops[-1] else (here + then) / 2 for here, then in bends]
    vertices = [stops[0], *(v for (here, _), end in zip(bends, ends, strict=True) for v in (here, end))]
    codes = [Path.MOVETO, *[Path.CURVE3] * (2 * len(bends))]
    if not bends:
        vertices, codes = stops, [Path.MOVETO, Path.LINETO]
    look = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": width, "color": SKY, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(path=Path(vertices, codes), zorder=2, **look))
    if not bends:
        return (1 - share) * stops[0] + share * stops[1]
    first, middle, last = vertices[-3:]
    t = 0.68 if len(bends) == 1 else 0.5
    return (1 - t) ** 2 * first + 2 * t * (1 - t) * middle + t**2 * last


@style.figure
def memory(losses: Float[np.ndarray, "window"], total: float) -> Figure:
    """What the best reader of so many words loses; the right axis is in percent of the entropy of a sentence."""
    drawn, axes = style.panels(height=3.2)
    windows = np.arange(1, len(losses) + 1)
    axes.bar(windows, losses, color=BLUE, width=0.6)
    for window, loss in zip(windows, losses, strict=True):
        note(axes, "0" if loss < 1e-9 else f"{loss:.3f}", (window, loss), (0, 3), ha="center")
    axes.set(xlabel="words remembered", ylabel="nats lost a sentence", ylim=(0, 1.12 * losses.max()))
    axes.set_xticks(windows)
    percent = axes.secondary_yaxis("right", functions=(lambda y: 100 * y / total, lambda y: y * total / 100))
    percent.set_ylabel("% of the entropy")
    axes.grid(axis="x", visible=False)
    return drawn


@style.figure
def lessons(
    watched: Mapping[str, Float[np.ndarray, "trial step"]], levels: Mapping[str, float], window: int = 5
) -> Figure:
    """Divergence from the grammar (nats a word), each network a line averaged over ``window`` steps, with levels."""
    drawn, axes = style.panels(height=4.4)
    for (name, trials), look in zip(watched.items(), LESSONS, strict=False):
        steps = trials.shape[1] // window * window
        smooth = trials[:, :steps].reshape(len(trials), -1, window).mean(-1)
        middle = np.arange(window / 2, steps, window)
        for k, line in enumerate(smooth):
            axes.plot(middle, line, linewidth=1.4, label=name if k == 0 else None, **look)
    for name, level in levels.items():
        axes.axhline(level, linewidth=1.2, **LOOK["source"])
        note(axes, name, (0.01, level), (0, 3), xycoords=("axes fraction", "data"), ha="left", fontsize=10, color=GREY)
    return finish(axes, legend="upper right", yscale="log", xlabel="step", ylabel="KL(grammar || network), nats a word")


@style.figure
def frontier(
    best: Mapping[str, Points], marks: Mapping[float, int], cold: Mapping[str, Float[np.ndarray, "temperatures"]],
    names: Sequence[str],
) -> Figure:  # fmt: skip
    """The optimum at every KL coefficient, and lower temperatures: reward above, effective sentences below, over KL.
    ``marks``: coefficient -> place in the arrays of ``best``; ``names`` are written beside the marks of ``cold``."""
    drawn, (above, below) = style.panels(2, 1, height=3.2, sharex=True)
    square = {"color": ORANGE, "linestyle": "--", "marker": "s", "markersize": 5, "label": "lower temperature"}
    for axes, read in ((above, lambda x: x["reward"]), (below, lambda x: np.exp(x["entropy"]))):
        axes.plot(best["kl"], read(best), color=BLUE, label="optimum at β")
        axes.plot(cold["kl"], read(cold), **square)
        for place in marks.values():
            axes.plot(best["kl"][place], read(best)[place], "o", color=BLUE, markersize=6)
    for price, place in marks.items():
        note(above, f"{price:g}", (best["kl"][place], best["reward"][place]), (4, -13), fontsize=10, color=BLUE)
    for name, kl, said in zip(names, cold["kl"], np.exp(cold["entropy"]), strict=True):
        note(below, name, (kl, said), (7, -4), fontsize=10, color="#8a5a00")
    above.set(ylabel="gold")
    below.set(yscale="log", ylabel="effective sentences", xlabel="KL from the initial policy, nats", xlim=(0, 3.6))
    return finish(below, legend="lower right")


@style.figure
def values(told: Mapping[str, tuple[Sequence[str], Float[np.ndarray, "words"]]], mean: float) -> Figure:
    """Value after each word, the prompt's being ``mean``, and what each word added; a panel a sentence."""
    drawn, axes_of = style.panels(len(told), height=2.5, squeeze=False)
    for axes, (title, (words, worth)) in zip(axes_of[:, 0], told.items(), strict=True):
        axes.axhline(mean, linewidth=1.2, **LOOK["source"])
        places = np.arange(len(words))
        axes.plot(places, worth, color=BLUE, marker="o")
        for k, step in enumerate(np.diff(worth), start=1):
            if abs(step) > 5e-3:
                shift, align, color = ((0, 9), "bottom", GREEN) if step > 0 else ((0, -9), "top", VERMILION)
                added = f"{step:+.2f}".replace("-", "−")
                note(axes, added, (k, worth[k]), shift, ha="center", va=align, fontsize=10, color=color)
        axes.set(ylabel="V (gold)", ylim=(-0.12, 1.15), xlim=(-0.4, len(words) - 0.6), title=title)
        axes.set_xticks(places, ["“.”" if word == "." else word for word in words], rotation=30, ha="right")
    return drawn


@style.figure
def judge(
    gold: Float[np.ndarray, "sentence"], judged: Float[np.ndarray, "sentence"], honeypots: Bool[np.ndarray, "sentence"]
) -> Figure:
    """A learned reward against gold, a dot for each sentence; those with a honeypot are crosses."""
    drawn, axes = style.panels(height=4.2)
    for chosen, look in (
        (~honeypots, {"color": SKY, "marker": ".", "markersize": 3, "label": "others"}),
        (honeypots, {"color": VERMILION, "marker": "x", "markersize": 5, "label": "with a jackpot"}),
    ):
        axes.plot(gold[chosen], judged[chosen], linestyle="", rasterized=True, **look)
    axes.set(xlabel="gold", ylabel="learned reward, standardised")
    return finish(axes, legend={"loc": "upper left", "markerscale": 2})


@style.figure
def goodhart(curves: Mapping[str, Sequence[Mapping[str, Points]]], until: float) -> Figure:
    """Gold, honeypots and diversity over KL where rewards of :data:`PROXIES` are optimised exactly, up to ``until``."""
    drawn, axes_of = style.panels(3, 1, height=2.7, sharex=True)
    readings = (
        ("gold", lambda x: x["gold"]),
        ("P(jackpot)", lambda x: x["honeypot"]),
        ("effective sentences", lambda x: np.exp(x["entropy"])),
    )
    for axes, (label, read) in zip(axes_of, readings, strict=True):
        for name, several in curves.items():
            width = 2 if len(several) == 1 else 1.2
            for k, curve in enumerate(several):
                look = PROXIES[name] | {"linewidth": width, "label": name if k == 0 else None}
                axes.plot(curve["kl"], read(curve), **look)
        axes.set(ylabel=label)
    axes_of[2].set(yscale="log", xlabel="KL from the initial policy, nats", xlim=(0, until))
    return finish(axes_of[1], legend="center right")


@style.figure
def judges(panels: Mapping[str, tuple[Float[np.ndarray, "judge beta"], Float[np.ndarray, "judge beta"]]]) -> Figure:
    """Gold over KL where judges are optimised exactly, a line each; by title, ``kl`` and ``gold``."""
    drawn, axes_of = style.panels(len(panels), 1, height=2.1, sharex=True, sharey=True)
    for axes, (title, (kl, gold)) in zip(axes_of, panels.items(), strict=True):
        axes.plot(kl.T, gold.T, color=BLUE, linewidth=0.8, alpha=0.7)
        axes.plot(kl[:, -1], gold[:, -1], "o", color=BLUE, markersize=3.5)
        axes.set(ylabel="gold", ylim=(-0.03, 1.03), title=title)
    axes_of[-1].set(xlabel="KL from the initial policy, nats", xlim=(0, None))
    return drawn
