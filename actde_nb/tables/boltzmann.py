"""The policy that a temperature makes of rewards and a prior."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import softmax

from actde_nb import checks


def boltzmann(
    rewards: ArrayLike, temperature: float, prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0
) -> Float[np.ndarray, "arms"]:
    """Policy at which ACTDE stops, ``prior * exp((rewards - initial_q) / temperature)``, normalised.

    ``temperature`` is the critic's step over the policy's, in reward per nat; ``prior``, the initial policy, is uniform
    if left out; ``initial_q`` are the initial action values, [arms] or one number for all."""
    rewards = checks.finite("rewards", rewards)
    initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), rewards.shape)
    checks.positive("temperature", temperature)
    if prior is None:
        prior = np.full(rewards.shape, 1 / rewards.size)
    log_prior = np.log(checks.shape("prior", checks.probabilities("prior", prior), rewards.shape))
    return softmax(log_prior + (rewards - initial_q) / temperature)
