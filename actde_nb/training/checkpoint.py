"""A run's whole state in one file, from which it continues as if nothing had happened."""

import json
from pathlib import Path

import torch

from actde_nb.checks import CheckpointError
from actde_nb.training.files import read_tensors, write_tensors
from actde_nb.training.trainer import Records, Trainer

FORMAT = "actde-nb checkpoint 2"
ADAM = ("step", "exp_avg", "exp_avg_sq")  # what it remembers of each parameter


def save(trainer: Trainer, path: Path) -> None:
    """Write ``trainer``'s state to ``path``. A kill at any moment leaves the old file or the new one, whole."""
    tensors = {f"parameter/{name}": value for name, value in trainer.parameters.items()}
    for index, state in trainer.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": value for name, value in state.items() if torch.is_tensor(value)}
    tensors |= {"last": trainer.last, "price": trainer.price, "bonus": trainer.bonus}
    for name, draws in _draws(trainer).items():
        tensors[name] = torch.stack([draw.get_state() for draw in draws])
    for kind, rows in (("record", trainer.records), ("evaluation", trainer.evaluations)):
        tensors |= {f"{kind}/{name}": torch.from_numpy(rows.column(name)) for name in rows.names}
    header = {"format": FORMAT, "identity": trainer.identity(), "update": str(trainer.update)}
    write_tensors(path, tensors, {**header, "seconds": json.dumps(trainer.seconds)})


def load(trainer: Trainer, path: Path) -> None:
    """Put the state in ``path`` into ``trainer``, which must have been made for the same run and not have begun."""
    tensors, header = read_tensors(path, FORMAT)
    if header["identity"] != trainer.identity():
        both = f"  it has  {header['identity']}\n  this is {trainer.identity()}"
        raise CheckpointError(f"{path} belongs to another run:\n{both}")

    def take(name: str) -> torch.Tensor:
        try:
            return tensors.pop(name)
        except KeyError:
            raise CheckpointError(f"{path} is incomplete: it has no {name}") from None

    update = int(header["update"])
    numbers = {id(p): k for k, p in enumerate(p for g in trainer.optimiser.param_groups for p in g["params"])}
    memory: dict[int, dict[str, torch.Tensor]] = {}
    with torch.no_grad():
        for name, parameter in trainer.parameters.items():
            value, number = take(f"parameter/{name}"), numbers[id(parameter)]
            moved = not torch.equal(value, parameter.cpu())
            parameter.copy_(value)
            # What Adam has moved it remembers; what no loss has reached yet it has no memory of.
            if trainer.config.optimiser == "adamw" and (moved or f"optimiser/{number}/step" in tensors):
                memory[number] = {part: take(f"optimiser/{number}/{part}") for part in ADAM}
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": memory, "param_groups": groups})
    trainer.last = take("last").to(trainer.config.device)
    trainer.price = take("price").to(trainer.config.device)
    trainer.bonus = take("bonus").to(trainer.config.device)
    for name, draws in _draws(trainer).items():
        for draw, state in zip(draws, take(name), strict=True):
            draw.set_state(state.clone())  # it reads from the start of the storage
    trainer.update, trainer.seconds = update, json.loads(header["seconds"])
    for kind in ("record", "evaluation"):
        names = sorted(name for name in tensors if name.startswith(f"{kind}/"))
        rows = Records({name.removeprefix(f"{kind}/"): take(name).numpy() for name in names})
        setattr(trainer, f"{kind}s", rows)
    if len(trainer.records) * trainer.config.updates_per_rollout != update:
        raise CheckpointError(f"{path} is incomplete: it has {len(trainer.records)} records of {update} updates")
    if tensors:
        raise CheckpointError(f"{path} has what no run has: {', '.join(sorted(tensors))}")


def _draws(trainer: Trainer) -> dict[str, list[torch.Generator]]:
    return {"draws/play": trainer.play_draws, "draws/dropout": trainer.dropout_draws}
