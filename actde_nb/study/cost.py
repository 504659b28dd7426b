"""What a method costs, counted instead of timed: operations do not depend on who else uses the machine."""

import dataclasses
import tempfile
from pathlib import Path

from torch.utils.flop_counter import FlopCounterMode

from actde_nb.learning.config import Config
from actde_nb.learning.train import Trainer
from actde_nb.study.language_runs import LanguageRun, policy_of, world_of
from actde_nb.worlds.language import Language


def operations(run: LanguageRun, world: Language | None = None, sequences: int = 8) -> float:
    """Floating-point operations that training takes for one sentence: to say it, and for its share in the updates.

    Matrix products are counted, as is usual; evaluations are not. What is said makes no difference, so that a network
    is asked which was hardly pretrained.

    Args:
        run: the method and the size of the network; ``sequences``, ``updates_per_rollout`` and ``minibatches`` decide
            how often a sentence is learned from.
        world: the language, if there is one at hand.
        sequences: in the rollout that is counted.

    Raises:
        SettingError: a number of sequences that cannot be dealt into groups or minibatches.
    """
    small = dataclasses.replace(
        run, trials=1, sequences=sequences, pretraining=1, updates=2 * run.updates_per_rollout, evaluate_every=0
    )
    world = world or world_of(small)
    config = Config(**{field.name: getattr(small, field.name) for field in dataclasses.fields(Config)})
    with tempfile.TemporaryDirectory() as folder:
        work = Trainer(world, policy_of(small, world, Path(folder)), config)
    work.step()  # the first rollout may set things up
    with FlopCounterMode(display=False) as counter:
        work.step()
    return counter.get_total_flops() / sequences
