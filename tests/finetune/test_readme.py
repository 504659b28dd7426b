"""The example of the README, on a model that is small enough."""

import re

from tiny_language_models import llama, tokenizer
from transformers import AutoModelForCausalLM

from actde_nb.paths import ROOT


def test_the_example_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    llama().save_pretrained("model")
    tokenizer().save_pretrained("model")
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    named = {}
    exec(code.replace("path/or/id/of/a/model", "model"), named)
    scores = named["run"].records.column("score")[:, 0]
    assert scores[-3:].mean() > scores[:3].mean()
    AutoModelForCausalLM.from_pretrained("runs/mine/tuned")
