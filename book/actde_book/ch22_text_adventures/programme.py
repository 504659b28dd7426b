"""The runs of networks behind the chapter, ten trials each, at two learning rates.

``python -m actde_book.ch22_text_adventures.programme`` does those that are missing, or goes on with them; several
processes share the work. Each takes half a minute to two minutes of one core, all of them some two hours."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import tyro
import xarray as xr
from tqdm import tqdm

from actde_book.ch22_text_adventures.games import GameTrainer, GameWorld, Play
from actde_book.ch22_text_adventures.network import player
from actde_nb import paths
from actde_nb.checks import BookError
from actde_nb.experiments import results
from actde_nb.training import checkpoint
from actde_nb.training.config import Config
from actde_nb.training.files import reserved
from actde_nb.worlds.adventure import Adventure

FOLDER = paths.RESULTS / "adventures"
RATES = {"low": 1e-4, "high": 3e-4}
FINAL_UPDATES = 32  # of which a results file has means

#: Sixteen games of twelve commands, learned from in quarters, with the trace carried on.
OURS = {"minibatches": 4}
#: Sixteen games of eight commands, learned from eight at a time, with the trace cut: the shape of the published code.
THEIRS = {"minibatches": 16, "turns": 8, "carried": False}
#: The score as it was paid in November 2022, and the discount and example turns of all its versions.
NOVEMBER = {**THEIRS, "fine": 0.5, "coin_points": 1.0, "discount": 0.6, "example_turns": 0.33}
FAULTS = {"last_only": True, "zero_bootstrap": True}
#: What may keep a policy to words that mean something.
HOLDS = {"none": {}, "fine": {"fine": 0.5}, "kl": {"kl_in_reward": 0.1}}
RETURN = {**OURS, "algorithm": "actde_return"}


def arms() -> dict[str, dict[str, Any]]:
    """Settings of each arm but for what is usual, most important first."""
    found: dict[str, dict[str, Any]] = {
        "ppo_0": OURS,
        "ppo_30": {**OURS, "kl_in_reward": 0.3},
        "return_0": RETURN,
        "return_fast_0": {**RETURN, "head_rate": 30.0},
        "actde_095": {**OURS, "algorithm": "actde"},
        "ppo_10": {**OURS, "kl_in_reward": 0.1},
        "return_10": {**RETURN, "kl_in_reward": 0.1},
        "return_fast_10": {**RETURN, "head_rate": 30.0, "kl_in_reward": 0.1},
        "ppo_fast_0": {**OURS, "head_rate": 30.0},
        "actde_000": {**OURS, "algorithm": "actde", "gae_lambda": 0.0},
        "actde_095_10": {**OURS, "algorithm": "actde", "kl_in_reward": 0.1},
    }
    rewards = {"sparse": {}, "dense": {"coin_points": 1.0}}
    traces, rows = {"cut": {}, "carried": {"carried": True}}, {"all": {}, "last": {"last_only": True}}
    for names in product(rewards, traces, HOLDS, rows):
        reward, trace, hold, row = (of[name] for of, name in zip((rewards, traces, HOLDS, rows), names, strict=True))
        found["_".join(("published", *names))] = {**THEIRS, **reward, **trace, **hold, **row}
    found |= {
        "november": {**NOVEMBER, **FAULTS},
        "november_last": {**NOVEMBER, "last_only": True},
        "november_bootstrap": {**NOVEMBER, "zero_bootstrap": True},
        "november_repaired": NOVEMBER,
        "november_carried": {**NOVEMBER, "carried": True},
        "november_actde": {**NOVEMBER, "algorithm": "actde"},
        "letters": {**THEIRS, **FAULTS, "reward": "letters", "discount": 0.6, "example_turns": 0.33},
        "letters_repaired": {**THEIRS, "reward": "letters", "discount": 0.6, "example_turns": 0.33},
    }
    for discount in (0.9, 0.6):  # above and below the boundary .8
        box = {"game": "eitherhack", "turns": 16, "discount": discount}
        found |= {
            f"box_ppo_{discount * 100:.0f}": {**OURS, **box},
            f"box_ppo_30_{discount * 100:.0f}": {**OURS, **box, "kl_in_reward": 0.3},
            f"box_return_10_{discount * 100:.0f}": {**RETURN, **box, "kl_in_reward": 0.1},
        }
    coins = {"game": "coins", "turns": 16}
    found |= {
        "coins_ppo_0": {**OURS, **coins},
        "coins_ppo_30": {**OURS, **coins, "kl_in_reward": 0.3},
        "coins_return_10": {**RETURN, **coins, "kl_in_reward": 0.1},
    }
    # Added when the others had been seen, to ask what makes them fall: steps that shrink with the gradients.
    found |= {
        "return_epsilon_0": {**RETURN, "epsilon": 1e-3},
        "actde_095_epsilon": {**OURS, "algorithm": "actde", "epsilon": 1e-3},
        "ppo_epsilon_0": {**OURS, "epsilon": 1e-3},
    }
    return found


@dataclass(frozen=True)
class Planned:
    """One run of the programme: how the game is paid and played, and how the network learns."""

    name: str
    world: Adventure = field(repr=False)
    play: Play = field(repr=False)
    config: Config = field(repr=False)

    @property
    def path(self) -> Path:
        """Where its results are."""
        return FOLDER / f"{self.name}.nc"

    def trainer(self, trials: tuple[int, ...] | None = None) -> GameTrainer:
        """The run at its start, of some of its trials (all by default)."""
        return GameTrainer(GameWorld(self.world, self.play), player(self.world, paths.PRETRAINED), self.config, trials)


def planned(name: str, rate: str, updates: int = 384, trials: int = 10) -> Planned:
    """An arm at one of :data:`RATES`."""
    settings = dict(arms()[name])
    of_world, of_play = (
        {key: settings.pop(key) for key in tuple(settings) if key in kind.__dataclass_fields__ and key != "algorithm"}
        for kind in (Adventure, Play)
    )
    world, play, parts = Adventure(**of_world), Play(**of_play), settings.pop("minibatches")
    usual = Config(
        algorithm="ppo", trials=trials, updates=updates, batch=play.agents * play.turns, steps=world.words,
        discount=1.0, minibatches=parts, updates_per_rollout=parts, learning_rate=RATES[rate],
        weight_decay=0.0, value_coefficient=1.0, evaluate_every=32, checkpoint_every=96,
    )  # fmt: skip
    return Planned(f"{name}_{rate}", world, play, replace(usual, **settings))


def all_planned() -> Iterator[Planned]:
    """All runs in the order in which they are done."""
    for name in arms():
        for rate in RATES:
            yield planned(name, rate)


def train(run: Planned, path: Path, *, progress: bool = True) -> None:
    """Do a run, or what is left of it, and keep its results in ``path``; nothing if they are there."""
    state = paths.BUILD / "adventures" / f"{path.stem}.safetensors"
    with reserved(path, state):
        if path.exists():
            return
        work = run.trainer()
        if state.exists():
            checkpoint.load(work, state)
        bar = tqdm(
            total=run.config.updates, initial=work.update, unit=" updates", desc=run.name, disable=not progress,
            file=sys.stdout, mininterval=5, dynamic_ncols=True,
        )  # fmt: skip

        def report(work: GameTrainer) -> None:
            bar.set_postfix({"wins": f"{work.evaluations[-1]['exact_wins'].mean():.2f}"}, refresh=False)
            bar.update(run.config.updates_per_rollout)

        with bar:
            work.run(save=lambda work: checkpoint.save(work, state), report=report)
        results.write(dataset(work, run), path)


def dataset(work: GameTrainer, run: Planned) -> xr.Dataset:
    """What a run has found: its curves, its exact numbers, and what it says most often after each different prompt."""
    texts, shares = work.said()
    settings = {"config": asdict(run.config), "play": asdict(run.play), "world": asdict(run.world)}
    more = {"said": (("trial", "prompt"), texts), "said_share": (("trial", "prompt"), shares)}
    return results.dataset(work, json.loads(json.dumps(settings)), final_updates=FINAL_UPDATES, more=more)


def main(only: tuple[str, ...] = ()) -> None:
    """Do the runs that are missing.

    Args:
        only: names of arms; all by default."""
    torch.set_num_threads(1)
    for run in all_planned():
        if only and run.name.rsplit("_", 1)[0] not in only:
            continue
        try:
            train(run, run.path)
        except BookError as error:  # another process has it
            print(error, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
