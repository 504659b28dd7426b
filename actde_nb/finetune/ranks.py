"""Several processes as one, each with its rows of a rollout: ``torchrun`` starts them, PyTorch's DDP or FSDP2 joins
them. No other file imports torch.distributed. What a function here is asked on one rank must be asked on all of them,
or they wait for each other; of one process alone, each gives back what it got. Tested on CPUs, over gloo; what it does
on several GPUs, over NCCL, is written as PyTorch's documentation has it, and has not been run."""

import atexit
import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from actde_nb.checks import Mendable, SettingError
from actde_nb.training.trainer import check_device

WRAPPERS = ("ddp", "fsdp")


def join(device: str) -> str:
    """Meet the processes that torchrun started beside this one, if any; returns the device of this one."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        return device
    graphics = check_device(device).startswith("cuda")
    if graphics:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(check_device(device))
    dist.init_process_group("cpu:gloo,cuda:nccl" if graphics else "gloo")
    atexit.register(dist.destroy_process_group)
    return device


def rank() -> int:
    """This process's number; 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own(rows: int) -> slice:
    """This process's rows, of so many on all, which are dealt evenly and in order."""
    return slice(rank() * rows // count(), (rank() + 1) * rows // count())


def total(numbers: Tensor) -> Tensor:
    """The sum over all processes, entry by entry."""
    if count() > 1:
        numbers = numbers.clone()
        dist.all_reduce(numbers)
    return numbers


def gathered(rows: Shaped[Tensor, "own ..."]) -> Shaped[Tensor, "all ..."]:
    """The rows of all processes, which have equally many, in order."""
    if count() == 1:
        return rows
    theirs = [torch.empty_like(rows) for _ in range(count())]
    dist.all_gather(theirs, rows.contiguous())
    return torch.cat(theirs)


@contextmanager
def together() -> Iterator[None]:
    """What one process fails at ends all, rather than that the others wait for it; no rank may meet another inside."""
    failed, error = torch.zeros(count()), None
    try:
        yield
    except Exception as caught:
        failed[rank()], error = 1, caught
    failed = total(failed)
    if error is not None:
        raise error
    if failed.any():
        raise Mendable(f"rank {failed.argmax().item()} stopped, and so does rank {rank()}: its message says why")


def check_alike(identity: str) -> None:
    """Raise SettingError unless all processes are about the same thing."""
    mine = torch.tensor([list(sha256(identity.encode()).digest())])
    if (gathered(mine) != mine).any():
        raise SettingError(
            f"{count()} ranks have different runs: allowed are the same model, prompts and settings on all"
        )


def outline(module: nn.Module) -> nn.Module:
    """A copy without numbers in its parameters, which takes no room."""
    hollow = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in module.parameters()}
    return copy.deepcopy(module, hollow)


def filled(empty: nn.Module, module: nn.Module) -> nn.Module:
    """The outline with the numbers of a module that is sharded."""
    whole_once = {}  # what is tied must be one tensor again
    state = {name: whole_once.setdefault(id(x), whole(x)) for name, x in module.state_dict(keep_vars=True).items()}
    empty.load_state_dict(state, assign=True)
    return empty


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, if this process holds but its share."""
    return tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor


def share(value: Tensor, like: Tensor) -> Tensor:
    """Of a whole tensor, what this process holds of ``like``, if that is sharded; where ``like`` is."""
    value = value.to(like.device)
    if not isinstance(like, DTensor) or value.shape != like.shape:  # such as an optimiser's count of steps
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def shard(module: nn.Module, blocks: Sequence[nn.Module] = (), methods: Sequence[str] = ()) -> None:
    """Deal a module's parameters out to all processes (FSDP2), to be gathered block by block; what is in no block, such
    as embeddings and a head that may be tied to them, is one group. ``methods`` read parameters without forward."""
    mesh = dist.init_device_mesh(next(module.parameters()).device.type, (count(),))
    for part in (*blocks, module):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    for name in methods:
        register_fsdp_forward_method(module, name)


@contextmanager
def kept_whole(module: nn.Module) -> Iterator[None]:
    """Leave a sharded module gathered once it has been read, so that processes need not go on in step."""
    shards = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in shards:
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in shards:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


@contextmanager
def standing_in(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """Return ``values`` for a functional call; if they are sharded, none, and for a while they are the parameters' own,
    since FSDP looks at no others."""
    if not any(isinstance(value, DTensor) for value in values.values()):
        yield values
        return
    kept = {name: parameters[name].detach().clone() for name in values}
    try:
        _copy(values, parameters)
        yield {}
    finally:
        _copy(kept, parameters)


def _copy(values: Mapping[str, Tensor], to: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        to[name].detach().copy_(value)


class Replicated(nn.Module):
    """What DDP wraps: all that learns, up to the loss, so that it sees what the loss reaches and what not."""

    def __init__(self, parts: Sequence[nn.Module], loss: Callable[..., Any]):
        super().__init__()
        self.parts, self.forward = nn.ModuleList(parts), loss


def averaged(parts: Sequence[nn.Module], loss: Callable[..., Any]) -> Callable[..., Any]:
    """``loss`` so that gradients of it are averaged over all processes; FSDP sees to that by itself."""
    if count() == 1 or any(isinstance(part, FSDPModule) for part in parts):
        return loss
    return DistributedDataParallel(Replicated(parts, loss), find_unused_parameters=True)


@contextmanager
def more_to_come(loss: Callable[..., Any], more: bool) -> Iterator[None]:
    """Let DDP average the gradients of several calls once, after the last."""
    with loss.no_sync() if more and isinstance(loss, DistributedDataParallel) else nullcontext():
        yield
