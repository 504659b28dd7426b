"""Where a policy comes to rest on a leash: a divergence in the loss, beside advantages that are whitened.

At each beginning of a sentence such a loss has its minimum where the log-ratio to the initial policy is the advantage
over a price, up to a constant: the leash counts the next word's nats and not those that follow, so that this is APA's
fixed point and not the optimum. The price is the leash times the advantages' standard deviation, which whitening
divides out; and that deviation is the resting policy's own.

A policy's likeliest words, its favourites, tell how far it has been drawn in: how sure it is, and whether it is right.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy

ALMOST = 1e-9  # in value: as good as the best word
NEWTON = 12  # steps, of which the last ones change nothing


def deviation(policy: TreePolicy, reward: Float[Tensor, "sentence"], gae_lambda: float) -> Float[Tensor, "trial"]:
    """Standard deviation over words of generalised advantage estimates with exact values, in units of reward.

    Steps of the value along a sentence are martingale differences, so that a word's estimate has the variance of its
    own step, plus gae_lambda^2 times that of the next word's estimate. Each step counts for all words up to it."""
    tree, chances = policy.tree, policy.beginnings.exp()
    squares = policy.advantages(reward) ** 2
    total = words = torch.zeros_like(policy.leak)
    counts = 0.0
    for level in tree.levels[1:]:
        counts = 1 + gae_lambda**2 * counts
        total = total + counts * (chances[..., level] * squares[..., level]).sum(-1)
        words = words + chances[..., level].sum(-1)
    return (total / words).sqrt()


def k3_fixed_point(initial: TreePolicy, reward: Float[Tensor, "sentence"], price: float) -> TreePolicy:
    """The policy that is, at each node, ``initial * price / (price - A)`` with its own advantages A.

    There KL(initial || policy), times the price, balances them: GRPO's estimator in the loss has that gradient. By one
    induction from the ends; at each node Newton's method finds price + V, from below."""
    tree, edges = initial.tree, torch.zeros_like(initial.edges)
    values = torch.zeros_like(edges).index_copy(-1, tree.leaves, reward.expand(len(edges), -1))
    for above, level in zip(tree.levels[-2::-1], tree.levels[:0:-1], strict=True):
        parent = (tree.parent[level] - above.start).expand(len(edges), -1)
        q, weights = values[..., level], price * initial.edges[..., level].exp()
        none = q.new_zeros(len(edges), above.stop - above.start)
        bound = (none - torch.inf).scatter_reduce(-1, parent, q + weights, "amax")
        for _ in range(NEWTON):
            chances = weights / (bound.gather(-1, parent) - q)
            total = none.scatter_add(-1, parent, chances)
            bound = bound + (total**2 - total) / none.scatter_add(-1, parent, chances**2 / weights)
        edges[..., level] = (chances / total.gather(-1, parent)).log()
        values.index_add_(-1, tree.parent[level], edges[..., level].exp() * q)
    return TreePolicy(tree, edges, torch.zeros_like(initial.leak))


def resting(
    initial: TreePolicy, known: Mapping[str, Float[Tensor, "sentence"]], prices: Sequence[float],
    gae_lambda: float = 0.95, fixed_point: Callable[..., TreePolicy] = policy_on_tree.advantage_fixed_point,
) -> dict[str, Float[np.ndarray, "price"]]:  # fmt: skip
    """Policies at rest on a leash that is tied to ``initial``, at so many prices of a nat in units of reward.

    ``leash``, the weight of the divergence in the loss; ``deviation`` of the advantages, whose product the price is;
    ``kl`` and ``entropy``; the mean of each of ``known``, functions of a sentence, of which ``reward`` is optimised."""
    rests = [fixed_point(initial, known["reward"], price) for price in prices]
    said = torch.cat([rest.sentences for rest in rests])
    deviations = torch.cat([deviation(rest, known["reward"], gae_lambda) for rest in rests])
    found = {
        "leash": torch.tensor(prices, dtype=said.dtype) / deviations,
        "deviation": deviations,
        "kl": policy_on_tree.divergence(said, initial.sentences),
        "entropy": policy_on_tree.entropy(said),
        **{name: said.exp() @ values.to(said.dtype) for name, values in known.items()},
    }
    return {name: values.numpy() for name, values in found.items()}


def held(
    rest: Mapping[str, Float[np.ndarray, "price"]],
) -> tuple[dict[str, Float[np.ndarray, "held"]], dict[str, Float[np.ndarray, "beyond"]]]:
    """The part of :func:`resting` that a leash holds, from tight to the loosest that does, and what lies beyond it.

    Coming from high prices, a lower price means a looser leash, until the deviation falls faster than the price. There
    the branch ends; beyond it, a little more of what is rewarded makes the leash give way further. The point of the
    loosest leash is in both parts."""
    order = np.argsort(-rest["leash"] * rest["deviation"])  # from the highest price
    leash = rest["leash"][order]
    rising = np.flatnonzero(np.diff(leash) > 0)
    end = rising[0] + 1 if len(rising) else len(leash)
    parts = (slice(None, end), slice(end - 1, None))
    held, beyond = ({name: values[order][part] for name, values in rest.items()} for part in parts)
    return held, beyond


def last_held_rate(first: float) -> float:
    """Rate at which the branch ends in one state, where something that is paid 1 has the rate ``first`` at first. The
    loosest leash is where the log-odds have risen by 2 / (2 rate - 1)."""

    def excess(rate: float) -> float:
        return np.log(rate / (1 - rate)) - np.log(first / (1 - first)) - 2 / (2 * rate - 1)

    return float(brentq(excess, 0.5 + 1e-9, 1 - 1e-9))


class Favourites(NamedTuple):
    """Means over the positions that a policy comes to, as often as it does, where there is a choice: probability of the
    likeliest word (``sure``), and share where no word has a higher value (``best``)."""

    sure: Float[Tensor, "trial"]
    best: Float[Tensor, "trial"]


def favourites(policy: TreePolicy, reward: Float[Tensor, "sentence"], within: float = ALMOST) -> Favourites:
    """What is known exactly of the likeliest words, as good as the best if ``within`` so much of its value. Of several
    that are equally likely, the best counts."""
    tree = policy.tree
    parents, chances = tree.parent[1:], policy.edges[..., 1:].exp()
    advantages = policy.advantages(reward)[..., 1:]
    likeliest = _most(chances, parents, len(tree))
    first = chances >= likeliest[..., parents]
    lead = _most(advantages.masked_fill(~first, -torch.inf), parents, len(tree))
    ahead = lead >= _most(advantages, parents, len(tree)) - within
    children = torch.zeros(len(tree), dtype=torch.long).index_add_(0, parents, torch.ones_like(parents))
    chosen = torch.where(children > 1, policy.beginnings.exp(), 0.0)
    weights = chosen / chosen.sum(-1, keepdim=True)
    means = (torch.where(weights > 0, weights * x, 0.0).sum(-1) for x in (likeliest, ahead.double()))
    return Favourites(*means)


def _most(values: Float[Tensor, "trial child"], parents: torch.Tensor, nodes: int) -> Float[Tensor, "trial node"]:
    """The largest among each node's children; minus infinity where there are none."""
    none = values.new_full((len(values), nodes), -torch.inf)
    return none.scatter_reduce(-1, parents.expand(values.shape), values, "amax")
