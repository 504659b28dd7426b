"""Intervals over trials: by hand, against scipy's own test, and how often they hold the truth."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch08_what_moves_it import late_effects
from scipy import stats

from actde_nb.compare import intervals
from actde_nb.compare.curves import alternating


def run(shares: np.ndarray, updates: np.ndarray) -> xr.Dataset:
    """A run in which ``shares`` [trial, update] of the games alternate, half of them cd and half dc."""
    half, rest = shares / 2, (1 - shares) / 2
    games = np.stack([rest, half, half, rest], -1)
    coordinates = {"trial": np.arange(len(shares)), "update": updates, "outcome": ["cc", "cd", "dc", "dd"]}
    return xr.Dataset({"outcome_share": (("trial", "update", "outcome"), games)}, coordinates)


def test_mean_of_three_by_hand():
    # 1, 2, 3: mean 2, deviation 1, standard error 1/sqrt(3); Student's 97.5 % point at two degrees is 4.30265.
    found = intervals.mean(np.array([1.0, 2.0, 3.0]))
    assert found.value == pytest.approx(2)
    assert found.error == pytest.approx(3**-0.5)
    assert (found.low, found.high) == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), rel=1e-5)
    assert found.holds(0)
    assert not found.holds(-0.5)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mean_and_difference_are_students_and_welchs_formulas(level):
    draws = np.random.default_rng(0)
    first, second = draws.normal(1, 3, 5), draws.normal(0, 1, 10)
    error = first.std(ddof=1) / 5**0.5
    reach = stats.t.ppf((1 + level) / 2, 4) * error
    expected = (first.mean(), first.mean() - reach, first.mean() + reach, error)
    assert intervals.mean(first, level) == pytest.approx(expected, rel=1e-8)
    parts = first.var(ddof=1) / 5, second.var(ddof=1) / 10
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 9)  # Satterthwaite's
    reach, apart = stats.t.ppf((1 + level) / 2, freedom) * sum(parts) ** 0.5, first.mean() - second.mean()
    expected = (apart, apart - reach, apart + reach, sum(parts) ** 0.5)
    assert intervals.difference(first, second, level) == pytest.approx(expected, rel=1e-8)


def test_samples_without_spread():
    assert intervals.mean(np.full(5, 0.75)) == (0.75, 0.75, 0.75, 0)
    half = intervals.t_interval(np.array([[1.0, 0.5, np.nan], [3.0, 0.5, 1.0]]))[1]
    np.testing.assert_allclose(half, [12.706205, 0, np.nan], rtol=1e-6)
    # Beside a constant, Welch's interval is Student's, with the other's degrees of freedom.
    apart, alone = (
        intervals.difference(np.array([1.0, 2.0, 4.0]), np.full(9, 1.0)),
        intervals.mean(np.array([0.0, 1, 3])),
    )
    assert apart == pytest.approx(alone, rel=1e-8)


def test_difference_of_constants_is_certain():
    found = intervals.difference(np.full(5, 0.75), np.full(10, 0.5))
    assert (found.value, found.low, found.high, found.error) == (0.25, 0.25, 0.25, 0)


def test_interval_holds_the_truth_as_often_as_it_says():
    draws, times = np.random.default_rng(1), 2_000
    holds = [intervals.difference(draws.normal(2, 3, 5), draws.normal(1, 1, 10)).holds(1) for _ in range(times)]
    # Welch's interval is approximate; four standard errors of a share of .95.
    assert np.mean(holds) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / times) + 0.005)


def test_bootstrap_agrees_where_there_are_many_trials_and_is_narrower_where_there_are_few():
    draws = np.random.default_rng(2)
    many = [draws.normal(1, 2, 80), draws.normal(0, 1, 80)]

    def bootstrap(*samples):
        return stats.bootstrap(
            samples, lambda a, b, axis: a.mean(axis) - b.mean(axis), method="percentile", rng=draws
        )  # fmt: skip

    ours, theirs = intervals.difference(*many), bootstrap(*many)
    assert theirs.standard_error == pytest.approx(ours.error, rel=0.05)
    assert theirs.confidence_interval == pytest.approx((ours.low, ours.high), abs=0.1 * (ours.high - ours.low))
    few = [samples[:5] for samples in many]
    ours, theirs = intervals.difference(*few), bootstrap(*few).confidence_interval
    assert theirs.high - theirs.low < ours.high - ours.low


def test_between_takes_the_window_and_no_more():
    data = run(np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]), np.array([0.0, 10, 20, 30]))
    np.testing.assert_allclose(late_effects.between(data, alternating(data), 10, 30), [0.25, 0.65])


def test_a_short_run_counts_with_its_second_half():
    whole, short = (run(np.full((2, 5), 0.5), np.linspace(0, 4, 5) * step) for step in (25, 10))
    assert late_effects.end(whole) == 125
    assert late_effects.late_window(whole, 50, 100) == (50, 100)
    assert late_effects.end(short) == 50
    assert late_effects.late_window(short, 50, 100) == (25, 50)


def test_late_effects_compare_with_the_first_over_the_same_updates():
    updates = np.arange(0.0, 100, 10)
    falling = run(np.stack([0.9 - updates / 200, 0.8 - updates / 200]), updates)
    short = run(np.full((3, 5), 0.7), updates[:5])
    table = late_effects.late_effects({"falling": falling, "short": short}, 50, 100)
    # Updates 50 to 90: 0.9 - 70/200 and 0.8 - 70/200.
    np.testing.assert_allclose(table["share"].sel(run="falling", estimate="value"), 0.5)
    np.testing.assert_allclose(table["deviation"], [0.1 / np.sqrt(2), 0], atol=1e-12)
    assert np.isnan(table["effect"].sel(run="falling")).all()
    # The short run's second half is 25 to 50, where the points 30 and 40 of the first have mean 0.85 - 35/200.
    np.testing.assert_allclose(table["effect"].sel(run="short", estimate="value"), 0.7 - 0.675)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intervals.mean(np.array([1.0])), "samples has 1 trials"),
        (lambda: intervals.mean(np.array([1.0, np.nan])), "allowed are finite"),
        (lambda: intervals.mean(np.array([1.0, 2.0]), 1.0), "level = 1.0"),
        (lambda: intervals.difference(np.array([1.0, 2.0]), np.array([1.0])), "reference has 1 trials"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ratio_of_pairs():
    # Log ratios 0, log 4: mean log 2, standard error log 2, so the interval is 2 times or over 2 to the power 12.7.
    found = intervals.ratio(np.array([1.0, 8.0]), np.array([1.0, 2.0]))
    assert found.value == pytest.approx(2)
    assert found.high / found.value == pytest.approx(2**12.706, rel=1e-3)
    assert found.low * found.high == pytest.approx(4)
    assert found.error == pytest.approx(2 * np.log(2))
    with pytest.raises(ValueError, match="allowed are numbers above zero"):
        intervals.ratio(np.array([1.0, -8.0]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="reference has 3 trials: allowed are as many as samples, 2"):
        intervals.ratio(np.array([1.0, 8.0]), np.array([1.0, 2.0, 3.0]))
