"""What each process does in the tests of several, ``torchrun several_ranks.py FOLDER STORED``: it writes what it found
to ``FOLDER/RANK.json``, and goes on with runs in STORED. The same functions make the run of one process beside it."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_language_models import llama, tokenizer

from actde_nb.checks import Mendable
from actde_nb.finetune import ranks
from actde_nb.finetune.checkpoint import save_pretrained
from actde_nb.finetune.loop import FineTuning
from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.run import STATE, finetune
from actde_nb.finetune.settings import Settings
from actde_nb.finetune.texts import read

PROMPTS = ["the movie was", "the", "a movie", "the movie so good", "b"]
SMALL = {
    "batch": 16, "steps": 6, "updates_per_rollout": 2, "minibatches": 2, "micro_batch": 3, "critic_width": 8,
    "checkpoint_every": 4, "whiten": True, "group_size": 2, "kl_target": 1.0,
    "epsilon": 1e-3, "learning_rate": 1e-2,  # so that a step does not make much of rounding
}  # fmt: skip
#: A row that leaves part of the critic alone, one that asks about the likeliest tokens, one of groups, one with q of
#: all tokens, one that leaves the network alone; few long completions, not as long on every process; and means over
#: sequences, of residuals with v, or of groups that stay together in a piece.
ROWS = {
    "ppo": {}, "gaa": {}, "rloo": {"learns": "lora:2"}, "actde_corrected": {"whiten": False, "learns": "last:1"},
    "critic": {"learns": "last:1"}, "actde": {"batch": 4, "steps": 18, "seed": 5},
    "dro": {"learns": "lora:2", "whiten": False, "kl_in_reward": 0.0, "kl_target": 0.0, "entropy_bonus": 0.1},
    "rebel": {"learns": "lora:2", "whiten": False, "micro_batch": 5},
}  # fmt: skip
OFTEN = ("ppo",)  # on four processes too
#: What learns; how it is shared out; where a run of two processes was stored that four go on with.
RUNS = {"lora:2 ddp": None, "lora:2 fsdp": None, "all ddp": None, "all fsdp": "all ddp"}
FIRST, LATER = 4, 8  # updates


def reward(prompts, completions) -> list[float]:
    return [text.split().count("so") - text.split().count("bad") / 2 for text in completions]


def tied():
    return llama(tie_word_embeddings=True)


def fresh(row: str, parallel: str = "ddp") -> FineTuning:
    """A run whose critic has something to say."""
    settings = Settings(row=row, parallel=parallel, updates=FIRST, **SMALL | {"learns": "all"} | ROWS[row])
    model = LanguageModel(tied(), tokenizer(), settings.learns)
    run = FineTuning(model, read(PROMPTS, model, settings.steps), reward, settings)
    with torch.no_grad():
        for number, parameter in enumerate(run.critic.parameters()):
            value = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) / 4
            parameter.copy_(ranks.share(value, parameter))
    return run


def gradients(run: FineTuning) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Of a rollout; the second is what there was to see besides."""
    work, record = run.play()
    loss, rollout = run.gradients(work, first=True), work.batch.rollout
    said = [ids[counts].tolist() for ids, counts in zip(rollout.taken[0], rollout.mask[0], strict=True)]
    found = {name: ranks.whole(p.grad).clone() for name, p in run.parameters.items() if p.grad is not None}
    return found, {"tokens": said, "loss": loss, "record": record}


def trained(learns: str, parallel: str, folder: Path | None = None, updates: int = FIRST) -> FineTuning:
    settings = Settings(**SMALL | {"learns": learns, "parallel": parallel, "updates": updates})
    return finetune(tied(), PROMPTS, reward, settings, tokenizer=tokenizer(), resume=folder, quiet=True)


def history(run: FineTuning) -> dict[str, list[float]]:
    return {name: run.records.column(name)[:, 0].tolist() for name in run.records.names}


def of_rows(folder: Path, rows: tuple[str, ...]) -> dict[str, object]:
    found = {}
    for name in (f"{row} {parallel}" for row in rows for parallel in ranks.WRAPPERS):
        run = fresh(*name.split())
        numbers, seen = gradients(run)
        stack = next(part for part in run.model.module.modules() if isinstance(part, torch.nn.ModuleList))
        wrapped = {"loss": run.loss, "network": run.model.module, "block": stack[0], "critic": run.critic}
        kinds = {part: type(value).__name__ for part, value in wrapped.items()}
        found[name] = seen | {"kinds": kinds, "processes": torch.distributed.get_world_size()}
        if ranks.rank() == 0:
            save_file(numbers, folder / f"{name}.safetensors")
    return found


def of_local_means(folder: Path) -> None:
    """What would come out if each process took the mean over its own tokens."""
    honest, run = ranks.total, fresh("ppo")
    work, _ = run.play()
    ranks.total = lambda numbers: numbers * ranks.count()
    run.gradients(work)
    ranks.total = honest
    if ranks.rank() == 0:
        numbers = {name: p.grad for name, p in run.parameters.items() if p.grad is not None}
        save_file(numbers, folder / "local means.safetensors")


def of_runs(folder: Path, stored: Path) -> dict[str, object]:
    found = {}
    for name in RUNS:
        goes_on = RUNS[name] if ranks.count() > 2 else name
        if goes_on:
            run = trained(*name.split(), stored / goes_on, LATER if ranks.count() > 2 else FIRST)
            save_pretrained(run, folder / name, merged=True)
            found[name] = history(run)
    return found


def of_failures(folder: Path) -> dict[str, str | None]:
    """What this process says where one of them, or all, cannot go on."""

    def attempt(source=PROMPTS, reward=reward, report=lambda run: None, resume=None, **options):
        settings = Settings(**SMALL | {"updates": FIRST} | options)
        try:
            finetune(tied(), source, reward, settings, tokenizer=tokenizer(), quiet=True, report=report, resume=resume)
        except (KeyError, Mendable) as error:
            return f"{type(error).__name__}: {error}"

    def failing(*_):
        if ranks.rank() == 1:
            raise KeyError("no such word")
        return [0.0] * SMALL["batch"]

    elsewhere = folder / f"host {ranks.rank()}"
    elsewhere.mkdir()
    if ranks.rank() == 1:
        (elsewhere / STATE).touch()
    return {
        "reward": attempt(reward=lambda prompts, completions: failing()[: len(prompts)]),
        "report": attempt(report=failing),
        "prompts": attempt([""] if ranks.rank() == 1 else PROMPTS),
        "other prompts": attempt(PROMPTS[ranks.rank() :]),
        "other settings": attempt(updates=FIRST * (1 + ranks.rank())),
        "other folders": attempt(resume=elsewhere),
        "row": attempt(row="rejection", micro_batch=16),
    }


def main(folder: Path, stored: Path) -> None:
    ranks.join("cpu")
    few = ranks.count() > 2
    found = {"rows": of_rows(folder, OFTEN if few else tuple(ROWS)), "runs": of_runs(folder, stored)}
    if not few:
        of_local_means(folder)
        found["failures"] = of_failures(folder)
    (folder / f"{ranks.rank()}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
