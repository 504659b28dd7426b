"""What chapter 8 says of the stored runs."""

import numpy as np
import pytest
import xarray as xr

from actde_nb.book.layout import RESULTS
from actde_nb.study import effects, results
from actde_nb.study.curves import alternating


def stored(name: str) -> xr.Dataset:
    path = RESULTS / f"prisoner_{name}.nc"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return results.read(path)


def rose(data: xr.Dataset) -> np.ndarray:
    """Share of alternating games in the second half, minus that between updates 300 and 500."""
    share, last = alternating(data), effects.end(data)
    return effects.between(data, share, last / 2, last) - effects.between(data, share, 300, 500)


def walk(data: xr.Dataset) -> float:
    """Root mean square change over 500 updates of half the difference of the gaps, after update 500."""
    gap, update = data["logit_gap"].values.astype(float), data["update"].values
    towards = ((gap[..., 1] - gap[..., 0]) / 2)[:, update >= 500]
    lag = np.argmin(np.abs(update - update[0] - 500))
    return np.sqrt(((towards[:, lag:] - towards[:, :-lag]) ** 2).mean())


def test_share_falls_from_its_peak_with_adam_as_published():
    assert effects.mean(rose(stored("actde"))).high < -0.05


def test_with_a_large_epsilon_every_trial_stays():
    change = rose(stored("actde_epsilon"))
    assert np.abs(change).max() < 0.05
    assert effects.difference(change, rose(stored("actde"))).low > 0


def test_without_lambda_the_mean_does_not_fall():
    change = rose(stored("actde_one_step"))
    assert effects.mean(change).high > 0
    assert effects.difference(change, rose(stored("actde"))).low > 0


def test_walk_is_slower_without_lambda_and_slowest_with_a_large_epsilon():
    plain, one_step, calm = (walk(stored(name)) for name in ("actde", "actde_one_step", "actde_epsilon"))
    assert one_step < 0.5 * plain
    assert calm < 0.7 * one_step


def test_without_decay_trials_end_further_apart_than_they_began():
    data = stored("actde_no_decay")
    gap = data["logit_gap"].values.astype(float)
    apart = ((gap[..., 1] - gap[..., 0]) / 2).std(0, ddof=1)
    assert apart[-1] > 10 * apart[np.abs(data["update"].values - 300).argmin()]
    assert walk(data) > walk(stored("actde"))


def test_tied_logits_go_to_the_fixed_point_of_the_tables():
    data = stored("boltzmann")
    late = effects.between(data, alternating(data), effects.end(data) / 2, effects.end(data))
    # The table's .55936; the network's q is right to a few thousandths, which is as much in the shares.
    assert abs(late.mean() - 0.55936) < 0.01
    assert late.std(ddof=1) < 0.01
