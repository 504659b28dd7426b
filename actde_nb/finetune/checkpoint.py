"""A fine-tuning run's state in one file, and its trained model in a folder; both in safetensors, which runs no code.

What several processes share out is gathered for it, one tensor after another: so one process, or another number of
them, can go on with it, and no format holds pickled objects, as that of torch.distributed.checkpoint does."""

import copy
import json
from pathlib import Path

import torch

from actde_nb.checks import CheckpointError
from actde_nb.finetune import ranks
from actde_nb.finetune.loop import FineTuning
from actde_nb.training.files import read_tensors, write_tensors
from actde_nb.training.trainer import Records

FORMAT = "actde-nb fine-tuning 1"


def save(run: FineTuning, path: Path) -> None:
    """Write what has changed since the run began. Draws need no room: they follow from the number of the rollout."""
    tensors = {f"parameter/{name}": value for name, value in run.parameters.items()}
    for name, parameter in run.parameters.items():
        tensors |= {f"optimiser/{part}/{name}": x for part, x in run.optimiser.state.get(parameter, {}).items()}
    tensors = {name: ranks.whole(value) for name, value in tensors.items()}
    tensors |= {f"record/{name}": torch.from_numpy(run.records.column(name)) for name in run.records.names}
    header = {"format": FORMAT, "identity": run.identity, "update": str(run.update)}
    with ranks.together():
        if ranks.rank() == 0:
            write_tensors(path, tensors | {"price": run.price, "bonus": run.bonus}, header)


def there(path: Path) -> bool:
    """Whether there is such a file; raise CheckpointError if only some of the processes see it."""
    seeing = int(ranks.total(torch.tensor(int(path.exists()))))
    if seeing not in (0, ranks.count()):
        raise CheckpointError(f"{path} is seen by {seeing} of {ranks.count()} processes: allowed are folders all see")
    return bool(seeing)


@torch.no_grad()
def load(run: FineTuning, path: Path) -> None:
    """Put the state in ``path`` into ``run``, which must be the same run, made anew."""
    tensors, header = read_tensors(path, FORMAT)
    if header["identity"] != run.identity:
        both = json.loads(header["identity"]), json.loads(run.identity)
        pairs = zip(("settings", "model", "prompts"), *both, strict=True)
        other = [name for name, had, has in pairs if had != has]
        raise CheckpointError(f"{path} belongs to another run: it has other {' and '.join(other)}")
    for name, parameter in run.parameters.items():
        parameter.copy_(ranks.share(tensors[f"parameter/{name}"], parameter))
        if f"optimiser/step/{name}" in tensors:  # a parameter that no loss has reached has no memory
            stored = {part: tensors[f"optimiser/{part}/{name}"] for part in ("step", "exp_avg", "exp_avg_sq")}
            run.optimiser.state[parameter] = {part: ranks.share(value, parameter) for part, value in stored.items()}
    run.price, run.bonus = (tensors[name].to(run.price.device) for name in ("price", "bonus"))
    run.update = int(header["update"])
    names = [name for name in tensors if name.startswith("record/")]
    run.records = Records({name.removeprefix("record/"): tensors[name].numpy() for name in sorted(names)})


def save_pretrained(run: FineTuning, folder: Path, merged: bool = False) -> None:
    """Write network and tokenizer so that transformers loads them without this package: of adapters these alone, or,
    ``merged``, the network with them added to its weights; and the critic beside them. Of several processes all must
    ask for it, and the first writes."""
    module, critic = run.model.plain(), {name: ranks.whole(x) for name, x in run.critic.state_dict().items()}
    with ranks.together():
        if ranks.rank() == 0:
            adapted = merged and hasattr(module, "merge_and_unload")
            (copy.deepcopy(module).merge_and_unload() if adapted else module).save_pretrained(folder)
            run.model.tokenizer.save_pretrained(folder)
            write_tensors(folder / "critic.safetensors", critic, {"format": "actde-nb critic 1"})
