"""Results files: what they hold, what is refused, and that a killed run loses nothing it had saved."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from actde_nb.checks import BookError, CheckpointError, ResultsError, SettingError
from actde_nb.experiments import results, runs
from actde_nb.experiments.runs import GPTSettings, PretrainedSettings, PrisonerWorld, Run
from actde_nb.networks.gpt import GPTConfig
from actde_nb.paths import ROOT
from actde_nb.tables.games import PAYOFFS
from actde_nb.training.config import Config
from actde_nb.training.files import reserved
from actde_nb.training.trainer import Trainer

# Small, and with dropout, so that its stream of random draws is part of what must continue.
CONFIG = Config(trials=3, updates=48, batch=6, steps=10, learning_rate=1e-2, checkpoint_every=8)
NETWORK = GPTSettings(layers=1, heads=2, width=4, block_size=16, dropout=0.1)
RUN = Run(CONFIG, PrisonerWorld(), NETWORK)
SETTINGS = RUN.settings()


def changed(**settings) -> Run:
    return replace(RUN, config=replace(CONFIG, **settings))


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


def test_final_values_are_means_over_the_last_updates(trainer, data):
    rewards = np.stack([record["reward"] for record in trainer.records])
    np.testing.assert_allclose(data["final_reward"], rewards.mean(0), rtol=1e-5)
    assert data.attrs["final_updates"] == 48  # all there are
    short = results.dataset(trainer, SETTINGS, final_updates=8)
    np.testing.assert_allclose(short["final_reward"], rewards[-2:].mean(0), rtol=1e-5)
    assert short.attrs["final_updates"] == 8


def test_the_final_state_and_where_it_came_from(trainer, data):
    norm = trainer.parameters["policy.weight"][2].norm().item()
    assert data["parameter_norm"].sel(trial=2, parameter="policy.weight").item() == pytest.approx(norm, rel=1e-6)
    for name in ("commit", "torch", "numpy", "python", "package", "processor", "seconds", "written"):
        assert data.attrs[name], name
    assert data.attrs["trial_updates_per_second"] > 0
    assert runs.run_of(results.settings_of(data)) == RUN


def test_what_is_written_is_read(tmp_path, data):
    path = tmp_path / "folder" / "run.nc"
    results.write(data, path)
    again = results.read(path)
    xr.testing.assert_equal(again, data)
    assert again.attrs["settings"] == data.attrs["settings"]
    assert [p.name for p in path.parent.iterdir()] == ["run.nc"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5netcdf, on closing a broken file
@pytest.mark.parametrize("damage", ["cut", "bit", "foreign", "text", "empty", "number", "settings", "commit", "note"])
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
        elif damage == "note":
            changed["update"].attrs["description"] = "games played"
        else:
            changed.attrs[damage] = json.dumps({"seed": 5})
        changed.to_netcdf(path, engine="h5netcdf")
    before = path.read_bytes()
    with pytest.raises(ResultsError, match="run.nc (cannot be read|has format None|is damaged)"):
        results.read(path)
    with pytest.raises(ResultsError, match="left as it is"):
        runs.train(RUN, path, progress=False)
    assert path.read_bytes() == before


def test_a_file_that_another_process_has_open_is_not_called_damaged(tmp_path, data):
    path = tmp_path / "run.nc"
    results.write(data, path)
    with h5py.File(path, "a"):
        code = f"from actde_nb.experiments import results; from pathlib import Path; results.read(Path({str(path)!r}))"
        asked = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert "is open elsewhere" in asked.stderr
    assert results.read(path).identical(data)


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("config", "speed", 3, "unexpected keyword argument 'speed'"),
        ("config", "algorithm", "a2c", "algorithm = 'a2c': allowed are"),
        ("world", "kind", "chess", "'chess'"),
        ("network", "size", "small", "unexpected keyword argument 'size'"),
    ],
)
def test_settings_of_another_version_are_named(data, tmp_path, part, name, value, message):
    told = data.copy()
    told.attrs["settings"] = json.dumps({**SETTINGS, part: {**SETTINGS[part], name: value}})
    told.attrs["sha256"] = results.digest(told)
    results.write(told, tmp_path / "run.nc")
    with pytest.raises(ResultsError, match=f"settings that this version does not know: .*{message}"):
        runs.recompute(results.read(tmp_path / "run.nc"), 8)
    with pytest.raises(ResultsError, match=f"run.nc has settings that this version .*{message}.*left as it is"):
        runs.train(RUN, tmp_path / "run.nc", progress=False)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"none\.nc does not exist"):
        results.read(tmp_path / "none.nc")


def test_another_runs_file_is_left_alone(tmp_path, data):
    path = tmp_path / "run.nc"
    results.write(data, path)
    before = path.read_bytes()
    with pytest.raises(ResultsError, match=r"holds another run \(seed = 0 there, 1 here; whiten = False there, True"):
        runs.train(changed(seed=1, whiten=True), path, progress=False)
    assert path.read_bytes() == before


def test_a_finished_run_is_not_done_again_but_can_go_on(tmp_path, capsys):
    path = tmp_path / "run.nc"
    short = changed(updates=24)
    first = runs.train(short, path)
    assert "alternating=" in capsys.readouterr().out
    before = path.stat().st_mtime_ns
    runs.train(changed(updates=24, checkpoint_every=4), path)
    assert path.stat().st_mtime_ns == before
    assert capsys.readouterr().out == f"{path} holds this run already\n"
    longer = runs.train(RUN, path, progress=False)
    assert path.stat().st_mtime_ns != before
    np.testing.assert_array_equal(longer["reward"][:, :6], first["reward"])
    assert results.settings_of(results.read(path))["config"]["updates"] == 48


def test_a_checkpoint_beyond_what_is_asked_for_is_not_cut_back(tmp_path):
    path = tmp_path / "run.nc"
    runs.train(RUN, path, progress=False)
    path.unlink()
    with pytest.raises(CheckpointError, match="has done 48 updates with updates = 24"):
        runs.train(changed(updates=24), path, progress=False)


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
LONG = changed(updates=120, checkpoint_every=20)


def training(path, run=LONG) -> subprocess.Popen:
    """The command that trains ``run`` into ``path``, after its first checkpoint."""
    settings = {name: value for part in run.settings().values() for name, value in part.items() if name != "kind"}
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-c", "from actde_nb.cli import main; main()", "train", "prisoner", "--out", str(path)]
    process = subprocess.Popen([*command, *flags], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while not runs.state_beside(path).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def test_a_killed_run_continues_as_if_nothing_had_happened(tmp_path):
    path = tmp_path / "run.nc"
    process = training(path)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0].decode()
    assert runs.state_beside(path).exists(), output
    assert not path.exists()
    resumed = runs.train(LONG, path, progress=False)
    whole = runs.train(LONG, tmp_path / "whole.nc", progress=False)
    for name in whole.variables:
        np.testing.assert_array_equal(resumed[name], whole[name], err_msg=str(name))
    # Neither the lock nor half a file of the killed process is left.
    assert {p.name for p in tmp_path.iterdir()} == {
        name for path in (path, tmp_path / "whole.nc") for name in (path.name, runs.state_beside(path).name)
    }


def test_an_interrupted_run_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    path, whole = tmp_path / "run.nc", runs.train(RUN, tmp_path / "whole.nc", progress=False)
    step = Trainer.step

    def stop(work):
        if work.update == 20:
            raise KeyboardInterrupt
        step(work)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            runs.train(RUN, path, progress=False)
    assert capsys.readouterr().err == (f"{path}: interrupted at update 20; run the same command again to go on\n")
    resumed = runs.train(RUN, path, progress=False)
    for name in whole.variables:
        np.testing.assert_array_equal(resumed[name], whole[name], err_msg=str(name))


def test_an_output_belongs_to_one_process(tmp_path, monkeypatch):
    path = tmp_path / "run.nc"
    monkeypatch.setattr(Trainer, "step", lambda _: pytest.fail("the output is not to be had"))
    with reserved(path), pytest.raises(BookError, match=r"run\.nc is being made by another process"):
        runs.train(RUN, path, progress=False)


def test_an_output_that_cannot_be_written_is_found_out_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "step", lambda _: pytest.fail("the output is not to be had"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.nc").mkdir()
    # The name fits, that of the checkpoint does not.
    for path in (tmp_path / "file" / "run.nc", tmp_path / f"{'x' * 240}.nc", tmp_path / ("x" * 255)):
        with pytest.raises(OSError, match="Not a directory|File name too long") as raised:
            runs.train(RUN, path, progress=False)
        assert str(path) in str(raised.value)
    with pytest.raises(ResultsError, match=r"folder\.nc is no file"):
        runs.train(RUN, tmp_path / "folder.nc", progress=False)
    with pytest.raises(OSError, match="/proc/run.nc"):
        runs.train(RUN, Path("/proc/run.nc"), progress=False)


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, data):
    """A limit on the size of files stands in for the disk; the netCDF library ends the process at either."""
    path = tmp_path / "run.nc"
    results.write(data, path)
    code = f"""if True:
        import resource, signal
        from pathlib import Path
        from actde_nb.experiments import results
        data = results.read(Path({str(path)!r}))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            results.write(data, Path({str(path)!r}))
        except OSError as error:
            print(error)
    """
    asked = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (0, f"[Errno 27] File too large: '{path}'\n"), asked.stderr
    assert results.read(path).identical(data)
    assert list(tmp_path.iterdir()) == [path]


def test_the_commit_is_that_of_our_own_repository(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "inner" / "actde_nb").mkdir(parents=True)
    git("init")
    git("commit", "--allow-empty", "--message", "theirs")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    assert len(results._commit()) == 40
    monkeypatch.setattr(results, "ROOT", tmp_path / "inner")
    assert results._commit() == "unknown"


def test_a_stored_run_is_reproduced_from_its_own_description(data):
    again = runs.recompute(data, updates=20, trials=(0, 2, 7))  # there is no trial 7
    assert again["trial"].values.tolist() == [0, 2]
    assert again.sizes["update"] == 2  # 20 updates are five rollouts, in whole windows of three
    assert runs.differences(data, again) == []
    for trials in ((7,), (-1,), ()):
        with pytest.raises(SettingError, match="trials = .*: allowed are 0, 1, 2$"):
            runs.recompute(data, 20, trials)
    with pytest.raises(SettingError, match="updates = -4"):
        runs.recompute(data, -4)


def test_what_is_unknown_on_one_side_only_is_a_difference(data):
    again = runs.recompute(data, updates=20)
    assert runs.differences(data, again) == []
    again["entropy"][0, 1] = np.nan
    assert runs.differences(data, again) == ["entropy is unknown (NaN) in one of the two only"]
    stored = data.copy(deep=True)
    stored["entropy"][0, 1] = np.nan
    assert runs.differences(stored, again) == []
    again["entropy"][:] = np.nan
    assert runs.differences(data, again)


@pytest.mark.parametrize("change", [{"seed": 1}, {"algorithm": "ppo"}, {"gae_lambda": 0.0}, {"learning_rate": 1.1e-2}])
def test_a_run_that_is_not_reproduced_is_told_apart(data, change):
    told = data.copy()
    told.attrs["settings"] = json.dumps({**SETTINGS, "config": {**SETTINGS["config"], **change}})
    found = runs.differences(data, runs.recompute(told, updates=48))
    assert any("differs by up to" in line and "allowed is 0.002" in line for line in found)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrisonerWorld("chicken"), "payoffs = 'chicken': allowed are main, "),
        (lambda: GPTSettings(width=10), "width = 10: allowed are multiples of heads = 3"),
        (lambda: GPTSettings(dropout=1.0), r"dropout = 1.0: allowed are numbers in \[0, 1\)"),
        (lambda: Run(Config(steps=128), PrisonerWorld(), GPTSettings()), "steps = 128: allowed are numbers below "),
        (lambda: changed(discount=2.0), "discount = 2.0"),
        (lambda: replace(RUN, network=GPTSettings(temperature=1.0)), "temperature = 1.0 with algorithm = 'actde'"),
        (lambda: changed(algorithm="critic"), "temperature = 0.0 with algorithm = 'critic'"),
        (lambda: replace(RUN, network=PretrainedSettings()), "network = PretrainedSettings with the world 'prisoner'"),
    ],
)
def test_settings_of_the_prisoner_are_checked(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_every_setting_of_world_and_network_arrives():
    work = runs.trainer(Run(Config(trials=1), PrisonerWorld("b=1"), GPTSettings(2, 4, 8, 101, 0.2, True)))
    assert work.policy.config == GPTConfig(2, 4, 8, 101, 2, 0.2, True)
    np.testing.assert_array_equal(work.world.payoffs, PAYOFFS["b=1"])


def test_a_run_of_the_softmax_of_q(tmp_path):
    config = replace(CONFIG, algorithm="critic", updates=8)
    run = replace(RUN, config=config, network=replace(NETWORK, temperature=2.0))
    data = runs.train(run, tmp_path / "run.nc", progress=False)
    np.testing.assert_allclose(data["logit_gap"], data["q_gap"] / 2, atol=1e-6)
    assert data["term"].values.tolist() == ["q", "value"]


def test_the_default_run_is_the_published_network():
    work = runs.trainer(Run(Config(trials=1), PrisonerWorld(), GPTSettings()))
    assert sum(value[0].numel() for value in work.parameters.values()) == 7_299
    assert work.world.payoffs[1].tolist() == pytest.approx([2, -0.7386], abs=1e-4)
