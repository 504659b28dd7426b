"""What a method costs, counted instead of timed: operations do not depend on who else uses the machine."""

from torch.utils.flop_counter import FlopCounterMode

from actde_nb.experiments.runs import Run
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.language import Language


def operations(run: Run, world: Language | None = None) -> float:
    """Floating-point operations that a run's first rollout and the updates from it take, for each of its sentences.

    Matrix products are counted, as is usual; evaluations are not. Runs with the same seed and number of sentences begin
    with the same ones, so that their costs differ by what is done with them alone.

    Args:
        run: the method, the network and the number of sentences; one trial is counted.
        world: the language, if there is one at hand."""
    world = run.world.make(run.config.seed) if world is None else world
    work = Trainer(world, run.network.policy(world), run.config, trials=[0])
    with FlopCounterMode(display=False) as counter:
        work.step()
    return counter.get_total_flops() / run.config.batch
