"""What the chapter on ACTDE and language says of its stored runs."""

import numpy as np
import pytest

from actde_nb.compare import frontiers
from actde_nb.compare.intervals import t_interval
from actde_nb.paths import RESULTS

KINDS = ("shared", "detached", "separate", "whitened")
PUBLISHED = [f"actde_{trace}_{kind}" for trace in ("000", "095") for kind in KINDS]
RETURN = [f"actde_return_{kind}" for kind in KINDS]


def stored(name):
    return frontiers.stored(name, folder=RESULTS)[name]


def final(data, measure):
    return data["final_sentence"].sel(measure=measure).values.astype(float)


def ending(name, quantity):
    return stored(name)["ending"].sel(ending_quantity=quantity).values.astype(float)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_forms_end_below_where_they_began(name):
    data = stored(name)
    assert data.sizes["trial"] == 5
    assert final(data, "gold").max() < frontiers.curve(data, "gold", "exact")[0, 0]
    mean, half = t_interval(final(data, "grammatical"))
    assert mean < 0.5


@pytest.mark.parametrize("name", RETURN)
def test_return_less_q_rises_and_keeps_its_entropy(name):
    data = stored(name)
    mean, half = t_interval(final(data, "gold"))
    assert 0.65 < mean - half < mean + half < 0.9
    entropy, half = t_interval(frontiers.last(data, "entropy", "sampled"))
    assert entropy + half > 7
    # But dearly bought: the frontier has this much gold at about one nat.
    assert np.median(frontiers.last(data, "kl")) > 3


def test_the_correction_brings_the_loss_of_diversity_back():
    corrected, ppo = stored("actde_corrected"), stored("ppo_free")
    for data in (corrected, ppo):
        assert t_interval(frontiers.last(data, "entropy", "sampled"))[0] < 4
        assert final(data, "gold").min() > 0.95
    assert frontiers.last(stored("actde_return_separate"), "entropy", "sampled").min() > 6


@pytest.mark.parametrize("price", ["030", "010"])
def test_controls_are_nearest_to_the_policy_that_theory_names(price):
    for kind, sign in (("tied", -1), ("soft", 1)):
        name = f"{kind}_{price}"
        apart = ending(name, "fixed_point_kl") - ending(name, "optimum_kl")
        mean, half = t_interval(apart)
        assert sign * mean > half, name


@pytest.mark.parametrize(("price", "temperature"), [("030", 0.3), ("010", 0.1), ("005", 0.05)])
def test_tied_log_ratios_have_the_slope_of_their_temperature(price, temperature):
    mean, half = t_interval(ending(f"tied_{price}", "tilt"))
    assert mean * temperature == pytest.approx(1, abs=0.2)
    assert ending(f"tied_{price}", "tilt_share").min() > 0.6


def test_the_step_of_q_is_no_temperature():
    slopes = {name: ending(f"actde_return_{name}", "tilt") for name in ("slow_q", "still", "fast_q")}
    slopes = {name: values[np.isfinite(values)] for name, values in slopes.items()}
    # A table would have ten times the slope at a tenth of the rate.
    assert slopes["slow_q"].max() < 3 * slopes["fast_q"].min()
    for name in slopes:
        share = ending(f"actde_return_{name}", "tilt_share")
        assert np.nanmax(share) < 0.4
        assert (final(stored(f"actde_return_{name}"), "grammatical") < 0.5).sum() == 1


def test_the_long_run_leaves_the_language_and_comes_back():
    data = stored("actde_return_drift")
    leak = frontiers.curve(data, "leak", "exact")
    assert (leak.max(1) > 0.05).all()
    assert leak[:, -1].max() < 0.05
    early, late = (frontiers.curve(data, "gold", "sampled")[:, at] for at in (10, 30))
    mean, half = t_interval(late - early)
    assert mean > 0
    assert np.nanmax(ending("actde_return_drift", "tilt_share")) < 0.4


def test_a_honeypot_is_found_and_the_language_left():
    data = stored("actde_return_hp_cap")
    assert frontiers.curve(data, "leak", "exact")[:, 2].min() > 0.9
    assert frontiers.last(data, "honeypot", "sampled").min() > 0.7
    assert final(data, "gold").max() < 0.1


def test_published_critics_end_in_disagreement_not_in_aim():
    # Of the trials that still speak the language, none aims at the advantage.
    aims = np.concatenate([ending(name, "published_095_aim") for name in PUBLISHED])
    assert np.nanmax(aims, initial=-1) < 0.5
