"""Numbers of a run beside its entropy: the law that ties reward to it, what the frontier says of that law, and what
passes a verifier."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy

Ends = Float[Tensor, "sentence"]
Points = Float[np.ndarray, "point"]


class Law(NamedTuple):
    """Reward as ``-slope * exp(entropy) + top``, with entropy in nats a word (Cui et al., 2025, arXiv 2505.22617)."""

    slope: float
    top: float

    def __call__(self, entropy: Points) -> Points:
        """The reward that belongs to an entropy."""
        return self.top - self.slope * np.exp(entropy)

    @property
    def ceiling(self) -> float:
        """What it gives where entropy is zero."""
        return self.top - self.slope


def fit(entropy: Points, reward: Points) -> Law:
    """The law by least squares."""
    slope, top = np.polyfit(np.exp(entropy), reward, 1)
    return Law(-slope, top)


def explained(law: Law, entropy: Points, reward: Points) -> float:
    """Share of the variance of the reward that the law explains."""
    return 1 - ((reward - law(entropy)) ** 2).sum() / ((reward - reward.mean()) ** 2).sum()


def along_frontier(
    initial: Ends, reward: Ends, length: Ends, betas: Sequence[float] | Points
) -> dict[str, Float[np.ndarray, "beta"]]:
    """What an optimum has and what it gives up for a little more reward, at each price of a nat.

    ``reward``, ``kl``, ``entropy``, ``length``; ``likelihood``, the mean of log ``initial``; ``per_reward``, dH/dR
    along the frontier; ``per_word``, nats a word; and ``slope`` and ``top`` of the law that touches the curve there."""
    rows: list[dict[str, float]] = []
    for beta in map(float, betas):
        said, _ = policy_on_tree.optimum(initial, reward, beta)
        chances = said.exp()
        means = {name: (chances @ x).item() for name, x in (("reward", reward), ("length", length))}
        more = chances * (reward - means["reward"])
        variance, rate, longer = ((more @ x).item() for x in (reward, -said, length))  # of R, H and L over 1 / beta
        entropy = policy_on_tree.entropy(said).item()
        word = entropy / means["length"]
        slope = -variance * means["length"] / (np.exp(word) * (rate - word * longer))
        rows.append(means | {
            "kl": policy_on_tree.divergence(said, initial).item(), "entropy": entropy, "per_word": word,
            "likelihood": (chances @ initial).item(), "per_reward": rate / variance, "slope": slope,
            "top": means["reward"] + slope * np.exp(word),
        })  # fmt: skip
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def best_step(policy: TreePolicy, reward: Ends) -> Float[Tensor, "trial"]:
    """Nats of entropy for a unit of reward in the best next step, the natural gradient's: minus the slope of log pi on
    the reward over whole texts of the policy itself."""
    said, chances = policy.sentences, policy.sentences.exp()
    more = chances * (reward - (chances @ reward)[:, None])
    return -(more * said).sum(-1) / (more @ reward)


def waste(
    kl: Points, entropy: Points, reward: Points, frontier: Mapping[str, Float[np.ndarray, "beta"]]
) -> tuple[Points, Points]:
    """Nats beyond those of the optimum with the same reward: entropy that is missing, and texts less likely at first.

    Their sum is the divergence from that optimum. Of a reward above the frontier's end, against its end."""
    order = np.argsort(frontier["reward"])

    def at(name: str) -> Points:
        return np.interp(reward, frontier["reward"][order], frontier[name][order])

    return at("entropy") - entropy, at("likelihood") + kl + entropy


def passing(policy: TreePolicy, passes: Ends) -> Float[Tensor, "trial"]:
    """Probability that a text passes, where ``passes`` is one for sentences that do; what leaks does not."""
    return (1 - policy.leak) * (policy.sentences.exp() @ passes)


def pass_at(chance: Float[Tensor, "trial"], texts: int) -> Float[Tensor, "trial"]:
    """Probability that one or more of so many texts pass."""
    return -torch.expm1(texts * torch.log1p(-chance))


def distinct_passing(policy: TreePolicy, passes: Ends, texts: int) -> Float[Tensor, "trial"]:
    """Expected number of different sentences that pass among so many texts."""
    chances = (1 - policy.leak)[:, None] * policy.sentences.exp()
    return -torch.expm1(texts * torch.log1p(-chances)) @ passes
