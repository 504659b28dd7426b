"""What the chapter on honeypots in the language says of its stored runs."""

import numpy as np
import pytest
from actde_book.ch13_honeypots import kl_penalty_rest

from actde_nb.compare import at_equal_kl, frontiers, intervals
from actde_nb.experiments import results
from actde_nb.experiments.runs import evaluation
from actde_nb.experiments.stored_runs import LANGUAGE

ENDS = ("030", "040", "050", "060", "080", "100", "150")
FORMS = ("gaa", "gaa_scaled", "gaa_batch", "gaa_code", "gaa_code_unscaled")


def stored(name):
    return frontiers.stored(name)[name]


@pytest.fixture(scope="module")
def ppo():
    return {end: stored(f"ppo_hp_cap_{end}") for end in ENDS}


@pytest.fixture(scope="module")
def rests():
    start = evaluation(LANGUAGE["ppo_hp_cap_030"])
    return kl_penalty_rest.held(kl_penalty_rest.resting(start.initial, start.known, np.geomspace(4, 0.03, 80).tolist()))


def test_methods_are_compared_at_equal_learning_rates(ppo):
    compared = (*ppo.values(), *(stored(f"{n}_hp_cap_030") for n in FORMS))
    settings = [results.settings_of(data)["config"] for data in compared]
    for key in ("learning_rate", "head_rate", "gae_lambda", "value_coefficient", "clip", "sampling_temperature"):
        assert len({s[key] for s in settings}) == 1


@pytest.mark.parametrize(("end", "weight"), [("060", 0.6), ("080", 0.8), ("100", 1.0), ("150", 1.5)])
def test_ppo_ends_near_its_exact_rest_where_there_is_one(ppo, rests, end, weight):
    held, _ = rests
    there = np.interp(-weight, -held["leash"], held["honeypot"])
    assert abs(frontiers.last(ppo[end], "honeypot").mean() - there) < 0.1
    assert frontiers.last(ppo[end], "honeypot").max() < held["honeypot"][-1]


def test_below_the_fold_ppo_goes_all_the_way(ppo, rests):
    held, _ = rests
    assert 0.5 < held["leash"][-1] < 0.6
    assert frontiers.last(ppo["030"], "honeypot").min() > 0.98
    assert frontiers.last(ppo["040"], "honeypot").min() > 0.98
    gone = frontiers.last(ppo["050"], "honeypot") > 0.95
    assert gone.tolist() == [False, True, True, True, True]


def test_only_per_token_is_anything_held_on_the_loosest_leash(ppo, rests):
    held, _ = rests
    for name in FORMS:
        rate = frontiers.estimate(stored(f"{name}_hp_cap_030"), "honeypot")
        if name in ("gaa", "gaa_scaled"):
            assert rate.high < 0.9
            went = frontiers.curve(stored(f"{name}_hp_cap_030"), "honeypot")
            assert intervals.mean(went[:, -1] - went[:, 5]).holds(0)
        else:
            assert rate.low > 0.98


def test_no_form_has_more_gold_at_the_same_divergence(ppo):
    for name in FORMS:
        for end in ("060", "100"):
            found = at_equal_kl.apart(stored(f"{name}_hp_cap_{end}"), list(ppo.values()), "gold")
            assert found.holds(0)
            assert max(-found.low, found.high) < 0.05


def test_per_token_has_a_little_more_gold_at_the_same_rate(ppo):
    found = at_equal_kl.apart(stored("gaa_hp_cap_060"), list(ppo.values()), "gold", at="honeypot")
    assert 0 < found.low < found.high < 0.05
    nats = at_equal_kl.apart(stored("gaa_hp_cap_060"), list(ppo.values()), "kl", at="honeypot")
    assert nats.high < 0


def test_hacked_policies_keep_their_diversity(ppo):
    entropy = frontiers.curve(ppo["030"], "entropy")
    assert intervals.mean(entropy[:, -1] - entropy[:, 0]).high > 0
    assert entropy[:, -1].min() > 7


def test_what_protects_in_the_scripts_is_the_temperature(ppo):
    cool = stored("ppo_hp_cap_script")
    assert frontiers.paired(cool, ppo["100"], "honeypot").high < -0.05
    assert frontiers.paired(cool, ppo["100"], "gold").low > 0.05
    assert frontiers.paired(stored("gaa_code_hp_cap_script"), cool, "honeypot").holds(0)
    assert frontiers.paired(stored("gaa_code_hp_cap_script"), cool, "kl").low > 0
