"""Where a policy comes to rest on a bonus for entropy, over all texts that a network can say and not sentences alone.

A bonus has no anchor but the uniform policy. In the reward it pays for the entropy of whole texts, so that the optimum
is exp(reward / bonus) over texts; in the loss it pays for that of the next word, so that each state has exp(q / bonus)
over words, with q the policy's own. Texts outside the language earn nothing here."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from actde_nb import checks
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.tree import Tree

Ends = Float[Tensor, "sentence"]


class Outside(NamedTuple):
    """What there is to say beside the language: at each node, words that leave it, and the log of how many texts begin
    with one of them. A text that has left ends with a word that ends sentences, or after the last step."""

    words: Float[Tensor, "node"]
    log_texts: Float[Tensor, "node"]


def outside(tree: Tree, grammar: Grammar, steps: int) -> Outside:
    """Count them, where a text has ``steps`` words at most."""
    closing = (grammar.successors[: grammar.end] == grammar.end).any(0)
    closing[0] = True  # padding ends whatever it follows
    vocabulary, ends = len(closing), int(closing.sum())
    texts = [1.0]  # after a word that left, with so many steps to come
    for _ in range(steps):
        texts.append(ends + (vocabulary - ends) * texts[-1])
    zeros = torch.zeros(len(tree), dtype=torch.float64)
    inside = zeros.index_add(0, tree.parent[1:], torch.ones(len(tree) - 1, dtype=torch.float64))
    closed = zeros.index_add(0, tree.parent[1:], closing[tree.token[1:]].double())
    words, counts = zeros.clone(), zeros - torch.inf
    for depth, level in enumerate(tree.levels):
        open_ = vocabulary - ends - (inside - closed)[level]
        counts[level] = (ends - closed[level] + open_ * texts[steps - depth - 1]).log()
        words[level] = vocabulary - inside[level]
    whole = torch.zeros(len(tree), dtype=torch.bool)
    whole[tree.leaves] = True
    return Outside(words.masked_fill(whole, 0), counts.masked_fill(whole, -torch.inf))


def in_reward(tree: Tree, reward: Ends, beside: Outside, bonus: float) -> TreePolicy:
    """The optimum with the bonus on the entropy of whole texts, in units of reward a nat."""
    checks.positive("bonus", bonus)
    edges, weight = tree.tilt(torch.zeros(1, len(tree), dtype=torch.float64), reward / bonus)  # of sentences alone
    return TreePolicy(tree, edges, torch.sigmoid(beside.log_texts.logsumexp(0) - weight))


def in_loss(tree: Tree, reward: Ends, beside: Outside, bonus: float) -> TreePolicy:
    """The policy that is exp(q / bonus) over words in every state, with its own q. By one induction from the ends."""
    checks.positive("bonus", bonus)
    edges = torch.zeros(1, len(tree), dtype=torch.float64)
    values = torch.zeros_like(edges).index_copy(-1, tree.leaves, reward[None])
    stays = torch.zeros_like(edges)  # log-probability of a sentence from here on
    for above, level in zip(tree.levels[-2::-1], tree.levels[:0:-1], strict=True):
        parent = tree.parent[level] - above.start
        tilted = values[..., level] / bonus
        normaliser = torch.logaddexp(tree.log_sum_children(tilted, level, above), beside.words[above].log())
        said = tilted - normaliser[..., parent]
        values[..., above].scatter_add_(-1, parent[None], said.exp() * values[..., level])
        inside = tree.log_sum_children(said + stays[..., level], level, above)
        ended = tree.state[above] == tree.state[tree.leaves[0]]
        stays[..., above] = torch.where(ended, 0.0, inside)
        edges[..., level] = said + stays[..., level] - stays[..., tree.parent[level]]
    return TreePolicy(tree, edges, -torch.expm1(stays[:, 0].clamp(max=0)))


def leaving(tree: Tree, reward: Ends, beside: Outside) -> float:
    """The bonus in the reward at which half of what the optimum says is outside the language."""
    texts = beside.log_texts.logsumexp(0).item()

    def ahead(inverse: float) -> float:
        return torch.logsumexp(inverse * reward, 0).item() - texts

    return 1 / brentq(ahead, 0.0, 2 * texts / reward.max().item())
