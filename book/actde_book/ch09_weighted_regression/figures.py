"""Figures of chapter 9: what weighted regression aims at, and where its rounds end."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from actde_nb.pages.drawing import finish, line_of, note, on_triangle, simplex
from actde_nb.pages.style import BLACK, BLUE, GREY, LOOK, METHODS, ORANGE, SKY, VERMILION, figure, method_looks, panels

TEMPERATURES = (
    {"color": BLUE, "linestyle": "-"},
    {"color": ORANGE, "linestyle": "-."},
    {"color": VERMILION, "linestyle": "--"},
)
Points = Float[np.ndarray, "points"]
Times = Float[np.ndarray, "times"]
Fine = Float[np.ndarray, "fine"]
Policies = Float[np.ndarray, "points arms"]
DOT = {"markeredgecolor": BLACK, "markersize": 8, "zorder": 5}


@figure
def directions(temperatures: Points, tilted: Policies, printed: Policies, arm: int) -> Figure:
    """Probability of one arm against 1 / beta, for the two orders of the divergence."""
    drawn, axes = panels(height=3.8)
    for policies, label, look in (
        (printed, r"KL($\pi_{old}$ || $\pi$), as printed", {"color": VERMILION, "linestyle": "--"}),
        (tilted, r"KL($\pi$ || $\pi_{old}$), as in (3)", {"color": BLUE, "linestyle": "-"}),
    ):
        axes.plot(1 / temperatures, policies[:, arm], label=label, **look)
    axes.set(xscale="log", yscale="log", xlabel="1/β", ylabel="probability of the worst arm")
    return finish(axes, legend="lower left")


@figure
def family(paths: Mapping[str, Float[np.ndarray, "rounds 2"]], end: float) -> Figure:
    """Probability of the worse of two arms, round by round; ``end``: at the optimum of reward minus a KL penalty."""
    drawn, axes = panels(height=4.2)
    axes.axhline(end, linewidth=1.2, **LOOK["theory"])
    for name, path in paths.items():
        look = METHODS[name]
        axes.plot(path[:, 1], markersize=4, **look)
        seen = np.flatnonzero(path[:, 1] > 0)
        k = seen[min(len(seen) - 1, 8)]
        note(axes, name, (k, path[k, 1]), (7, 5), color=look["color"])
    return finish(axes, yscale="log", xlabel="round", ylabel="probability of the worse arm")


@figure
def partition(inverse: Points, first: Mapping[str, Points], rest: Points, floor: float) -> Figure:
    """log Z against 1 / beta: for the first batch, by the advantages' distribution; below, where APA rests.
    ``rest`` belongs to the last of the distributions; ``floor`` is the lowest value that it can have."""
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
    note(below, "β = 0.1", (10, -0.05), (-5, 0), ha="right", va="top", color=GREY)
    return drawn


@figure
def sampling_weights(shares: Points, without: Mapping[float, Points], optima: Mapping[float, float]) -> Figure:
    """Minimiser of the regression against how often the better arm was sampled, Z left out; level lines: Z kept."""
    drawn, axes = panels(height=4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for (beta, curve), look in zip(without.items(), TEMPERATURES, strict=True):
        axes.plot(shares, curve, label=f"β = {beta:g}", **look)
        axes.axhline(optima[beta], color=look["color"], linewidth=1.1, alpha=0.7)
        axes.plot(optima[beta], optima[beta], "o", color=look["color"], **DOT)
    axes.set(xlabel="share of the better arm in the data", ylabel="its probability after regression")
    return finish(axes, legend="lower right", xlim=(0, 1.03), ylim=(0.35, 1.03))


@figure
def round_map(gaps: Points, maps: Mapping[float, Points], cycle: Float[np.ndarray, "cycle"]) -> Figure:
    """Logit gap after one exact round against the gap before, for each reward difference over beta.
    A map's fixed point is the gap of that size; ``cycle``: gaps that the last of the maps visits in turn."""
    drawn, axes = panels(height=4.6)
    axes.plot(gaps, gaps, color=GREY, linewidth=1, linestyle=":")
    for (drive, after), look in zip(maps.items(), TEMPERATURES, strict=True):
        jumps = np.abs(np.diff(after)) > 8 * np.diff(gaps).max()
        axes.plot(gaps, np.where(np.r_[jumps, False], np.nan, after), label=f"Δ/β = {drive:g}", **look)
        axes.plot(drive, drive, "o", color=look["color"], **DOT)
    corners = [(cycle[0], cycle[0])]
    for before, then in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        corners += [(before, then), (then, then)]
    axes.plot(*np.transpose(corners), color=BLACK, linewidth=1.1, alpha=0.8)
    axes.set(xlabel="logit gap before the round", ylabel="after an exact round", xlim=(gaps[0], gaps[-1]))
    return finish(axes, legend="upper left")


