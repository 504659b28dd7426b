"""A run that was interrupted is, to the bit, the run that was not."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_language_models import llama, tokenizer
from transformers import AutoModelForCausalLM

from actde_nb.checks import CheckpointError
from actde_nb.finetune.checkpoint import save_pretrained
from actde_nb.finetune.run import STATE, finetune
from actde_nb.finetune.settings import Settings

PROMPTS = [{"prompt": "the movie was", "word": "so"}, {"prompt": "a", "word": "good"}, {"prompt": "b", "word": "so"}]
SMALL = {
    "batch": 8, "steps": 5, "updates": 12, "updates_per_rollout": 2, "minibatches": 2, "critic_width": 8,
    "checkpoint_every": 4, "kl_target": 1.0, "warmup": 6, "learns": "lora:2",
}  # fmt: skip


def reward(prompts, completions, word) -> list[float]:
    return [text.split().count(wanted) for text, wanted in zip(completions, word, strict=True)]


def train(resume=None, report=lambda _: None, prompts=PROMPTS, model=None, **options):
    settings = Settings(**SMALL | options)
    words = tokenizer()
    return finetune(
        model or llama(), prompts, reward, settings, tokenizer=words, resume=resume, report=report, quiet=True
    )


def stop_at(update: int):
    def report(run):
        if run.update == update:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize(
    "options",
    [
        {"row": "ppo"},
        {"row": "gaa", "learns": "all"},
        {"row": "actde"},
        {"row": "rloo"},
        {"row": "rebel", "entropy_bonus": 0.1, "entropy_target": 0.5},
        {"row": "ppo", "optimiser": "sgd", "learning_rate": 0.1},
    ],
)
def test_resumed_is_uninterrupted(tmp_path, options):
    """Stopped between two checkpoints: what came after the first of them is done again."""
    whole = train(**options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop_at(6), **options)
    resumed = train(tmp_path, **options)
    assert resumed.update == whole.update == 12
    for name, value in whole.parameters.items():
        assert torch.equal(resumed.parameters[name], value), name
    for name in set(whole.records.names) - {"tokens_per_second"}:
        assert (resumed.records.column(name) == whole.records.column(name)).all(), name
    assert torch.equal(resumed.price, whole.price)
    assert torch.equal(resumed.bonus, whole.bonus)
    assert (whole.bonus.item() != pytest.approx(options.get("entropy_bonus", 0.0))) == ("entropy_target" in options)
    assert resumed.examples == whole.examples


def test_resumed_in_bfloat16(tmp_path):
    one = train(tmp_path, updates=4, dtype="bfloat16", learns="all", model=llama().bfloat16())
    two = train(tmp_path, updates=4, dtype="bfloat16", learns="all", model=llama().bfloat16())
    assert len(two.records) == 2
    assert all(torch.equal(one.parameters[name], value) for name, value in two.parameters.items())
    assert torch.bfloat16 in {value.dtype for value in two.parameters.values()}


def test_more_updates_may_be_asked_for_later(tmp_path):
    train(tmp_path, updates=8)
    longer, whole = train(tmp_path), train()
    assert all(torch.equal(longer.parameters[name], value) for name, value in whole.parameters.items())


def test_a_finished_run_is_read_and_not_repeated(tmp_path):
    train(tmp_path)
    assert len(train(tmp_path, stop_at(12)).records) == 6  # the report is never called


@pytest.mark.parametrize(
    ("change", "what"),
    [({"clip": 0.3}, "settings"), ({"model": llama(seed=1)}, "model"), ({"prompts": PROMPTS[:2]}, "prompts")],
)
def test_another_run(tmp_path, change, what):
    train(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{STATE} belongs to another run: it has other {what}$"):
        train(tmp_path, **change)


def test_a_damaged_file(tmp_path):
    train(tmp_path)
    content = bytearray((tmp_path / STATE).read_bytes())
    content[-3] ^= 1
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        train(tmp_path)
    (tmp_path / STATE).write_bytes(b"\x80\x04.")  # a pickle of nothing
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(tmp_path)


def test_only_what_learns_is_stored(tmp_path):
    run = train(tmp_path)
    with safe_open(tmp_path / STATE, framework="pt") as file:
        stored = [name for name in file.keys() if name.startswith("parameter/model/")]  # noqa: SIM118 (not a dict)
        assert json.loads(file.metadata()["identity"])[0]["row"] == "ppo"
    assert len(stored) == len(run.model.learned)
    assert all("lora" in name for name in stored)


def test_the_model_is_saved_with_its_critic(tmp_path):
    run = train()
    save_pretrained(run, tmp_path / "merged", merged=True)
    save_pretrained(run, tmp_path / "adapters")
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(tokens).logits
        assert (found - run.model.module(tokens).logits).abs().max() <= 1e-5
    critic = load_file(tmp_path / "adapters" / "critic.safetensors")
    assert all(torch.equal(critic[name], value) for name, value in run.critic.state_dict().items())
    files = {file.suffix for file in tmp_path.rglob("*") if file.is_file()}
    assert files <= {".json", ".safetensors", ".jinja", ".md"}
