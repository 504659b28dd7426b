"""What a method costs, counted instead of timed: operations do not depend on who else uses the machine."""

import dataclasses
from pathlib import Path

from torch.utils.flop_counter import FlopCounterMode

from actde_nb.experiments.language_runs import LanguageRun, policy_of, world_of
from actde_nb.training.config import Config
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.language import Language


def operations(run: LanguageRun, world: Language | None = None, folder: Path | None = None) -> float:
    """Floating-point operations that a run's first rollout and the updates from it take, for each of its sentences.

    Matrix products are counted, as is usual; evaluations are not. Runs with the same seed and number of sentences begin
    with the same ones, so that their costs differ by what is done with them alone.

    Args:
        run: the method, the network and the number of sentences; one trial is counted.
        world: the language, if there is one at hand.
        folder: of pretrained networks, if not the usual one.
    """
    world = world or world_of(run)
    config = Config(**{field.name: getattr(run, field.name) for field in dataclasses.fields(Config)})
    work = Trainer(world, policy_of(run, world, folder), config, trials=[0])
    with FlopCounterMode(display=False) as counter:
        work.step()
    return counter.get_total_flops() / run.batch
