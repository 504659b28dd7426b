"""A run in a folder: :func:`~actde_nb.finetune.run.finetune` with files and names for input, and files for output."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from actde_nb.checks import SettingError
from actde_nb.finetune import ranks
from actde_nb.finetune.checkpoint import save_pretrained
from actde_nb.finetune.loop import FineTuning
from actde_nb.finetune.run import finetune
from actde_nb.finetune.settings import Settings
from actde_nb.finetune.texts import Reward
from actde_nb.training.files import replace_file


def tune(
    model: str, prompts: Path, reward: str, settings: Settings, *, tokenizer: str | None = None,
    out: Path | None = None, merged: bool = False, tensorboard: bool = False,
) -> Path:  # fmt: skip
    """Train a model or go on with it, and return the folder of the model as transformers loads it.

    That is ``adapters`` in the folder ``out``, or ``model`` where all of the network is written. Beside it lie, from
    the first checkpoint on, ``run.safetensors`` (the state to go on from), ``records.jsonl`` (a line for each rollout)
    and ``examples.jsonl`` (what the last rollout said); and, from the beginning, what ``tensorboard`` asks for.
    ``reward`` is called MODULE:FUNCTION."""
    out, pays = out or Path("runs") / f"finetune_{settings.row}", reward_named(reward)
    shown = for_tensorboard(out) if tensorboard else lambda _: None

    def report(run: FineTuning) -> None:
        shown(run)
        if run.due:
            pairs = zip(run.asked, run.examples, strict=True)
            _write(out / "examples.jsonl", ({"prompt": prompt, "completion": said} for prompt, said in pairs))
            _write(out / "records.jsonl", _records(run))

    try:
        run = finetune(model, prompts, pays, settings, tokenizer=tokenizer, resume=out, report=report)
    except KeyboardInterrupt:
        print(f"{out}: interrupted; run the same command again to go on from its last checkpoint", file=sys.stderr)
        raise
    # Not in one folder: transformers would take adapters there for a part of the merged network.
    folder = out / ("adapters" if settings.learns.startswith("lora") and not merged else "model")
    save_pretrained(run, folder, merged)
    told = ", ".join(f"{name} {run.records[-1][name].item():.3g}" for name in ("score", "kl", "entropy"))
    if not ranks.rank():
        print(f"{out}: {run.update:,} updates, {told} in the last rollout; the model is in {folder}")
    return folder


def reward_named(name: str) -> Reward:
    """The function MODULE:FUNCTION, whose module is looked for in the current folder first; raise SettingError where
    there is none. What the module itself raises is shown as it is."""
    module, _, function = name.partition(":")
    if not (module and function):
        raise SettingError(f"reward = {name!r}: allowed is MODULE:FUNCTION, such as rewards:length of rewards.py here")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # and it stays: the function may import its neighbours when it is called
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        whose = "" if f"{module}.".startswith(f"{error.name}.") else f", which {module} imports"
        raise SettingError(f"reward = {name!r}: there is no module {error.name}{whose}") from None
    if not hasattr(found, function):
        raise SettingError(f"reward = {name!r}: there is no {function} in {found.__file__}")
    if not callable(getattr(found, function)):
        raise SettingError(f"reward = {name!r}: allowed are functions, not {type(getattr(found, function)).__name__}")
    return getattr(found, function)


def for_tensorboard(folder: Path) -> Callable[[FineTuning], None]:
    """What :func:`~actde_nb.finetune.run.finetune` can call as its ``report``, to write each rollout's records into
    ``folder`` for TensorBoard; raise SettingError where that is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # by choice: the package does not ask for TensorBoard
    except ImportError as error:
        raise SettingError(
            f"tensorboard = True: allowed is False without it ({error}): pip install tensorboard"
        ) from None
    writers: list[SummaryWriter] = []

    def report(run: FineTuning) -> None:
        if ranks.rank():
            return
        if not writers:  # what an interrupted run wrote after its last checkpoint is written again, and shown once
            writers.append(SummaryWriter(str(folder), purge_step=run.update))
        for name, value in run.records[-1].items():
            writers[0].add_scalar(name, value.item(), run.update)
        writers[0].flush()

    return report


def _records(run: FineTuning) -> list[dict[str, float]]:
    each = run.settings.updates_per_rollout
    numbers = ({name: value.item() for name, value in record.items()} for record in run.records)
    return [{"updates": each * rollout, **record} for rollout, record in enumerate(numbers, 1)]


def _write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    if not ranks.rank():  # of several processes one writes; of examples, its own
        replace_file(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode())
