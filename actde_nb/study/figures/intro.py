"""The figure of the first page."""

from matplotlib.figure import Figure

from actde_nb.study.figures.style import LOOK, figure, panels
from actde_nb.tabular.bandit import Trajectory


@figure
def two_updates(value: Trajectory, actde: Trajectory) -> Figure:
    """Probability of the arm that pays less, every run a line, under the two errors."""
    drawn, axes = panels(height=4.2)
    families = [
        (value, "value", "r − v(s): the baseline is the state's value", (0.03, 0.08)),
        (actde, "actde", "r − q(s, a): the baseline is the action's value", (0.26, 0.925)),
    ]
    for trajectory, look, label, place in families:
        axes.loglog(trajectory.episodes[1:], trajectory.policy[1:, :, 1], linewidth=0.6, alpha=0.35, **LOOK[look])
        axes.text(*place, label, color=LOOK[look]["color"], transform=axes.transAxes, weight="bold")
    axes.set(xlabel="episode", ylabel="probability of the arm that pays less", ylim=(None, 4))
    return drawn
