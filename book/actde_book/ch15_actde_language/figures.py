"""Figures of chapter 15: ACTDE on the small language."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from actde_nb.compare.frontiers import curve, last, path
from actde_nb.pages import style
from actde_nb.pages.drawing import finish, lines, marks
from actde_nb.pages.style import BLACK, GREY, LOOK, METHODS, PURPLE

Points = Float[np.ndarray, "point"]
#: What is drawn of each family of algorithms.
FAMILIES = {
    "PPO": METHODS["PPO"],
    "published, λ = 0": METHODS["ACTDE"],
    "published, λ = .5": METHODS["ACTDE, λ = .5"],
    "published, λ = .95": METHODS["ACTDE, λ = .95"],
    "return − q": METHODS["return − q"],
    "corrected": METHODS["ACTDE, corrected"],
    "tied": METHODS["tied"],
    "tied, soft": METHODS["tied, soft"],
}
#: Signals in :func:`actde_nb.exact.critics.watch`: label and look.
AIMS = {
    "state": ("PPO's", FAMILIES["PPO"]),
    "return": ("return − q", FAMILIES["return − q"]),
    "published_000": ("published, λ = 0", FAMILIES["published, λ = 0"]),
    "published_095": ("published, λ = .95", FAMILIES["published, λ = .95"]),
}
ERRORS = {
    "q_error": ("error of q", {"color": BLACK, "linestyle": "-"}),
    "v_error": ("error of v", {"color": GREY, "linestyle": "--"}),
    "disagreement": ("disagreement", {"color": PURPLE, "linestyle": "-."}),
}


@style.figure
def who_knows(maps: Mapping[str, Float[np.ndarray, "v q"]], knows: Points) -> Figure:
    """Gain of an expected update, over the exact policy gradient's, by the shares of the values that v and q know."""
    drawn, axes_of = style.panels(1, len(maps), height=2.9, sharey=True)
    levels = [-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4]
    for axes, (title, gain) in zip(axes_of, maps.items(), strict=True):
        axes.contourf(knows, knows, gain.T, levels=np.linspace(-4, 4, 33), cmap="PuOr", extend="both")
        contours = axes.contour(knows, knows, gain.T, levels=levels, colors=BLACK, linewidths=0.8)
        axes.clabel(contours, fmt="%g", fontsize=9)
        axes.contour(knows, knows, gain.T, levels=[0], colors=BLACK, linewidths=2.2)
        axes.set(title=title, xlabel="v knows", aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
        axes.grid(visible=False)
    return finish(axes_of[0], ylabel="q knows")


@style.figure
def watched(found: Mapping[str, Mapping[str, Float[np.ndarray, "trial point"]]]) -> Figure:
    """Gold, what critics know while a policy learns from them, and where each form would pull it; a column for each
    run. ``found`` holds what ``watched_critics.watch`` returns."""
    drawn, axes_of = style.panels(3, len(found), height=2.1, sharex=True, sharey="row", squeeze=False)
    for (title, seen), column in zip(found.items(), axes_of.T, strict=True):
        for axes, signals in zip(
            column, ({"reward": (None, FAMILIES[f"published, {title}"])}, ERRORS, AIMS), strict=True
        ):
            for name, (label, look) in signals.items():
                lines(axes, seen["update"][0], seen[name], label, thin=(0.6, 0.4), **look)
        column[2].axhline(0, color=GREY, linewidth=0.8)
        finish(column[2], xlabel="updates", ylim=(-1.05, 1.1))
        column[0].set_title(title)
    for axes, label in zip(axes_of[:, 0], ("gold", "rms, in reward", "correlation with A"), strict=True):
        axes.set(ylabel=label)
    handles = [
        sum(pair, []) for pair in zip(*(axes.get_legend_handles_labels() for axes in axes_of[1:, 0]), strict=True)
    ]
    drawn.legend(*handles, loc="outside lower center", ncols=3, handlelength=2.2)
    return drawn


@style.figure
def forms(sides: Mapping[str, Mapping[str, Sequence[xr.Dataset]]]) -> Figure:
    """Gold, grammar and entropy over updates, from samples, a column for each side; a thin line for each trial, a thick
    one for the family's mean."""
    drawn, axes_of = style.panels(3, len(sides), height=2.1, sharex=True, sharey="row", squeeze=False)
    quantities = {"gold": "gold", "grammatical": "share grammatical", "entropy": "entropy, nats"}
    for (title, runs), column in zip(sides.items(), axes_of.T, strict=True):
        column[0].set_title(title)
        for axes, quantity in zip(column, quantities, strict=True):
            for family, several in runs.items():
                samples = np.concatenate([curve(data, quantity, "sampled") for data in several])
                update = several[0]["evaluated"].values
                lines(axes, update, samples, family, thin=(0.4, 0.3), **FAMILIES[family])
        column[2].set(xlabel="updates")
    for axes, label in zip(axes_of[:, 0], quantities.values(), strict=True):
        axes.set(ylabel=label, ylim=(0, None))
    named = {
        label: handle for axes in axes_of[0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(named.values(), named, loc="outside lower center", ncols=3, handlelength=2.4)
    return drawn


@style.figure
def plane(
    best: Mapping[str, Points], rests: Mapping[str, Points], ends: Mapping[str, Sequence[xr.Dataset]],
    wanderers: Mapping[str, xr.Dataset],
) -> Figure:  # fmt: skip
    """Reward over divergence: the frontier, fixed points ``rests``, ends of runs, ``wanderers`` after each quarter."""
    drawn, axes = style.panels(height=4.4)
    axes.plot(best["kl"], best["reward"], color=GREY, linestyle="-", linewidth=1.6, label="frontier")
    axes.plot(rests["kl"], rests["reward"], color=BLACK, linestyle=":", linewidth=1.6, label="ACTDE in tables")
    for family, several in ends.items():
        for k, data in enumerate(several):
            label = None if k else family
            marks(axes, last(data, "kl"), last(data, "reward"), FAMILIES[family], markersize=5, label=label)
    for name, look in style.method_looks(wanderers).items():
        went = np.median(path(wanderers[name]), axis=0)
        quarters = np.linspace(0, len(went) - 1, 5).round().astype(int)
        axes.plot(*went[quarters].T, linewidth=1.4, markevery=slice(1, None), markersize=7, label=name, **look)
        marks(axes, *path(wanderers[name])[:, -1].T, look, markersize=3, alpha=0.6)
    axes.set(xlabel="KL from the initial policy, nats", ylabel="gold", xlim=(0, 11), ylim=(0.38, 1.0))
    return finish(axes, legend={"loc": "lower right", "ncols": 2, "handlelength": 1.8, "fontsize": 10})


@style.figure
def tilts(runs: Mapping[float, xr.Dataset], others: Mapping[float, xr.Dataset]) -> Figure:
    """How far log-ratios follow advantages: slope above, share of their variance below; a mark for each trial.

    ``runs``: rate of q's head over the trunk's -> run, with a slope inversely proportional to it through the mean of
    those in the middle; ``others``: temperature -> run whose logits are tied to q, with 1 / temperature."""
    drawn, axes_of = style.panels(2, 2, height=2.5, sharex="col", sharey="row")
    sides = ((runs, FAMILIES["return − q"]), (others, FAMILIES["tied"]))
    for row, quantity in zip(axes_of, ("tilt", "tilt_share"), strict=True):
        for axes, (several, look) in zip(row, sides, strict=True):
            for at, data in several.items():
                seen = data["ending"].sel(ending_quantity=quantity).values
                marks(axes, np.full(len(seen), at), seen, look, alpha=0.7, markersize=6)
            axes.set(xscale="log")
            axes.set_xticks(list(several), [f"{at:g}" for at in several])
            axes.minorticks_off()
    rates, temperatures = np.array(list(runs)), np.array(list(others))
    middle = np.nanmean(runs[np.median(rates)]["ending"].sel(ending_quantity="tilt"))
    axes_of[0, 0].plot(rates, middle * np.median(rates) / rates, **LOOK["theory"])
    axes_of[0, 1].plot(temperatures, 1 / temperatures, **LOOK["theory"])
    for axes in axes_of[1]:
        axes.axhline(1, **LOOK["theory"])
    axes_of[0, 0].set(ylabel="slope, nats a unit", yscale="log", title="return − q")
    axes_of[0, 0].set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    axes_of[0, 1].set(title="tied")
    axes_of[1, 0].set(ylabel="share explained", xlabel="rate of q's head", ylim=(0, 1.05))
    return finish(axes_of[1, 1], xlabel="temperature")


@style.figure
def honeypot(runs: Mapping[str, xr.Dataset]) -> Figure:
    """Jackpots, gold and grammar over updates, from samples; thin lines are trials."""
    drawn, axes_of = style.panels(3, 1, height=2.2, sharex=True)
    quantities = {"honeypot": "P(jackpot)", "gold": "gold", "grammatical": "share grammatical"}
    for axes, (quantity, label) in zip(axes_of, quantities.items(), strict=True):
        for name, look in style.method_looks(runs).items():
            samples = curve(runs[name], quantity, "sampled")
            lines(axes, runs[name]["evaluated"].values, samples, name, thin=(0.6, 0.4), **look)
        axes.set(ylabel=label, ylim=(0, 1.05))
    axes_of[2].set(xlabel="updates")
    drawn.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, handlelength=2.4)
    return drawn
