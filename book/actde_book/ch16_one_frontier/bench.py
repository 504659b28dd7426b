"""The bench: every method of ``bench.yml`` with 20 trials, at the learning rate that is best for it on other seeds, and
the rows of the page's conclusion on three other grammars.

``python -m actde_book.ch16_one_frontier.bench`` does what is missing, or goes on with it; several processes share the
work. Tuning comes first: each row at each of :data:`RATES`, in all as many updates of as many trials as the row has on
the bench. Its runs are kept with what is built, and what they came to in ``tuned.yml``. The page shows what is there.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
import yaml

from actde_book.ch16_one_frontier import verdicts
from actde_nb import paths
from actde_nb.checks import BookError, Diverged
from actde_nb.experiments import results
from actde_nb.experiments.programme import programme
from actde_nb.experiments.runs import LanguageWorld, Run, state_beside, train
from actde_nb.training.files import replace_file
from actde_nb.worlds.wedding import GRAMMARS

LISTED, TUNED = (Path(__file__).with_name(name) for name in ("bench.yml", "tuned.yml"))
SCRATCH, RESULTS = paths.BUILD / "bench", paths.RESULTS
GROUND = "ground/{}.nc"  # by grammar, what is known before training; no run
RATES = (1e-4, 3e-4, 1e-3, 3e-3)  # the book's is the second
TUNING = {"trials": 5, "seed": 3, "evaluate_every": 400}
BENCH = {"seed": 2, "evaluate_every": 100}
TRIALS = {grammar: 20 if grammar == "wedding" else 10 for grammar in GRAMMARS}
LIKE = {"ppo_hp_100": "ppo_hp_060"}  # rows that take another's rate
WINDOW = 5  # rollouts to a point of a stored curve
PAUSE = 30  # seconds, while other processes have all that is left


class Task(NamedTuple):
    """A run, where it is made, and where the results are kept if they are to stay."""

    run: Run
    path: Path
    kept: Path | None = None

    @property
    def diverged(self) -> Path:
        """A file that says where a run that cannot be finished stopped."""
        return self.path.with_suffix(".diverged")

    @property
    def over(self) -> bool:
        return (self.kept or self.path).exists() or self.diverged.exists()


def rows() -> dict[str, Run]:
    """All rows of the bench."""
    return programme(LISTED).runs


def prices() -> dict[str, float]:
    """By row, what a nat costs when the row is judged; zero where nothing does."""
    listed = programme(LISTED).groups
    found = {
        name: run.config.kl_in_reward or run.config.kl_in_loss or run.network.temperature or run.config.beta
        for name, run in rows().items()
    }
    return found | dict.fromkeys(listed["free"], 0.0)


def changed(run: Run, grammar: str = "wedding", **settings: float) -> Run:
    """The run on a grammar, with other settings of the loop."""
    return replace(run, world=replace(run.world, grammar=grammar), config=replace(run.config, **settings))


def tuning() -> dict[tuple[str, float], Task]:
    """By row and learning rate."""
    return {
        (name, rate): Task(changed(run, **TUNING, learning_rate=rate), SCRATCH / f"tuning_{name}_{rate:.0e}.nc")
        for name, run in rows().items()
        for rate in RATES
        if name not in LIKE
    }


def tuned() -> dict[str, dict[float, dict[str, list[float]] | None]]:
    """What tuning came to: by row and rate each trial's reward and nats over all texts, and entropy; None of a rate at
    which the numbers ran away."""
    return yaml.safe_load(TUNED.read_text(encoding="utf-8"))


def best_rates() -> dict[str, float]:
    """By row the rate with the highest mean worth, reward less price times nats."""
    price, found = prices(), {}
    for name, by_rate in tuned().items():
        worth = {
            rate: np.mean(np.subtract(ends["reward"], np.multiply(price[name], ends["nats"])))
            for rate, ends in by_rate.items()
            if ends is not None
        }
        found[name] = max(worth, key=worth.get)
    return found | {name: found[other] for name, other in LIKE.items()}


def bench(grammar: str = "wedding") -> dict[str, Task]:
    """By row; on the other grammars the rows that the verdicts ask for."""
    rates, wanted, found = best_rates(), verdicts.rows(), {}
    for name, run in rows().items():
        if grammar == "wedding" or name in wanted:
            file = f"bench_{grammar}_{name}.nc"
            whole = changed(run, grammar, **BENCH, trials=TRIALS[grammar], learning_rate=rates[name])
            found[name] = Task(whole, SCRATCH / file, RESULTS / file)
    return found


def stored(grammar: str = "wedding") -> dict[str, xr.Dataset]:
    """Results of the rows that have been made."""
    there = {name: RESULTS / f"bench_{grammar}_{name}.nc" for name in rows()}
    return {name: results.read(path) for name, path in there.items() if path.exists()}


def thin(data: xr.Dataset) -> xr.Dataset:
    """Without words and sentences, and of the curves those that a recomputation looks at, in longer windows."""
    aside = [n for n in data.data_vars if str(n).startswith(("word_", "likeliest_"))]
    aside += [n for n in data.data_vars if "update" in data[n].dims and n not in LanguageWorld.repeated]
    kept = data.drop_vars(aside).coarsen(update=WINDOW).mean(keep_attrs=True)
    kept.attrs = data.attrs | {"window": WINDOW * data.attrs["window"]}
    kept.attrs["sha256"] = results.digest(kept)
    return kept


def attempt(task: Task) -> bool:
    """Do what is left of a run, and whether it is over now: another process may have it."""
    if task.over:
        return True
    try:
        train(task.run, task.path)
    except Diverged as error:
        replace_file(task.diverged, str(error).encode())
        return True
    except BookError as error:
        print(error, flush=True)
        return False
    state_beside(task.path).unlink(missing_ok=True)
    if task.kept:
        results.write(thin(results.read(task.path)), task.kept)
    return True


def conclude(tasks: Mapping[tuple[str, float], Task]) -> None:
    """Keep what tuning came to."""
    found: dict[str, dict[float, dict[str, list[float]] | None]] = {}
    for (name, rate), task in tasks.items():
        ends = verdicts.ends(results.read(task.path)) if task.path.exists() else None
        found.setdefault(name, {})[rate] = ends and {k: v.round(5).tolist() for k, v in ends.items()}
    told = "# Written by bench.py: each trial's end by row and learning rate, on seeds that the bench does not use.\n"
    replace_file(TUNED, (told + yaml.safe_dump(found, default_flow_style=None, width=120)).encode())


def missing() -> list[Task]:
    """What is to be done next."""
    if not TUNED.exists():
        if left := [task for task in tuning().values() if not task.over]:
            return left
        conclude(tuning())
    return [task for grammar in GRAMMARS for task in bench(grammar).values() if not task.over]


def ground(grammar: str) -> verdicts.Ground:
    """What is known of a grammar before training, as it is stored."""
    return verdicts.Ground.read(RESULTS / GROUND.format(grammar))


def main() -> None:
    """Do what is missing."""
    torch.set_num_threads(1)
    while left := missing():
        if sum(map(attempt, left)) == 0:
            time.sleep(PAUSE)
    for grammar in GRAMMARS:
        if not (path := RESULTS / GROUND.format(grammar)).exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            results.write(verdicts.Ground.of(grammar).dataset(), path)


if __name__ == "__main__":
    main()
