"""Text in and out: prompts, and what the reader's reward function says of completions."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from actde_nb.checks import SettingError
from actde_nb.finetune.models import LanguageModel

Text = str | Sequence[Mapping[str, str]]  # or messages, dicts with role and content, for the model's chat template
#: Texts; dicts with ``prompt`` and other columns for the reward; or a file of either, ``.jsonl`` or one text a line.
Source = str | Path | Iterable[Any]
#: ``reward(prompts, completions, **columns)``: the prompts as they were given, the completions as text without special
#: tokens, and a list for each extra column; returns one number for each completion. (TRL's rewards are called so too.)
Reward = Callable[..., Sequence[float]]

NUMBERS = "allowed are finite numbers, one for each completion"


@dataclass(frozen=True)
class Prompt:
    """One prompt, as text and as tokens."""

    text: Text  # as it was given
    ids: tuple[int, ...]
    columns: Mapping[str, Any]  # what else was given with it, for the reward


def read(source: Source, model: LanguageModel, steps: int) -> list[Prompt]:
    """All prompts, encoded; raise SettingError for one that is empty, malformed, or too long to be followed by
    ``steps`` tokens within the model's context."""
    entries = _lines(Path(source)) if isinstance(source, str | Path) else source
    prompts = [_prompt(f"prompts[{place}]", entry, model, steps) for place, entry in enumerate(entries)]
    if not prompts:
        raise SettingError("prompts is empty: allowed are one prompt or more")
    first, *others = [sorted(prompt.columns) for prompt in prompts]
    for place, names in enumerate(others, 1):
        if names != first:
            raise SettingError(f"prompts[{place}] has the columns {names}: allowed are those of prompts[0], {first}")
    return prompts


def turn(count: int, rollout: int, wanted: int, seed: int) -> list[int]:
    """Numbers of the prompts of a rollout: all ``count`` in a random order, then all again in another one.

    A function of its arguments alone, so that a run that goes on has nothing to remember."""
    first, skipped = divmod(rollout * wanted, count)
    rounds = range(first, first + (skipped + wanted - 1) // count + 1)
    order = np.concatenate([np.random.default_rng([seed, number]).permutation(count) for number in rounds])
    return order[skipped : skipped + wanted].tolist()


def ask(
    reward: Reward, prompts: Sequence[Any], completions: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> Float[np.ndarray, "batch"]:
    """What each completion earns; raise SettingError unless these are as many finite numbers as completions."""
    said = reward(list(prompts), list(completions), **{name: list(values) for name, values in columns.items()})
    if isinstance(said, str) or not hasattr(said, "__len__") or not hasattr(said, "__getitem__"):
        raise SettingError(f"reward returned {said!r}: {NUMBERS}")
    if len(said) != len(completions):
        raise SettingError(f"reward returned {len(said)} numbers for {len(completions)} completions: {NUMBERS}")
    numbers = [value.item() if hasattr(value, "item") else value for value in said]  # of an array or a tensor
    for place, value in enumerate(numbers):
        if not isinstance(value, Real) or not np.isfinite(value):
            raise SettingError(f"reward[{place}] = {value!r}: {NUMBERS}")
    return np.array(numbers, np.float64)


def _lines(path: Path) -> list[Any]:
    number, entries = 0, []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number += 1
            entries += [json.loads(line) if path.suffix == ".jsonl" else line] if line.strip() else []
    except (OSError, ValueError) as error:
        allowed = "allowed is a file of texts, one a line, or .jsonl with JSON in each, in UTF-8"
        raise SettingError(f"prompts = {str(path)!r}, line {number}: {allowed} ({error})") from None
    return entries


def _prompt(name: str, entry: Any, model: LanguageModel, steps: int) -> Prompt:
    columns = dict(entry) if isinstance(entry, Mapping) else {"prompt": entry}
    text = columns.pop("prompt", None)
    messages = text if isinstance(text, list | tuple) else [None]
    chat = all(isinstance(said, Mapping) and {"role", "content"} <= set(said) for said in messages)
    if not (isinstance(text, str) or chat):
        raise SettingError(f"{name} = {entry!r}: allowed are a text, messages (role, content), or a dict with 'prompt'")
    ids = model.encode(text) if text else ()
    if not ids:
        raise SettingError(f"{name} = {text!r}: allowed are prompts of one token or more")
    if len(ids) > (room := model.context - steps):
        raise SettingError(f"{name} has {len(ids)} tokens: allowed are {room} or fewer, context less steps = {steps}")
    return Prompt(text, tuple(ids), columns)
