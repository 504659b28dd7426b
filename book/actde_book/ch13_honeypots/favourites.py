"""The likeliest next word of a policy: how sure it is, and whether it is the best one."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact.policy_on_tree import TreePolicy

ALMOST = 1e-9  # in value: as good as the best


class Favourites(NamedTuple):
    """Means over the positions that a policy comes to, as often as it does, where there is a choice: probability of the
    likeliest word (``sure``), and share where no word has a higher value (``best``)."""

    sure: Float[Tensor, "trial"]
    best: Float[Tensor, "trial"]


def favourites(policy: TreePolicy, reward: Float[Tensor, "sentence"]) -> Favourites:
    """What is known exactly of the likeliest words. Of several that are equally likely, the best counts."""
    tree = policy.tree
    parents, chances = tree.parent[1:], policy.edges[..., 1:].exp()
    advantages = policy.advantages(reward)[..., 1:]
    likeliest = _most(chances, parents, len(tree))
    first = chances >= likeliest[..., parents]
    lead = _most(advantages.masked_fill(~first, -torch.inf), parents, len(tree))
    ahead = lead >= _most(advantages, parents, len(tree)) - ALMOST
    children = torch.zeros(len(tree), dtype=torch.long).index_add_(0, parents, torch.ones_like(parents))
    chosen = torch.where(children > 1, policy.beginnings.exp(), 0.0)
    weights = chosen / chosen.sum(-1, keepdim=True)
    means = (torch.where(weights > 0, weights * x, 0.0).sum(-1) for x in (likeliest, ahead.double()))
    return Favourites(*means)


def _most(values: Float[Tensor, "trial child"], parents: torch.Tensor, nodes: int) -> Float[Tensor, "trial node"]:
    """The largest among each node's children; minus infinity where there are none."""
    none = values.new_full((len(values), nodes), -torch.inf)
    return none.scatter_reduce(-1, parents.expand(values.shape), values, "amax")
