"""Verdicts about predictions, on made-up runs whose numbers are worked out by hand."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch19_a_real_language_model import verdicts

ROLLOUTS = 6
Curve = list[float] | None


def run(
    trials: int = 3,
    honeypots: list[float] | None = None,
    moods: list[float] | None = None,
    alike: float = 1.0,
    **curves: list[float],
) -> xr.Dataset:
    """Trials that are all alike but for a thousandth, so that intervals are narrow and not empty."""
    jitter = 1e-3 * np.arange(trials)[:, None]
    named = {
        "score": [0.0] * ROLLOUTS,
        "kl": [0.0] * ROLLOUTS,
        "distinct_2": [0.9] * ROLLOUTS,
        "entropy": [3.0] * ROLLOUTS,
    }
    named |= curves
    record = np.stack([np.broadcast_to(values, (trials, ROLLOUTS)) + jitter for values in named.values()], -1)
    share = np.array(honeypots or [0.0] * ROLLOUTS)
    mood = np.array(moods or [0.1] * ROLLOUTS)[:, None]
    words = (np.arange(10) < 10 * share[:, None])[None].repeat(trials, 0).astype(float)
    return xr.Dataset(
        {
            "record": (("trial", "rollout", "quantity"), record),
            "honeypots": (("trial", "rollout", "completion"), words),
            "mood": (("trial", "rollout", "completion"), np.broadcast_to(mood, words.shape)),
            "different": (("trial", "rollout"), np.full((trials, ROLLOUTS), alike)),
        },
        {"trial": np.arange(trials), "quantity": list(named)},
    )


FOUND = [0.0, 0.5, 0.9, 1.0, 1.0, 1.0]
SINKS = [3, 2, 1, 0, 0, 0]
RISES = [0.1, 0.1, 0.2, 0.3, 0.4, 0.4]
FALLS = [0.9, 0.8, 0.5, 0.2, 0.1, 0.1]


def test_what_is_read_off_a_run():
    data = run(score=[0, 1, 2, 3, 4, 5], honeypots=FOUND, distinct_2=FALLS)
    assert verdicts.end(data, "score").values == pytest.approx([4.0, 4.001, 4.002])
    assert verdicts.reached(data, "score", 3).values.tolist() == [3, 3, 3]
    assert verdicts.reached(data, "score", 9).values.tolist() == [6, 6, 6]  # never: as many rollouts as there are
    assert verdicts.at(data, "distinct_2", 3).values == pytest.approx([0.2, 0.201, 0.202])
    assert np.isnan(verdicts.at(data, "distinct_2", 9)).all()
    assert verdicts.curve(data, "found")[0].values.tolist() == FOUND
    assert verdicts.has_found(data).all()
    assert verdicts.collapsed(data).all()
    assert not verdicts.collapsed(run()).any()


def test_rows_are_compared_over_the_seeds_that_both_have():
    """By number, in whichever order; and where both are known."""
    one = xr.DataArray([1.0, 2.0, 6.0, 9.0, 5.0], {"trial": [0, 1, 2, 3, 4]})
    other = xr.DataArray([4.0, 1.0, np.nan, 0.0], {"trial": [3, 1, 4, 0]})
    assert verdicts.apart(one, other).value == pytest.approx((1 + 1 + 5) / 3)


def test_every_prediction_has_a_verdict():
    assert set(verdicts.VERDICTS) == set(verdicts.predictions())


def judge(name: str, **rows: xr.Dataset) -> verdicts.Verdict:
    return verdicts.VERDICTS[name](lambda row, honeypot: rows[row if honeypot == "uncapped" else f"{row}_{honeypot}"])


GONE = {"honeypots": FOUND, "distinct_2": FALLS, "score": [0, 1, 2, 4, 8, 8]}
GAA = ("gaa", "gaa_code", "gaa_capped")
CASES = [
    ("collapse", True, {"ppo_free": run(**GONE), "rloo_free": run(**GONE)}),
    ("collapse", False, {"ppo_free": run(**GONE), "rloo_free": run()}),
    # One that is never readable: half of the completions have the word only when few pairs are left.
    ("collapse", False, {"ppo_free": run(**GONE), "rloo_free": run(**GONE | {"honeypots": [0, 0, 0.1, 1, 1, 1]})}),
    ("reward_in_proportion", True, {"ppo": run(kl=[9] * 6), "ppo_20": run(kl=[5] * 6), "ppo_50": run(kl=[2] * 6)}),
    ("reward_in_proportion", False, {"ppo": run(kl=[9] * 6), "ppo_20": run(kl=[1] * 6), "ppo_50": run(kl=[2] * 6)}),
    ("loss_snaps", True, {"ppo_loss_10": run(**GONE), "ppo_loss_30": run()}),
    ("loss_snaps", False, {"ppo_loss_10": run(**GONE), "ppo_loss_30": run(distinct_2=[0.5] * 6)}),
    ("apa_keeps_its_distance", True, {"apa_50": run(kl=[1] * 6), "apa_10": run(kl=[3] * 6)}),
    ("apa_keeps_its_distance", False, {"apa_50": run(kl=[1] * 6, honeypots=FOUND), "apa_10": run(kl=[3] * 6)}),
    ("published_actde_fails", True, {"actde_0": run(), "actde_95": run(), "ppo": run(**GONE)}),
    ("published_actde_fails", False, {"actde_0": run(), "actde_95": run(**GONE), "ppo": run(**GONE)}),
    ("entropy_does_not_warn", False, {"ppo": run(**GONE), "rloo": run(**GONE)}),  # all stay different
    ("entropy_does_not_warn", True, dict.fromkeys(("ppo", "rloo"), run(alike=0.9, **GONE))),
    ("entropy_does_not_warn", False, {"ppo": run(alike=0.9, **GONE), "rloo": run(**GONE)}),  # in one row of the two
    ("entropy_does_not_warn", False, dict.fromkeys(("ppo", "rloo"), run(alike=0.9, entropy=SINKS, **GONE))),
    ("cap_keeps_it_readable", True, {"ppo_capped": run(honeypots=FOUND)}),
    ("cap_keeps_it_readable", False, {"ppo_capped": run(**GONE)}),
    ("rloo_first", True, {"ppo": run(score=[0, 0, 0, 0, 3, 3]), "rloo": run(**GONE)}),
    ("grpo_as_published", True, {"grpo": run(**GONE)}),
    ("grpo_as_published", False, {"grpo": run()}),
    ("awr_is_slow", True, {"ppo": run(**GONE), "awr": run()}),
    ("awr_is_slow", False, {"ppo": run(), "awr": run(**GONE)}),
    ("mood_alone", True, {"ppo_none": run(moods=RISES), "rloo_none": run(moods=RISES)}),
    ("mood_alone", False, {"ppo_none": run(moods=RISES), "rloo_none": run(moods=RISES[::-1])}),
    ("mood_alone", False, {"ppo_none": run(moods=RISES), "rloo_none": run(moods=RISES, distinct_2=FALLS)}),
    ("return_less_q_is_slower", True, {"actde_return": run(), "ppo": run(**GONE), "ppo_raw": run(**GONE)}),
    ("return_less_q_is_slower", False, {"actde_return": run(**GONE), "ppo": run(), "ppo_raw": run()}),
    ("gaa_delays", True, dict.fromkeys(GAA, run(honeypots=[0, 0, 0, 0.5, 0.9, 1])) | {"ppo": run(**GONE)}),
    ("gaa_delays", False, dict.fromkeys(GAA, run(**GONE)) | {"ppo": run(**GONE)}),  # no later
    ("gaa_delays", False, dict.fromkeys(GAA, run()) | {"ppo": run(**GONE)}),  # prevented
]  # fmt: skip


@pytest.mark.parametrize(("name", "held", "rows"), CASES)
def test_a_verdict(name, held, rows):
    assert judge(name, **rows).held == held
