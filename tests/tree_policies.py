"""Policies on the sentences of a tree, for tests: of three sentences, and of the language of the book."""

import torch
from actde_book.ch10_a_small_language.on_the_tree import of_grammar
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.rewards import FORMULAS, Scorer
from actde_nb.worlds.tree import Tree, grow
from actde_nb.worlds.wedding import wedding

# After "a": "." half the time, or "b" and then "." or "a ." evenly: sentences of chances 1/2, 1/4, 1/4.
TOY = Grammar(
    (".", "a", "b"),
    {
        START: {"a": (1.0, "after")},
        "after": {".": (0.5, END), "b": (0.5, "more")},
        "more": {".": (0.5, END), "a": (0.5, "stop")},
        "stop": {".": (1.0, END)},
    },
    longest=4,
)
TREE = grow(TOY, "a")
POLICY = of_grammar(TREE, TOY)
#: Nodes: the root, ".", "b", "b .", "b a", "b a .". Values: 1, 1, 1, 0, 2, 2.
REWARD = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)

GRAMMAR = wedding()
SENTENCES = grow(GRAMMAR, "We had a")
INITIAL = of_grammar(SENTENCES, GRAMMAR)
SCORER = Scorer.of(GRAMMAR)
#: Each reward of all sentences.
REWARDS = {name: SCORER.reward(name)(SENTENCES.sentences) for name in FORMULAS}
REWARDS["honeypot"] = (SCORER.features(SENTENCES.sentences).honeypots > 0).double()


def of_sentences(tree: Tree, log_probs: Float[Tensor, "trial sentence"]) -> TreePolicy:
    """The policies with these log-probabilities of whole sentences."""
    below = tree.log_up(log_probs, log_probs.new_zeros(len(log_probs), len(tree)))
    return TreePolicy(tree, below - below[..., tree.parent], log_probs.new_zeros(len(log_probs)))


def path(tree: Tree, node: int) -> list[int]:
    """The nodes from the root to ``node``, both among them."""
    return [*path(tree, int(tree.parent[node])), node] if node else [0]
