"""Reading no place of a batch twice, and none that nobody asks about.

Sentences begin with the same prompt, and most end before the longest does. What the network does place by place, it
therefore does for a *pack*: of each trial the common beginning once, then the places that are needed. Attention, which
looks across places, gets them spread out again."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

LANES = 16  # a softmax over a multiple of so many numbers takes a third of the time that one over two fewer takes


@dataclass(frozen=True)
class Packing:
    """Where each row of the pack comes from, and where each place finds its row.

    Sequences are padded to a multiple of :data:`LANES` places. Those that are padding or not needed find some row or
    other; no needed place may look at them."""

    source: Int[Tensor, "trial row"]  # of each trial's rows, the place among that trial's places
    row: Int[Tensor, "trial place"]  # of each trial's places, the row
    time: int  # places of a sequence, with padding

    @classmethod
    def of(cls, tokens: Int[Tensor, "trial batch time"], needed: Bool[Tensor, "trial batch time"]) -> "Packing":
        """The smallest pack of sequences whose outputs matter at ``needed``, with each place all earlier ones."""
        common = int((tokens == tokens[:, :1]).all(1).all(0).cumprod(0).sum())
        read = needed.clone()
        read[:, :, :common] = False
        read[:, 0, :common] = True
        read = pad(read, (0, -tokens.shape[2] % LANES))  # [S, B, T]
        row = torch.where(read, read.flatten(1).cumsum(1).view(read.shape) - 1, 0)
        row[..., :common] = torch.arange(common, device=tokens.device)
        read = read.flatten(1)
        count = read.sum(1, keepdim=True)
        source = read.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]
        # Trials with fewer places of their own fill up with their first.
        source = source.where(torch.arange(source.shape[1], device=tokens.device) < count, 0)
        return cls(source, row.flatten(1), row.shape[2])

    @property
    def position(self) -> Int[Tensor, "trial row"]:
        """Place of each row in its sequence."""
        return self.source % self.time

    def tokens(self, tokens: Int[Tensor, "trial batch time"]) -> Int[Tensor, "trial row"]:
        """The token of each row."""
        return pad(tokens, (0, self.time - tokens.shape[2])).flatten(1).gather(1, self.source)

    def pack(self, x: Float[Tensor, "trial batch padded width"]) -> Float[Tensor, "trial 1 row width"]:
        """The rows of what is spread out."""
        return select(x.flatten(1, 2), self.source)[:, None]

    def spread(self, x: Shaped[Tensor, "trial 1 row width"]) -> Shaped[Tensor, "trial batch padded width"]:
        """Each place's row."""
        return select(x.squeeze(1), self.row).unflatten(1, (-1, self.time))


def select(
    table: Shaped[Tensor, "trial entry width"], index: Int[Tensor, "trial *place"]
) -> Shaped[Tensor, "trial *place width"]:
    """Entries of each trial's own table."""
    trials, entries, width = table.shape
    first = entries * torch.arange(trials, device=index.device).view(-1, *[1] * (index.ndim - 1))
    return table.reshape(-1, width).index_select(0, (index + first).flatten()).view(*index.shape, width)
