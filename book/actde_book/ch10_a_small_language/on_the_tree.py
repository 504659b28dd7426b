"""A policy on the sentence tree: read out at a temperature, and the way through the tree to one sentence."""

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from actde_nb.exact.policy_on_tree import TreePolicy, condition_on_language
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.tree import Tree


def tempered(policy: TreePolicy, temperature: float) -> TreePolicy:
    """The policy read out at a temperature: probabilities of words to the power 1 / temperature, normalised at each
    node. (A network read out at a temperature changes its leak too, which is not counted here.)"""
    tree, scaled = policy.tree, policy.edges / temperature
    normaliser = tree.log_sum_children(scaled[..., 1:], slice(1, len(tree)), slice(0, len(tree)))
    edges = (scaled - normaliser[..., tree.parent]).index_fill(-1, torch.tensor([0]), 0)
    return TreePolicy(tree, edges, torch.zeros_like(policy.leak))


def sentence_path(tree: Tree, grammar: Grammar, text: str) -> Int[Tensor, "depth"]:
    """Nodes from the prompt to the end of a sentence of the tree."""
    tokens = grammar.encode(text)
    tokens = pad(tokens, (0, tree.sentences.shape[1] - len(tokens)))
    nodes = [int(tree.leaves[(tree.sentences == tokens).all(1)])]
    while nodes[-1]:
        nodes.append(int(tree.parent[nodes[-1]]))
    return torch.tensor(nodes[::-1])


def of_grammar(tree: Tree, grammar: Grammar) -> TreePolicy:
    """The grammar itself, as a stack of one."""
    return condition_on_language(tree, grammar.chances[tree.state[tree.parent], tree.token].log()[None])
