"""What CONTRIBUTING says of adding something, followed to the letter."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from quoted import unquoted
from toy_language import WORLD

from actde_nb import cli, paths
from actde_nb.checks import SettingError
from actde_nb.experiments.runs import LanguageWorld, PretrainedSettings, Run, read_networks, trainer
from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.policies import Network
from actde_nb.pages import chapters, references
from actde_nb.pages.execute import execute
from actde_nb.pages.glue import glued
from actde_nb.training import losses
from actde_nb.training.algorithms import ALGORITHMS, Algorithm
from actde_nb.training.config import Config
from actde_nb.training.objective import prepare
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.prisoner import PrisonersDilemma
from actde_nb.worlds.rewards import FORMULAS

TINY = [
    "--trials",
    "1",
    "--updates",
    "4",
    "--batch",
    "8",
    "--steps",
    "4",
    "--layers",
    "1",
    "--heads",
    "1",
    "--width",
    "4",
]


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["actde-nb", *arguments])
        cli.main()
        return capsys.readouterr().out

    return run


def network(world) -> Network:
    return Network(GPTConfig(1, 2, 8, block_size=8, vocabulary=world.vocabulary))


def against_the_best(rewards, group_size):
    """A sequence's reward less the highest of its group."""
    totals = rewards.sum(-1).unflatten(1, (-1, group_size))
    return (totals - totals.amax(-1, keepdim=True)).flatten(1)[..., None].expand_as(rewards)


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "mine", Algorithm(against_the_best, losses.score_function, value_loss=None))


@pytest.mark.parametrize("world", [PrisonersDilemma(), WORLD])
def test_an_algorithm_is_a_function_and_a_row(mine, world):
    work = Trainer(world, network(world), Config(algorithm="mine", trials=2, updates=4, batch=6, steps=4, group_size=3))
    start = work.parameters["policy.weight"].detach().clone()
    work.run()
    assert work.labels()["loss"] == ("term", ("policy",))
    assert not torch.equal(work.parameters["policy.weight"], start)
    rollout = work.play()
    totals = rollout.rewards.sum(-1)
    found = prepare(rollout, work.config).advantages
    assert (found[:, :3, 0].amax(1) == 0).all()
    torch.testing.assert_close(found[:, 4, 1], totals[:, 4] - totals[:, 3:].amax(1))
    with pytest.raises(SettingError, match="group_size = 4: allowed are numbers that divide batch = 6"):
        Config(algorithm="mine", batch=6, group_size=4)


def test_the_command_line_offers_the_algorithm(mine, command, tmp_path):
    path = tmp_path / "mine.nc"
    assert "4 updates of 1 trials" in command("train", "prisoner", "--algorithm", "mine", *TINY, "--out", str(path))
    assert path.exists()


class Echo:
    """Pays one for saying again what was said before."""

    vocabulary, continues, labels, identity = 3, True, {}, "echo of three tokens"

    def start(self, uniforms):
        return (3 * uniforms).long()

    def rewards(self, tokens):
        return (tokens[..., 1:] == tokens[..., :-1]).float()

    def mask(self, tokens):
        return None

    def statistics(self, tokens, logits, q):
        return {}


def test_a_world_is_a_class_that_the_loop_can_play_in():
    world = Echo()
    work = Trainer(
        world, network(world), Config(algorithm="ppo", trials=2, updates=160, batch=32, steps=6, learning_rate=1e-2)
    )
    work.run()
    earned = work.records.column("reward")
    assert (earned[0] < 0.6).all()
    assert (earned[-1] > 0.8).all()


def test_a_reward_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "PRETRAINED", tmp_path)
    monkeypatch.setitem(FORMULAS, "modest", lambda x: (x.praise < 1).double())
    run = Run(
        replace(LanguageWorld.usual, trials=1, batch=8),
        LanguageWorld("modest"),
        PretrainedSettings("small", pretraining=2),
    )
    world = trainer(run).world
    worth = world.worth(world.tree.sentences)
    praise = world.scorer.features(world.tree.sentences).praise
    assert torch.equal(worth, (praise < 1).double())
    assert 0 < worth.mean() < 1


def test_a_stored_run_is_one_entry(command, monkeypatch, tmp_path):
    entry = (
        "{world: *dilemma, network: {width: 6}, config: {algorithm: ppo, trials: 2, updates: 8, batch: 4, steps: 8}}"
    )
    book = paths.PROGRAMME.read_text(encoding="utf-8").replace("[prisoner_actde]", "[prisoner_actde, prisoner_short]")
    monkeypatch.setattr(paths, "PROGRAMME", tmp_path / "programme.yml")
    paths.PROGRAMME.write_text(f"{book}\nmine:\n  prisoner_short: {entry}\n", encoding="utf-8")
    path = str(tmp_path / "prisoner_short.nc")
    command("results", "train", path)
    assert command("results", "verify", path) == f"{path}: as it should be\n"
    assert read_networks(tmp_path / "prisoner_short.safetensors").update == 8


def test_a_chapter_glues_a_number_that_it_quotes(monkeypatch, tmp_path):
    monkeypatch.setattr(references, "REFERENCES", tmp_path / "references")
    source = tmp_path / "99_new.md"
    source.write_text(
        "---\nkernelspec: {name: python3, display_name: Python 3}\n---\n# New\n\n"
        "```{code-cell} ipython3\n:tags: [parameters]\nscale = 'reader'\nseed = 0\n```\n\n"
        "```{code-cell} ipython3\nfrom actde_nb.pages.glue import put\n"
        "put('mean', 2.0, spread=0.1)\nput('idle', seed)\n```\n\n"
        "It is {glue:text}`mean:.3f`.\n",
        encoding="utf-8",
    )
    chapter = chapters.Chapter(source)
    [notebook] = execute([chapter], "smoke", tmp_path / "out")
    assert glued(notebook) == {"mean": 2.0, "mean_spread": 0.1, "idle": 0}
    assert unquoted(notebook, {"99_new": chapter.text}) == ["idle"]
    assert {found.key for found in references.differences(notebook, "smoke")} == {"mean", "mean_spread", "idle"}
    references.record(notebook, "smoke")
    assert references.differences(notebook, "smoke") == []
    kept = json.loads(references.reference_file("99_new", "smoke").read_text())
    assert np.isclose(kept["mean"], 2.0)
