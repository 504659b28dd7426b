"""``actde-nb finetune``: a run whose model, prompts and reward are named on the command line."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny_language_models import llama, tokenizer
from transformers import AutoModelForCausalLM

from actde_nb.checks import SettingError
from actde_nb.finetune.folder import reward_named
from actde_nb.finetune.run import STATE
from actde_nb.finetune.settings import Settings

REWARD = """
import os, signal
from pathlib import Path

calls = 0
number = 3

def count(prompts, completions, word):
    global calls
    calls += 1
    if Path("stop").exists() and calls == int(Path("stop").read_text()):
        os.kill(os.getpid(), signal.SIGINT)
    return [text.split().count(wanted) for text, wanted in zip(completions, word, strict=True)]
"""
NEEDED = ("--model", "model", "--prompts", "prompts.jsonl", "--reward", "paying:count")
SIZE = {
    "row": "apa", "learns": "lora:2", "batch": 8, "steps": 5, "updates": 12, "updates-per-rollout": 2,
    "minibatches": 2, "critic-width": 8, "checkpoint-every": 4,
}  # fmt: skip
SMALL = [part for name, value in SIZE.items() for part in (f"--{name}", str(value))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a model, prompts and a reward in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "paying", raising=False)
    llama().save_pretrained("model")
    tokenizer().save_pretrained("model")
    prompts = [{"prompt": "the movie was", "word": "so"}, {"prompt": "a", "word": "good"}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)), encoding="utf-8")
    (tmp_path / "paying.py").write_text(REWARD, encoding="utf-8")
    return tmp_path


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def numbers(path) -> list[dict]:
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in lines(path)]


def test_a_run_and_what_it_leaves(command, folder):
    status, text = command("finetune", *NEEDED, *SMALL)
    assert status == 0
    assert re.search(
        r"^runs/finetune_apa: 12 updates, score \d.*; the model is in runs/finetune_apa/adapters$", text, re.M
    )
    out = folder / "runs" / "finetune_apa"
    records = lines(out / "records.jsonl")
    assert [record["updates"] for record in records] == [2, 4, 6, 8, 10, 12]
    assert {"score", "kl", "entropy", "distinct_2", "loss_policy"} <= {*records[0]}
    examples = lines(out / "examples.jsonl")
    assert [set(example) for example in examples] == [{"prompt", "completion"}] * 8
    assert {example["prompt"] for example in examples} == {"the movie was", "a"}
    AutoModelForCausalLM.from_pretrained(out / "adapters")

    status, text = command("finetune", *NEEDED, *SMALL, "--merged")
    assert status == 0
    assert "the model is in runs/finetune_apa/model" in text
    assert (lines(out / "records.jsonl"), lines(out / "examples.jsonl")) == (records, examples), "nothing was repeated"
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        one, two = (
            AutoModelForCausalLM.from_pretrained(out / name).eval()(tokens).logits for name in ("adapters", "model")
        )
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_an_interrupted_run_goes_on_to_the_bit(command, folder):
    """Interrupted in the fourth rollout, two updates behind a checkpoint."""
    assert command("finetune", *NEEDED, *SMALL, "--out", "whole")[0] == 0
    (folder / "stop").write_text("10", encoding="utf-8")  # six calls so far
    status, text = command("finetune", *NEEDED, *SMALL, "--out", "parts")
    assert status == 130
    told = "parts: interrupted; run the same command again to go on from its last checkpoint\nactde-nb: interrupted\n"
    assert text.endswith(told)
    assert not (folder / "parts" / "adapters").exists()
    assert [line["updates"] for line in lines(folder / "parts" / "records.jsonl")] == [2, 4]
    (folder / "stop").unlink()
    assert command("finetune", *NEEDED, *SMALL, "--out", "parts")[0] == 0
    assert numbers(folder / "parts" / "records.jsonl") == numbers(folder / "whole" / "records.jsonl")
    whole, parts = (load_file(folder / name / STATE) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in set(whole) - {"record/tokens_per_second"})
    assert (folder / "parts" / "examples.jsonl").read_bytes() == (folder / "whole" / "examples.jsonl").read_bytes()
    for name in ("adapter_model.safetensors", "critic.safetensors"):
        whole, parts = (load_file(folder / out / "adapters" / name) for out in ("whole", "parts"))
        assert all(torch.equal(parts[tensor], value) for tensor, value in whole.items())


def test_records_for_tensorboard(command, folder, monkeypatch):
    """With another module in its place; after an interruption, events from the first one done again are discarded."""
    begun, events = [], []

    class SummaryWriter:
        def __init__(self, log_dir: str, purge_step: int):
            begun.append((log_dir, purge_step))

        def add_scalar(self, name: str, value: float, step: int):
            events.append((name, value, step))

        def flush(self):
            events.append("flushed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    (folder / "stop").write_text("4", encoding="utf-8")
    assert command("finetune", *NEEDED, *SMALL, "--out", "run", "--tensorboard")[0] == 130
    done, events[:] = events.copy(), []
    assert [event[2] for event in done if event[0] == "score"] == [2, 4, 6]
    assert command("finetune", *NEEDED, *SMALL, "--out", "run", "--tensorboard")[0] == 0
    assert begun == [("run", 2), ("run", 6)], "two updates behind the checkpoint are done again"
    records = lines(folder / "run" / "records.jsonl")
    every = [event for event in done if event[-1] in (2, 4)] + [event for event in events if event != "flushed"]
    wanted = [(name, value, record["updates"]) for record in records for name, value in record.items()]
    assert sorted(every) == sorted(event for event in wanted if event[0] != "updates")
    assert (events.count("flushed"), events[-1]) == (4, "flushed")


def test_without_tensorboard_one_line_says_what_to_install(command, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _ = command("finetune", *NEEDED, *SMALL, "--tensorboard")
    assert status.startswith("actde-nb: tensorboard = True: allowed is False without it (")
    assert status.endswith("): pip install tensorboard")
    assert not (folder / "runs").exists()


def test_the_reward_lies_in_the_current_folder(folder):
    """Of an installed command, whose first place to look for modules is another."""
    code = "import sys; sys.path[0] = '/'; from actde_nb import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code, "finetune", *NEEDED, *SMALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "finetune_apa" / "adapters").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "paying"}, "reward = 'paying': allowed is MODULE:FUNCTION, such as "),
        ({"reward": ":count"}, "reward = ':count': allowed is MODULE:FUNCTION, such as "),
        ({"reward": "playing:count"}, "reward = 'playing:count': there is no module playing"),
        ({"reward": "paying.more:count"}, "reward = 'paying.more:count': there is no module paying.more"),
        (
            {"reward": "needing:count"},
            "reward = 'needing:count': there is no module no_such_thing, which needing imports",
        ),
        ({"reward": "paying:counts"}, "reward = 'paying:counts': there is no counts in "),
        ({"reward": "paying:number"}, "reward = 'paying:number': allowed are functions, not int"),
        ({"prompts": "none.jsonl"}, "prompts = 'none.jsonl', line 0: allowed is a file of texts"),
        ({"model": "./nowhere"}, "model = './nowhere': allowed is a model's id, a folder with"),
        ({"row": "pppo"}, "row = 'pppo': allowed are ppo, actde, "),
        ({"learns": "half"}, "learns = half: allowed are all, lora:RANK and last:BLOCKS"),
    ],
)
def test_what_a_person_can_mend_is_one_line(command, folder, options, message):
    (folder / "needing.py").write_text("import no_such_thing\n", encoding="utf-8")
    given = dict(zip(NEEDED[::2], NEEDED[1::2], strict=True)) | {f"--{name}": value for name, value in options.items()}
    status, text = command("finetune", *SMALL, *(part for option in given.items() for part in option))
    assert str(status).startswith(f"actde-nb: {message}")
    assert "\n" not in status
    assert "Traceback" not in text


def test_a_fault_in_the_module_of_a_reward_is_shown_as_it_is(folder):
    (folder / "faulty.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        reward_named("faulty:count")
    with pytest.raises(SettingError, match="there is no "):
        reward_named("json:decode")
    assert reward_named("json:dumps") is json.dumps


def test_without_the_extra_one_line_says_what_to_install():
    code = "import sys; sys.modules['peft'] = None; from actde_nb import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code, "finetune", *NEEDED], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, 'actde-nb: finetune needs peft: pip install "actde-nb[finetune]"\n')


def test_other_commands_do_without_its_libraries():
    code = "import sys, actde_nb.cli; print(*{'transformers', 'peft', 'dask', 'distributed'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_every_setting_is_an_option_in_a_group(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")  # one panel under the other
    status, text = command("finetune", "--help")
    assert status == 0
    assert "`" not in text
    text = re.sub(r"[│╭╮╰╯─]", " ", text)  # frames, where the terminal has them
    _, *groups = re.split(r"^ +(?:(\w+) )?options *$", text, flags=re.M)
    found = {
        name or "own": re.findall(r"^ +--([a-z][\w-]*)", part, re.M)
        for name, part in zip(groups[::2], groups[1::2], strict=True)
    }
    assert list(found) == ["own", "learner", "loop", "algorithm"]
    every = [option for name, options in found.items() if name != "own" for option in options]
    assert sorted(every) == sorted(f.name.replace("_", "-") for f in fields(Settings) if f.name != "algorithm")
    assert re.search(r"--critic-width INT\s+Width of the critic's hidden layer", text)
    assert re.search(r"--discount FLOAT\s+Discount of later rewards, gamma\. \(default: 1\.0\)", text)
