"""Stored networks are those of the run, and play as they did."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from actde_nb.checks import CheckpointError, ResultsError
from actde_nb.experiments import runs
from actde_nb.training import checkpoint
from actde_nb.training.config import Config
from actde_nb.training.files import write_tensors

CONFIG = Config(trials=2, updates=8, batch=6, steps=10, checkpoint_every=8)
RUN = runs.Run(CONFIG, runs.PrisonerWorld(), runs.GPTSettings(layers=1, heads=2, width=4, block_size=16))


@pytest.fixture
def kept(tmp_path):
    work = runs.trainer(RUN)
    work.run()
    path = tmp_path / "networks.safetensors"
    checkpoint.save(work, tmp_path / "state.safetensors")
    runs.keep_networks(RUN, tmp_path / "state.safetensors", path)
    return work, path


def test_come_back_as_they_were(kept):
    work, path = kept
    again = runs.read_networks(path)
    assert again.update == CONFIG.updates
    assert again.trials == work.trials
    for name, value in work.parameters.items():
        torch.testing.assert_close(again.parameters[name], value, rtol=0, atol=0)
    fresh = runs.trainer(RUN)
    assert any((again.parameters[name] != fresh.parameters[name]).any() for name in work.parameters)
    assert again.play().tokens.shape == (2, 6, 11)


def test_what_is_refused(kept, tmp_path):
    _, path = kept
    with pytest.raises(CheckpointError, match="cannot be read"):
        runs.read_networks(tmp_path / "nothing.safetensors")
    other = tmp_path / "other.safetensors"
    tensors = load_file(path)
    save_file(tensors, other)
    with pytest.raises(CheckpointError, match="has format None"):
        runs.read_networks(other)
    header = {"format": runs.NETWORKS, "settings": json.dumps(RUN.settings()), "trials": "[0, 1]", "update": "8"}
    save_file(tensors, other, header)
    with pytest.raises(CheckpointError, match="is damaged"):
        runs.read_networks(other)
    write_tensors(other, tensors, {**header, "settings": json.dumps({"trials": 2, "updates": 8})})
    with pytest.raises(ResultsError, match="settings that this version does not know"):
        runs.read_networks(other)
    tensors.popitem()
    write_tensors(other, tensors, header)
    with pytest.raises(CheckpointError, match="other names or shapes"):
        runs.read_networks(other)
