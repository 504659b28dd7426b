"""Figures of chapter 9: what weighted regression aims at, and where its rounds end."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from actde_nb.pages.drawing import CORNERS, simplex
from actde_nb.pages.style import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, PURPLE, SKY, VERMILION, figure, panels

FAMILY = {
    "RWR": {"color": ORANGE, "linestyle": ":"},
    "REPS": {"color": PURPLE, "linestyle": "--"},
    "AWR": {"color": VERMILION, "linestyle": "-."},
    "APA": {"color": GREEN, "linestyle": "-"},
}
TEMPERATURES = (
    {"color": BLUE, "linestyle": "-"},
    {"color": ORANGE, "linestyle": "-."},
    {"color": VERMILION, "linestyle": "--"},
)


@figure
def directions(
    temperatures: Float[np.ndarray, "points"],
    tilted: Float[np.ndarray, "points arms"],
    printed: Float[np.ndarray, "points arms"],
    arm: int,
) -> Figure:
    """Probability of one arm against 1 / beta, for the two orders of the divergence."""
    drawn, axes = panels(height=3.8)
    for policies, label, look in (
        (printed, r"KL($\pi_{old}$ || $\pi$), as printed", {"color": VERMILION, "linestyle": "--"}),
        (tilted, r"KL($\pi$ || $\pi_{old}$), as in (3)", {"color": BLUE, "linestyle": "-"}),
    ):
        axes.plot(1 / temperatures, policies[:, arm], label=label, **look)
    axes.set(xscale="log", yscale="log", xlabel="1/β", ylabel="probability of the worst arm")
    axes.legend(loc="lower left")
    return drawn


@figure
def family(paths: Mapping[str, Float[np.ndarray, "rounds 2"]], end: float) -> Figure:
    """Probability of the worse of two arms, round by round.

    Args:
        paths: policies along the rounds, named as in :data:`FAMILY`.
        end: probability at the optimum of reward minus a KL penalty.
    """
    drawn, axes = panels(height=4.2)
    axes.axhline(end, linewidth=1.2, **LOOK["theory"])
    for name, path in paths.items():
        look = FAMILY[name]
        axes.plot(path[:, 1], marker="o", markersize=4, **look)
        seen = np.flatnonzero(path[:, 1] > 0)
        k = seen[min(len(seen) - 1, 8)]
        axes.annotate(name, (k, path[k, 1]), xytext=(7, 5), textcoords="offset points", color=look["color"])
    axes.set(yscale="log", xlabel="round", ylabel="probability of the worse arm")
    return drawn


@figure
def partition(
    inverse: Float[np.ndarray, "points"],
    first: Mapping[str, Float[np.ndarray, "points"]],
    rest: Float[np.ndarray, "points"],
    floor: float,
) -> Figure:
    """log Z against 1 / beta: for the first batch (above), and where APA rests (below).

    Args:
        inverse: 1 / beta.
        first: log Z before any training, for several distributions of the advantage.
        rest: log Z at the fixed point of the last of them.
        floor: lowest value that ``rest`` can have.
    """
    drawn, (above, below) = panels(2, 1, height=2.9, sharex=True)
    looks = ({"color": VERMILION, "linestyle": "--"}, {"color": ORANGE, "linestyle": "-."}, {"color": BLUE})
    for (label, values), look in zip(first.items(), looks, strict=True):
        above.plot(inverse, values, label=label, **look)
    above.set(yscale="log", ylabel="log Z, first batch", ylim=(1e-3, None))
    above.legend(loc="upper left")
    below.plot(inverse, rest, color=BLUE)
    below.axhline(0, linewidth=1.2, **LOOK["theory"])
    below.axhline(floor, linewidth=1.2, **LOOK["source"])
    below.set(xscale="log", xlabel="1/β", ylabel="log Z, fixed point")
    for axes in (above, below):
        axes.axvline(10, color=GREY, linewidth=1)
    below.annotate("β = 0.1", (10, -0.05), xytext=(-5, 0), textcoords="offset points", ha="right", va="top", color=GREY)
    return drawn


@figure
def sampling_weights(
    shares: Float[np.ndarray, "points"],
    without: Mapping[float, Float[np.ndarray, "points"]],
    optima: Mapping[float, float],
) -> Figure:
    """Minimiser of the regression against how often the better arm was sampled, Z left out; level lines: Z kept."""
    drawn, axes = panels(height=4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for (beta, curve), look in zip(without.items(), TEMPERATURES, strict=True):
        axes.plot(shares, curve, label=f"β = {beta:g}", **look)
        axes.axhline(optima[beta], color=look["color"], linewidth=1.1, alpha=0.7)
        axes.plot(optima[beta], optima[beta], "o", color=look["color"], markeredgecolor=BLACK, markersize=8, zorder=5)
    axes.set(
        xlabel="share of the better arm in the data", ylabel="its probability after regression", xlim=(0, 1.03),
        ylim=(0.35, 1.03),
    )  # fmt: skip
    axes.legend(loc="lower right")
    return drawn


@figure
def round_map(
    gaps: Float[np.ndarray, "points"], maps: Mapping[float, Float[np.ndarray, "points"]], cycle: Sequence[float]
) -> Figure:
    """Logit gap after one exact round against the gap before.

    Args:
        gaps: before the round.
        maps: after it, for each reward difference over beta; its fixed point is the gap of that size.
        cycle: gaps that the last of the maps visits in turn.
    """
    drawn, axes = panels(height=4.6)
    axes.plot(gaps, gaps, color=GREY, linewidth=1, linestyle=":")
    for (drive, after), look in zip(maps.items(), TEMPERATURES, strict=True):
        jumps = np.abs(np.diff(after)) > 8 * np.diff(gaps).max()
        axes.plot(gaps, np.where(np.r_[jumps, False], np.nan, after), label=f"Δ/β = {drive:g}", **look)
        axes.plot(drive, drive, "o", color=look["color"], markeredgecolor=BLACK, markersize=8, zorder=5)
    corners = [(cycle[0], cycle[0])]
    for before, then in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        corners += [(before, then), (then, then)]
    axes.plot(*np.transpose(corners), color=BLACK, linewidth=1.1, alpha=0.8)
    axes.set(xlabel="logit gap before the round", ylabel="after an exact round", xlim=(gaps[0], gaps[-1]))
    axes.legend(loc="upper left")
    return drawn


@figure
def bifurcation(
    scans: Sequence[tuple[Float[np.ndarray, "points"], Float[np.ndarray, "records points starts"]]],
    threshold: float,
    difference: float,
) -> Figure:
    """Gaps that rounds of APA keep visiting, against reward difference over beta; one panel for each scan.

    Args:
        scans: reward differences over beta, and the logit gaps after a long transient, for several starts.
        threshold: drive beyond which the fixed point repels.
        difference: reward difference for which the uppermost axis gives beta.
    """
    drawn, rows = panels(len(scans), 1, height=3.9)
    for axes, (drives, visited) in zip(rows, scans, strict=True):
        across = np.broadcast_to(drives[:, None], visited.shape)
        size = 2.2 if len(drives) < 200 else 0.7
        axes.plot(across.ravel(), visited.ravel(), ".", color=BLUE, markersize=size, rasterized=True)
        for part, style in ((drives <= threshold, "-"), (drives > threshold, (0, (4, 2)))):
            axes.plot(drives[part], drives[part], color=BLACK, linewidth=1.2, linestyle=style)
        axes.axvline(threshold, color=VERMILION, linewidth=1.2, linestyle="--")
        axes.set(ylabel="logit gap (nats)", xlim=(drives[0], drives[-1]))
    rows[-1].set(xlabel="Δ/β")
    first, drives = rows[0], scans[0][0]
    first.annotate(
        "KL = ½ nat", (threshold, 0.97), xycoords=("data", "axes fraction"), xytext=(6, 0),
        textcoords="offset points", va="top", color=VERMILION,
    )  # fmt: skip
    first.annotate("optimum", (8, 8), xytext=(10, -8), textcoords="offset points", va="top")
    above = first.secondary_xaxis("top")
    ticks = [b for b in (0.25, 0.15, 0.1, 0.07, 0.05, 0.04) if drives[0] <= difference / b <= drives[-1]]
    above.set_xticks([difference / b for b in ticks], [f"{b:g}" for b in ticks])
    above.set_xlabel(f"β, for Δ = {difference:g}")
    return drawn


@figure
def inner_time(
    divergences: Float[np.ndarray, "points"],
    times: Float[np.ndarray, "times"],
    settled: Bool[np.ndarray, "points times"],
    boundary: tuple[Float[np.ndarray, "fine"], Float[np.ndarray, "fine"]],
) -> Figure:
    """Whether rounds return to the fixed point, by its divergence and by how long each regression runs.

    Args:
        divergences: of the fixed points from the initial policy, in nats.
        times: inner time of each round.
        settled: what the rounds did.
        boundary: divergences and critical times of the theory.
    """
    drawn, axes = panels(height=4.4)
    across, up = np.meshgrid(divergences, times, indexing="ij")
    axes.plot(across[settled], up[settled], ".", color=SKY, markersize=4, label="returns")
    axes.plot(across[~settled], up[~settled], "x", color=VERMILION, markersize=4, label="leaves")
    axes.plot(*boundary, color=BLACK, label="theory")
    axes.axvline(0.5, linewidth=1.2, **LOOK["source"])
    axes.set(
        xlabel="KL(π* || π_init), nats", ylabel="inner time T", ylim=(0, times[-1] * 1.02),
        xlim=(divergences[0] - 0.05, divergences[-1] + 0.05),
    )  # fmt: skip
    axes.legend(loc="upper right", framealpha=1, frameon=True)
    return drawn


@figure
def same_end(
    paths: Mapping[str, Sequence[Float[np.ndarray, "records 3"]]],
    stars: Sequence[Float[np.ndarray, "3"]],
    end: Float[np.ndarray, "3"],
    names: Sequence[str],
) -> Figure:
    """Paths of three learners through the policies over three arms.

    Args:
        paths: for each learner, a path from each start; the order of learners gives the looks.
        stars: the starts, the first of them the initial policy.
        end: fixed point that belongs to the initial policy.
        names: arms, in the order of their corners: left, right, top.
    """
    drawn, axes = panels(height=5.2)
    looks = (
        {"color": GREEN, "linestyle": "-"},
        {"color": ORANGE, "linestyle": ":", "marker": "s", "markersize": 4},
        {"color": BLUE, "linestyle": "--"},
    )
    for (name, lines), look in zip(paths.items(), looks, strict=True):
        for k, line in enumerate(lines):
            axes.plot(*(line @ CORNERS).T, linewidth=1.6, label=name if k == 0 else None, **look)
            axes.plot(*(line[-1] @ CORNERS), "D", color=look["color"], markersize=6, markeredgecolor=BLACK, zorder=5)
    for k, star in enumerate(stars):
        face = BLACK if k == 0 else "white"
        axes.plot(*(star @ CORNERS), "*", color=face, markersize=16, markeredgecolor=BLACK, zorder=6)
    axes.plot(*(end @ CORNERS), "o", color="none", markeredgecolor=BLACK, markersize=15, zorder=6)
    simplex(axes, names)
    handles, labels = axes.get_legend_handles_labels()
    handles += [
        plt.Line2D([], [], linestyle="", marker="*", color=BLACK, markersize=12),
        plt.Line2D([], [], linestyle="", marker="*", color="white", markeredgecolor=BLACK, markersize=12),
    ]
    axes.legend(handles, [*labels, "initial policy", "another start"], loc="upper left")
    return drawn
