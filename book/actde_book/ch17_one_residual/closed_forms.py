"""Where updates must rest and what they can stand, by formulas; nothing here is trained.

A value that a loss uses for its start, in units of reward, differs from the soft value beta log Z by an *excess*, which
is given in nats: (value - beta log Z) / beta. It is zero where Z is kept or learned."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import brentq
from scipy.special import lambertw
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy

Sentences = Float[np.ndarray, "sentence"]


def regression_minimum(target: Sentences, data: Sentences) -> Sentences:
    """Log-probabilities of the policy with the least E_data (log policy - target)^2; both are logarithms.

    The mass of ``target`` must be one or more; then there is one such policy, with data (target - log policy) in
    proportion to policy, which Lambert's function solves."""
    ratio = target - data

    def said(log_multiplier: float) -> Sentences:
        return data - log_multiplier + np.log(lambertw(np.exp(log_multiplier + ratio)).real)

    def excess(log_multiplier: float) -> float:
        return float(np.exp(said(log_multiplier)).sum() - 1)

    return said(brentq(excess, -60 - ratio.max(), 600 - ratio.max(), xtol=1e-13))


def paid(rest: TreePolicy, initial: TreePolicy) -> Float[Tensor, "trial sentence"]:
    """Nats that each sentence passes: the sum over its beginnings of the next word's KL(rest || initial)."""
    tree = rest.tree
    local = tree.sum_children(rest.edges.exp() * (rest.edges - initial.edges))
    before = torch.zeros_like(rest.edges).index_copy(-1, torch.arange(1, len(tree)), local[..., tree.parent[1:]])
    return tree.down(before)[..., tree.leaves]


def sampled_value_bias(
    initial: Sentences, reward: Sentences, beta: float, samples: Sequence[int], fineness: int = 16
) -> Float[np.ndarray, "counts"]:
    """Bias of beta log mean exp(reward / beta) over independent samples of ``initial``, in units of reward.

    By E log X = integral of (exp(-t) - E exp(-t X)) dt / t for a positive X, here the mean, on a grid of log t with
    ``fineness`` steps to a doubling; ``samples`` are powers of two."""
    log_z = np.logaddexp.reduce(initial + reward / beta)
    sizes = np.exp(reward / beta - log_z)  # of mean one under initial
    step = np.log(2) / fineness
    grid = np.exp(step * np.arange(-40 * fineness, 70 * fineness))
    chances, kept = np.exp(initial), slice(20 * fineness, None)
    laplace = np.array([chances @ np.exp(-t * sizes) for t in grid])
    biases = []
    for shift in np.log2(list(samples)).round().astype(int) * fineness:
        mean = np.roll(laplace, shift) ** (2.0 ** (shift // fineness))
        biases.append(beta * step * (np.exp(-grid) - mean)[kept].sum())
    return np.array(biases)


def longest_pass(excess: float) -> float:
    """Inner time above which rounds on one batch leave the optimum, infinite up to half a nat of excess."""
    if excess <= 0.5:
        return np.inf
    return 2.0 if excess == 1 else np.log(2 * excess - 1) / (excess - 1)


def longest_delay(excess: float) -> float:
    """Age of the data, in the same time, above which small steps leave the optimum; infinite up to half a nat."""
    return np.inf if excess <= 0.5 else np.arccos((excess - 1) / excess) / np.sqrt(2 * excess - 1)


def slowest(excess: float, step: float, age: int) -> float:
    """Modulus of the slowest mode of steps of this size on data so many steps old; below one the optimum attracts."""
    polynomial = np.zeros(age + 2)
    polynomial[:2] = 1, -(1 - step * (1 - excess))
    polynomial[-1] += step * excess
    return float(abs(np.roots(polynomial)).max())


class Fold(NamedTuple):
    """Rests at a price that is a coefficient times the deviation of rewards, from the highest price on. ``held``: those
    that are come to when the coefficient is lowered; the least of their coefficients is the ``threshold``."""

    coefficient: Float[np.ndarray, "price"]
    kl: Float[np.ndarray, "price"]

    @property
    def held(self) -> Bool[np.ndarray, "price"]:
        return self.coefficient <= np.minimum.accumulate(self.coefficient)

    @property
    def threshold(self) -> float:
        return float(self.coefficient.min())


def fold(
    initial: TreePolicy, reward: Float[Tensor, "sentence"], prices: Float[np.ndarray, "price"],
    place: Callable[[TreePolicy, Float[Tensor, "sentence"], float], Float[Tensor, "sentence"]],
) -> Fold:  # fmt: skip
    """The rests ``place(initial, reward, price)`` at falling prices; the coefficient of each is its price over the
    deviation of its own rewards."""
    said = torch.stack([place(initial, reward, price) for price in prices.tolist()])
    variance = said.exp() @ reward**2 - (said.exp() @ reward) ** 2
    deviation = variance.clamp(min=1e-14).sqrt().numpy()
    return Fold(prices / deviation, policy_on_tree.divergence(said, initial.sentences).numpy())
