"""What chapter 8 says of the stored runs."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch08_what_moves_it import late_effects, tie
from actde_book.ch08_what_moves_it.late_effects import moved

from actde_nb.compare import intervals
from actde_nb.compare.curves import alternating, at_update, towards_alternating
from actde_nb.experiments import results
from actde_nb.paths import RESULTS
from actde_nb.tables import games
from actde_nb.tables.fixed_points import fixed_points


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


def test_fall_is_the_first_window_minus_the_last():
    update = np.arange(0.0, 10_000, 100)
    share = np.where(update < 500, 0.9, np.where(update < 9_000, 0.1, 0.6))
    share = np.stack([share, share - 0.1 * (update >= 9_000)])
    games = np.stack([0 * share, share / 4, 3 * share / 4, 1 - share], -1)
    coordinates = {"update": update, "outcome": ["cc", "cd", "dc", "dd"]}
    data = xr.Dataset({"outcome_share": (("trial", "update", "outcome"), games)}, coordinates)
    np.testing.assert_allclose(late_effects.fall(data), [0.3, 0.4])


def test_with_the_usual_epsilon_every_trial_moves_more_than_any_with_a_large_one():
    usual, large = (
        np.concatenate([moved(stored(name), 500, 10_000) for name in names])
        for names in (("actde", "actde_no_decay"), ("actde_epsilon", "actde_epsilon_no_decay"))
    )
    assert large.max() < usual.min() / 2


def test_mean_falls_with_a_large_epsilon_too_but_not_without_decay():
    falls = late_effects.fall(stored("actde_epsilon"))
    assert intervals.mean(falls).low > 0
    pairs = late_effects.fall(stored("actde"))[:5] - falls
    assert intervals.mean(pairs).holds(0)
    still = stored("actde_epsilon_no_decay")
    assert intervals.mean(late_effects.fall(still)).holds(0)
    assert intervals.mean(falls - late_effects.fall(still)).low > 0
    gap = np.abs(still["logit_gap"].values.astype(float)).mean(-1)
    assert intervals.ratio(*(late_effects.between(still, gap, *at) for at in ((9_800, 10_000), (300, 500)))).holds(1)


def two_states(payoffs, temperature, rounds):
    """Chance to cooperate after c and after d of a softmax of its own q, begun at even odds; half the way a round."""
    (cc, cd), (dc, dd) = payoffs.tolist()  # [move now][move before]
    x = y = 0.5
    for _ in range(rounds):
        # Values of the last moves c and d: v = A + B / 2, solved by Cramer's rule.
        a, b = x * cc + (1 - x) * dc, y * cd + (1 - y) * dd
        (k, j), (m, n) = (1 - x / 2, -(1 - x) / 2), (-y / 2, 1 - (1 - y) / 2)
        v_c, v_d = (a * n - j * b) / (k * n - j * m), (k * b - m * a) / (k * n - j * m)
        gap_c, gap_d = cc - dc + (v_c - v_d) / 2, cd - dd + (v_c - v_d) / 2
        new = [1 / (1 + np.exp(-gap / temperature)) for gap in (gap_c, gap_d)]
        x, y = new if rounds == 1 else ((x + new[0]) / 2, (y + new[1]) / 2)
    return 2 * (1 - x) * y / (1 - x + y)


TIED = {"boltzmann": ("main", 1.0), "boltzmann_b_07": ("b=.7", 0.25), "boltzmann_extreme": ("extreme", 1.0)}


@pytest.mark.parametrize(("payoffs", "temperature"), [*TIED.values(), ("main", 0.25)])
def test_predictions_of_the_tie_are_those_of_an_independent_solver(payoffs, temperature):
    world = games.prisoners_dilemma(games.PAYOFFS[payoffs])
    [found] = fixed_points(world, temperature, starts=5, rng=np.random.default_rng(0))
    ours = games.outcome_shares(found.policy)[2]
    assert ours == pytest.approx(two_states(games.PAYOFFS[payoffs], temperature, 200), abs=1e-9)
    assert tie.answer(world, found.policy, temperature) == pytest.approx(ours, abs=1e-9)
    once = tie.answer(world, np.full((2, 2), 0.5), temperature)
    assert once == pytest.approx(two_states(games.PAYOFFS[payoffs], temperature, 1), abs=1e-12)


@pytest.mark.parametrize("name", TIED)
def test_tied_logits_go_to_the_fixed_point_of_the_tables(name):
    data, (payoffs, temperature) = stored(name), TIED[name]
    late = late_effects.between(data, alternating(data), late_effects.end(data) / 2, late_effects.end(data))
    # The network's q is right to a few thousandths, which is as much in the shares.
    point, once = (two_states(games.PAYOFFS[payoffs], temperature, rounds) for rounds in (200, 1))
    assert abs(late.mean() - point) < 0.01
    assert late.std(ddof=1) < 0.01
    if name != "boltzmann":  # where the test has power
        assert abs(late.mean() - point) < abs(late.mean() - once) / 4
        assert not intervals.mean(late.astype(float)).holds(float(once))
