"""The way through the tree to one sentence."""

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.tree import Tree


def sentence_path(tree: Tree, grammar: Grammar, text: str) -> Int[Tensor, "depth"]:
    """Nodes from the prompt to the end of a sentence of the tree."""
    tokens = grammar.encode(text)
    tokens = pad(tokens, (0, tree.sentences.shape[1] - len(tokens)))
    nodes = [int(tree.leaves[(tree.sentences == tokens).all(1)])]
    while nodes[-1]:
        nodes.append(int(tree.parent[nodes[-1]]))
    return torch.tensor(nodes[::-1])
