"""The best reward at each divergence, estimated from samples of the initial policy alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

Rewards = Float[np.ndarray, "samples"]


@dataclass(frozen=True)
class Optimum:
    """What the policy that is best at one KL coefficient has, as far as the sample tells."""

    reward: float
    kl: float  # nats a sequence, from the initial policy
    effective: float  # number of samples of the optimum that would be as good (Kong, 1992)


def optimum(rewards: Rewards, coefficient: float) -> Optimum:
    """The optimum of reward - coefficient x KL is proportional to initial x exp(reward / coefficient).

    Its mean reward is that of samples of the initial policy with these weights, normalised by their own sum; and its
    divergence is (mean reward) / coefficient - log Z, where Z is the mean weight."""
    logits = rewards / coefficient
    log_mean = logsumexp(logits) - np.log(len(rewards))
    weights = np.exp(logits - logsumexp(logits))
    reward = float(weights @ rewards)
    return Optimum(reward, float(reward / coefficient - log_mean), float(1 / (weights @ weights)))


def resampled(
    rewards: Rewards, coefficient: float, draws: Int[np.ndarray, "draws samples"]
) -> Float[np.ndarray, "draws two"]:
    """Reward and KL of each bootstrap sample; ``draws`` are numbers of the samples in it."""
    found = [optimum(rewards[numbers], coefficient) for numbers in draws]
    return np.array([(one.reward, one.kl) for one in found])
