"""What a reader who remembers only the last few words must lose, exactly.

The best such reader knows, for each window of words, how often each word follows. Its divergence from the grammar is
the information about the next word that lies further back."""

import torch
from jaxtyping import Float
from torch import Tensor

from actde_book.ch10_a_small_language.on_the_tree import of_grammar
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.tree import Tree


def window_losses(tree: Tree, grammar: Grammar, longest: int) -> Float[Tensor, "window"]:
    """KL(grammar || best reader of the last k words) in nats a sentence, for k = 1 to ``longest``. The prompt counts as
    one word, since it never changes."""
    visited = of_grammar(tree, grammar).beginnings[0].exp()[tree.inner]
    chances = grammar.chances[tree.state[tree.inner]]
    context, losses = torch.zeros(len(tree), dtype=torch.long), []
    for _ in range(longest):
        # The last k words are the parent's last k - 1 and the node's own.
        longer = context[tree.parent] * len(grammar.vocabulary) + tree.token
        longer[0] = -1
        context = longer.unique(return_inverse=True)[1]
        seen = context[tree.inner]
        pooled = torch.zeros(len(context), chances.shape[1], dtype=torch.float64)
        pooled = pooled.index_add(0, seen, visited[:, None] * chances)[seen]
        pooled = pooled / pooled.sum(1, keepdim=True)
        losses.append((visited[:, None] * (torch.xlogy(chances, chances) - torch.xlogy(chances, pooled))).sum())
    return torch.stack(losses)
