"""A table as a policy: what the loop must do with it can be worked out by hand."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb.networks.gpt import Outputs, Params
from actde_nb.networks.policies import Generators, Needed
from actde_nb.networks.sampling import GreedyTokens, Sampled
from actde_nb.worlds.tree import Tree


@dataclass(frozen=True)
class Table:
    """One row of logits, one v and one row of q for each last token; float64, and zero to begin with.

    This is part one's policy behind the same interface: with it the loop is the tabular simulation,
    in batches.
    """

    vocabulary: int = 2

    def init(self, generators: Generators) -> Params:
        """Fresh parameters, each trial's from its own generator."""
        trials, n = len(generators), self.vocabulary
        shapes = {"logits": (trials, n, n), "values": (trials, n), "q": (trials, n, n)}
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to this parameter."""
        return True

    def forward(
        self,
        params: Params,
        tokens: Int[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        needed: Needed = None,
    ) -> Outputs:
        """Logits, v and q after every token."""
        trial = torch.arange(len(tokens), device=tokens.device)[:, None, None]
        return Outputs(*(params[name][trial, tokens] for name in ("logits", "values", "q")))

    @torch.no_grad()
    def sample(
        self,
        params: Params,
        first: Int[Tensor, "trial batch *prompt"],
        uniforms: Float[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        temperature: float = 1.0,
    ) -> Sampled:
        """Play on from ``first``, one move for each uniform draw."""
        tokens = list(first.unbind(-1)) if first.ndim == 3 else [first]
        for uniform in uniforms.unbind(-1):
            chances = (self.forward(params, tokens[-1][..., None]).logits[..., 0, :] / temperature).softmax(-1)
            tokens.append((uniform[..., None] >= chances.cumsum(-1)[..., :-1]).sum(-1))
        tokens = torch.stack(tokens, -1)
        steps = uniforms.shape[-1]
        said = Outputs(*(array[:, :, -steps - 1 :] for array in self.forward(params, tokens)))
        log_probs = said.logits[..., :-1, :].log_softmax(-1).gather(-1, tokens[..., -steps:, None])[..., 0]
        return Sampled(tokens, log_probs, said.values, said.q[..., :-1, :])

    def greedy_tokens(self, params: Params, tokens: Int[Tensor, "trial batch time"], last: int) -> GreedyTokens:
        """The token that each of the last places makes likeliest, and what v would be after it."""
        log_policy = self.forward(params, tokens[..., -last:]).logits.log_softmax(-1)
        log_probs, chosen = log_policy.max(-1)
        return GreedyTokens(chosen, log_probs, self.forward(params, chosen).values)

    def over_tree(self, params: Params, tree: Tree) -> Outputs:
        """What it says at the inner nodes of a tree."""
        nodes = tree.token[tree.inner].expand(len(params["values"]), -1)
        return self.forward(params, nodes[..., None])
