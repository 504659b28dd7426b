"""The compiled twin of the network: what :mod:`actde_nb.networks.gpt` says, its gradient and its draws, only faster.

PyTorch spends most of its time on moving so few numbers about. One core, ten networks, 64 sequences of 101 tokens,
PyTorch 2.13 (``benchmarks/policy.py``): a forward and a backward pass take 0.09 s of processor time here and 1.6 s
there, 18 times as much, and with dropout 0.11 s and 5.1 s, 45 times; sampling takes a 20th, with dropout a 40th.

It serves what the dilemma is trained with: float32 on the processor, twelve numbers a token in three heads. Its two
functions are the only way in: nothing outside this folder imports anything else of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from actde_nb.networks.dropout import Dropout

WIDTH, HEADS = 12, 3  # of the published network


def network(tokens: Tensor, dropout: Dropout, detach: bool, parameters: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
    """Logits, values and q after every token, differentiable in the parameters; None for networks it does not serve.

    ``parameters`` are in the order of :func:`actde_nb.networks.gpt.shapes`; ``detach`` ends the gradients of values and
    q at their heads."""
    return _front().Network.apply(tokens, dropout, detach, *parameters) if _serves(dropout, parameters) else None


def sample(
    first: Tensor, uniforms: Tensor, temperature: float, dropout: Dropout, parameters: Sequence[Tensor]
) -> tuple[Tensor, ...] | None:
    """The fields of :class:`actde_nb.networks.sampling.Sampled`, after token 0 of each sequence; None as above."""
    return _front().sample(first, uniforms, temperature, dropout, parameters) if _serves(dropout, parameters) else None


def _serves(dropout: Dropout, parameters: Sequence[Tensor]) -> bool:
    plain = all(parameter.dtype == torch.float32 and parameter.device.type == "cpu" for parameter in parameters)
    return plain and (dropout.places.width, dropout.places.heads) == (WIDTH, HEADS)


def _front():
    # Imported at the first use: Numba takes a good half second to import, and most of the package does without it.
    from actde_nb.networks.fast import front

    return front
