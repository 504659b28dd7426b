"""What the rows ask of a critic: v of a history, and q of each next token."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

States = Float[Tensor, "batch time width"]
Steps = Float[Tensor, "batch time"]


class Critic(nn.Module):
    """A small network of its own on the language model's last hidden states, which its losses leave alone.

    With h the hidden layer of a state s, v(s) = w.h and q(s, a) = v(s) + c.h + (U h).E[a]: a value head, an offset, and
    a direction in the space of the output embeddings E as they were before training. So a q for each of a hundred
    thousand tokens takes as many numbers as an embedding has, and tokens that are alike have like q. In q, v is a
    constant: each loss moves its own head, and both move the hidden layer. All three heads are zero to begin with."""

    def __init__(self, embeddings: Float[Tensor, "vocabulary width"], hidden: int, draws: torch.Generator):
        """``hidden`` is the hidden layer's width, 0 for heads on the states themselves; ``draws`` is on the CPU."""
        super().__init__()
        width, kind = embeddings.shape[1], torch.promote_types(embeddings.dtype, torch.float32)
        self.embeddings = embeddings  # no parameter and no buffer: it belongs to the language model
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU()) if hidden else nn.Identity()
        self.value, self.offset = nn.Linear(hidden or width, 1), nn.Linear(hidden or width, 1)
        self.direction = nn.Linear(hidden or width, width, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            if hidden:
                self.hidden[0].weight.normal_(0, width**-0.5, generator=draws)
        self.to(embeddings.device, kind)

    def forward(self, states: States, actions: Int[Tensor, "batch time"]) -> tuple[Steps, Steps]:
        """v of each state, and q of the action taken there; no gradient reaches the states."""
        h = self._hidden(states)
        values, direction = self.value(h).sum(-1), self.direction(h)  # of one entry; a view would make FSDP warn
        along = (direction * self.embeddings[actions].to(direction.dtype)).sum(-1)
        return values, values.detach() + self.offset(h).squeeze(-1) + along

    def all_actions(self, states: States) -> Float[Tensor, "batch time vocabulary"]:
        """q of every action."""
        h = self._hidden(states)
        return self.value(h).detach() + self.offset(h) + self.direction(h) @ self.embeddings.to(h.dtype).mT

    def _hidden(self, states: States) -> Float[Tensor, "batch time hidden"]:
        return self.hidden(states.detach().to(self.value.weight.dtype))
