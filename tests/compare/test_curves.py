"""Reading numbers off curves."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch07_actde_wanders.time_series import later_shares
from actde_book.ch08_what_moves_it.late_effects import moved

from actde_nb.compare.curves import alternating, at_update, first_update, slope, towards_alternating

UPDATES = [0, 4, 8, 12]
DATA = xr.Dataset(
    # Trial 0 alternates more and more, trial 1 not at all.
    {
        "outcome_share": (
            ("trial", "update", "outcome"),
            [
                [[0.5, 0.0, 0.0, 0.5], [0.3, 0.2, 0.2, 0.3], [0.1, 0.3, 0.5, 0.1], [0.0, 0.5, 0.5, 0.0]],
                [[1.0, 0.0, 0.0, 0.0]] * 4,
            ],
        )
    },
    {"update": UPDATES, "outcome": ["cc", "cd", "dc", "dd"]},
)


def test_alternating_is_cd_and_dc_together():
    np.testing.assert_allclose(alternating(DATA), [[0, 0.4, 0.8, 1], [0, 0, 0, 0]])


GAPS = xr.Dataset(
    # The habit of trial 0 goes 0, 1, 3, 3; trial 1 has none, whatever its cooperation.
    {
        "logit_gap": (
            ("trial", "update", "last_move"),
            [[[0.0, 0.0], [-1.0, 1.0], [-2.0, 4.0], [-3.0, 3.0]], [[x, x] for x in (0.0, 5.0, -5.0, 2.0)]],
        )
    },
    {"update": UPDATES, "last_move": ["c", "d"]},
)


def test_towards_alternating_is_half_the_difference():
    np.testing.assert_allclose(towards_alternating(GAPS), [[0, 1, 3, 3], [0, 0, 0, 0]])


def test_moved_is_the_root_mean_square_change():
    np.testing.assert_allclose(moved(GAPS, 0, 12, over=4), [np.sqrt((1 + 4 + 0) / 3), 0])
    np.testing.assert_allclose(moved(GAPS, 0, 12, over=8), [np.sqrt((9 + 4) / 2), 0])
    np.testing.assert_allclose(moved(GAPS, 4, 12, over=4), [np.sqrt((4 + 0) / 2), 0])
    unsaid = GAPS.where(GAPS["update"] != 4)
    np.testing.assert_allclose(moved(unsaid, 0, 12, over=4), [0, 0])


def test_first_update_at_a_level_counts_the_level_itself():
    np.testing.assert_array_equal(first_update(DATA, alternating(DATA), 0.4), [4, np.nan])
    np.testing.assert_array_equal(first_update(DATA, alternating(DATA), 0.0), [0, 0])


def test_nearest_point():
    np.testing.assert_allclose(at_update(DATA, alternating(DATA), 7), [0.8, 0])
    with pytest.raises(ValueError, match="update = 40: allowed are numbers from 0 to 12"):
        at_update(DATA, alternating(DATA), 40)


def test_slope_of_a_line_and_of_a_logarithm():
    update = np.array(UPDATES[1:])
    rows = np.stack([3 * update + 1.0, np.zeros(3)])
    curve = np.concatenate([np.full((2, 1), 9.0), rows], 1)  # the first point is out of the window
    np.testing.assert_allclose(slope(DATA, curve, 4, 12), [3, 0], atol=1e-12)
    curve[:, 1:] = 2 * np.log(update)
    np.testing.assert_allclose(slope(DATA, curve, 4, 12, of_log=True), [2, 2], atol=1e-12)
    with pytest.raises(ValueError, match="low = 5, high = 6"):
        slope(DATA, curve, 5, 6)


def test_later_shares_are_means_over_the_end_of_the_run():
    # The last half of updates 0 to 12 begins at 6: points 8 and 12.
    np.testing.assert_allclose(later_shares(DATA), [[0.05, 0.05, 0.9], [1, 0, 0]])
    np.testing.assert_allclose(later_shares(DATA, 1 / 4), [[0, 0, 1], [1, 0, 0]])
