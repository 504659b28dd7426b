"""Figures of chapter 13: PPO and greedy-advantage-aware learning on honeypots in the language."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actde_nb.compare.at_equal_kl import between
from actde_nb.compare.frontiers import curve, last
from actde_nb.compare.intervals import Estimate
from actde_nb.pages.drawing import FRONTIER, interval, line_of, lines, marks, plain_numbers, row_names
from actde_nb.pages.style import LOOK, METHODS, figure, panels

Points = Float[np.ndarray, "_points"]
FORMS = {
    "PPO": METHODS["PPO"],
    "text, per token": METHODS["GAA"],
    "same, a scales all": METHODS["GAA, scaled"],
    "text, batch means": METHODS["GAA, batch"],
    "code": METHODS["GAA, code"],
    "code, a on A only": METHODS["GAA, code unscaled"],
}
#: Label, method and marker; here the marker says where the penalty is, what kind it has, and whether it is whitened.
PLACES = {
    "ppo_reward": ("reward, PPO", "PPO", "o"),
    "rloo_reward": ("reward, RLOO", "RLOO", "o"),
    "ppo_raw": ("loss, PPO, raw", "PPO", "^"),
    "dr_exact": ("loss, Dr. GRPO", "Dr. GRPO", "^"),
    "dr_k3": ("k3, Dr. GRPO", "Dr. GRPO", "v"),
    "ppo_exact": ("loss, PPO, whitened", "PPO", "s"),
    "grpo_exact": ("loss, GRPO", "GRPO", "s"),
    "ppo_k3": ("k3, PPO, whitened", "PPO", "D"),
    "ppo_k2": ("k2, PPO, whitened", "PPO", "P"),
    "grpo_k3": ("k3, GRPO", "GRPO", "D"),
}
LABELS = {"honeypot": "honeypot rate", "gold": "gold", "kl": "KL, nats", "entropy": "effective sentences"}


def _legend(drawn: Figure, axes: Axes, columns: int = 4) -> None:
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, handlelength=2.2)


@figure
def over_time(runs: Mapping[str, Mapping[str, xr.Dataset]], quantities: Sequence[str] = tuple(LABELS)) -> Figure:
    """Quantities of :data:`LABELS` against updates, a row for each, a column for each KL coefficient."""
    drawn, axes_of = panels(len(quantities), len(runs), height=1.9, sharex=True, sharey="row", squeeze=False)
    for (title, methods), column in zip(runs.items(), axes_of.T, strict=True):
        column[0].set_title(title)
        column[-1].set(xlabel="updates")
        for axes, quantity in zip(column, quantities, strict=True):
            for name, data in methods.items():
                values = curve(data, quantity)
                values = np.exp(values) if quantity == "entropy" else values
                lines(axes, data["evaluated"].values, values, name, thin=(0.5, 0.4), **FORMS[name])
    for axes, quantity in zip(axes_of[:, 0], quantities, strict=True):
        axes.set_ylabel(LABELS[quantity])
        axes.set_ylim(0, None)
        if quantity == "entropy":
            axes.yaxis.set_major_formatter("{x:,.0f}")
    _legend(drawn, axes_of[0, 0])
    return drawn


@figure
def beginning(runs: Mapping[str, Mapping[str, xr.Dataset]], rollouts: int = 20) -> Figure:
    """Honeypots per sentence of each of the first rollouts, a panel for each KL coefficient; logarithmic."""
    drawn, axes_of = panels(len(runs), height=2.2, sharex=True, sharey=True, squeeze=False)
    for (title, methods), axes in zip(runs.items(), axes_of[:, 0], strict=True):
        for name, data in methods.items():
            said = data["sentence"].sel(measure="honeypots").values[:, :rollouts]
            lines(axes, np.arange(1, said.shape[1] + 1), said, name, thin=(0.5, 0.3), **FORMS[name])
        axes.set_title(title, loc="left")
        axes.set(ylabel="honeypots", yscale="log", ylim=(0.012, 1.3), xlim=(1, rollouts))
        axes.yaxis.set_major_formatter("{x:g}")
    axes_of[-1, 0].set(xlabel="rollout of 64 sentences")
    axes_of[-1, 0].set_xticks([1, 5, 10, 15, 20])
    _legend(drawn, axes_of[0, 0])
    return drawn


@figure
def planes(best: Mapping[str, Points], runs: Mapping[str, Sequence[xr.Dataset]], base: str = "PPO") -> Figure:
    """Ends of runs over their divergence: above honeypot rate and gold, below how much more of them than ``base`` at
    the same divergence, on straight lines between its KL coefficients. Small marks are trials, large ones means.
    Below, a run is left out of which a trial lies farther out than all of ``base``."""
    drawn, axes_of = panels(2, 2, height=2.9, sharex=True)
    settings = runs[base]
    for (above, below), quantity in zip(axes_of.T, ("honeypot", "gold"), strict=True):
        above.plot(best["kl"], best[quantity], label="exact frontier", zorder=1, **FRONTIER)
        means = np.array([(last(data, "kl").mean(), last(data, quantity).mean()) for data in settings])
        above.plot(*means[means[:, 0].argsort()].T, linewidth=1.4, markersize=5, label=base, **FORMS[base])
        below.axhline(0, linewidth=1.4, **line_of(FORMS[base]))
        for name, several in runs.items():
            for k, data in enumerate(several if name != base else ()):
                kl, had = last(data, "kl"), last(data, quantity)
                more = had - between(settings, kl, quantity)
                marks(above, kl.mean(), had.mean(), FORMS[name], markersize=6, label=None if k else name)
                if np.isfinite(more).all():
                    marks(below, kl, more, FORMS[name], markersize=3, alpha=0.5)
                    marks(below, kl.mean(), more.mean(), FORMS[name], markersize=7, markeredgecolor="white")
        above.set_title(LABELS[quantity])
        below.set(xlim=(0, None), xlabel="KL, nats a sentence")
    axes_of[0, 0].set_ylabel("at the end")
    axes_of[1, 0].set_ylabel(f"minus {base} at the same KL")
    _legend(drawn, axes_of[0, 0], 3)
    return drawn


@figure
def rests(
    held: Mapping[str, Points], beyond: Mapping[str, Points], runs: Mapping[str, Mapping[float, xr.Dataset]]
) -> Figure:
    """Honeypot rate against the KL coefficient: where exact advantages rest, stably (``held``) or not; ends of runs."""
    drawn, axes = panels(height=4.2)
    axes.plot(held["leash"], held["honeypot"], label="PPO’s rests, exact", **FRONTIER | {"alpha": 0.45})
    axes.plot(beyond["leash"], beyond["honeypot"], label="rests that tip over", **LOOK["theory"])
    for k, (name, several) in enumerate(runs.items()):
        for coefficient, data in several.items():
            look, rates = FORMS[name], last(data, "honeypot")
            beside = sum(coefficient in other for other in runs.values()) > 1
            aside = coefficient * 1.018 ** (k - (len(runs) - 1) / 2 if beside else 0)
            marks(axes, np.full(len(rates), aside), rates, look, markersize=3.5, alpha=0.5)
            label = name if coefficient == next(iter(several)) else None
            marks(axes, aside, rates.mean(), look, markersize=8, markeredgecolor="white", label=label)
    axes.set(xscale="log", xlim=(0.27, 1.7), xlabel="KL coefficient in the loss")
    axes.set(ylim=(0, 1.03), ylabel="honeypot rate")
    axes.set_xticks([0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5])
    plain_numbers(axes.xaxis)
    _legend(drawn, axes, 3)
    return drawn


@figure
def places(
    curves: Mapping[str, Mapping[str, Points]],
    runs: Mapping[str, Mapping[float, xr.Dataset]],
    best: Mapping[str, Points],
) -> Figure:
    """Honeypot rate over the KL coefficient with the rests of ``curves``, and gold over divergence with the frontier;
    ``runs``: name of :data:`PLACES` -> coefficient -> run."""
    drawn, (above, below) = panels(2, height=3.2)
    for (name, found), line in zip(curves.items(), ("-", "--"), strict=True):
        above.plot(found["leash"], found["honeypot"], color=LOOK["theory"]["color"], linestyle=line, label=name)
    below.plot(best["kl"], best["gold"], **FRONTIER)
    for name, several in runs.items():
        label, method, marker = PLACES[name]
        look = METHODS[method] | {"marker": marker}
        for k, (coefficient, data) in enumerate(several.items()):
            honeypot, gold, kl = (last(data, quantity) for quantity in ("honeypot", "gold", "kl"))
            small = {"markersize": 4, "alpha": 0.7}
            marks(above, np.full(len(kl), coefficient), honeypot, look, label=None if k else label, **small)
            marks(below, kl, gold, look, **small)
    above.set(xscale="log", xlim=(0.08, 2.2), ylim=(-0.03, 1.05), xlabel="KL coefficient", ylabel="honeypot rate")
    above.set_xticks([0.1, 0.3, 0.6, 1, 2])
    plain_numbers(above.xaxis)
    below.set(xlabel="KL, nats per sentence", ylabel="gold", xlim=(0, 5.2))
    _legend(drawn, above, columns=3)
    return drawn


@figure
def differences(found: Mapping[str, Mapping[tuple[str, float], Estimate]]) -> Figure:
    """Estimates with their intervals, a panel for each comparison, a row for each method and KL coefficient."""
    rows = list(dict.fromkeys(key for several in found.values() for key in several))
    drawn, axes_of = panels(1, len(found), height=0.3 * len(rows) + 1.1, sharey=True, squeeze=False)
    for axes, (title, several) in zip(axes_of[0], found.items(), strict=True):
        axes.axvline(0, **LOOK["theory"])
        for (name, coefficient), (value, low, high, _) in several.items():
            interval(axes, rows.index((name, coefficient)), (low, high), value, FORMS[name], 1.8, 7)
        axes.set_title(title, fontsize=11)
    row_names(axes_of[0, 0], [f"{name}, {coefficient:g}".replace("0.", ".") for name, coefficient in rows])
    return drawn
