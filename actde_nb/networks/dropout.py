"""Dropout whose coins are functions of where they fall.

A call of the network draws one 32-bit key for each trial from that trial's generator. What is then dropped follows from
the key, the sequence, the position and the place in the network, by a hash. The compiled network can therefore work the
coins out again on its way back, instead of remembering fifty million of them, and both ways drop the same numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb.checks import SettingError

Generators = Sequence[torch.Generator]
Draws = Generators | None  # for dropout, one for each trial; without them nothing is dropped
Weights = Float[Tensor, "trial batch head time keys"]
Stream = Float[Tensor, "trial batch time width"]

WORD = 0xFFFFFFFF
SPREAD = 0x9E3779B9  # 2**32 over the golden ratio: neighbouring numbers get far apart


class Places(NamedTuple):
    """Where in a network of this size coins fall. A token's coins are numbered layer by layer, the embedding's last."""

    layers: int
    heads: int
    width: int
    block_size: int

    def attention(self, layer: int) -> int:
        """Number of the coin for the weight of key 0 in head 0; those of further keys, then heads, follow."""
        return layer * (self.heads * self.block_size + 2 * self.width)

    def attention_out(self, layer: int) -> int:
        """Number of the first of ``width`` coins for what attention adds to the stream."""
        return self.attention(layer) + self.heads * self.block_size

    def mlp_out(self, layer: int) -> int:
        """Number of the first of ``width`` coins for what the perceptron adds."""
        return self.attention_out(layer) + self.width

    @property
    def embedding(self) -> int:
        """Place of the embedding's first number."""
        return self.attention(self.layers)

    @property
    def token(self) -> int:
        """Number of coins of a token."""
        return self.embedding + self.width


def scramble(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """A one-to-one map of 32-bit numbers without visible pattern (lowbias32; Wellons 2018, "Hash Prospector")."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & WORD
    x = (x ^ (x >> 15)) * 0x846CA68B & WORD
    return x ^ (x >> 16)


class Dropout:
    """The coins of one call of the network, for ``batch`` sequences of each trial, by which numbers are dropped."""

    def __init__(self, rate: float, places: Places, generators: Draws, trials: int, batch: int):
        if generators is not None and len(generators) != trials:
            raise SettingError(
                f"dropout_generators has {len(generators)} entries: allowed is one for each of {trials} trials, or None"
            )
        self.places, self.active = places, generators is not None and rate > 0
        self.threshold, self.scale = int(rate * 2**32), 1 / (1 - rate)
        if self.active:
            keys = torch.cat([torch.randint(2**32, (1,), generator=g, device=g.device) for g in generators])
            number = torch.arange(batch, device=keys.device)
            self.keys: Int[Tensor, "trial batch"] = scramble(keys[:, None] + number * SPREAD & WORD)

    def __call__(self, x: Stream, place: int, start: int = 0) -> Stream:
        """``x`` with some numbers zeroed and the others scaled up so that the mean stays.

        Its first token, at position ``start``, has the coins from ``place`` on, a number from ``places``."""
        if not self.active:
            return x
        time, width = (torch.arange(size, device=x.device) for size in x.shape[2:])
        return self._drop(x, (start + time)[:, None] * self.places.token + place + width)

    def attention(self, weights: Weights, layer: int, start: int = 0) -> Weights:
        """The same for a layer's attention weights."""
        if not self.active:
            return weights
        head, time, key = (torch.arange(size, device=weights.device) for size in weights.shape[2:])
        first = (start + time) * self.places.token + self.places.attention(layer)
        return self._drop(weights, first[:, None] + head[:, None, None] * self.places.block_size + key)

    def _drop(
        self, x: Float[Tensor, "trial batch *place"], numbers: Int[Tensor, "*place"]
    ) -> Float[Tensor, "trial batch *place"]:
        keys = self.keys.view(*self.keys.shape, *[1] * numbers.ndim)
        return torch.where(scramble(keys ^ (numbers * SPREAD & WORD)) >= self.threshold, x * self.scale, 0)
