"""The examples of the README, on a model that is small enough."""

import re
import shlex
import sys

import torch
from safetensors.torch import load_file
from tiny_language_models import llama, tokenizer
from transformers import AutoModelForCausalLM

from actde_nb.finetune.run import STATE
from actde_nb.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_of_the_readme(command, tmp_path, monkeypatch):
    """In Python and on the command line they are one run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    llama().save_pretrained("model")
    tokenizer().save_pretrained("model")
    [code] = re.findall(r"```python\n(.*?)```", README, re.S)
    named = {}
    exec(code.replace("path/or/id/of/a/model", "model"), named)
    scores = named["run"].records.column("score")[:, 0]
    assert scores[-3:].mean() > scores[:3].mean()
    AutoModelForCausalLM.from_pretrained("runs/mine/tuned")

    said, reward = code.index('["the movie was"]'), re.search(r"^def reward.*?\n\n", code, re.M | re.S)[0]
    (tmp_path / "prompts.txt").write_text(code[said + 2 :].partition('"')[0], encoding="utf-8")
    (tmp_path / "rewards.py").write_text(reward, encoding="utf-8")
    line = re.search(r"^actde-nb (finetune .*(?:\\\n.*)+)", README, re.M)[1]
    arguments = shlex.split(line.replace("\\\n", "").replace("path/or/id/of/a/model", "model"))
    assert command(*arguments)[0] == 0
    one, two = (load_file(tmp_path / "runs" / name / STATE) for name in ("mine", "finetune_rloo"))
    assert all(torch.equal(two[name], one[name]) for name in set(one) - {"record/tokens_per_second"})
    AutoModelForCausalLM.from_pretrained("runs/finetune_rloo/model")
