"""All completions of a prompt, as a tree whose nodes are what may have been said so far.

Node 0 is the prompt. Nodes are numbered level by level, the children of a node one after another, so that a level is a
slice and every sum over children or over sentences is one operation on arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.worlds.grammar import Grammar

LIMIT = 250_000
Ends = Float[Tensor, "*#batch sentence"]
Nodes = Float[Tensor, "*batch node"]


@dataclass(frozen=True, eq=False)
class Tree:
    """The prefix tree, from :func:`grow`."""

    prompt: Int[Tensor, "prompt"]  # the begin mark first
    parent: Int[Tensor, "node"]  # the root's is itself
    token: Int[Tensor, "node"]  # that leads to the node; the root's is the prompt's last
    state: Int[Tensor, "node"]  # the grammar's after it
    levels: Sequence[slice]  # nodes of each level, the root's first
    sentences: Int[Tensor, "sentence time"]  # with prompt and padding, in the order of ``leaves``
    leaves: Int[Tensor, "sentence"]  # nodes of whole sentences
    inner: Int[Tensor, "inner"]  # the other nodes, each of which asks for a prediction

    def __len__(self) -> int:
        return len(self.parent)

    def up(self, ends: Ends, edges: Nodes) -> Nodes:
        """Expectation of ``ends`` from every node on; ``edges`` are log-probabilities of nodes after their parents."""
        values = torch.zeros_like(edges).index_copy(-1, self.leaves, ends.expand(*edges.shape[:-1], -1))
        for level in reversed(self.levels[1:]):
            values.index_add_(-1, self.parent[level], edges[..., level].exp() * values[..., level])
        return values

    def log_up(self, ends: Ends, edges: Nodes) -> Nodes:
        """Logarithm of the expectation of ``exp(ends)``; nothing overflows."""
        values = torch.zeros_like(edges).index_copy(-1, self.leaves, ends.expand(*edges.shape[:-1], -1))
        for above, level in zip(self.levels[-2::-1], self.levels[:0:-1], strict=True):
            found = self.log_sum_children(edges[..., level] + values[..., level], level, above)
            values[..., above] = torch.where(self.state[above] == self.state[self.leaves[0]], values[..., above], found)
        return values

    def log_sum_children(
        self, terms: Float[Tensor, "*batch below"], level: slice, above: slice
    ) -> Float[Tensor, "*batch above"]:
        """Log of the sum of ``exp(terms)`` (of ``level``) over each node's children; ``above`` has the parents."""
        parent = (self.parent[level] - above.start).expand(terms.shape)
        top = terms.new_full((*terms.shape[:-1], above.stop - above.start), -torch.inf)
        top = top.scatter_reduce(-1, parent, terms, "amax").nan_to_num(neginf=0.0)
        return torch.zeros_like(top).scatter_add(-1, parent, (terms - top.gather(-1, parent)).exp()).log() + top

    def sum_children(self, values: Nodes) -> Nodes:
        """Sum of ``values`` over each node's children; zero for whole sentences."""
        return torch.zeros_like(values).index_add(-1, self.parent[1:], values[..., 1:])

    def log_softmax(self, logits: Nodes) -> Nodes:
        """Log-probability of each node after its parent, from a logit of each; 0 for the root. Gradients pass."""
        total = self.log_sum_children(logits[..., 1:], slice(1, len(self)), slice(0, len(self)))
        return torch.cat([logits[..., :1] * 0, logits[..., 1:] - total[..., self.parent[1:]]], -1)

    def tilt(self, edges: Nodes, ends: Ends) -> tuple[Nodes, Float[Tensor, "*batch"]]:
        """Log-probabilities of nodes after their parents once sentences are weighted with ``exp(ends)`` and normalised,
        and the logarithm of the mean weight."""
        inside = self.log_up(ends, edges)
        kept = edges + inside - inside[..., self.parent]
        return kept.index_fill(-1, torch.tensor([0]), 0), inside[..., 0]

    def down(self, edges: Nodes) -> Nodes:
        """Sum of ``edges`` from the root to every node: of log-probabilities, that of the beginning."""
        total = edges.clone()
        total[..., 0] = 0
        for level in self.levels[1:]:
            total[..., level] += total[..., self.parent[level]]
        return total


def grow(grammar: Grammar, prompt: str, limit: int = LIMIT) -> Tree:
    """The tree of all completions of ``prompt``, of ``limit`` nodes at most."""
    checks.whole("limit", limit)
    tokens = grammar.encode(prompt, "prompt")
    state = int(grammar.read(tokens)[-1])
    if len(tokens) == 1 or state >= grammar.end:
        raise SettingError(f"prompt = {prompt!r}: allowed are one or more words with which a sentence begins")
    nodes = int(grammar.completions[state] + grammar.beginnings[state])
    if nodes > limit:
        raise SettingError(
            f"prompt = {prompt!r} has a tree of {nodes:,} nodes: allowed are limit = {limit:,}; choose a longer prompt"
        )
    parents, spoken, states, levels = [torch.zeros(1, dtype=torch.long)], [tokens[-1:]], [torch.tensor([state])], []
    begin, legal = 0, grammar.chances > 0
    while len(states[-1]):
        levels.append(slice(begin, begin + len(states[-1])))
        here, token = (legal[states[-1]] & (states[-1] < grammar.end)[:, None]).nonzero(as_tuple=True)
        parents.append(begin + here)
        spoken.append(token)
        states.append(grammar.successors[states[-1][here], token])
        begin = levels[-1].stop
    parent, token, state_of = (torch.cat(parts) for parts in (parents, spoken, states))
    leaves = (state_of == grammar.end).nonzero()[:, 0]
    sentences = torch.zeros(len(parent), grammar.longest + 1, dtype=torch.long)
    sentences[0, : len(tokens)] = tokens
    for depth, level in enumerate(levels[1:], len(tokens)):
        sentences[level] = sentences[parent[level]]
        sentences[level, depth] = token[level]
    inner = (state_of != grammar.end).nonzero()[:, 0]
    return Tree(tokens, parent, token, state_of, tuple(levels), sentences[leaves], leaves, inner)
