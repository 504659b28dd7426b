"""What chapter 11 says of the stored language runs; that these are the programme's and begin as they would today."""

import numpy as np
import pytest
from actde_book.ch11_ppo_awr_apa import apa_on_tree
from actde_book.ch18_entropy_account.programme import remedies

from actde_nb.compare import frontiers, intervals
from actde_nb.exact import policy_on_tree
from actde_nb.experiments import results, runs
from actde_nb.experiments.stored_runs import LANGUAGE, LEARNED, MATCHED, PLACES, SIZES
from actde_nb.paths import RESULTS

ALL = sorted(path.stem.removeprefix("language_") for path in RESULTS.glob("language_*.nc"))
RUNS = LANGUAGE | {name.removeprefix("language_"): run for name, run in remedies().items()}
ENDS = {0.3: "030", 0.1: "010", 0.05: "005"}


@pytest.fixture(scope="module")
def stored():
    return frontiers.stored(*MATCHED, *PLACES, *SIZES, *LEARNED)


@pytest.fixture(scope="module")
def start():
    """What is known before training: evaluation of the small network, on gold."""
    return runs.evaluation(LANGUAGE["apa_010"])


@pytest.mark.parametrize("name", ALL)
def test_is_the_run_that_the_programme_names_and_says_where_it_comes_from(name):
    data = results.read(RESULTS / f"language_{name}.nc")
    assert runs.run_of(results.settings_of(data)) == RUNS[name]
    assert len(data.attrs["commit"]) == 40, "made from a commit, without changes"
    assert "/" not in "".join(map(str, data.attrs.values())), "a path"


def test_every_run_of_the_chapter_is_there():
    assert set(MATCHED) | set(PLACES) | set(SIZES) | set(LEARNED) <= set(ALL)


@pytest.mark.parametrize(
    "name", ["ppo_010", "apa_whitened_010", "grpo_raw_loss_010", "actde_masked_000_separate", "kl_cov_020"]
)
def test_begins_today_as_it_did(name):
    data = frontiers.stored(name)[name]
    again = runs.recompute(data, 8, trials=(0, 3))
    assert again.sizes["update"] == 2
    assert runs.differences(data, again) == []


@pytest.mark.parametrize("end", ENDS.values())
def test_ppo_with_the_divergence_in_its_reward_is_within_two_hundredths_of_the_optimum(stored, start, end):
    regret = frontiers.estimate(stored[f"ppo_{end}"], "soft_regret", "exact")
    assert 0 < regret.low < regret.high < 0.02
    assert (frontiers.last(stored[f"ppo_{end}"], "leak") < 0.02).all()
    beta = next(beta for beta, name in ENDS.items() if name == end)
    leaky = frontiers.least_regret(stored[f"ppo_{end}"], start.initial, start.known["gold"], beta)
    assert (leaky > frontiers.last(stored[f"ppo_{end}"], "soft_regret")).all(), "a leak costs"
    assert intervals.mean(leaky).high < 0.02


@pytest.mark.parametrize("name", ["rloo_010", "grpo_010"])
def test_so_are_the_methods_without_a_critic(stored, name):
    assert frontiers.estimate(stored[name], "soft_regret", "exact").high < 0.02


@pytest.mark.parametrize(("beta", "end"), ENDS.items())
def test_apa_is_near_its_own_fixed_point(stored, start, beta, end):
    rest = policy_on_tree.resting_points(start.initial, start.known["gold"], [beta])
    for quantity, near in {"reward": 0.05, "kl": 0.6, "entropy": 0.4}.items():
        apart = intervals.mean(frontiers.last(stored[f"apa_{end}"], quantity, "exact") - rest[quantity])
        assert -near < apart.low <= apart.high < near, quantity


@pytest.mark.parametrize("end", ENDS.values())
def test_apa_misses_the_optimum_by_more_than_ppo(stored, end):
    assert frontiers.paired(stored[f"apa_{end}"], stored[f"ppo_{end}"], "soft_regret").low > 0


def test_apa_is_more_diverse_than_the_optimum_with_its_reward_and_ppo_is_not(stored):
    best = frontiers.possible(LANGUAGE["apa_010"], np.geomspace(20, 0.005, 120))
    for name, above in (("apa_010", True), ("apa_005", True), ("ppo_010", False)):
        level = np.interp(frontiers.last(stored[name], "reward"), best["reward"], best["entropy"])
        more = intervals.mean(frontiers.last(stored[name], "entropy") - level)
        assert more.low > 0 if above else more.high < 0


@pytest.mark.parametrize("name", [*(f"awr_{end}" for end in ENDS.values()), "awr_whitened_010", "awr_whitened_200"])
def test_awr_collapses_at_every_temperature(stored, name):
    assert frontiers.estimate(stored[name], "kl").low > 5
    assert frontiers.estimate(stored[name], "entropy").high < 5
    assert frontiers.estimate(stored[name], "reward").low > 0.96


