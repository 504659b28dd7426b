"""Policies on the sentences of a tree, for tests."""

from jaxtyping import Float
from torch import Tensor

from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.worlds.tree import Tree


def of_sentences(tree: Tree, log_probs: Float[Tensor, "trial sentence"]) -> TreePolicy:
    """The policies with these log-probabilities of whole sentences."""
    below = tree.log_up(log_probs, log_probs.new_zeros(len(log_probs), len(tree)))
    return TreePolicy(tree, below - below[..., tree.parent], log_probs.new_zeros(len(log_probs)))


def path(tree: Tree, node: int) -> list[int]:
    """The nodes from the root to ``node``, both among them."""
    return [*path(tree, int(tree.parent[node])), node] if node else [0]
