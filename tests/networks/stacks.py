"""Stacks of networks and sequences for the tests."""

import dataclasses

import torch

from actde_nb.networks import gpt


def generators(trials, seed=0):
    return [torch.Generator().manual_seed(1000 * seed + trial) for trial in range(trials)]


def stack(config, trials, *, extra=0.0, seed=0, dtype=torch.float32):
    """Fresh parameters, plus normal noise of deviation ``extra`` on all of them so that no bias stays zero."""
    noise = torch.Generator().manual_seed(seed + 77)
    params = gpt.init(config, trials, generators(trials, seed))
    return {
        name: (value + extra * torch.randn(value.shape, generator=noise)).to(dtype).requires_grad_()
        for name, value in params.items()
    }


def readable(config):
    """The same network without compiled code."""
    return dataclasses.replace(config, compiled=False)


def sequences(config, trials, batch, time, seed=0):
    return torch.randint(config.vocabulary, (trials, batch, time), generator=torch.Generator().manual_seed(seed))


def gradients(params, outputs, seed=0):
    """Gradients of all parameters when each output number has a random weight in the loss."""
    generator = torch.Generator().manual_seed(seed)
    loss = sum((part * torch.randn(part.shape, generator=generator).to(part.dtype)).sum() for part in outputs)
    found = torch.autograd.grad(loss, list(params.values()))
    return dict(zip(params, found, strict=True))


def far(a, b):
    """Largest difference relative to the largest number."""
    return ((a - b).abs().max() / b.abs().max()).item()
