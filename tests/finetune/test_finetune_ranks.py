"""Several processes make what one makes: the same tokens, and but for rounding the same loss, gradients and records."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import several_ranks as work
import torch
from filelock import FileLock
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from actde_nb.checks import SettingError
from actde_nb.finetune.run import STATE
from actde_nb.finetune.settings import Settings
from actde_nb.paths import ROOT

ON_TWO = [f"{row} {parallel}" for row in work.ROWS for parallel in ("ddp", "fsdp")]
ON_FOUR = [name for name in ON_TWO if name.split()[0] in work.OFTEN]
FOUND = [(2, name) for name in ON_TWO] + [(4, name) for name in ON_FOUR]
RUNS = [(2, name) for name in work.RUNS] + [(4, name) for name, stored in work.RUNS.items() if stored]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int | str, Path]:
    """What two processes found, then what four did, which go on with runs of the two; launched once for all tests,
    though several processes run them."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    found = {name: place / f"ranks {name}" for name in (2, 4, "stored", "stored by two")}
    with FileLock(place / "ranks.lock"):
        if not found[4].exists():
            launch(2, found[2], found["stored"])
            shutil.copytree(found["stored"], found["stored by two"])
            launch(4, found[4], found["stored"])
    return found


def launch(processes: int, *folders: Path) -> None:
    for folder in folders:
        folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    settings = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, ROOT / "tests" / "several_ranks.py", *folders],
        env=os.environ | settings, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def said(folders) -> dict[int, list[dict]]:
    """The same, as each process tells it."""
    return {n: [json.loads((folders[n] / f"{rank}.json").read_text()) for rank in range(n)] for n in (2, 4)}


@pytest.fixture(scope="module")
def alone() -> dict[str, tuple]:
    """What one process finds in each row."""
    return {row: work.gradients(work.fresh(row)) for row in work.ROWS}


@pytest.fixture(scope="module")
def whole() -> dict[str, object]:
    """Runs of one process, uninterrupted."""
    return {learns: work.trained(learns, "ddp", updates=work.LATER) for learns in ("lora:2", "all")}


