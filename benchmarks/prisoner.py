"""Speed of the prisoner's dilemma training beside the published way: one trial at a time, no cache, loops over time.

Run with ``python benchmarks/prisoner.py``. Both ways are measured in turns, in one run; the unit is trial-updates
(gradient updates times trials) a second. Sampling is included: four updates come with one rollout.
"""

import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "training"))

from published_loop import Player, PublishedLoop

from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.policies import Network
from actde_nb.training.config import Config
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.prisoner import PrisonersDilemma

TRIALS, WANTED, REPEATS = 10, 40, 3


def fast(trials: int = TRIALS, games: int = 100, algorithm: str = "actde") -> Trainer:
    """A run that has done one rollout, so that whatever is compiled is."""
    network = GPTConfig(block_size=max(128, games + 1))
    trainer = Trainer(PrisonersDilemma(), Network(network), Config(algorithm=algorithm, trials=trials, steps=games))
    trainer.step()
    trainer.seconds.clear()
    return trainer


def rate(trainer: Trainer, seconds: float = 4.0) -> float:
    """Trial-updates a second over about so long."""
    start, before = time.perf_counter(), trainer.update
    while (passed := time.perf_counter() - start) < seconds:
        trainer.step()
    return (trainer.update - before) * len(trainer.trials) / passed


def published_rate(loop: PublishedLoop, rollouts: int = 1) -> float:
    """The same for the published way."""
    start = time.perf_counter()
    for _ in range(rollouts):
        loop.rollout(torch.randint(2, (64,)), torch.rand(64, 100))
    return 4 * rollouts / (time.perf_counter() - start)


def memory() -> float:
    """Most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {memory():.0f} MiB after imports")
    loop, trainer = PublishedLoop(Player(), PrisonersDilemma().payoffs.tolist()), fast()
    published_rate(loop)
    turns = [(published_rate(loop), rate(trainer)) for _ in range(REPEATS)]
    # The fastest of a few turns is the one least disturbed.
    slow, quick = (max(column) for column in zip(*turns, strict=True))
    verdict = "" if quick >= WANTED else f", wanted {WANTED}"
    print(f"{'published way, one trial':32}{slow:8.2f} trial-updates a second")
    print(f"{f'{TRIALS} trials as one stack':32}{quick:8.1f} trial-updates a second, {quick / slow:.0f} times{verdict}")
    total = sum(trainer.seconds.values())
    for stage, seconds in sorted(trainer.seconds.items(), key=lambda item: -item[1]):
        print(f"    {stage:28}{seconds / total:8.1%}")
    print(f"{'peak memory':32}{memory():8.0f} MiB")
    for trials in (1, 10, 40):
        print(f"{f'{trials} trials, 100 games':32}{rate(fast(trials)):8.1f} trial-updates a second")
    for games in (25, 50, 200):
        print(f"{f'{TRIALS} trials, {games} games':32}{rate(fast(games=games)):8.1f} trial-updates a second")
    print(f"{'peak memory':32}{memory():8.0f} MiB")


if __name__ == "__main__":
    main()
