"""Figures of chapter 3: what noise, decaying steps and whitening do to ACTDE's policy."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.special import expit
from scipy.stats import sem

from actde_book.ch03_noise_and_whitening import whitening
from actde_book.ch03_noise_and_whitening.noisy_logits import decaying_logit, winner_shares
from actde_nb.pages import style
from actde_nb.pages.drawing import finish, note
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, SERIES, SKY, VERMILION, band
from actde_nb.tables import symbolic
from actde_nb.tables.bandit import Trajectory

Plays = Mapping[str, Float[np.ndarray, "plays"]]
Points = Float[np.ndarray, "points"]


def _name(axes: Axes, text: str, x: float, y: float, **look) -> None:
    """Name a line at its end."""
    note(axes, text, (x, y), (8, 0), va="center", **look)


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


@style.figure
def race(logits: Plays, rings: Plays) -> Figure:
    """The alarm clocks of two arms (logits before each play, when they ring), and the episodes that the rings make."""
    drawn, axes = style.panels(height=3.4)
    end = 0.98 * min(times[-1] for times in rings.values())
    for row, look, (arm, times) in zip((2, 1), SERIES, rings.items(), strict=False):
        color = look["color"]
        marks = {"color": color, "marker": look["marker"], "markeredgecolor": "white", "linestyle": "", "markersize": 9}
        for begin, ring, logit in zip(np.r_[0, times[:-1]], times, logits[arm], strict=True):
            wait = {"linewidth": 4 * np.exp(logit), "alpha": 0.4, "solid_capstyle": "butt"}
            axes.plot([begin, min(ring, end)], [row, row], color=color, **wait)
        shown = times[times <= end]
        axes.vlines(shown, 0, row, color=color, linestyle=":", linewidth=1.2)
        axes.plot(shown, np.full(len(shown), row), **marks)
        axes.plot(shown, np.zeros(len(shown)), **marks)
    axes.set(xlim=(0, end), ylim=(-0.45, 2.45), xlabel="race time")
    axes.set_yticks([2, 1, 0], [*rings, "episodes"], fontsize=13)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return drawn


@style.figure
def noisy_share(
    steps: Sequence[float], shares: Sequence[Float[np.ndarray, "runs"]], predicted: Callable[[float], float]
) -> Figure:
    """Share of the noisy one of two equally good arms in every run, against the critic step at fixed temperature."""
    drawn, axes = style.panels(height=4.0)
    grid = np.geomspace(min(steps), max(steps), 100)
    axes.axhline(0.5, label="Boltzmann: what the means deserve", **LOOK["source"])
    axes.plot(grid, [predicted(step) for step in grid], label="closed form", **LOOK["theory"])
    means, errors = np.mean(shares, axis=1), 4 * sem(shares, axis=1)
    axes.errorbar(steps, means, errors, fmt="o", color=BLUE, capsize=4, label="simulation, 4 standard errors")
    axes.set(xscale="log", xlabel="critic step α (policy step η = α)", ylabel="share of the noisy arm")
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    axes.minorticks_off()
    _percent(axes)
    return finish(axes, legend="lower left")


@style.figure
def gap_law(
    samples: Mapping[float, Float[np.ndarray, "runs"]],
    density: Callable[[np.ndarray, float], np.ndarray],
    noiseless: Callable[[float], float],
) -> Figure:
    """Histogram of the stationary gap for each critic step, with the mixture density and the noiseless end point."""
    drawn, rows = style.panels(len(samples), height=2.8, sharex=True)
    for axes, (step, gaps) in zip(rows, samples.items(), strict=True):
        grid, quiet = np.linspace(-6, 10, 400), noiseless(step)
        axes.hist(gaps, bins=np.linspace(-6, 10, 65), density=True, color=SKY, alpha=0.7, label="runs")
        axes.plot(grid, density(grid, step), label="closed form", **LOOK["theory"])
        axes.axvline(quiet, color=VERMILION, linewidth=1.6)
        axes.set(ylabel="density", title=f"critic step α = {step:g}", xlim=(-6, 10))
        axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
        note(axes, "no noise", (quiet, 0.97), (5, 0), xycoords=("data", "axes fraction"), color=VERMILION, va="top")
    rows[0].legend(loc="upper left")
    return finish(rows[-1], xlabel="logit gap x (nats)")


@style.figure
def random_walk(walkers: Mapping[tuple[float, float], Trajectory], spread: float, paths: int = 12) -> Figure:
    """Gaps of a few runs with their predicted ``spread``, entropy of all, and how often the better arm leads.
    ``walkers``: noise of the better and the worse arm -> runs; the first entry is in the first two panels."""
    drawn, (gaps, entropy, lead) = style.panels(3, height=3.1)
    walk = next(iter(walkers.values()))
    time = walk.episodes
    for run in range(paths):
        won = walk.gap[-1, run] > 0
        gaps.plot(time, walk.gap[:, run], color=BLUE if won else VERMILION, linewidth=0.9, alpha=0.8)
    for side in (-2, 2):
        gaps.plot(time, side * spread * np.sqrt(time), linewidth=1.4, **LOOK["theory"])
    gaps.set(xlabel="episode", ylabel="logit gap x (nats)", xlim=(0, time[-1] * 1.13))
    top = gaps.get_ylim()[1]
    gaps.text(time[-1] * 1.01, top * 0.55, "better\narm", color=BLUE, va="center")
    gaps.text(time[-1] * 1.01, -top * 0.55, "worse\narm", color=VERMILION, va="center")
    _entropy(entropy, time, walk, ("median, 5 to 95 %", "mean"))
    entropy.set(xlabel="episode", ylabel="entropy (nats)", ylim=(-0.02, 0.75))
    entropy.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
    names = {0: "better arm as noisy", -1: "better arm quieter", 1: "better arm noisier"}
    for ((better, worse), run), look in zip(walkers.items(), SERIES, strict=False):
        limit, color = winner_shares([better, worse])[0], look["color"]
        lead.plot(run.episodes[1:], (run.gap[1:] > 0).mean(1), markevery=0.1, markersize=5, **look)
        lead.axhline(limit, color=color, linewidth=1.2, linestyle=(0, (1, 3)))
        # on the side of the limit that the line does not come from
        shift, align = ((0, 8), "bottom") if better <= worse else ((0, -8), "top")
        name = names[int(np.sign(better - worse))]
        note(lead, name, (run.episodes[-1], limit), shift, color=color, ha="right", va=align)
    lead.set(xscale="log", xlabel="episode", ylabel="better arm leads in", ylim=(0, 1), yticks=np.linspace(0, 1, 6))
    _percent(lead)
    return drawn


def _entropy(
    axes: Axes, time: Num[np.ndarray, "records"], run: Trajectory, labels: tuple[str, str | None] = ("", None)
) -> None:
    """Entropy over time: median and middle 90 % of runs, their mean, and that of a coin."""
    band(axes, time[1:], run.entropy[1:], labels[0], **LOOK["actde"])
    axes.plot(time[1:], run.entropy[1:].mean(1), label=labels[1], **LOOK["running_mean"])
    axes.axhline(np.log(2), **LOOK["source"])
    axes.set(xscale="log")


@style.figure
def unequal_decay(schedules: Mapping[str, tuple[float, float]], locked: Trajectory, visits: int, paths: int) -> Figure:
    """Logit of one arm under critic steps ``c / (n + n_0)`` without noise; below, the gap of runs that lock in.
    ``schedules``: label -> c and n_0; ``visits``: how far the first panel goes; ``paths``: runs in the second."""
    drawn, (one, many) = style.panels(2, height=3.4)
    count = np.arange(1, visits + 1)
    shown = np.unique(np.geomspace(1, visits, 120).astype(int)) - 1
    for (label, (decay, offset)), look in zip(schedules.items(), SERIES, strict=True):
        logit = decaying_logit(visits, decay, offset)
        one.plot(count[shown], logit[shown], markevery=14, markersize=5, **look)
        _name(one, label, visits, logit[-1], color=look["color"])
    one.set(xscale="log", yscale="log", xlabel="plays of the arm", ylabel="logit, over η (R − q₀)")
    one.set(xlim=(0.8, visits * 6), ylim=(0.7, None))
    one.text(0.03, 0.9, "critic steps", transform=one.transAxes)
    better = {"color": BLUE, "linestyle": "-", "linewidth": 0.8}
    worse = {"color": VERMILION, "linestyle": "--", "linewidth": 1.4}
    for run in range(paths):
        look = better if locked.gap[-1, run] > 0 else worse
        many.plot(locked.episodes[1:], locked.gap[1:, run], alpha=0.6, **look)
    many.set(xscale="log", yscale="symlog", xlabel="episode", ylabel="logit gap x (nats)")
    many.text(0.03, 0.9, "locked in on the better arm", color=BLUE, transform=many.transAxes)
    many.text(0.03, 0.05, "locked in on the worse arm (dashed)", color=VERMILION, transform=many.transAxes)
    return drawn


@style.figure
def whitened_growth(
    plain: Trajectory, larger: Trajectory, ppo: Trajectory, policy_step: float, difference: float, boltzmann_gap: float
) -> Figure:
    """Gap over updates with whitened errors, against the closed form and the unwhitened laws.
    ``larger``: ACTDE with rewards a million times larger; ``boltzmann_gap``: where it stops without whitening."""
    drawn, axes = style.panels(height=4.6)
    batch, last = ppo.episodes[1], ppo.episodes[-1] / ppo.episodes[1]
    runs = {"ACTDE": plain, "ACTDE,\nR × 10⁶": larger, "PPO": ppo}
    for label, look in style.method_looks(runs).items():
        run = runs[label]
        gap = run.gap[1:].mean(1)
        axes.plot(run.episodes[1:] / batch, gap, markevery=5, markersize=6, **look)
        _name(axes, label, last, gap[-1], color=look["color"])
    updates = np.geomspace(1, last, 200)
    law = whitening.whitened_gap(policy_step, updates)
    axes.plot(updates, law, **LOOK["theory"])
    note(axes, "2 asinh(ηt/2)", (updates[130], law[130]), (-8, 6), ha="right")
    slow = symbolic.gap_at(policy_step * difference * updates)
    axes.plot(updates, slow, color=GREY, linestyle=(0, (5, 1)), linewidth=1.5)
    note(axes, "PPO, not whitened", (updates[165], slow[165]), (10, -8), color=GREY)
    axes.axhline(boltzmann_gap, **LOOK["source"])
    note(axes, "ACTDE, not whitened", (last * 5, boltzmann_gap), (0, -5), color=GREY, ha="right", va="top")
    return finish(axes, xscale="log", xlabel="update", ylabel="logit gap x (nats)", xlim=(0.8, last * 5))


@style.figure
def orbits(paths: Mapping[str, tuple[Points, Points]], policy_step: float, critic_step: float) -> Figure:
    """Phase portrait of whitened ACTDE whose critic learns per visit, with the given paths (gap, rho) on top."""
    drawn, axes = style.panels(height=5.6)
    gap, ratio = np.meshgrid(np.linspace(-4, 4, 401), np.linspace(-2.6, 2.6, 401))
    energy = whitening.orbit_energy(ratio, gap, policy_step, critic_step)
    energy -= 2 * critic_step / policy_step
    axes.contourf(gap, ratio, np.sqrt(energy), levels=40, cmap="YlGnBu_r", zorder=0)
    gap, ratio = gap[::8, ::8], ratio[::8, ::8]
    velocity = policy_step * np.sign(ratio) / np.cosh(gap / 2), -critic_step * np.tanh(gap / 2)
    axes.streamplot(gap, ratio, *velocity, color="white", linewidth=0.7, density=1.3, arrowsize=1.0, zorder=1)
    looks = ({"color": BLACK, "linewidth": 2.2}, {"color": ORANGE, "linewidth": 1.4})
    for (label, (x, rho)), look in zip(paths.items(), looks, strict=True):
        axes.plot(x, rho, label=label, zorder=3, **look)
        start = x[0], rho[0]
    axes.plot(*start, marker="o", color=VERMILION, markeredgecolor="white", markersize=9, zorder=4)
    note(axes, "start", start, (8, 11), color="white", weight="bold", zorder=4)
    axes.set(xlim=(-4, 4), ylim=(-2.6, 2.6), xlabel="logit gap x (nats)", ylabel="ρ = log of the ratio of errors")
    axes.grid(visible=False)
    above = axes.secondary_xaxis("top", functions=(lambda x: x, lambda x: x))
    marks = np.array([0.05, 0.2, 0.5, 0.8, 0.95])
    above.set_xticks(np.log(marks / (1 - marks)), [f"{mark:.0%}" for mark in marks])
    above.set_xlabel("probability of the better arm")
    return finish(axes, legend={"loc": "lower right", "frameon": True, "facecolor": "white", "framealpha": 0.95})


@style.figure
def epsilon(epsilons: Points, ends: Mapping[str, Points], boltzmann_gap: float) -> Figure:
    """Where whitened training stops, as a function of the epsilon in the denominator, by how the critic learns."""
    drawn, axes = style.panels(height=4.2)
    names = {"together": "learned all at once", "per_visit": "learned per play"}
    for (learning, gaps), look in zip(ends.items(), SERIES, strict=False):
        axes.plot(epsilons, expit(gaps), label=names[learning], markevery=8, markersize=6, **look)
    axes.axhline(expit(boltzmann_gap), label="not whitened", **LOOK["source"])
    axes.axvline(1e-6, color=GREY, linewidth=1)
    note(axes, "usual ε", (1e-6, 0.02), (5, 2), color=GREY, xycoords=("data", "axes fraction"))
    axes.set(xscale="log", xlabel="ε (reward squared)", ylabel="final probability, better arm", ylim=(0, 1.02))
    axes.invert_xaxis()
    _percent(axes)
    return finish(axes, legend={"loc": "lower left", "bbox_to_anchor": (0, 0.02)})


@style.figure
def noisy_whitening(
    plain: Mapping[float, Trajectory], whitened: Mapping[float, Trajectory], batch: int, policy_step: float
) -> Figure:
    """Standard deviation of the gap over updates for several noise levels, without and with whitening."""
    drawn, rows = style.panels(2, height=3.2, sharex=True, sharey=True)
    for axes, runs, title in zip(rows, (plain, whitened), ("not whitened", "whitened"), strict=True):
        for (noise, run), look in zip(runs.items(), SERIES, strict=False):
            updates, deviation = run.episodes[1:] / batch, run.gap[1:].std(1)
            axes.plot(updates, deviation, markevery=6, markersize=5, **look)
            if runs is plain:
                _name(axes, f"σ = {noise:g}", updates[-1], deviation[-1], color=look["color"])
        law = policy_step * np.sqrt(updates / batch)
        axes.plot(updates, law, linewidth=1.4, **LOOK["theory"])
        axes.set(xscale="log", yscale="log", ylabel="sd of the gap (nats)", title=title, xlim=(0.8, updates[-1] * 6))
    _name(rows[1], "all three,\nη √(t/B)", updates[-1], law[-1])
    return finish(rows[1], xlabel="update")


@style.figure
def correction(flows: Mapping[float, Mapping[str, whitening.Flow]]) -> Figure:
    """Gap over updates, one panel for each noise level: label -> a way of normalising an action-dependent baseline."""
    looks = (
        LOOK["value"] | {"linewidth": 4, "alpha": 0.45},
        {"color": PURPLE, "linestyle": "--"},
        {"color": GREEN, "linestyle": "-."},
        LOOK["actde"] | {"linestyle": ":"},
    )
    drawn, rows = style.panels(len(flows), height=3.2, sharex=True, sharey=True)
    for axes, (noise, variants) in zip(rows, flows.items(), strict=True):
        for (label, flow), look in zip(variants.items(), looks, strict=True):
            axes.plot(flow.updates, flow.gap, label=label, **look)
        axes.set(ylabel="logit gap x (nats)")
        axes.text(0.98, 0.14, f"noise σ = {noise:g}", transform=axes.transAxes, ha="right")
    rows[0].legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2)
    return finish(rows[-1], xlabel="update")


@style.figure
def entropy_overview(cases: Mapping[str, tuple[int, Trajectory]]) -> Figure:
    """Entropy over updates in small panels: title -> batch size, runs. Median and the middle 90 % of runs."""
    drawn, grid = style.panels((len(cases) + 1) // 2, 2, height=2.1, sharex=True, sharey=True)
    for axes, (title, (batch, run)) in zip(grid.flat, cases.items(), strict=False):
        _entropy(axes, run.episodes / batch, run)
        axes.set(title=title, ylim=(-0.03, 0.75), xlabel="update", ylabel="entropy (nats)")
        axes.label_outer()
    return drawn