def apart(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """The largest difference, as a share of the largest number in the same tensor."""
    assert found.keys() == wanted.keys()
    return max(float((found[name] - x).abs().max() / (x.abs().max() + 1e-9)) for name, x in wanted.items())


@pytest.mark.parametrize(("processes", "name"), FOUND)
def test_tokens_loss_and_gradients_are_those_of_one_process(folders, said, alone, processes, name):
    gradients, seen = alone[name.split()[0]]
    each = [one["rows"][name] for one in said[processes]]
    assert sum((one["tokens"] for one in each), []) == seen["tokens"]
    for one in each:
        assert one["record"] == pytest.approx(seen["record"], rel=1e-6, abs=1e-6)
        assert one["loss"] == pytest.approx(seen["loss"], rel=1e-6, abs=1e-6)
        assert (one["record"], one["loss"]) == (each[0]["record"], each[0]["loss"])
    assert apart(load_file(folders[processes] / f"{name}.safetensors"), gradients) <= 1e-5


@pytest.mark.parametrize(("processes", "name"), FOUND)
def test_it_is_wrapped_as_it_says(said, processes, name):
    """Else one process, or the other wrapper, would pass for it."""
    for one in said[processes]:
        assert one["rows"][name]["processes"] == processes
        kinds = one["rows"][name]["kinds"]
        assert (kinds["loss"] == "DistributedDataParallel") == name.endswith("ddp")
        for part in ("network", "block", "critic"):
            assert kinds[part].startswith("FSDP") == name.endswith("fsdp"), part


def test_means_of_local_means_would_be_found_out(folders, alone):
    """The check above can tell: means over each process's own tokens are off by a thousand times what it allows."""
    assert apart(load_file(folders[2] / "local means.safetensors"), alone["ppo"][0]) > 1e-2


def test_processes_need_not_draw_equally_long(said):
    """Where the network is sharded, one that reads on would wait for the others for ever."""
    longest = [max(map(len, one["rows"]["actde fsdp"]["tokens"])) for one in said[2]]
    assert longest[0] != longest[1]


@pytest.mark.parametrize(("processes", "name"), RUNS)
def test_runs_are_those_of_one_process(folders, said, whole, processes, name):
    """Records the same on all; four go on where two stopped, and with the other wrapper, as one that did not stop."""
    wanted, [found, *others] = work.history(whole[name.split()[0]]), [one["runs"][name] for one in said[processes]]
    assert all(other == found for other in others)
    assert found.keys() == wanted.keys()
    rollouts = (work.FIRST if processes == 2 else work.LATER) // work.SMALL["updates_per_rollout"]
    for record in wanted.keys() - {"tokens_per_second", "mismatch"}:
        assert found[record] == pytest.approx(wanted[record][:rollouts], rel=1e-4, abs=1e-6), record
    assert np.ptp(found["score"]) > 0
    assert found["price"][0] != found["price"][-1]


@pytest.mark.parametrize(
    ("processes", "name"), [(2, "lora:2 ddp"), (2, "lora:2 fsdp"), (2, "all ddp"), (4, "all fsdp")]
)
def test_plain_transformers_loads_what_was_shared_out(folders, processes, name):
    run = work.trained(name.split()[0], "ddp", updates=work.FIRST if processes == 2 else work.LATER)
    folder, tokens = folders[processes] / name, torch.tensor([[5, 6, 7]])
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(model).__name__ == "LlamaForCausalLM"
    with torch.no_grad():
        logits, before = run.model.module(tokens).logits, work.tied()(tokens).logits
        assert (model(tokens).logits - logits).abs().max() <= 1e-4
        assert (before - logits).abs().max() > 1e-2
    if name.startswith("all"):
        assert model.lm_head.weight is model.model.embed_tokens.weight
        stored = load_file(folder / "model.safetensors")
        assert sum("embed" in key or "head" in key for key in stored) == 1
    assert apart(load_file(folder / "critic.safetensors"), dict(run.critic.state_dict())) <= 1e-4


def test_one_process_goes_on_with_a_run_of_two(folders, whole, tmp_path):
    shutil.copy(folders["stored by two"] / "all fsdp" / STATE, tmp_path)
    run = work.trained("all", "ddp", tmp_path, work.LATER)
    wanted = {name: value.detach() for name, value in whole["all"].parameters.items()}
    assert apart({name: value.detach() for name, value in run.parameters.items()}, wanted) <= 1e-4


def test_what_one_process_fails_at_ends_all(said):
    """Each with its message, and none waits."""
    first, second = (one["failures"] for one in said[2])
    other = "Mendable: rank 1 stopped, and so does rank 0: its message says why"
    word = "KeyError: 'no such word'"
    assert (first["reward"], second["reward"]) == (first["report"], second["report"]) == (other, word)
    assert first["prompts"] == other
    assert second["prompts"] == "SettingError: prompts[0] = '': allowed are prompts of one token or more"
    same = "SettingError: 2 ranks have different runs: allowed are the same model, prompts and settings on all"
    for name in ("other prompts", "other settings"):
        assert first[name] == second[name] == same
    assert first["other folders"].endswith("run.safetensors is seen by 1 of 2 processes: allowed are folders all see")
    assert first["row"] == second["row"] == "SettingError: " + WHOLE.format("rejection", 2)


WHOLE = "row = {} on {} processes: allowed are rows that do not look at a minibatch as a whole, or one process"


@pytest.mark.parametrize("row", ["rejection", "gaa_batch", "gaa_code"])
def test_rows_that_look_at_a_minibatch_as_a_whole_are_for_one_process(row):
    settings = Settings(row=row, micro_batch=32)
    settings.check_processes(1)
    with pytest.raises(SettingError, match=f"^{WHOLE.format(row, 3)}$"):
        settings.check_processes(3)


@pytest.mark.parametrize(
    ("row", "count", "message"),
    [
        ("ppo", 3, "batch = 32 on 3 processes: allowed are multiples of 6, so that each has 2 equal minibatches"),
        ("ppo", 32, "batch = 32 on 32 processes: allowed are multiples of 64, so that each has 2 equal minibatches"),
        ("grpo", 16, "batch = 32 on 16 processes: allowed are multiples of 64, so that each has 2 equal minibatches "
         "and groups of 4"),
    ],
)  # fmt: skip
def test_rows_are_dealt_evenly_and_groups_stay_whole(row, count, message):
    settings = Settings(row=row)
    settings.check_processes(8)
    with pytest.raises(SettingError, match=f"^{message}$"):
        settings.check_processes(count)


def test_wrappers_that_there_are():
    with pytest.raises(SettingError, match=r"^parallel = 'tensor': allowed are ddp, fsdp$"):
        Settings(parallel="tensor")
