"""A run's whole state in one file, from which it continues as if nothing had happened.

The file is in the safetensors format, so that reading it runs no code; what is not a tensor is JSON in its header.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from actde_nb.checks import CheckpointError
from actde_nb.training.files import replace_file
from actde_nb.training.records import Records
from actde_nb.training.trainer import Trainer

FORMAT = "actde-nb checkpoint 1"


def save(trainer: Trainer, path: Path) -> None:
    """Write ``trainer``'s state to ``path``. A kill at any moment leaves the old file or the new one, whole."""
    tensors = {f"parameter/{name}": value.detach() for name, value in trainer.parameters.items()}
    for index, state in trainer.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": value for name, value in state.items() if torch.is_tensor(value)}
    tensors["last"] = trainer.last
    tensors["price"] = trainer.price
    tensors["draws/play"] = torch.stack([draw.get_state() for draw in trainer.play_draws])
    tensors["draws/dropout"] = torch.stack([draw.get_state() for draw in trainer.dropout_draws])
    tensors |= {f"record/{name}": torch.from_numpy(trainer.records.column(name)) for name in trainer.records.names}
    columns = trainer.evaluations
    tensors |= {f"evaluation/{name}": torch.from_numpy(columns.column(name)) for name in columns.names}
    header = {
        "format": FORMAT,
        "identity": trainer.identity(),
        "update": str(trainer.update),
        "seconds": json.dumps(trainer.seconds),
    }
    # A copy of each tensor: some of them are views of one another, which the format refuses.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    replace_file(path, lambda temporary: save_file(tensors, temporary, header))


def load(trainer: Trainer, path: Path) -> None:
    """Put the state in ``path`` into ``trainer``, which must have been made for the same run.

    Raises:
        CheckpointError: not a checkpoint, a damaged one, or one of another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from None
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {header.get('format')!r}: allowed is {FORMAT!r}")
    if header["identity"] != trainer.identity():
        raise CheckpointError(
            f"{path} belongs to another run:\n  it has  {header['identity']}\n  this is {trainer.identity()}"
        )

    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    with torch.no_grad():
        for name, value in under("parameter/").items():
            trainer.parameters[name].copy_(value)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in under("optimiser/").items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": state, "param_groups": groups})
    trainer.last = tensors["last"].to(trainer.config.device)
    trainer.price = tensors.get("price", trainer.price).to(trainer.config.device)  # older files have none
    for draws, states in ((trainer.play_draws, "draws/play"), (trainer.dropout_draws, "draws/dropout")):
        for draw, saved in zip(draws, tensors[states], strict=True):
            draw.set_state(saved.clone())  # it reads from the start of the storage
    trainer.update = int(header["update"])
    trainer.seconds = json.loads(header["seconds"])
    trainer.records = Records({name: value.numpy() for name, value in under("record/").items()})
    trainer.evaluations = Records({name: value.numpy() for name, value in under("evaluation/").items()})
