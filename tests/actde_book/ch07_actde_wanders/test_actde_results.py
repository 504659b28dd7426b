"""What the chapter on ACTDE says of its stored runs."""

import numpy as np
import pytest
from actde_book.ch07_actde_wanders import thermometer, time_series
from actde_book.ch07_actde_wanders.figures import difference
from actde_book.ch07_actde_wanders.time_series import later_shares
from scipy import stats

from actde_nb.compare import intervals
from actde_nb.compare.curves import alternating, at_update, first_update, slope
from actde_nb.experiments import results, runs
from actde_nb.paths import RESULTS
from actde_nb.tables.fixed_points import fixed_points
from actde_nb.tables.games import PAYOFFS, outcome_shares, prisoners_dilemma, softmax_return_lines

MAIN = PAYOFFS["main"]


@pytest.fixture(scope="module")
def plain():
    return results.read(RESULTS / "prisoner_actde.nc")


@pytest.fixture(scope="module")
def collapsed(plain):
    return plain["final_entropy"].values < 0.05


def test_is_a_little_behind_ppo_then_beside_it_then_parts_for_good(plain):
    update, apart = difference(plain, results.read(RESULTS / "prisoner_ppo.nc"))
    mean, half = intervals.t_interval(apart)
    assert (mean + half)[(update > 20) & (update < 100)].max() < 0
    assert (np.abs(mean) < half)[(update > 150) & (update < 190)].all()
    assert (mean + half)[update > 210].max() < 0


def test_race_ends_when_a_head_at_adams_pace_would_have_arrived(plain):
    settings = results.settings_of(plain)
    settings = settings["config"] | settings["network"]
    sd = plain["advantage_sd"].values
    caught = first_update(plain, 1 - sd / sd[:, :1], 0.95)
    pace = settings["learning_rate"] * settings["width"]
    np.testing.assert_allclose(caught, 1.25 / pace, rtol=0.2)
    np.testing.assert_allclose(at_update(plain, sd, 28) - at_update(plain, sd, 148), 120 * pace, rtol=0.2)


def test_one_trial_collapses_onto_a_script(plain, collapsed):
    assert collapsed.tolist() == [False] * 9 + [True]
    assert plain["final_entropy"].values[~collapsed].min() > 0.3
    work = runs.read_networks(RESULTS / "prisoner_actde.safetensors")
    norms = np.stack([v.detach().reshape(len(v), -1).norm(dim=1).numpy() for v in work.parameters.values()], 1)
    np.testing.assert_allclose(norms, plain["parameter_norm"].sel(parameter=list(work.parameters)).values, rtol=1e-5)
    played = work.play().tokens.numpy()[..., 10:]
    agreement = (np.abs(played.mean(1) - 0.5) + 0.5).mean(-1)
    assert agreement[9] > 0.97
    assert agreement[:9].max() < 0.65


def test_q_is_exact_and_pinned_while_logits_roam(plain, collapsed):
    late = plain["update"].values >= 1_000
    true = thermometer.true_gaps(plain["cooperation"].values, MAIN, 0.5)[~collapsed][:, late]
    q, logit = (plain[name].values[~collapsed][:, late] for name in ("q_gap", "logit_gap"))
    assert np.abs(q - true).mean() < 0.003
    assert q.std((0, 1)).max() < 0.01
    assert logit.std((0, 1)).min() > 0.5


def test_the_nine_are_pulled_back_and_do_not_settle(plain, collapsed):
    update, gaps = plain["update"].values, plain["logit_gap"].values[~collapsed].astype(float)
    paths = (gaps[:, update >= 1_000, 1] - gaps[:, update >= 1_000, 0]) / 2
    lag = int(200 / (update[1] - update[0]))
    null = time_series.walks_kept(paths, lag, np.random.default_rng(0), 200)
    assert time_series.relaxation(paths, lag).kept < null.min()
    half = paths.shape[1] // 2
    first, second = (time_series.spread_over_lags(part, [5 * lag]) for part in (paths[:, :half], paths[:, half:]))
    assert 0.4 < (second / first)[0] < 2.5


def test_excludes_all_candidates_for_the_end(plain):
    shares = later_shares(plain)
    [rest] = fixed_points(prisoners_dilemma(MAIN), 1.0, starts=3, rng=np.random.default_rng(0))
    for point in (outcome_shares(rest.policy), softmax_return_lines(MAIN), np.array([0.25, 0.25, 0.5])):
        assert time_series.hotelling(shares[:, :2], point[:2]) < 0.01
    assert shares[:, 2].mean() > 0.65


def test_with_dropout_the_later_half_excludes_the_fixed_point_and_the_end_does_not(plain):
    [rest] = fixed_points(prisoners_dilemma(MAIN), 1.0, starts=3, rng=np.random.default_rng(0))
    point = outcome_shares(rest.policy)[2]
    dropout = results.read(RESULTS / "prisoner_actde_dropout.nc")
    for part, excludes in ((0.5, True), (0.2, False), (0.1, False)):
        off = later_shares(dropout, part)[:, 2] - point
        assert (stats.ttest_1samp(off, 0).pvalue < 0.05) == (stats.wilcoxon(off).pvalue < 0.05) == excludes
        off = later_shares(plain, part)[:, 2] - point
        assert max(stats.ttest_1samp(off, 0).pvalue, stats.wilcoxon(off).pvalue) < 0.02


def test_no_trend_after_the_first_third(plain):
    trend, half = intervals.t_interval(slope(plain, alternating(plain), 3_000, 10_000))
    assert abs(trend) < half


def test_weights_belong_to_the_results(plain):
    work = runs.read_networks(RESULTS / "prisoner_actde.safetensors")
    assert work.trials == plain["trial"].values.tolist()
    assert work.update == results.settings_of(plain)["config"]["updates"]
