"""Results files: what they hold, what is refused, and that a killed run loses nothing it had saved."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from actde_nb.checks import CheckpointError, ResultsError, SettingError
from actde_nb.experiments import results, runs
from actde_nb.experiments.runs import PrisonerRun
from actde_nb.paths import ROOT

# Small, and with dropout, so that its stream of random draws is part of what must continue.
RUN = PrisonerRun(
    trials=3, updates=48, batch=6, steps=10, layers=1, heads=2, width=4, block_size=16, dropout=0.1,
    learning_rate=1e-2, checkpoint_every=8,
)  # fmt: skip
SETTINGS = dataclasses.asdict(RUN)


@pytest.fixture(scope="module")
def trainer():
    work = runs.trainer(RUN)
    work.run()
    return work


@pytest.fixture(scope="module")
def data(trainer) -> xr.Dataset:
    return results.dataset(trainer, SETTINGS, points=5)


def test_windows_by_hand():
    nan = np.nan
    values = np.array([[1.0, nan], [3.0, 4.0], [5.0, nan], [7.0, nan], [9.0, 2.0]])
    # Means of the first two, the next two, and the one left over, each of what there is.
    np.testing.assert_array_equal(results.windows(values, 2), [[2, 4], [6, nan], [9, 2]])


def test_curves_are_means_over_windows_of_rollouts(trainer, data):
    # 12 rollouts in at most 5 points: windows of three.
    assert (data.attrs["window"], data.sizes["update"]) == (3, 4)
    # The first window's rollouts began after 0, 4 and 8 updates.
    np.testing.assert_array_equal(data["update"], [4, 16, 28, 40])
    rewards = np.stack([record["reward"] for record in trainer.records])
    np.testing.assert_allclose(data["reward"].sel(trial=1)[2], rewards[6:9, 1].mean(), rtol=1e-6)
    losses = np.stack([record["loss_q"] for record in trainer.records])
    np.testing.assert_allclose(data["loss"].sel(term="q")[:, 0], losses[:3].mean(0), rtol=1e-6)
    np.testing.assert_allclose(data["outcome_share"].sum("outcome"), 1, rtol=1e-6)


def test_final_values_are_means_over_the_last_updates(trainer, data, monkeypatch):
    rewards = np.stack([record["reward"] for record in trainer.records])
    np.testing.assert_allclose(data["final_reward"], rewards.mean(0), rtol=1e-5)
    assert data.attrs["final_updates"] == 48  # all there are
    monkeypatch.setattr(results, "FINAL_UPDATES", 8)
    short = results.dataset(trainer, SETTINGS)
    np.testing.assert_allclose(short["final_reward"], rewards[-2:].mean(0), rtol=1e-5)
    assert short.attrs["final_updates"] == 8


def test_the_final_state_and_where_it_came_from(trainer, data):
    norm = trainer.parameters["policy.weight"][2].norm().item()
    assert data["parameter_norm"].sel(trial=2, parameter="policy.weight").item() == pytest.approx(norm, rel=1e-6)
    for name in ("commit", "torch", "numpy", "python", "package", "processor", "seconds", "written"):
        assert data.attrs[name], name
    assert data.attrs["trial_updates_per_second"] > 0
    assert PrisonerRun(**results.settings_of(data)) == RUN


def test_what_is_written_is_read(tmp_path, data):
    path = tmp_path / "folder" / "run.nc"
    results.write(data, path)
    again = results.read(path)
    xr.testing.assert_equal(again, data)
    assert again.attrs["settings"] == data.attrs["settings"]
    assert [p.name for p in path.parent.iterdir()] == ["run.nc"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5netcdf, on closing a broken file
@pytest.mark.parametrize("damage", ["cut", "bit", "foreign", "text", "empty", "number", "settings"])
def test_damaged_and_foreign_files_are_named_and_never_overwritten(tmp_path, data, damage):
    path = tmp_path / "run.nc"
    results.write(data, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "bit":
        content = bytearray(path.read_bytes())
        for place in range(200, len(content), 997):  # some of it somewhere that matters
            content[place] ^= 0xFF
        path.write_bytes(content)
    elif damage == "foreign":
        xr.Dataset({"temperature": ("day", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    elif damage == "text":
        path.write_text("dear diary")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        changed = data.copy(deep=True)
        if damage == "number":
            changed["reward"][0, 0] += 1e-3
        else:
            changed.attrs["settings"] = json.dumps({**SETTINGS, "seed": 5})
        changed.to_netcdf(path, engine="h5netcdf")
    before = path.read_bytes()
    with pytest.raises(ResultsError, match="run.nc (cannot be read|has format None|is damaged)"):
        results.read(path)
    for attempt in (lambda: results.write(data, path), lambda: runs.train(RUN, path, progress=False)):
        with pytest.raises(ResultsError, match="left as it is"):
            attempt()
    assert path.read_bytes() == before


def test_a_file_older_than_a_setting_is_taken_to_have_had_its_default(tmp_path, data):
    path = tmp_path / "run.nc"
    older = data.copy(deep=True)
    older.attrs["settings"] = json.dumps({name: value for name, value in SETTINGS.items() if name != "epsilon"})
    older.attrs["sha256"] = results.digest(older)
    results.write(older, path)
    assert runs.train(RUN, path, progress=False).attrs == older.attrs  # nothing left to do
    with pytest.raises(ResultsError, match=r"holds another run \(epsilon = 1e-08 there, 0.001 here\)"):
        runs.train(dataclasses.replace(RUN, epsilon=1e-3), path, progress=False)
    results.write(data, path)
    assert "epsilon" in results.settings_of(results.read(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"none\.nc does not exist"):
        results.read(tmp_path / "none.nc")


def test_another_runs_file_is_left_alone(tmp_path, data):
    path = tmp_path / "run.nc"
    results.write(data, path)
    before = path.read_bytes()
    with pytest.raises(ResultsError, match=r"holds another run \(seed = 0 there, 1 here; whiten = False there, True"):
        runs.train(dataclasses.replace(RUN, seed=1, whiten=True), path, progress=False)
    assert path.read_bytes() == before


def test_a_finished_run_is_not_done_again_but_can_go_on(tmp_path, capsys):
    path = tmp_path / "run.nc"
    short = dataclasses.replace(RUN, updates=24)
    first = runs.train(short, path)
    assert "alternating=" in capsys.readouterr().out
    before = path.stat().st_mtime_ns
    runs.train(dataclasses.replace(short, checkpoint_every=4), path, progress=False)
    assert path.stat().st_mtime_ns == before
    longer = runs.train(RUN, path, progress=False)
    assert path.stat().st_mtime_ns != before
    np.testing.assert_array_equal(longer["reward"][:, :6], first["reward"])
    assert results.settings_of(results.read(path))["updates"] == 48


def test_a_checkpoint_beyond_what_is_asked_for_is_not_cut_back(tmp_path):
    path = tmp_path / "run.nc"
    runs.train(RUN, path, progress=False)
    path.unlink()
    with pytest.raises(CheckpointError, match="has done 48 updates with updates = 24"):
        runs.train(dataclasses.replace(RUN, updates=24), path, progress=False)


def test_a_killed_run_continues_as_if_nothing_had_happened(tmp_path):
    long = dataclasses.replace(RUN, updates=120, checkpoint_every=20)
    path = tmp_path / "run.nc"
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    flags = [part for name, value in dataclasses.asdict(long).items() if not isinstance(value, bool)
             for part in (f"--{name.replace('_', '-')}", str(value))]  # fmt: skip
    command = [sys.executable, "-c", "from actde_nb.cli import main; main()", "train", "prisoner", "--out", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, *flags], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        output = process.communicate()[0].decode()
    assert checkpoint.exists(), output
    assert not path.exists()
    resumed = runs.train(long, path, progress=False)
    whole = runs.train(long, tmp_path / "whole.nc", progress=False)
    for name in whole.variables:
        np.testing.assert_array_equal(resumed[name], whole[name], err_msg=str(name))


def test_a_stored_run_is_reproduced_from_its_own_description(data):
    again = runs.recompute(data, updates=20, trials=(0, 2, 7))  # there is no trial 7
    assert again["trial"].values.tolist() == [0, 2]
    assert again.sizes["update"] == 2  # 20 updates are five rollouts, in whole windows of three
    assert runs.differences(data, again) == []


@pytest.mark.parametrize("change", [{"seed": 1}, {"algorithm": "ppo"}, {"gae_lambda": 0.0}, {"learning_rate": 1.1e-2}])
def test_a_run_that_is_not_reproduced_is_told_apart(data, change):
    told = data.copy()
    told.attrs["settings"] = json.dumps({**SETTINGS, **change})
    found = runs.differences(data, runs.recompute(told, updates=48))
    assert any("differs by up to" in line and "allowed is 0.002" in line for line in found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"payoffs": "chicken"}, "payoffs = 'chicken': allowed are main, "),
        ({"width": 10}, "width = 10: allowed are multiples of heads = 3"),
        ({"steps": 128}, "steps = 128: allowed are numbers below block_size = 128"),
        ({"dropout": 1.0}, r"dropout = 1.0: allowed are numbers in \[0, 1\)"),
        ({"discount": 2.0}, "discount = 2.0"),
        ({"temperature": 1.0}, "temperature = 1.0 with algorithm = 'actde': allowed is zero"),
        ({"algorithm": "critic"}, "temperature = 0.0 with algorithm = 'critic'"),
    ],
)
def test_settings_of_the_prisoner_are_checked(settings, message):
    with pytest.raises(SettingError, match=message):
        PrisonerRun(**settings)


def test_a_run_of_the_softmax_of_q(tmp_path):
    run = dataclasses.replace(RUN, algorithm="critic", temperature=2.0, updates=8)
    data = runs.train(run, tmp_path / "run.nc", progress=False)
    np.testing.assert_allclose(data["logit_gap"], data["q_gap"] / 2, atol=1e-6)
    assert data["term"].values.tolist() == ["q", "value"]


def test_the_default_run_is_the_published_network():
    work = runs.trainer(dataclasses.replace(PrisonerRun(), trials=1))
    assert sum(value[0].numel() for value in work.parameters.values()) == 7_299
    assert work.world.payoffs[1].tolist() == pytest.approx([2, -0.7386], abs=1e-4)
