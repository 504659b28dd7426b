"""Figures of chapter 3: what noise, decaying steps and whitening do to ACTDE's policy."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.special import expit
from scipy.stats import sem

from actde_book.ch03_noise_and_whitening import whitening
from actde_book.ch03_noise_and_whitening.noisy_logits import decaying_logit, winner_shares
from actde_nb.pages.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LOOK,
    ORANGE,
    PURPLE,
    SERIES,
    SKY,
    VERMILION,
    band,
    figure,
    panels,
)
from actde_nb.tables import symbolic
from actde_nb.tables.bandit import Trajectory


@figure
def race(logits: Mapping[str, Float[np.ndarray, "plays"]], rings: Mapping[str, Float[np.ndarray, "plays"]]) -> Figure:
    """The alarm clocks of two arms on a time axis, and the episodes that the order of their rings makes.

    Args:
        logits: arm -> its logit before each play.
        rings: arm -> when its clock rings, as long as ``logits``.
    """
    drawn, axes = panels(height=3.4)
    end = 0.98 * min(times[-1] for times in rings.values())
    for row, look, (arm, times) in zip((2, 1), SERIES, rings.items(), strict=False):
        marks = {"color": look["color"], "marker": look["marker"], "markeredgecolor": "white", "linestyle": ""}
        waits = zip(np.r_[0, times[:-1]], times, logits[arm], strict=True)
        for begin, ring, logit in waits:
            axes.plot([begin, min(ring, end)], [row, row], color=look["color"], alpha=0.4,
                      linewidth=4 * np.exp(logit), solid_capstyle="butt")  # fmt: skip
        shown = times[times <= end]
        axes.vlines(shown, 0, row, color=look["color"], linestyle=":", linewidth=1.2)
        axes.plot(shown, np.full(len(shown), row), markersize=9, **marks)
        axes.plot(shown, np.zeros(len(shown)), markersize=9, **marks)
    axes.set(xlim=(0, end), ylim=(-0.45, 2.45), xlabel="race time")
    axes.set_yticks([2, 1, 0], [*rings, "episodes"], fontsize=13)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return drawn


@figure
def noisy_share(
    steps: Sequence[float],
    shares: Sequence[Float[np.ndarray, "runs"]],
    predicted: Callable[[float], float],
) -> Figure:
    """Share of the noisy one of two equally good arms in every run, against the critic step at fixed temperature."""
    drawn, axes = panels(height=4.0)
    grid = np.geomspace(min(steps), max(steps), 100)
    axes.axhline(0.5, label="Boltzmann: what the means deserve", **LOOK["source"])
    axes.plot(grid, [predicted(step) for step in grid], label="closed form", **LOOK["theory"])
    axes.errorbar(
        steps, np.mean(shares, axis=1), 4 * sem(shares, axis=1), fmt="o", color=BLUE, capsize=4,
        label="simulation, 4 standard errors",
    )  # fmt: skip
    axes.set(xscale="log", xlabel="critic step α (policy step η = α)", ylabel="share of the noisy arm")
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="lower left")
    return drawn


@figure
def gap_law(
    samples: Mapping[float, Float[np.ndarray, "runs"]],
    density: Callable[[np.ndarray, float], np.ndarray],
    noiseless: Callable[[float], float],
) -> Figure:
    """Histogram of the stationary gap for each critic step, with the mixture density and the noiseless end point."""
    drawn, rows = panels(len(samples), height=2.8, sharex=True)
    for axes, (step, gaps) in zip(rows, samples.items(), strict=True):
        grid = np.linspace(-6, 10, 400)
        axes.hist(gaps, bins=np.linspace(-6, 10, 65), density=True, color=SKY, alpha=0.7, label="runs")
        axes.plot(grid, density(grid, step), label="closed form", **LOOK["theory"])
        axes.axvline(noiseless(step), color=VERMILION, linewidth=1.6)
        axes.set(ylabel="density", title=f"critic step α = {step:g}", xlim=(-6, 10))
        axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
        axes.annotate(
            "no noise", (noiseless(step), 0.97), (5, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=VERMILION, va="top",
        )  # fmt: skip
    rows[0].legend(loc="upper left")
    rows[-1].set_xlabel("logit gap x (nats)")
    return drawn


@figure
def random_walk(walkers: Mapping[tuple[float, float], Trajectory], spread: float, paths: int = 12) -> Figure:
    """Gaps of a few runs, entropy of all, and how often the better arm leads.

    Args:
        walkers: noise of the better and the worse arm -> runs with a running-mean critic and a constant
            policy step. The first two panels show the first entry.
        spread: predicted standard deviation of the gap over the square root of the episodes, first entry.
        paths: how many runs the first panel shows.
    """
    drawn, (gaps, entropy, lead) = panels(3, height=3.1)
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
    band(entropy, time[1:], walk.entropy[1:], "median, 5 to 95 %", **LOOK["actde"])
    entropy.plot(time[1:], walk.entropy[1:].mean(1), label="mean", **LOOK["running_mean"])
    entropy.axhline(np.log(2), **LOOK["source"])
    entropy.set(xscale="log", xlabel="episode", ylabel="entropy (nats)", ylim=(-0.02, 0.75))
    entropy.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
    names = {0: "better arm as noisy", -1: "better arm quieter", 1: "better arm noisier"}
    for ((better, worse), run), look in zip(walkers.items(), SERIES, strict=False):
        limit = winner_shares([better, worse])[0]
        lead.plot(run.episodes[1:], (run.gap[1:] > 0).mean(1), markevery=0.1, markersize=5, **look)
        lead.axhline(limit, color=look["color"], linewidth=1.2, linestyle=(0, (1, 3)))
        above = better <= worse  # on the side of the limit that the line does not come from
        lead.annotate(
            names[int(np.sign(better - worse))], (run.episodes[-1], limit), (0, 8 if above else -8),
            textcoords="offset points", color=look["color"], ha="right", va="bottom" if above else "top",
        )  # fmt: skip
    lead.set(xscale="log", xlabel="episode", ylabel="better arm leads in", ylim=(0, 1), yticks=np.linspace(0, 1, 6))
    lead.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return drawn


@figure
def unequal_decay(schedules: Mapping[str, tuple[float, float]], locked: Trajectory, visits: int, paths: int) -> Figure:
    """Logit of one arm under decaying critic steps without noise; below, the gap of runs that lock in.

    Args:
        schedules: label -> c and n_0 of the critic step ``c / (n + n_0)``.
        locked: runs with c below one.
        visits: how far the first panel goes.
        paths: how many runs the second panel shows.
    """
    drawn, (one, many) = panels(2, height=3.4)
    count = np.arange(1, visits + 1)
    shown = np.unique(np.geomspace(1, visits, 120).astype(int)) - 1
    for (label, (decay, offset)), look in zip(schedules.items(), SERIES, strict=True):
        logit = decaying_logit(visits, decay, offset)
        one.plot(count[shown], logit[shown], markevery=14, markersize=5, **look)
        one.annotate(label, (visits, logit[-1]), (8, 0), textcoords="offset points", color=look["color"], va="center")
    one.set(xscale="log", yscale="log", xlabel="plays of the arm", ylabel="logit, over η (R − q₀)",
            xlim=(0.8, visits * 6), ylim=(0.7, None))  # fmt: skip
    one.text(0.03, 0.9, "critic steps", transform=one.transAxes)
    for run in range(paths):
        won = locked.gap[-1, run] > 0
        many.plot(locked.episodes[1:], locked.gap[1:, run], color=BLUE if won else VERMILION,
                  linestyle="-" if won else "--", linewidth=0.8 if won else 1.4, alpha=0.6)  # fmt: skip
    many.set(xscale="log", yscale="symlog", xlabel="episode", ylabel="logit gap x (nats)")
    many.text(0.03, 0.9, "locked in on the better arm", color=BLUE, transform=many.transAxes)
    many.text(0.03, 0.05, "locked in on the worse arm (dashed)", color=VERMILION, transform=many.transAxes)
    return drawn


@figure
def whitened_growth(
    plain: Trajectory, larger: Trajectory, ppo: Trajectory, policy_step: float, difference: float, boltzmann_gap: float
) -> Figure:
    """Gap over updates with whitened errors, against the closed form and the unwhitened laws.

    Args:
        plain: whitened ACTDE.
        larger: the same with rewards a million times larger.
        ppo: whitened ordinary errors.
        policy_step: logits per whitened error.
        difference: of the rewards, for the unwhitened law of the ordinary error.
        boltzmann_gap: where ACTDE stops without whitening.
    """
    drawn, axes = panels(height=4.6)
    batch, last = ppo.episodes[1], ppo.episodes[-1] / ppo.episodes[1]
    for label, run, look in zip(("ACTDE", "ACTDE,\nR × 10⁶", "PPO"), (plain, larger, ppo), SERIES, strict=False):
        gap = run.gap[1:].mean(1)
        axes.plot(run.episodes[1:] / batch, gap, markevery=5, markersize=6, **look)
        axes.annotate(label, (last, gap[-1]), (8, 0), textcoords="offset points", color=look["color"], va="center")
    updates = np.geomspace(1, last, 200)
    law = whitening.whitened_gap(policy_step, updates)
    axes.plot(updates, law, **LOOK["theory"])
    axes.annotate("2 asinh(ηt/2)", (updates[130], law[130]), (-8, 6), textcoords="offset points", ha="right")
    slow = symbolic.gap_at(policy_step * difference * updates)
    axes.plot(updates, slow, color=GREY, linestyle=(0, (5, 1)), linewidth=1.5)
    axes.annotate("PPO, not whitened", (updates[165], slow[165]), (10, -8), textcoords="offset points", color=GREY)
    axes.axhline(boltzmann_gap, **LOOK["source"])
    axes.annotate("ACTDE, not whitened", (last * 5, boltzmann_gap), (0, -5), textcoords="offset points", color=GREY,
                  ha="right", va="top")  # fmt: skip
    axes.set(xscale="log", xlabel="update", ylabel="logit gap x (nats)", xlim=(0.8, last * 5))
    return drawn


@figure
def orbits(
    paths: Mapping[str, tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]],
    policy_step: float,
    critic_step: float,
) -> Figure:
    """Phase portrait of whitened ACTDE whose critic learns per visit, with the given paths (gap, rho) on top."""
    drawn, axes = panels(height=5.6)
    gap, ratio = np.meshgrid(np.linspace(-4, 4, 401), np.linspace(-2.6, 2.6, 401))
    energy = whitening.orbit_energy(ratio, gap, policy_step, critic_step)
    energy -= 2 * critic_step / policy_step
    axes.contourf(gap, ratio, np.sqrt(energy), levels=40, cmap="YlGnBu_r", zorder=0)
    coarse_gap, coarse_ratio = gap[::8, ::8], ratio[::8, ::8]
    axes.streamplot(
        coarse_gap, coarse_ratio,
        policy_step * np.sign(coarse_ratio) / np.cosh(coarse_gap / 2), -critic_step * np.tanh(coarse_gap / 2),
        color="white", linewidth=0.7, density=1.3, arrowsize=1.0, zorder=1,
    )  # fmt: skip
    start = None
    for (label, (x, rho)), look in zip(
        paths.items(), ({"color": BLACK, "linewidth": 2.2}, {"color": ORANGE, "linewidth": 1.4}), strict=True
    ):
        axes.plot(x, rho, label=label, zorder=3, **look)
        start = x[0], rho[0]
    axes.plot(*start, marker="o", color=VERMILION, markeredgecolor="white", markersize=9, zorder=4)
    axes.annotate("start", start, (8, 11), textcoords="offset points", color="white", weight="bold", zorder=4)
    axes.set(xlim=(-4, 4), ylim=(-2.6, 2.6), xlabel="logit gap x (nats)", ylabel="ρ = log of the ratio of errors")
    axes.grid(visible=False)
    above = axes.secondary_xaxis("top", functions=(lambda x: x, lambda x: x))
    marks = np.array([0.05, 0.2, 0.5, 0.8, 0.95])
    above.set_xticks(np.log(marks / (1 - marks)), [f"{mark:.0%}" for mark in marks])
    above.set_xlabel("probability of the better arm")
    axes.legend(loc="lower right", frameon=True, facecolor="white", framealpha=0.95)
    return drawn


@figure
def epsilon(
    epsilons: Float[np.ndarray, "points"],
    ends: Mapping[str, Float[np.ndarray, "points"]],
    boltzmann_gap: float,
) -> Figure:
    """Where whitened training stops, as a function of the epsilon in the denominator, by how the critic learns."""
    drawn, axes = panels(height=4.2)
    names = {"together": "learned all at once", "per_visit": "learned per play"}
    for (learning, gaps), look in zip(ends.items(), SERIES, strict=False):
        axes.plot(epsilons, expit(gaps), label=names[learning], markevery=8, markersize=6, **look)
    axes.axhline(expit(boltzmann_gap), label="not whitened", **LOOK["source"])
    axes.axvline(1e-6, color=GREY, linewidth=1)
    axes.annotate("usual ε", (1e-6, 0.02), (5, 2), textcoords="offset points", color=GREY,
                  xycoords=("data", "axes fraction"))  # fmt: skip
    axes.set(xscale="log", xlabel="ε (reward squared)", ylabel="final probability, better arm", ylim=(0, 1.02))
    axes.invert_xaxis()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.02))
    return drawn


@figure
def noisy_whitening(
    plain: Mapping[float, Trajectory], whitened: Mapping[float, Trajectory], batch: int, policy_step: float
) -> Figure:
    """Standard deviation of the gap over updates for several noise levels, without and with whitening."""
    drawn, rows = panels(2, height=3.2, sharex=True, sharey=True)
    for axes, runs, title in zip(rows, (plain, whitened), ("not whitened", "whitened"), strict=True):
        for (noise, run), look in zip(runs.items(), SERIES, strict=False):
            updates, deviation = run.episodes[1:] / batch, run.gap[1:].std(1)
            axes.plot(updates, deviation, markevery=6, markersize=5, **look)
            if runs is plain:
                axes.annotate(f"σ = {noise:g}", (updates[-1], deviation[-1]), (8, 0), textcoords="offset points",
                              color=look["color"], va="center")  # fmt: skip
        law = policy_step * np.sqrt(updates / batch)
        axes.plot(updates, law, linewidth=1.4, **LOOK["theory"])
        axes.set(xscale="log", yscale="log", ylabel="sd of the gap (nats)", title=title, xlim=(0.8, updates[-1] * 6))
    rows[1].annotate("all three,\nη √(t/B)", (updates[-1], law[-1]), (8, 0), textcoords="offset points", va="center")
    rows[1].set_xlabel("update")
    return drawn


@figure
def correction(flows: Mapping[float, Mapping[str, whitening.Flow]]) -> Figure:
    """Gap over updates, one panel for each noise level: label -> a way of normalising an action-dependent baseline."""
    looks = [
        LOOK["value"] | {"linewidth": 4, "alpha": 0.45},
        {"color": PURPLE, "linestyle": "--"},
        {"color": GREEN, "linestyle": "-."},
        LOOK["actde"] | {"linestyle": ":"},
    ]
    drawn, rows = panels(len(flows), height=3.2, sharex=True, sharey=True)
    for axes, (noise, variants) in zip(rows, flows.items(), strict=True):
        for (label, flow), look in zip(variants.items(), looks, strict=True):
            axes.plot(flow.updates, flow.gap, label=label, **look)
        axes.set(ylabel="logit gap x (nats)")
        axes.text(0.98, 0.14, f"noise σ = {noise:g}", transform=axes.transAxes, ha="right")
    rows[0].legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2)
    rows[-1].set_xlabel("update")
    return drawn


@figure
def entropy_overview(cases: Mapping[str, tuple[int, Trajectory]]) -> Figure:
    """Entropy over updates in small panels: title -> batch size, runs. Median and the middle 90 % of runs."""
    drawn, grid = panels((len(cases) + 1) // 2, 2, height=2.1, sharex=True, sharey=True)
    for axes, (title, (batch, run)) in zip(grid.flat, cases.items(), strict=False):
        _entropy(axes, run, batch)
        axes.set_title(title)
    for axes in grid[:, 0]:
        axes.set_ylabel("entropy (nats)")
    for axes in grid[-1]:
        axes.set_xlabel("update")
    return drawn


def _entropy(axes: Axes, run: Trajectory, batch: int) -> None:
    updates = run.episodes[1:] / batch
    band(axes, updates, run.entropy[1:], "", **LOOK["actde"])
    axes.plot(updates, run.entropy[1:].mean(1), **LOOK["running_mean"])
    axes.axhline(np.log(2), **LOOK["source"])
    axes.set(xscale="log", ylim=(-0.03, 0.75))
