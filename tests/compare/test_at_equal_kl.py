"""Methods at the same divergence: made-up runs with known answers."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from actde_nb.compare import at_equal_kl


def run(kl, gold) -> xr.Dataset:
    """A run that ended at these numbers [trial], known exactly."""
    ends = np.stack([np.broadcast_to(values, len(kl)) for values in (kl, gold)], -1)[:, None].astype(float)
    exact = np.concatenate([np.zeros_like(ends), ends], 1)
    dims = ("trial", "evaluated")
    return xr.Dataset(
        {"exact": ((*dims, "exact_quantity"), exact), "sampled": ((*dims, "sampled_quantity"), exact + 100)},
        {"trial": np.arange(len(kl)), "exact_quantity": ["kl", "gold"], "sampled_quantity": ["kl", "gold"]},
    )


SETTINGS = [run([4.0, 5.0], [0.2, 0.1]), run([1.0, 1.0], [0.5, 0.5]), run([2.0, 3.0], [0.4, 0.3])]


def test_between_settings_by_hand():
    # Trial 0 lies half way between 2 nats (.4) and 4 (.2); trial 1 a quarter of the way from 1 (.5) to 3 (.3).
    found = at_equal_kl.between(SETTINGS, np.array([3.0, 1.5]), "gold")
    np.testing.assert_allclose(found, [0.3, 0.45])


def test_settings_may_come_in_any_order():
    kl = np.array([2.2, 4.4])
    expected = at_equal_kl.between(SETTINGS, kl, "gold")
    np.testing.assert_array_equal(at_equal_kl.between(SETTINGS[::-1], kl, "gold"), expected)


def test_outside_all_settings_nothing_is_known():
    found = at_equal_kl.between(SETTINGS, np.array([0.5, 5.5]), "gold")
    assert np.isnan(found).all()
    with pytest.raises(ValueError, match="finite"):
        at_equal_kl.apart(run([0.5, 1.0], 0.4), SETTINGS, "gold")


@pytest.mark.parametrize("settings", [SETTINGS[:1], [*SETTINGS, run([1.0, 2.0, 3.0], 0.1)]])
def test_settings_that_are_not_allowed(settings):
    with pytest.raises(ValueError, match="allowed are two settings or more"):
        at_equal_kl.between(settings, np.array([1.0, 2.0]), "gold")


def test_apart_is_students_interval_of_the_differences():
    found = at_equal_kl.apart(run([3.0, 1.5], [0.5, 0.55]), SETTINGS, "gold")
    low, high = stats.ttest_1samp([0.2, 0.1], 0).confidence_interval()
    assert found.value == pytest.approx(0.15)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_at_the_same_number_of_another_quantity():
    # Gold .3 lies half way between 4 nats (.2) and 2 (.4) in trial 0, at 3 nats in trial 1; ours took one nat less.
    found = at_equal_kl.apart(run([2.0, 2.0], 0.3), SETTINGS, "kl", at="gold")
    assert (found.value, found.error) == pytest.approx((-1, 0))


def test_on_the_way_by_hand():
    # Gold .2 is passed first between 1 nat (.1) and 3 (.3) in trial 0, and never in trial 1.
    kl, gold = (
        np.array([[0, 1, 3, 4, 5], [0, 1, 2, 3, 4]]),
        np.array([[0, 0.1, 0.3, 0.1, 0.4], [0, 0.1, 0.1, 0.1, 0.1]]),
    )
    exact = np.stack([kl, gold], -1)
    dims = ("trial", "evaluated")
    data = xr.Dataset(
        {"exact": ((*dims, "exact_quantity"), exact), "sampled": ((*dims, "sampled_quantity"), exact)},
        {"exact_quantity": ["kl", "gold"], "sampled_quantity": ["kl", "gold"]},
    )
    np.testing.assert_allclose(at_equal_kl.on_the_way(data, "kl", 0.2), [2, np.nan])
