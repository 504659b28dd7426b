"""The stored runs on a cluster: each is one task, and a worker that is killed costs nothing that was saved."""

import os
import re
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("distributed", reason="needs the extra cluster")

from distributed import Client, LocalCluster  # noqa: E402 (after the check that it is there)

from actde_nb import cli  # noqa: E402
from actde_nb.experiments import programme, results, runs  # noqa: E402
from actde_nb.experiments.programme import Programme  # noqa: E402
from actde_nb.experiments.runs import GPTSettings, PrisonerWorld, Run  # noqa: E402
from actde_nb.training.config import Config  # noqa: E402
from actde_nb.training.trainer import Trainer  # noqa: E402

CONFIG = Config(trials=2, updates=8, batch=4, steps=8, checkpoint_every=8)
SHORT = Run(CONFIG, PrisonerWorld(), GPTSettings(layers=1, heads=1, width=4, dropout=0.1))
LONG = replace(SHORT, config=replace(CONFIG, updates=400, checkpoint_every=40))
RUNS = {"first": SHORT, "long": LONG, "last": replace(SHORT, config=replace(CONFIG, seed=1))}


@pytest.fixture(scope="module")
def cluster():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster:
        yield cluster


@pytest.fixture
def train(command, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "programme", lambda: Programme({"some": RUNS}, ("first", "long")))
    files = [str(tmp_path / f"{name}.nc") for name in RUNS]
    return lambda address: command("results", "train", *files, "--cluster", address)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each finished file was written, and what is in it."""
    files = [file for name in RUNS for file in folder.glob(f"{name}.*") if ".checkpoint" not in file.name]
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def holder(lock: Path, pids: list[int]) -> int:
    """Which of these processes has a file open."""
    [found] = [pid for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir() if file.resolve() == lock]
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds out by /proc which worker to kill")
def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(cluster, train, tmp_path):
    """Killed past a checkpoint, when another run is done."""
    seen, client = {}, Client(cluster.scheduler_address, set_as_default=False)
    workers = list(client.run(os.getpid).values())

    def kill() -> None:
        while not all((tmp_path / name).exists() for name in ("first.safetensors", "long.nc.checkpoint.safetensors")):
            time.sleep(0.01)
        seen.update(state(tmp_path))
        seen["victim"] = holder(tmp_path / ".long.nc.lock", workers)
        os.kill(seen["victim"], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    status, text = train(cluster.scheduler_address)
    assert status == 0
    assert sorted(text.splitlines()) == sorted(f"{tmp_path / name}.nc: done" for name in RUNS)
    assert seen.pop("victim") not in client.run(os.getpid).values()
    client.close()
    kept = state(tmp_path)
    assert set(kept) == {"first.nc", "long.nc", "last.nc", "first.safetensors", "long.safetensors"}
    assert {"first.nc", "first.safetensors"} <= set(seen) <= set(kept) - {"long.nc", "long.safetensors"}
    assert {name: kept[name] for name in seen} == seen, "what was done has not been touched"
    for name, run in RUNS.items():
        whole = runs.train(run, tmp_path / "alone" / f"{name}.nc", progress=False)
        found = results.read(tmp_path / f"{name}.nc")
        for variable in whole.variables:
            np.testing.assert_array_equal(found[variable], whole[variable], err_msg=f"{name}: {variable}")
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")], "no lock, no half of a file"
    assert train(cluster.scheduler_address)[0] == 0
    assert state(tmp_path) == kept


def test_what_goes_wrong_in_a_run_is_told_as_without_a_cluster(cluster, train, tmp_path):
    (tmp_path / "long.nc").write_text("dear diary", encoding="utf-8")
    assert train(cluster.scheduler_address)[0].startswith(f"actde-nb: {tmp_path / 'long.nc'} cannot be read as netCDF")


def test_workers_that_see_other_files(cluster, train, monkeypatch, tmp_path):
    class Elsewhere:
        name = "/nowhere/probe"

        def __init__(self, dir):
            pass

        __enter__, __exit__ = lambda self: self, lambda *_: None

    monkeypatch.setattr(programme.tempfile, "NamedTemporaryFile", Elsewhere)
    status, _ = train(cluster.scheduler_address)
    told = rf"actde-nb: cluster = 'tcp:.*': the worker tcp:.* does not see {tmp_path}, which all must share"
    assert re.fullmatch(told, status)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
def test_an_address_where_no_cluster_is(train, monkeypatch, address):
    monkeypatch.setattr(programme, "PATIENCE", 1)
    status, text = train(address)
    assert status.startswith(f"actde-nb: cluster = {address!r}: allowed are addresses of Dask schedulers that have")
    assert "\n" not in status
    assert "Traceback" not in text


def test_a_scheduler_without_workers(train, monkeypatch):
    monkeypatch.setattr(programme, "PATIENCE", 1)
    with LocalCluster(n_workers=0, processes=True, dashboard_address=":0") as empty:
        assert "that have workers (" in train(empty.scheduler_address)[0]


def test_without_the_extra_one_line_says_what_to_install(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert train("tcp://host:8786")[0] == 'actde-nb: cluster needs distributed: pip install "actde-nb[cluster]"'


def test_a_wrong_name_is_found_out_before_any_training(command, monkeypatch):
    monkeypatch.setattr(Trainer, "step", lambda _: pytest.fail("nothing is to be done"))
    monkeypatch.setattr(cli, "programme", lambda: Programme({"some": RUNS}))
    status, _ = command("results", "train", "first.nc", "other.nc")
    assert status == "actde-nb: files = other.nc: allowed are the runs of the book, first, long, last"