@figure
def bifurcation(
    scans: Sequence[tuple[Points, Float[np.ndarray, "records points starts"]]], threshold: float, difference: float
) -> Figure:
    """Gaps that rounds of APA keep visiting, against reward difference over beta; one panel for each scan.
    Beyond ``threshold`` the fixed point repels; ``difference``: of the rewards, for the axis of betas."""
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
    mixed = ("data", "axes fraction")
    note(first, "KL = ½ nat", (threshold, 0.97), (6, 0), xycoords=mixed, va="top", color=VERMILION)
    note(first, "optimum", (8, 8), (10, -8), va="top")
    above = first.secondary_xaxis("top")
    ticks = [b for b in (0.25, 0.15, 0.1, 0.07, 0.05, 0.04) if drives[0] <= difference / b <= drives[-1]]
    above.set_xticks([difference / b for b in ticks], [f"{b:g}" for b in ticks])
    above.set_xlabel(f"β, for Δ = {difference:g}")
    return drawn


@figure
def inner_time(
    divergences: Points, times: Times, settled: Bool[np.ndarray, "points times"], boundary: tuple[Fine, Fine]
) -> Figure:
    """Whether rounds return to the fixed point, by its divergence (nats) and by how long each regression runs."""
    drawn, axes = panels(height=4.4)
    across, up = np.meshgrid(divergences, times, indexing="ij")
    axes.plot(across[settled], up[settled], ".", color=SKY, markersize=4, label="returns")
    axes.plot(across[~settled], up[~settled], "x", color=VERMILION, markersize=4, label="leaves")
    axes.plot(*boundary, color=BLACK, label="theory")
    axes.axvline(0.5, linewidth=1.2, **LOOK["source"])
    axes.set(xlabel="KL(π* || π_init), nats", xlim=(divergences[0] - 0.05, divergences[-1] + 0.05))
    axes.set(ylabel="inner time T", ylim=(0, times[-1] * 1.02))
    return finish(axes, legend={"loc": "upper right", "framealpha": 1, "frameon": True})


@figure
def same_end(
    paths: Mapping[str, Sequence[Float[np.ndarray, "records 3"]]], stars: Sequence[Float[np.ndarray, "3"]],
    end: Float[np.ndarray, "3"], names: Sequence[str],
) -> Figure:  # fmt: skip
    """Paths of three learners over three arms from ``stars``, the first of them the initial policy with its ``end``."""
    drawn, axes = panels(height=5.2)
    for name, look in method_looks(paths).items():
        for k, line in enumerate(paths[name]):
            shown = {"markersize": 4} | (look if len(line) < 100 else line_of(look))  # marks where there are few
            axes.plot(*on_triangle(line), linewidth=1.6, label=name if k == 0 else None, **shown)
            axes.plot(*on_triangle(line[-1]), look["marker"], color=look["color"], **DOT | {"markersize": 7})
    for star, face in zip(stars, [BLACK, *["white"] * (len(stars) - 1)], strict=True):
        axes.plot(*on_triangle(star), "*", color=face, markersize=16, markeredgecolor=BLACK, zorder=6)
    axes.plot(*on_triangle(end), "o", color="none", markeredgecolor=BLACK, markersize=15, zorder=6)
    simplex(axes, names)
    handles, labels = axes.get_legend_handles_labels()
    star = {"linestyle": "", "marker": "*", "markeredgecolor": BLACK, "markersize": 12}
    handles += [plt.Line2D([], [], color=face, **star) for face in (BLACK, "white")]
    axes.legend(handles, [*labels, "initial policy", "another start"], loc="upper left")
    return drawn
