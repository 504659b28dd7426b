"""Settling, keeping to a range, walking away: against processes whose answer is known."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch07_actde_wanders import time_series
from scipy.stats import ttest_1samp

from actde_nb.compare import intervals

rng = np.random.default_rng(5)


def ornstein_uhlenbeck(trials: int, points: int, time: float, mean: float = 2.0, deviation: float = 0.7) -> np.ndarray:
    """Exact samples of the stationary process with relaxation time ``time``."""
    kept = np.exp(-1 / time)
    noise = rng.normal(0, deviation * np.sqrt(1 - kept**2), (trials, points))
    x = np.empty((trials, points))
    x[:, 0] = rng.normal(0, deviation, trials)
    for t in range(1, points):
        x[:, t] = kept * x[:, t - 1] + noise[:, t]
    return mean + x


@pytest.fixture(scope="module")
def pulled() -> np.ndarray:
    return ornstein_uhlenbeck(trials=60, points=1_500, time=30)


@pytest.fixture(scope="module")
def free() -> np.ndarray:
    return rng.normal(0, 0.1, (8, 400)).cumsum(1)


def test_spread_over_lags_by_hand():
    # Lag 1: changes 1, 2, 0, 0, squares 1, 4, 0, 0, mean 5/4, half of it 5/8. Lag 2: 9 and 0, mean 9/2, half 9/4.
    curves = np.array([[0.0, 1.0, 3.0], [5.0, 5.0, 5.0]])
    np.testing.assert_allclose(time_series.spread_over_lags(curves, [1, 2]), [5 / 8, 9 / 4])


def test_autocorrelation_is_about_the_mean_of_all_trials():
    # Mean of all 0, variance 1. Each trial keeps its side, so it agrees with itself at every lag.
    curves = np.array([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]])
    np.testing.assert_allclose(time_series.autocorrelation(curves, [1, 3]), [1, 1])
    # Here each alternates: -1 at odd lags, 1 at even ones.
    np.testing.assert_allclose(time_series.autocorrelation(curves * [1, -1, 1, -1], [1, 2]), [-1, 1])


def test_variogram_and_autocorrelation_of_a_process_that_is_pulled_back(pulled):
    lags = np.array([3, 10, 30, 90])
    left = np.exp(-lags / 30)
    spread = time_series.over_trials(lambda p: time_series.spread_over_lags(p, lags), pulled, rng, 100)
    again = time_series.over_trials(lambda p: time_series.autocorrelation(p, lags), pulled, rng, 100)
    assert spread.shape == (100, 4)
    np.testing.assert_array_less(np.abs(spread.mean(0) - 0.49 * (1 - left)), 4 * spread.std(0))
    np.testing.assert_array_less(np.abs(again.mean(0) - left), 4 * again.std(0))


@pytest.mark.parametrize("lag", [1, 10, 25])
def test_relaxation_finds_time_mean_and_deviation(pulled, lag):
    truth = {"time": 30, "mean": 2, "deviation": 0.7}
    fit = time_series.relaxation(pulled, lag)
    for name, value in truth.items():
        error = time_series.over_trials(
            lambda p, name=name: getattr(time_series.relaxation(p, lag), name), pulled, rng, 100
        )
        assert abs(getattr(fit, name) - value) < 4 * error.std(), name
        assert error.std() < 0.1 * value, "an error that would let anything pass"


def test_relaxation_time_of_no_pull_and_of_none_left():
    assert time_series.Relaxation(1.02, 0.0, 1.0, 5).time == np.inf
    assert time_series.Relaxation(-0.1, 0.0, 1.0, 5).time == 0
    assert time_series.Relaxation(np.exp(-0.5), 0.0, 1.0, 5).time == pytest.approx(10)


def test_walks_kept_is_what_a_free_walk_looks_like(free):
    """A free walk is one of them; a pulled process of the same size keeps less than nearly all of them."""
    null = time_series.walks_kept(free, 10, rng, 200)
    rank = (null <= time_series.relaxation(free, 10).kept).mean()
    assert 0.01 < rank < 0.99
    other = ornstein_uhlenbeck(8, 400, time=30)
    null = time_series.walks_kept(other, 10, rng, 200)
    assert (null <= time_series.relaxation(other, 10).kept).mean() < 0.02


def test_walks_spread_as_fast_as_the_curves_do_over_the_lag():
    """These jump to and fro by a hundred each point, but over two points they hardly move: walks of hardly any size,
    whose starts lie far apart, keep all of what they start with."""
    start = np.linspace(-50, 50, 8)[:, None]
    curves = start + 100 * (-1.0) ** np.arange(40) + rng.normal(0, 0.01, (8, 40))
    assert time_series.walks_kept(curves, 2, rng, 50).min() > 0.999


def test_t_interval_is_scipys():
    samples = rng.normal(3, 2, (7, 2))
    mean, half = intervals.t_interval(samples, 0.9)
    for column in range(2):
        low, high = ttest_1samp(samples[:, column], 0).confidence_interval(0.9)
        np.testing.assert_allclose([mean[column] - half[column], mean[column] + half[column]], [low, high])


def test_hotelling_of_one_quantity_is_the_t_test():
    samples = rng.normal(0.5, 1, (9, 1))
    assert time_series.hotelling(samples, np.zeros(1)) == pytest.approx(ttest_1samp(samples[:, 0], 0).pvalue)


def test_hotelling_is_right_as_often_as_it_says():
    mix = np.array([[1.0, 0.6], [0.0, 0.5]])
    found = np.array([time_series.hotelling(rng.normal(size=(6, 2)) @ mix + 1, np.ones(2)) for _ in range(1_000)])
    for level in (0.05, 0.5):
        assert abs((found < level).mean() - level) < 4 * np.sqrt(level * (1 - level) / 1_000)


def test_aligned_averages_over_the_coarser_windows():
    fine = xr.Dataset(coords={"update": [0, 4, 8, 12, 16]}, attrs={"window": 1})
    coarse = xr.Dataset(coords={"update": [2, 10]}, attrs={"window": 2})
    np.testing.assert_allclose(time_series.aligned(fine, coarse, np.array([[1.0, 3.0, 5.0, 9.0, 100.0]])), [[2, 7]])


def test_interval_of_one_trial_or_outside_all_levels():
    with pytest.raises(ValueError, match="1 trials: allowed are two or more"):
        intervals.t_interval(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="level = 1"):
        intervals.t_interval(np.zeros((3, 2)), 1.0)