def test_temperature_matters_to_apa_and_hardly_to_where_awr_ends_if_its_weights_are_cut(stored):
    apa, awr = ([stored[f"{name}_whitened_{end}"] for end in ("010", "200")] for name in ("apa", "awr"))
    assert frontiers.paired(*apa, "reward").low > 0.3
    uncut = [stored[f"awr_whitened_{end}_cut_none"] for end in ("010", "200")]
    assert frontiers.paired(*uncut, "reward").high < -0.01
    assert frontiers.paired(*uncut, "kl").high < -1
    assert abs(frontiers.paired(*awr, "reward").value) < 0.01
    assert frontiers.paired(*awr, "kl").holds(0)


@pytest.mark.parametrize("size", ["", "_medium", "_large"])
def test_apa_as_released_has_no_more_reward_than_ppo_as_released(stored, size):
    gap = frontiers.paired(stored[f"apa_whitened_010{size}"], stored[f"ppo_adaptive{size}"], "reward")
    assert gap.low <= 0


def fallen(data):
    """Rollouts after update 100 that lost more than half of what there was to gain."""
    late = data["sentence"].sel(measure="reward", update=data["update"] >= 100)
    return int((late < 0.705).sum())


def test_apa_falls_most_often_and_more_often_in_larger_networks(stored):
    names = {"apa": "apa_whitened_010", "ppo": "ppo_adaptive", "awr": "awr_whitened_200"}
    fell = {k: [fallen(stored[n + size]) for size in ("", "_medium", "_large")] for k, n in names.items()}
    assert fell["awr"] == [0, 0, 0]
    assert max(fell["ppo"]) <= 10
    assert 5 < fell["apa"][0] < fell["apa"][1] < fell["apa"][2]
    assert fell["apa"][2] > 100


@pytest.mark.parametrize(("beta", "end"), ENDS.items())
def test_log_z_is_near_that_of_the_fixed_point(stored, start, beta, end):
    rest = policy_on_tree.resting_points(start.initial, start.known["gold"], [beta])
    z = frontiers.estimate(stored[f"apa_{end}"], "log_z_mean")
    assert z.high < 0
    assert z.value == pytest.approx(rest["log_z_mean"][0], rel=0.45)
    assert apa_on_tree.normaliser_mismatch(start.initial, start.known["gold"], beta) < 1e-9


def test_gold_is_lost_to_a_learned_reward_where_the_price_is_low(stored):
    gold = {name: frontiers.last(stored[name], "gold", "sampled") for name in LEARNED}
    assert (gold["ppo_learned_000"] < 0.05).all()
    assert (frontiers.curve(stored["ppo_learned_010"], "gold", "sampled").max(1) > 0.8).all()
    assert (gold["ppo_learned_010"] < 0.2).sum() >= 3
    assert (gold["awr_learned_030"] < 0.05).all(), "its temperature is no price"
    for name in ("ppo_learned_030", "apa_learned_030"):
        assert (gold[name] > 0.8).all()


def test_likeliest_sentences_are_those_of_the_table(stored, start):
    before = start.initial.sentences[0].exp().max().item()
    assert before < 0.02
    assert frontiers.estimate(stored["ppo_free"], "top").low > 0.2
    assert frontiers.estimate(stored["grpo_free"], "top").low > 0.4
    assert frontiers.estimate(stored["apa_010"], "top").high < 2 * before
    assert policy_on_tree.entropy(start.initial.sentences)[0] > 7.3


@pytest.mark.parametrize("cut", ["5", "100", "none"])
def test_awr_collapses_wherever_its_weights_are_cut(stored, cut):
    assert frontiers.effective_sentences(stored[f"awr_whitened_010_cut_{cut}"]).high < 50


def test_in_the_reward_neither_division_nor_whitening_matters(stored):
    rows = ("ppo_010", "rloo_010", "grpo_010", *(f"{name}_raw_reward_010" for name in ("rloo", "grpo", "dr_grpo")))
    golds = [frontiers.estimate(stored[name], "gold").value for name in rows]
    assert max(golds) - min(golds) < 0.015
    assert frontiers.estimate(stored["dr_grpo_raw_loss_010"], "gold").high < min(golds)


def test_the_estimator_in_the_loss_matters_where_advantages_are_divided(stored):
    runs = {kind: stored[f"grpo_raw_{kind}_010"] for kind in ("loss", "k1", "k2", "exact")}
    assert frontiers.paired(runs["k2"], runs["loss"], "kl").low > 2
    assert frontiers.paired(runs["k2"], runs["exact"], "kl").holds(0)
    assert frontiers.paired(runs["k1"], stored["grpo_raw_free"], "kl").holds(0), "its expected gradient is zero"
