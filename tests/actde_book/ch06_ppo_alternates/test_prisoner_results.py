"""What the chapters say of the stored runs in the prisoner's dilemma, and that the runs begin as they would today."""

import numpy as np
import pytest

from actde_nb.compare.curves import alternating, at_update, first_update, slope
from actde_nb.experiments import results, runs
from actde_nb.experiments.stored_runs import PRISONER
from actde_nb.paths import RESULTS

PPO = {"plain": "prisoner_ppo", "whitened": "prisoner_ppo_whitened", "detached": "prisoner_ppo_detached"}
ALL = sorted(path.stem for path in RESULTS.glob("prisoner_*.nc"))


@pytest.fixture(scope="module")
def stored():
    return {name: results.read(RESULTS / f"{name}.nc") for name in ALL}


@pytest.fixture(scope="module")
def plain(stored):
    return stored["prisoner_ppo"]


@pytest.mark.parametrize("name", ALL)
def test_says_where_it_comes_from_but_not_on_whose_disk(stored, name):
    attributes = stored[name].attrs
    assert set(attributes) >= {"commit", "settings", "processor", "torch", "seconds", "written"}
    assert len(attributes["commit"]) == 40, "made from a commit, without changes"
    assert "/" not in "".join(map(str, attributes.values())), "a path"


@pytest.mark.parametrize("name", ALL)
def test_is_the_run_that_the_programme_names(stored, name):
    assert runs.run_of(results.settings_of(stored[name])) == PRISONER[name]


def test_every_run_of_the_programme_is_there():
    assert set(PRISONER) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_begins_today_as_it_did(stored, name):
    data = stored[name]
    again = runs.recompute(data, 12, trials=(0, 3))
    assert again.sizes["update"] >= 1
    assert runs.differences(data, again) == []


@pytest.mark.parametrize("name", PPO.values())
def test_every_ppo_trial_alternates_and_stays(stored, name):
    share = alternating(stored[name])
    assert (share[:, -1] > 0.95).all()
    assert (share[:, stored[name]["update"].values >= 400] > 0.98).all()
    final = stored[name]["final_outcome_share"].sel(outcome=["cd", "dc"]).sum("outcome")
    assert (final > 0.9999).all()


@pytest.mark.parametrize("name", PPO.values())
def test_ninety_per_cent_is_reached_around_update_180(stored, name):
    reached = first_update(stored[name], alternating(stored[name]), 0.9)
    assert reached.min() >= 120
    assert reached.max() <= 240


def test_starts_at_even_odds(plain):
    """A fresh network's shares spread by about .01 over trials; the mean of ten by a third of that."""
    start = at_update(plain, alternating(plain), 0)
    assert abs(start.mean() - 0.5) < 4 * 0.012 / np.sqrt(10)
    np.testing.assert_allclose(plain["entropy"][:, 0], np.log(2), atol=0.004)


@pytest.mark.parametrize("name", ["prisoner_ppo_whitened", "prisoner_ppo_detached"])
def test_variants_are_close_to_the_plain_run(stored, plain, name):
    apart = alternating(stored[name]) - alternating(plain.sel(trial=stored[name]["trial"]))
    assert np.abs(apart.mean(0)).max() < 0.05
    assert np.abs(apart[:, -100:]).max() < 0.001


def test_gap_grows_linearly_as_adam_allows_and_then_slowly(plain):
    settings = results.settings_of(plain)
    settings = settings["config"] | settings["network"]
    gap = np.abs(plain["logit_gap"].values).mean(-1)
    head = 2 * settings["learning_rate"] * settings["width"]
    early, middle = slope(plain, gap, 200, 400), slope(plain, gap, 400, 600)
    np.testing.assert_allclose(early, head, rtol=0.2)
    np.testing.assert_allclose(middle, early, rtol=0.1)
    late = slope(plain, gap, 1_000, 2_000)
    assert (late > 0).all()
    assert (late < early / 5).all()


def test_policy_keeps_to_the_last_move(plain):
    final = plain["final_cooperation"]
    assert (final.sel(last_move="c") < 1e-4).all()
    assert (final.sel(last_move="d") > 1 - 1e-4).all()


def test_rejection_sampling_defects_first_then_alternates_and_collapses(stored, plain):
    data = stored["prisoner_rejection"]
    defect, turns = data["outcome_share"].sel(outcome="dd").values, alternating(data)
    early = data["update"].values <= 100
    assert (turns[:, early].min(1) < 0.42).all()
    assert (defect.max(1) > 0.55).all()
    assert (turns[:, -1] > 0.97).all()
    assert data["final_entropy"].max() < 1e-3
    gaps, slower = (np.abs(run["logit_gap"].values[:5, -1]) for run in (data, plain))
    assert (gaps[:, 0] > slower[:, 0] + 5).all()
    assert (gaps[:, 1] < slower[:, 1]).all()
