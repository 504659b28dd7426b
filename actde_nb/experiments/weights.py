"""Networks at the end of a stored run: their parameters alone, for pages that want to ask them something.

The file is in the safetensors format, so that reading it runs no code.
"""

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from actde_nb.checks import ResultsError
from actde_nb.experiments.results import renamed
from actde_nb.experiments.runs import Run, run_of, trainer
from actde_nb.training.checkpoint import load
from actde_nb.training.files import replace_file
from actde_nb.training.trainer import Trainer

FORMAT = "actde-nb weights 1"


def write(work: Trainer, run: Run, path: Path) -> None:
    """Keep the parameters of ``work``, a trainer of ``run``."""
    settings = json.dumps(dataclasses.asdict(run), sort_keys=True)
    tensors = {name: value.detach().cpu().clone() for name, value in work.parameters.items()}
    header = {"format": FORMAT, "settings": settings, "trials": json.dumps(work.trials), "update": str(work.update)}
    replace_file(path, lambda temporary: save_file(tensors, temporary, header))


def from_checkpoint(run: Run, checkpoint: Path, path: Path) -> None:
    """Keep the parameters that ``checkpoint``, left behind by the training of ``run``, ends with.

    Raises:
        CheckpointError: another run's, or damaged.
    """
    work = trainer(run)
    load(work, checkpoint)
    write(work, run, path)


def read(path: Path) -> Trainer:
    """The run with its networks as they were at the end; its curves are not there, nor the optimiser's memory.

    Raises:
        ResultsError: there is no such file, it is damaged, or it is not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ResultsError(f"{path} cannot be read as weights: {error}") from None
    if header.get("format") != FORMAT:
        raise ResultsError(f"{path} has format {header.get('format')!r}: allowed is {FORMAT!r}")
    work = trainer(run_of(renamed(json.loads(header["settings"]))), json.loads(header["trials"]))
    shapes = {name: tuple(value.shape) for name, value in work.parameters.items()}
    if {name: tuple(value.shape) for name, value in tensors.items()} != shapes:
        raise ResultsError(f"{path} has parameters of other names or shapes than its settings ask for")
    for name, value in tensors.items():
        work.parameters[name].data.copy_(value)
    work.update = int(header["update"])
    return work
