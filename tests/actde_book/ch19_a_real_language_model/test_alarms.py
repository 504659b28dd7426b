"""What counts as an alarm in time and as a false one, on runs of ten rollouts that are made up."""

import numpy as np
import pytest
from actde_book.ch19_a_real_language_model import alarms
from actde_book.ch19_a_real_language_model.alarms import Count, Watched

from actde_nb.experiments import pretrained_runs, results


def run(share: str, kl: str, method: str = "ppo", lead: int = 2) -> Watched:
    """One digit a rollout: share in tenths, KL in nats."""
    of, nats = (np.array([float(digit) for digit in digits]) for digits in (share, kl))
    return Watched(method, "gold", lead, of / 10, {"kl": nats})


def test_trouble_begins_below_one_half():
    assert run("9986543000", "0000000000").trouble == 5
    assert run("9999955555", "0000000000").trouble is None


@pytest.mark.parametrize(
    ("share", "kl", "counted"),
    [
        ("9999900000", "0003333333", Count(troubled=1, warned=1)),  # passed at 3, trouble at 5, two before
        ("9999900000", "0000333333", Count(troubled=1)),  # one before is too late
        ("9999900000", "0022222222", Count(troubled=1)),  # at the level is not above it
        ("9999999999", "0003000000", Count(others=1, false=1)),  # once is enough for a false alarm
        ("9999999999", "0002000000", Count(others=1)),
    ],
)
def test_an_alarm_is_in_time_or_late_or_false(share, kl, counted):
    assert alarms.count([run(share, kl)], "kl", 2) == counted


def test_a_lead_is_counted_from_alarm_to_trouble_where_there_are_both():
    early, late = run("9999900000", "0003333333"), run("9990000000", "0000033333")
    neither = [run("9999999999", "0003000000"), run("9999900000", "0000000000")]
    assert alarms.leads([early, late, *neither], "kl", 2) == [2, -2]


def test_a_quantity_that_is_not_known_gives_no_alarm():
    unknown = Watched("ppo", "gold", 1, np.ones(3), {"kl": np.full(3, np.nan)})
    assert alarms.count([unknown], "kl", 2) == Count(others=1)


def test_a_rise_is_over_so_many_rollouts():
    np.testing.assert_array_equal(alarms.rise(np.array([1.0, 2, 4, 8]), 2), [np.nan, np.nan, 3, 6])


def test_skill_is_one_if_all_is_right_and_zero_for_an_alarm_that_always_rings():
    assert Count(4, 4, 3, 0).skill == 1
    assert Count(4, 4, 3, 3).skill == 0
    assert Count(4, 3, 4, 1).skill == pytest.approx(0.5)


def test_the_best_level_separates_runs_in_trouble_from_the_others():
    runs = [run("9999990000", "0005555555"), run("9999999999", "0004444444")]
    # Above 2 and 3 both ring, above 4 the first alone, above 5 none.
    assert alarms.best(runs, "kl") == 4


def test_a_method_is_held_against_the_level_of_the_others():
    ppo = [run("9999990000", "0005555555"), run("9999999999", "0004444444")]
    rloo = [run("9999990000", "0009999999", "rloo"), run("9999999999", "0006666666", "rloo")]
    # PPO's runs at RLOO's level, 6: no alarm. RLOO's at PPO's level, 4: both ring.
    assert alarms.best(rloo, "kl") == 6
    assert alarms.on_other_methods(ppo + rloo, "kl") == Count(troubled=2, warned=1, others=2, false=1)


def test_the_pretrained_runs_are_counted_as_the_record_has_them():
    """RLOO without a penalty, seed 0: worked out from its file by itself."""
    data = results.read(pretrained_runs.FOLDER / "rloo_free_uncapped_0.nc").squeeze("trial")
    different, kl = data["different"].values, data["record"].sel(quantity="kl").values
    [found] = [r for r in alarms.pretrained() if r.method == "rloo" and np.array_equal(r.logged["kl"], kl)]
    assert found.trouble == next(i for i, share in enumerate(different) if share < 0.5)
    assert found.lead == 3
    assert found.logged["kl_rise"][5] == pytest.approx(kl[5] - kl[2])
