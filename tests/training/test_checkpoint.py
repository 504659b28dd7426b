"""Checkpoints: nothing in them is trusted because the rest is right."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from actde_nb.checks import CheckpointError
from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.policies import Network
from actde_nb.training.checkpoint import FORMAT, load, save
from actde_nb.training.config import Config
from actde_nb.training.files import read_tensors, write_tensors
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.prisoner import PrisonersDilemma

TINY = Network(GPTConfig(layers=1, heads=2, width=4, block_size=16))
SHORT = {"trials": 2, "updates": 8, "batch": 6, "steps": 10, "checkpoint_every": 4}


def fresh(**settings) -> Trainer:
    return Trainer(PrisonersDilemma(), TINY, Config(**{**SHORT, **settings}))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "run.safetensors"
    work = fresh()
    work.run()
    save(work, path)
    return path, *read_tensors(path, FORMAT)


@pytest.mark.parametrize(
    "lost",
    ["optimiser/", "optimiser/0/exp_avg_sq", "parameter/q.bias", "last", "price", "bonus", "draws/dropout", "record/"],
)
def test_what_is_missing_is_named(kept, tmp_path, lost):
    _, tensors, header = kept
    path = tmp_path / "run.safetensors"
    write_tensors(path, {name: value for name, value in tensors.items() if not name.startswith(lost)}, header)
    with pytest.raises(CheckpointError, match=f"run.safetensors is incomplete: it has (no {lost}|0 records)"):
        load(fresh(), path)


def test_what_does_not_belong_is_named(kept, tmp_path):
    _, tensors, header = kept
    write_tensors(tmp_path / "run.safetensors", {**tensors, "parameter/third": torch.zeros(1)}, header)
    with pytest.raises(CheckpointError, match="has what no run has: parameter/third"):
        load(fresh(), tmp_path / "run.safetensors")


def test_what_no_loss_has_reached_needs_no_memory(tmp_path):
    """PPO does not train q, of which Adam then knows nothing."""
    work = fresh(algorithm="ppo")
    work.run()
    save(work, tmp_path / "run.safetensors")
    again = fresh(algorithm="ppo")
    load(again, tmp_path / "run.safetensors")
    states = [work.optimiser.state_dict()["state"] for work in (work, again)]
    assert states[0].keys() == states[1].keys()
    assert len(states[0]) == len(work.parameters) - 2  # weight and bias of q
    for number, state in states[0].items():
        for name, value in state.items():
            assert torch.equal(value, states[1][number][name])


@pytest.mark.parametrize("changed", ["tensor", "update", "seconds"])
def test_a_change_of_anything_is_noticed(kept, tmp_path, changed):
    path, *_ = kept
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    if changed == "tensor":
        tensors["price"][0] += 1e-6
    else:
        header[changed] = "4" if changed == "update" else '{"forward": 1.0}'
    save_file(tensors, tmp_path / "run.safetensors", header)
    with pytest.raises(CheckpointError, match="is damaged: its content is not what it was written with"):
        load(fresh(), tmp_path / "run.safetensors")


def test_of_an_older_format(kept, tmp_path):
    _, tensors, header = kept
    write_tensors(tmp_path / "run.safetensors", tensors, {**header, "format": "actde-nb checkpoint 1"})
    with pytest.raises(CheckpointError, match="has format 'actde-nb checkpoint 1': allowed is"):
        load(fresh(), tmp_path / "run.safetensors")


def test_its_identity_holds_every_setting_but_those_that_may_change(kept):
    settings = json.loads(fresh().identity())[-1]
    wanted = set(Config.__dataclass_fields__) - {"updates", "checkpoint_every", "device"}
    assert set(settings) == wanted
