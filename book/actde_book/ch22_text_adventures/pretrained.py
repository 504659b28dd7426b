"""The recorded game, played by the book's pretrained model: commands are free text, and learn by rows of the table.

``python -m actde_book.ch22_text_adventures.pretrained`` does the runs that are missing, or goes on with them; several
processes share the work. How the game is played and learned from, :mod:`.free_text` says. The fine for an inadmissible
command is that of the published code's reward that goes unused there.

All else but the learning rate was chosen before anything was run: what learns as in chapter 19, and a KL coefficient in
the reward of 0.1, twice the usual one of :class:`~actde_nb.finetune.settings.Settings`. The learning rate of chapter 19
came first, for twenty rollouts, in which nothing was learned; then a tenth of it, for forty, with the same seeds. A
rollout takes some eight seconds of one core."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
import xarray as xr

from actde_book.ch22_text_adventures.free_text import DISCOUNT, Writer, prompt
from actde_nb import paths
from actde_nb.checks import BookError, SettingError
from actde_nb.experiments import results
from actde_nb.finetune import checkpoint, models, smollm2
from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.run import STATE
from actde_nb.finetune.settings import Settings
from actde_nb.training.files import replace_file, reserved
from actde_nb.worlds.adventure import Adventure

FOLDER = paths.RESULTS / "adventures"
TOLD, SHOWN = "told.json", ("score", "wins", "admissible", "different", "kl", "entropy")
EVERY = 5  # rollouts between those whose commands are kept
AGENTS = 8  # games in a rollout
WORLD = Adventure("either", fine=0.5)
USUAL = Settings(
    row="ppo", learns="last:2", updates=160, batch=AGENTS * WORLD.turns, micro_batch=AGENTS * WORLD.turns // 2, steps=6,
    learning_rate=1e-4, kl_in_reward=0.1, checkpoint_every=20,
)  # fmt: skip
ROWS, SEEDS = {"ppo": {"whiten": True}, "actde_return": {"row": "actde_return"}}, 2
FAST = {"learning_rate": 1e-3, "updates": 80}


@dataclass(frozen=True)
class Planned:
    """One run of the programme."""

    name: str  # of the row, or of the row and "fast"
    settings: Settings = field(repr=False)

    @property
    def path(self) -> Path:
        """Where its results are."""
        return FOLDER / f"pretrained_{self.name}_{self.settings.seed}.nc"

    @property
    def state(self) -> Path:
        """Folder of what is needed to go on with it."""
        return paths.BUILD / "adventures" / self.path.stem


def planned() -> Iterator[Planned]:
    """All runs in the order in which they are done."""
    for seed in range(SEEDS):
        for row, changed in ROWS.items():
            yield Planned(f"{row}_fast", replace(USUAL, **changed, **FAST, seed=seed))
    for seed in range(SEEDS):
        for row, changed in ROWS.items():
            yield Planned(row, replace(USUAL, **changed, seed=seed))


def begin(model: LanguageModel, world: Adventure, settings: Settings, state: Path) -> tuple[Writer, list[Any]]:
    """A run as the folder ``state`` has it, or a new one; with the agents, states and commands of its turns so far."""
    work = Writer(model, world, settings)
    if not (state / STATE).exists():
        return work, []
    checkpoint.load(work, state / STATE)
    # After an interruption those that the checkpoint has not seen come again.
    return work, json.loads((state / TOLD).read_text(encoding="utf-8"))[: len(work.records)]


def learn(work: Writer, said: list[Any], state: Path, updates: int) -> None:
    """Go on until so many updates are done, and keep what is needed to go on from there."""
    while work.update < updates:
        work.step()
        said.append([[given.agents.tolist(), given.states.tolist(), given.said] for given in work.game])
        if work.due:
            replace_file(state / TOLD, json.dumps(said).encode())
            checkpoint.save(work, state / STATE)
        shown = {name: round(work.records[-1][name].item(), 3) for name in SHOWN}
        print(work.settings.row, work.settings.seed, len(work.records), shown, flush=True)


def train(run: Planned) -> None:
    """Do a run, or what is left of it, and keep its results; nothing if they are there."""
    if (model := smollm2.where()) is None:
        raise SettingError("model = None: allowed is the one that actde-nb model fetches")
    with reserved(run.path):
        if not run.path.exists():
            with models.no_bars():
                loaded = models.load(model, run.settings.learns, seed=run.settings.seed)
            work, said = begin(loaded, WORLD, run.settings, run.state)
            learn(work, said, run.state, run.settings.updates)
            results.write(dataset(work, said), run.path)


def dataset(work: Writer, said: Sequence[Any]) -> xr.Dataset:
    """All numbers of a run, ``record`` [trial, rollout, quantity]; and of some rollouts what was said in which state,
    ``commands`` and ``states`` [trial, shown, turn, agent], empty and -1 after a game's end."""
    names = sorted(work.records.names)
    record = np.stack([work.records.column(name) for name in names], -1)  # [rollout, trial, quantity]
    shown = sorted({*range(0, len(said), EVERY), len(said) - 1})
    shape = 1, len(shown), work.world.turns, work.settings.batch // work.world.turns
    states, commands = np.full(shape, -1), np.full(shape, "", dtype=object)
    for place, rollout in enumerate(shown):
        for turn, (agents, there, texts_said) in enumerate(said[rollout]):
            states[0, place, turn, agents], commands[0, place, turn, agents] = there, texts_said
    axes = ("trial", "shown", "turn", "agent")
    variables = {
        "record": (("trial", "rollout", "quantity"), record.swapaxes(0, 1).astype(np.float32)),
        "states": (axes, states.astype(np.int16)),
        "commands": (axes, commands.astype(str)),
    }
    data = xr.Dataset(variables, {"trial": [work.settings.seed], "quantity": names, "shown": shown})
    model = f"{smollm2.PACKAGE} {smollm2.VERSION}"
    told = {"settings": asdict(work.settings), "world": repr(work.world), "discount": DISCOUNT, "model": model}
    told["prompt"] = prompt(work.world, 0)
    data.attrs = {"format": results.FORMAT, "settings": json.dumps(told, sort_keys=True)}
    # From the records, which an interruption does not shorten.
    tokens = work.records.column("length") * work.records.column("commands") * shape[-1]
    seconds = float((tokens / work.records.column("tokens_per_second")).sum())
    data.attrs |= results.provenance("cpu", seconds, work.update)
    data.attrs["sha256"] = results.digest(data)
    return data


def main(only: tuple[str, ...] = ()) -> None:
    """Do the runs that are missing.

    Args:
        only: names of runs; all by default."""
    torch.set_num_threads(1)
    for run in planned():
        if only and run.name not in only:
            continue
        print(run, run.settings.seed, flush=True)
        try:
            train(run)
        except BookError as error:  # another process has it
            print(error, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
