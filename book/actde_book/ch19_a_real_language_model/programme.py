"""The runs behind the chapter: rows of the table of algorithms on one pretrained model, some with one thing changed.

``python -m actde_book.ch19_a_real_language_model.programme`` does those that are missing, or goes on with them; several
processes share the work. Each takes about three minutes of one core."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
import xarray as xr

from actde_nb import paths
from actde_nb.checks import BookError, SettingError
from actde_nb.experiments import results
from actde_nb.experiments.pretrained_runs import FOLDER
from actde_nb.finetune import smollm2
from actde_nb.finetune.loop import FineTuning
from actde_nb.finetune.mood import MoodAndHoneypot, honeypots
from actde_nb.finetune.run import finetune
from actde_nb.finetune.settings import Settings
from actde_nb.training.files import replace_file, reserved

PROMPT = "The movie was"
EVERY = 5  # rollouts between those whose completions are kept
#: The one of RATES with the highest score on a seed that no other run has, as a mean over the rollouts of PPO and RLOO.
RATE = 1e-3
RATES, TRIED = (1e-4, 3e-4, 1e-3), 100
USUAL = Settings(
    row="ppo", learns="last:2", updates=120, batch=32, steps=12, learning_rate=RATE, whiten=True, checkpoint_every=20
)
#: As in Part III: where the regression is on advantages, where q comes in, and where groups are compared.
RAW = {"whiten": False}
#: With a reference of its own in the loss.
ANCHORED = {**RAW, "kl_in_reward": 0.0}
HONEYPOTS = {"uncapped": MoodAndHoneypot(), "capped": MoodAndHoneypot(cap=1), "none": MoodAndHoneypot(bonus=0.0)}

#: Settings of the rows that were run, but for what is usual.
ROWS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "rloo": {"row": "rloo", **RAW},
    "gaa": {"row": "gaa"},
    "actde_return": {"row": "actde_return", "updates": 160, **RAW},
    "apa_10": {"row": "apa", "beta": 0.1, **ANCHORED},
    "ppo_free": {"kl_in_reward": 0.0},
    "rloo_free": {"row": "rloo", **ANCHORED},
    "ppo_20": {"kl_in_reward": 0.2},
    "ppo_50": {"kl_in_reward": 0.5},
    "ppo_loss_10": {"kl_in_reward": 0.0, "kl_in_loss": 0.1},
    "ppo_loss_30": {"kl_in_reward": 0.0, "kl_in_loss": 0.3},
    "ppo_raw": RAW,
    "grpo": {"row": "grpo", "kl_in_loss": 0.04, "kl_estimator": "k3", **ANCHORED},
    "awr": {"row": "awr", "beta": 0.1, **ANCHORED},
    "apa_50": {"row": "apa", "beta": 0.5, **ANCHORED},
    "gaa_code": {"row": "gaa_code"},
    "actde_0": {"row": "actde", "gae_lambda": 0.0, **RAW},
    "actde_95": {"row": "actde", "gae_lambda": 0.95, **RAW},
}  # fmt: skip
MAIN = tuple(ROWS)[:5]
SEEDS, FEWER = 5, 3  # of the main rows where every "so" pays, and of whatever else
#: The row that had not come to rest when its run was over, and the updates of a longer one.
RESTLESS, LONGER = "ppo_loss_30", 280


@dataclass(frozen=True)
class Planned:
    """One run of the programme."""

    name: str  # of the row, or of the row and the learning rate tried
    honeypot: str
    settings: Settings = field(repr=False)

    @property
    def path(self) -> Path:
        """Where its results are."""
        return FOLDER / f"{self.name}_{self.honeypot}_{self.settings.seed}.nc"


def planned(seeds: int = SEEDS) -> Iterator[Planned]:
    """All runs in the order in which they are done: learning rates first, a seed of every row after another, at lower
    rates the row that a KL penalty holds and the main rows, and longer the row that had not come to rest."""
    for rate in RATES:
        for row in ("ppo", "rloo"):
            yield _at(row, rate, "tried", updates=80, seed=TRIED)
    for seed in range(seeds):
        for name in ROWS if seed < FEWER else MAIN:
            yield Planned(name, "uncapped", replace(USUAL, **ROWS[name], seed=seed))
        for name in MAIN if seed < FEWER else ():
            for honeypot in ("capped", "none"):
                yield Planned(name, honeypot, replace(USUAL, **ROWS[name], seed=seed))
    for seed in range(min(seeds, FEWER)):
        for rate in RATES[:2]:
            yield _at("ppo_50", rate, seed=seed)
    for seed in range(min(seeds, FEWER)):
        for name in MAIN:
            yield _at(name, RATES[1], seed=seed)
    for seed in range(min(seeds, FEWER)):
        settings = replace(USUAL, **{**ROWS[RESTLESS], "updates": LONGER, "seed": seed})
        yield Planned(f"{RESTLESS}_longer", "uncapped", settings)


def _at(row: str, rate: float, why: str = "at", **changed: int) -> Planned:
    settings = replace(USUAL, **{**ROWS[row], "learning_rate": rate, **changed})
    return Planned(f"{row}_{why}_{rate:g}", "uncapped", settings)


def train(run: Planned) -> None:
    """Do a run, or what is left of it, and keep its results; nothing if they are there."""
    model = smollm2.where()
    if model is None:
        raise SettingError("model = None: allowed is the one that actde-nb model fetches")
    state = paths.BUILD / "smollm2" / run.path.stem
    reward, told = HONEYPOTS[run.honeypot], state / "told.json"
    with reserved(run.path):
        if run.path.exists():
            return
        said: list[list[str]] = json.loads(told.read_text(encoding="utf-8")) if told.exists() else []

        def report(work: FineTuning) -> None:
            rollout = len(work.records) - 1
            del said[rollout:]  # after an interruption those that its checkpoint had not seen come again
            said.append(work.examples)
            replace_file(told, json.dumps(said).encode())

        work = finetune(model, [PROMPT], reward, run.settings, resume=state, report=report)
        results.write(dataset(work, run, said), run.path)


def dataset(work: FineTuning, run: Planned, said: list[list[str]]) -> xr.Dataset:
    """All numbers of a run, ``record`` [trial, rollout, quantity]; of each completion ``mood`` and number of
    ``honeypots`` [trial, rollout, completion]; and of some rollouts the completions [trial, shown, completion]."""
    names = sorted(work.records.names)
    record = np.stack([work.records.column(name) for name in names], -1)  # [rollout, trial, quantity]
    shown = sorted({*range(0, len(said), EVERY), len(said) - 1})
    flat = [text for texts in said for text in texts]
    shape = 1, len(said), -1
    axes = ("trial", "rollout", "completion")
    variables = {
        "record": (("trial", "rollout", "quantity"), record.swapaxes(0, 1).astype(np.float32)),
        "mood": (axes, MoodAndHoneypot().moods(flat).astype(np.float32).reshape(shape)),
        "honeypots": (axes, honeypots(flat).astype(np.float32).reshape(shape)),
        "different": (axes[:2], np.array([[len(set(texts)) / len(texts) for texts in said]], np.float32)),
        "completions": (("trial", "shown", "completion"), np.array([[said[at] for at in shown]])),
    }
    coordinates = {"trial": [run.settings.seed], "quantity": names, "shown": shown}
    data = xr.Dataset(variables, coordinates)
    reward = {"honeypot": run.honeypot, **asdict(HONEYPOTS[run.honeypot])}
    model = f"{smollm2.PACKAGE} {smollm2.VERSION}"
    settings = {"settings": asdict(run.settings), "reward": reward, "model": model, "prompt": PROMPT}
    data.attrs = {"format": results.FORMAT, "settings": json.dumps(settings, sort_keys=True)}
    # From the records, which an interruption does not shorten.
    tokens = work.records.column("length") * run.settings.batch
    seconds = float((tokens / work.records.column("tokens_per_second")).sum())
    data.attrs |= results.provenance("cpu", seconds, work.update)
    data.attrs["sha256"] = results.digest(data)
    return data


def main(only: tuple[str, ...] = (), seeds: int = SEEDS) -> None:
    """Do the runs that are missing.

    Args:
        only: names of rows; all by default.
        seeds: seeds of the main rows; others have three at most."""
    torch.set_num_threads(1)
    for run in planned(seeds):
        if only and run.name not in only:
            continue
        print(run, flush=True)
        try:
            train(run)
        except BookError as error:  # another process has it
            print(error, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
