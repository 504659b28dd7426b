"""Networks at the end of a stored run: their parameters alone, for pages that want to ask them something."""

import json
from pathlib import Path

from actde_nb.checks import CheckpointError
from actde_nb.experiments.runs import Run, run_of, trainer
from actde_nb.training import checkpoint
from actde_nb.training.files import read_tensors, write_tensors
from actde_nb.training.trainer import Trainer

FORMAT = "actde-nb weights 2"


def write(work: Trainer, run: Run, path: Path) -> None:
    """Keep the parameters of ``work``, a trainer of ``run``."""
    settings = json.dumps(run.settings(), sort_keys=True)
    header = {"format": FORMAT, "settings": settings, "trials": json.dumps(work.trials), "update": str(work.update)}
    write_tensors(path, work.parameters, header)


def from_checkpoint(run: Run, state: Path, path: Path) -> None:
    """Keep the parameters that ``state``, left behind by the training of ``run``, ends with."""
    work = trainer(run)
    checkpoint.load(work, state)
    write(work, run, path)


def read(path: Path) -> Trainer:
    """The run with its networks as they were at the end; its curves are not there, nor the optimiser's memory."""
    tensors, header = read_tensors(path, FORMAT)
    work = trainer(run_of(json.loads(header["settings"])), json.loads(header["trials"]))
    shapes = {name: tuple(value.shape) for name, value in work.parameters.items()}
    if {name: tuple(value.shape) for name, value in tensors.items()} != shapes:
        raise CheckpointError(f"{path} has parameters of other names or shapes than its settings ask for")
    for name, value in tensors.items():
        work.parameters[name].data.copy_(value)
    work.update = int(header["update"])
    return work
