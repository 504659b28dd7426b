"""The map of a recorded game is the one that was designed, and the figures show what they are given."""

import numpy as np
import pytest
from actde_book.ch22_text_adventures import exact, figures

from actde_nb.worlds.adventure import GAMES, Adventure


@pytest.mark.parametrize("game", GAMES)
def test_the_map_is_the_design(game: str):
    """Kitchen, hall and garden from west to east, the study north of the hall; see ``record.Design``."""
    places, ways, things = figures.plan(Adventure(game))
    assert places == {"hall": (0, 0), "kitchen": (-1, 0), "garden": (1, 0), "study": (0, 1)}
    assert ways == {frozenset(("hall", room)) for room in ("kitchen", "garden", "study")}
    assert things == {"red coin": "kitchen", "blue coin": "garden", "box": "hall", "table": "study"}


def test_every_trial_has_its_mark():
    """Uniform play and the same policy less one command in the hall: two trials, and a bar at the first's numbers."""
    world = Adventure()
    policy = np.stack([exact.uniform(world)] * 2)
    policy[1, 0] = np.eye(len(policy[1, 0]))[world.commands.index("go west")]
    both, rest = exact.study(world, policy), exact.study(world, policy[0])
    coins, variety = figures.learned({"ACTDE, k = 1": both}, {"ACTDE, k = 1": rest}).axes
    for axes, known in ((coins, both.red / both.wins), (variety, both.entropy)):
        marks, bar = axes.lines
        np.testing.assert_array_equal(marks.get_xdata(), known)
        np.testing.assert_allclose(bar.get_xdata(), known[0])
    assert coins.lines[0].get_xdata()[1] > 0.6 > 0.5 == pytest.approx(coins.lines[0].get_xdata()[0])
