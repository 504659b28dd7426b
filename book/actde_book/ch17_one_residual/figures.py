"""Figures of chapter 17: where updates rest, and what they can stand."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from actde_book.ch17_one_residual import closed_forms
from actde_book.ch17_one_residual.closed_forms import Fold
from actde_nb.pages.drawing import HOLLOW, finish, plain_numbers
from actde_nb.pages.style import BLACK, BLUE, LOOK, METHODS, ORANGE, PURPLE, SERIES, VERMILION, figure, panels

#: By the place where a method was to rest.
PLACES = {
    "optimum": {"color": BLACK, "marker": "o", "label": "the optimum"},
    "apa": METHODS["APA"] | {"label": "APA’s rest"},
    "k3": {"color": PURPLE, "marker": "s", "label": "k3’s rest"},
    "data": {"color": ORANGE, "marker": "^", "label": "set by the data"},
    "best": {"color": VERMILION, "marker": "X", "label": "the best sentences alone"},
}
FLOOR = 1e-3  # nats; what is nearer is drawn here
Ends = Mapping[str, tuple[float, float]]


@figure
def clusters(
    ends: Sequence[Ends], places: Mapping[str, str], predicted: Sequence[Sequence[tuple[float, float]]]
) -> Figure:
    """Ends of flows by their divergence from the optimum and from APA's rest; one of ``ends`` and of ``predicted`` for
    each KL coefficient, the smaller the paler."""
    drawn, axes = panels(height=4.2)
    named = set()
    for which, (found, rings) in enumerate(zip(ends, predicted, strict=True)):
        opacity = 1 - 0.3 * which
        x, y = np.maximum(np.array(rings), FLOOR).T
        label = {} if which else {"label": "predicted"}
        axes.plot(x, y, "o", markersize=15, color=BLACK, markerfacecolor="none", markeredgewidth=1, **label)
        for name, end in found.items():
            place = places[name].partition("_")[0]
            look = dict(PLACES[place]) | ({"label": None} if place in named else {})
            named.add(place)
            axes.plot(*np.maximum(end, FLOOR), markersize=7, alpha=opacity, **look | {"linestyle": ""})
    axes.set(xscale="log", yscale="log", xlim=(FLOOR / 2, 30), ylim=(FLOOR / 2, 30))
    axes.set(xlabel="KL to the optimum, nats", ylabel="KL to APA’s rest, nats")
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn


@figure
def stability(tried: Mapping[str, Sequence[tuple[float, float, bool]]]) -> Figure:
    """How long on one batch, and how old a batch, by the excess of the value; marks are (excess, time, returned)."""
    drawn, axes_of = panels(2, height=2.7, sharex=True)
    excess = np.linspace(0.501, 3.2, 300)
    laws = {"time on one batch": closed_forms.longest_pass, "age of the batch": closed_forms.longest_delay}
    for axes, (name, law) in zip(axes_of, laws.items(), strict=True):
        axes.plot(excess, [law(value) for value in excess], label="the law", **LOOK["theory"])
        axes.axvline(0.5, label="half a nat", **LOOK["source"])
        for back, mark, color, label in ((True, "o", BLUE, "returns"), (False, "x", VERMILION, "leaves")):
            marks = np.array([(x, y) for x, y, returned in tried[name] if returned == back]).reshape(-1, 2)
            axes.plot(*marks.T, mark, color=color, label=label)
        axes.set(ylabel=name, yscale="log", ylim=(0.15, 12))
        axes.yaxis.set_major_formatter("{x:g}")
    axes_of[-1].set(xlabel="excess of the value, nats", xlim=(-2.3, 3.2))
    drawn.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


@figure
def estimators(
    samples: Float[np.ndarray, "counts"], biases: Mapping[float, Float[np.ndarray, "counts"]],
    missed: Mapping[float, Float[np.ndarray, "counts"]],
) -> Figure:  # fmt: skip
    """Bias of the value from so many samples, and how far from the optimum it makes a fit to initial data rest."""
    drawn, axes_of = panels(2, height=2.6, sharex=True)
    for axes, curves, sign in zip(axes_of, (biases, missed), (-1, 1), strict=True):
        for look, (beta, curve) in zip(SERIES, curves.items(), strict=False):
            axes.plot(samples, sign * curve, label=f"β = {beta:g}", **look)
        axes.set(xscale="log", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes_of[0].set_ylabel("too low by, reward")
    axes_of[1].set(ylabel="KL to the optimum, nats", xlabel="samples of the initial policy", xticks=samples)
    plain_numbers(axes_of[1].xaxis)
    drawn.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return drawn


@figure
def folds(
    curves: Mapping[str, tuple[Fold, Fold]], ends: Mapping[str, Mapping[float, float]], top: float = 3.0
) -> Figure:
    """Divergence at rest by the coefficient: rewards divided and the penalty not, and both divided; ends of flows."""
    drawn, axes_of = panels(len(curves), height=2.7, sharex=True)
    for axes, (name, (alone, both)) in zip(axes_of, curves.items(), strict=True):
        axes.plot(both.coefficient, both.kl, label="both divided", **LOOK["theory"])
        kept, gone = (np.where(mask, alone.kl, np.nan) for mask in (alone.held, ~alone.held))
        axes.plot(alone.coefficient, kept, color=BLUE, label="rewards divided")
        axes.plot(alone.coefficient, gone, color=BLUE, linestyle=":", linewidth=1.2)
        axes.axvline(alone.threshold, color=VERMILION, linestyle="-.", label="threshold")
        axes.plot(*zip(*ends[name].items(), strict=True), "o", color=BLACK, label="flows", **HOLLOW)
        axes.set(ylabel="KL, nats", title=name)
    finish(axes_of[-1], xlabel="KL coefficient", xscale="log", xlim=(0.08, top))
    plain_numbers(axes_of[-1].xaxis)
    axes_of[-1].set_xticks([0.1, 0.2, 0.5, 1, 2])
    drawn.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn
