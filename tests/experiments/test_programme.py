"""The list of stored runs, and what its reader makes of mistakes in it."""

import hashlib
import json
import re

import pytest

from actde_nb import paths
from actde_nb.checks import BookError
from actde_nb.experiments import stored_runs
from actde_nb.experiments.programme import programme
from actde_nb.experiments.runs import PrisonerWorld

#: Of all settings as a results file keeps them, of runs from all over the list. A change here is another experiment.
DIGESTS = {
    "prisoner_actde": "61db7f726ff9",
    "prisoner_ppo_dropout": "31511689917e",
    "prisoner_actde_b_3a": "f2d9d4d3ea64",
    "prisoner_actde_no_decay_one_step": "31473da77373",
    "prisoner_boltzmann_b_07": "5e235f2aee2c",
    "language_ppo_adaptive": "19e3b7667f6b",
    "language_apa_whitened_200": "dc337d716dd9",
    "language_dr_grpo_raw_loss_010": "367b6a4a7090",
    "language_awr_whitened_200_cut_none": "26ff04d6bedf",
    "language_apa_whitened_010_slow_large": "7fbe71b1c2f8",
    "language_ppo_learned_000": "9e611a4af411",
    "language_gaa_code_unscaled_hp_cap_060": "bc0f5864d5fd",
    "language_gaa_batch_reward_hp_cap_030": "6cbacf22f3d2",
    "language_gaa_code_hp_unc_script": "45e0bf7686ba",
    "language_grpo_hp_cap_whitened_060": "842140ccd1f4",
    "language_soft_010": "d0b1eb6f9559",
    "language_actde_return_slow_q": "55ba5cab7473",
    "language_actde_open_050_detached": "c06707fa941c",
    "language_actde_masked_000_loss_030": "ae54832c60f7",
    "language_actde_masked_095_still": "326d0ef0d327",
}
#: Settings that have come since those runs were made, each with a default that leaves a run as it was.
LATER = {"clip_high": None, "covariance_share": 2e-4, "optimal_value": None, "entropy_target": 0.0}
BOOK = programme()


@pytest.mark.parametrize(("name", "digest"), DIGESTS.items())
def test_the_runs_are_those_that_were_trained(name: str, digest: str):
    told = BOOK.runs[name].settings()
    assert {setting: told["config"].pop(setting) for setting in LATER} == LATER
    if told["world"]["kind"] == "language":
        assert told["world"].pop("grammar") == "wedding"
    settings = json.dumps(told, sort_keys=True)
    assert hashlib.sha256(settings.encode()).hexdigest()[:12] == digest


def test_no_name_is_listed_twice():
    """YAML would silently keep the later of two."""
    listed = re.findall(r"^  (\w+): \{world:", paths.PROGRAMME.read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(BOOK.runs)
    assert len(listed) == sum(map(len, BOOK.groups.values()))


def test_a_file_is_named_after_the_world_of_its_run():
    for name, run in BOOK.runs.items():
        assert name.startswith(f"{run.world.kind}_")
    assert set(BOOK.with_networks) <= set(BOOK.runs)


def test_the_same_by_name_and_by_hand():
    assert stored_runs.PRISONER["prisoner_ppo"] == stored_runs.prisoner(algorithm="ppo", updates=2_000)
    assert stored_runs.MATCHED["apa_010"] is stored_runs.LANGUAGE["apa_010"]
    assert stored_runs.LANGUAGE["apa_010"] == stored_runs.language("apa", beta=0.1)
    assert stored_runs.LANGUAGE["ppo_masked"] == stored_runs.language("ppo", masked=True, seed=1, trials=10)
    assert set(stored_runs.SIZES) | set(stored_runs.LEARNED) <= set(stored_runs.LANGUAGE)
    assert {*stored_runs.PRISONER, *(f"language_{name}" for name in stored_runs.LANGUAGE)} == set(BOOK.runs)


def test_what_an_entry_leaves_out_is_usual(tmp_path):
    (tmp_path / "list.yml").write_text(
        "shared:\n  few: &few {trials: 2, updates: 8}\n"
        "with_networks: [one]\n"
        "some:\n"
        "  one: {world: {kind: prisoner, payoffs: extreme}, config: {<<: *few, updates: 4}, network: {width: 6}}\n",
        encoding="utf-8",
    )
    read = programme(tmp_path / "list.yml")
    run = read.groups["some"]["one"]
    assert (run.config.trials, run.config.updates, run.network.width) == (2, 4, 6)
    assert run.world == PrisonerWorld("extreme")
    assert (run.config.algorithm, run.network.layers) == ("actde", 3)
    assert (list(read.runs), read.with_networks) == (["one"], ("one",))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "world: {kind: prisoner}, config: {betta: 1.0}",
            "config.betta is no setting: those of config are algorithm, ",
        ),
        ("world: {kind: prisoner}, confg: {beta: 1.0}", "confg.beta is no setting: those are config, world, network"),
        ("world: {kind: prisoner}, network: {size: small}", "network.size is no setting: those of network are "),
        ("world: {kind: poker}", "world.kind = 'poker': allowed are prisoner, language"),
        ("config: {beta: 1.0}", "world.kind = None: allowed are prisoner, language"),
        ("world: {kind: prisoner}, config: {beta: -1.0}", "settings that this version does not know: beta = -1.0: "),
        ("world: {kind: prisoner}, config: {beta: 1e-3}", "config.beta = '1e-3': allowed are values such as 0.1"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_entry(tmp_path, entry: str, message: str):
    (tmp_path / "list.yml").write_text(f"some:\n  mine: {{{entry}}}\n", encoding="utf-8")
    with pytest.raises(BookError) as raised:
        programme(tmp_path / "list.yml")
    assert str(raised.value).startswith(f"list.yml, mine: {message}")
    assert "\n" not in str(raised.value)


def test_what_is_no_yaml_is_one_line_too(tmp_path):
    (tmp_path / "list.yml").write_text("some: {one: [", encoding="utf-8")
    with pytest.raises(BookError, match=r"^list\.yml: while parsing a flow node [^\n]*$"):
        programme(tmp_path / "list.yml")
