"""The compiled network as PyTorch functions: threads, memory, and the gradient's place in autograd."""

import math
import mmap
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from actde_nb.networks.dropout import Dropout
from actde_nb.networks.fast import kernels
from actde_nb.networks.fast.kernels import LANES, Coins, Scratch, Trace, Weights

DOWN = Weights._fields.index("down")  # the weight that the kernels want transposed


class Network(torch.autograd.Function):
    """``(tokens, dropout, detach, *parameters) -> logits, values, q``; parameters in the order of ``Weights``."""

    @staticmethod
    def forward(ctx, tokens, dropout, detach, *parameters):
        """Run the network and keep what the way back needs."""
        weights, vocabulary = as_arrays(parameters), parameters[0].shape[1]
        said = [torch.empty(*tokens.shape, *axes) for axes in ([vocabulary], [], [vocabulary])]
        trace = Lease(kernels.trace_shapes(groups(tokens), weights, tokens.shape[2]))
        ctx.trace, ctx.coins, ctx.detach = trace, coins(dropout, tokens.shape[1]), detach
        tokens = tokens.long().contiguous()
        run(
            kernels.forward, groups(tokens), weights, tokens.numpy(), ctx.coins, Trace(*trace.arrays),
            *(part.numpy() for part in said),
        )  # fmt: skip
        ctx.save_for_backward(tokens, *parameters)
        return tuple(said)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *upstream):
        """Gradients of the parameters; none for tokens, dropout and switch."""
        tokens, *parameters = ctx.saved_tensors
        weights = as_arrays(parameters)
        scratch = Lease(kernels.scratch_shapes(torch.get_num_threads(), weights, tokens.shape[2]))
        grads = Weights(*(np.zeros((groups(tokens), *weight.shape[1:]), np.float32) for weight in weights))
        run(
            kernels.backward, groups(tokens), weights, tokens.numpy(), ctx.coins, Trace(*ctx.trace.arrays),
            *(gradient.contiguous().numpy() for gradient in upstream), ctx.detach, Scratch(*scratch.arrays), grads,
        )  # fmt: skip
        totals = [torch.from_numpy(grad.reshape(len(tokens), -1, *grad.shape[1:]).sum(1)) for grad in grads]
        totals[DOWN] = totals[DOWN].mT
        return None, None, None, *totals


@torch.no_grad()
def sample(
    first: Tensor, uniforms: Tensor, temperature: float, dropout: Dropout, parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Tokens, log-probabilities, values and q, as the door's function."""
    weights, (trials, batch, steps) = as_arrays(parameters), uniforms.shape
    tokens = torch.cat([first.long()[..., None], first.new_zeros(uniforms.shape, dtype=torch.long)], -1)
    log_probs, values = torch.empty(trials, batch, steps), torch.empty(trials, batch, steps + 1)
    q = torch.empty(trials, batch, steps, parameters[0].shape[1])
    trace = Lease(kernels.trace_shapes(torch.get_num_threads(), weights, steps + 1))
    run(
        kernels.sample, groups(tokens), weights, tokens.numpy(), uniforms.float().contiguous().numpy(),
        np.float32(temperature), coins(dropout, batch), Trace(*trace.arrays),
        log_probs.numpy(), values.numpy(), q.numpy(),
    )  # fmt: skip
    return tokens, log_probs, values, q


def coins(dropout: Dropout, batch: int) -> Coins | None:
    """What the kernels need to work out the coins of each group; lanes without a sequence have some key too."""
    if not dropout.active:
        return None
    keys = torch.nn.functional.pad(dropout.keys, (0, -batch % LANES)).view(-1, LANES)
    return Coins(keys.numpy().astype(np.uint32), np.uint32(dropout.threshold), np.float32(dropout.scale))


def as_arrays(parameters) -> Weights:
    """The parameters' memory as the kernels want it."""
    tensors = [parameter.detach() for parameter in parameters]
    tensors[DOWN] = tensors[DOWN].mT
    return Weights(*(tensor.contiguous().numpy() for tensor in tensors))


def groups(tokens: Tensor) -> int:
    """Number of groups of sequences, which never span trials."""
    trials, batch = tokens.shape[:2]
    return trials * -(-batch // LANES)


def allocate(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Uninitialised float32 arrays, in pages of two megabytes where the system has them.

    With ordinary pages, finding each page costs the backward pass a fifth of its time."""
    sizes = [math.prod(shape) for shape in shapes]  # multiples of LANES, so that every vector lies in one cache line
    # Private, so that a forked process writes to a copy: ``mmap`` shares what it is not told to keep apart.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    memory = mmap.mmap(-1, 4 * sum(sizes), **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without such pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    parts = np.split(np.frombuffer(memory, np.float32), np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


#: What calls leave to later ones: arrays by their shapes. It has no lock, which a fork might find held: each step below
#: is one operation of a dict or a list, and these are atomic.
idle: dict[tuple, list[list[np.ndarray]]] = defaultdict(list)


class Lease:
    """Arrays of the given shapes whose memory serves again once the lease is gone.

    A trace of the published run is 60 megabytes; fresh memory of that size costs as much as the forward pass."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]):
        self.shapes, self.idle = tuple(shapes), idle  # at exit the module's names go first
        try:
            self.arrays = idle[self.shapes].pop()
        except IndexError:
            self.arrays = allocate(self.shapes)

    def __del__(self):
        if len(self.idle) > 8:  # kinds; a trainer needs three
            self.idle.clear()
        self.idle[self.shapes].append(self.arrays)


def run(kernel: Callable, count: int, *arguments) -> None:
    """Call ``kernel(group, slot, *arguments)`` for each of ``count`` groups; every thread has a slot of its own."""
    remaining = iter(range(count))  # taking the next number is atomic
    workers = min(torch.get_num_threads(), count)

    def work(slot: int) -> None:
        for group in remaining:
            kernel(group, slot, *arguments)

    with ThreadPoolExecutor(workers) as threads:  # which begins no thread before there is work for it
        others = [threads.submit(work, slot) for slot in range(1, workers)]
        work(0)
    for other in others:
        other.result()
