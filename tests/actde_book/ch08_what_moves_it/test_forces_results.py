"""What chapter 8 says of the stored runs."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch08_what_moves_it import late_effects
from actde_book.ch08_what_moves_it.late_effects import moved

from actde_nb.compare import intervals
from actde_nb.compare.curves import alternating, at_update, towards_alternating
from actde_nb.experiments import results
from actde_nb.paths import RESULTS


def stored(name: str) -> xr.Dataset:
    path = RESULTS / f"prisoner_{name}.nc"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return results.read(path)


def rose(data: xr.Dataset) -> np.ndarray:
    """Share of alternating games between updates 5,000 and 10,000, minus that between 300 and 500."""
    share = alternating(data)
    return late_effects.between(data, share, 5_000, 10_000) - late_effects.between(data, share, 300, 500)


def test_share_falls_from_its_peak_with_adam_as_published():
    assert intervals.mean(rose(stored("actde"))).high < -0.05


def test_with_a_large_epsilon_weight_decay_is_what_is_left():
    data = stored("actde_epsilon")
    gap, last = np.abs(data["logit_gap"].values.astype(float)).mean(-1), late_effects.end(data)
    kept = intervals.ratio(*(late_effects.between(data, gap, *at) for at in ((last - 200, last), (300, 500))))
    assert kept.low < np.exp(-5e-4 * 0.1 * (last - 500)) < kept.high
    share = alternating(data)
    early = late_effects.between(data, share, 2_000, 4_000) - late_effects.between(data, share, 300, 500)
    assert np.abs(early).max() < 0.05
    assert intervals.difference(rose(data), rose(stored("actde"))).low > 0


def test_without_lambda_the_mean_does_not_fall_at_first():
    change = rose(stored("actde_one_step"))
    assert intervals.mean(change).high > 0
    assert intervals.difference(change, rose(stored("actde"))).low > 0


def test_at_first_the_walk_is_slower_without_lambda_and_slowest_with_a_large_epsilon():
    names = "actde_long", "actde_one_step", "actde_epsilon"
    plain, one_step, calm = (moved(stored(name), 500, 4_000).mean() for name in names)
    assert one_step < 0.5 * plain
    assert calm < 0.7 * one_step


@pytest.mark.parametrize("name", ["actde_one_step", "actde_no_decay_one_step"])
def test_later_the_walk_without_lambda_is_faster_and_ends_in_alternation(name):
    data = stored(name)
    grown = intervals.ratio(moved(data, 20_000, 40_000), moved(data, 500, 10_000))
    assert grown.low > 1
    assert late_effects.between(data, alternating(data), 35_000, 40_000).mean() > 0.8
    assert (data["final_entropy"] < 0.1 * np.log(2)).sum() >= 2


def test_four_times_as_many_updates_bring_the_plain_run_to_no_rest():
    data = stored("actde_long")
    early, late = (late_effects.between(data, alternating(data), *at) for at in ((8_000, 10_000), (35_000, 40_000)))
    assert late.std(ddof=1) > early.std(ddof=1) > 0.1
    assert moved(data, 20_000, 40_000).min() > 0.1


def test_without_decay_trials_end_further_apart_than_they_began():
    data = stored("actde_no_decay")
    gap = towards_alternating(data)
    assert gap[:, -1].std(ddof=1) > 10 * at_update(data, gap, 300).std(ddof=1)
    assert moved(data, 500, 10_000).mean() > moved(stored("actde_long"), 500, 10_000).mean()


def test_tied_logits_go_to_the_fixed_point_of_the_tables():
    data = stored("boltzmann")
    late = late_effects.between(data, alternating(data), late_effects.end(data) / 2, late_effects.end(data))
    # The table's .55936; the network's q is right to a few thousandths, which is as much in the shares.
    assert abs(late.mean() - 0.55936) < 0.01
    assert late.std(ddof=1) < 0.01
