"""A policy on the sentence tree, read out at a temperature."""

import torch

from actde_nb.exact.policy_on_tree import TreePolicy


def tempered(policy: TreePolicy, temperature: float) -> TreePolicy:
    """The policy read out at a temperature, as far as it stays inside: log-probabilities of words, divided by it.

    Each word's probability is raised to the power 1 / temperature and normalised among the words of the language that
    may come at its node. (A network read out at a temperature changes its leak too, which is not counted here.)
    """
    tree, scaled = policy.tree, policy.edges / temperature
    normaliser = tree.log_sum_children(scaled[..., 1:], slice(1, len(tree)), slice(0, len(tree)))
    edges = (scaled - normaliser[..., tree.parent]).index_fill(-1, torch.tensor([0]), 0)
    return TreePolicy(tree, edges, torch.zeros_like(policy.leak))
