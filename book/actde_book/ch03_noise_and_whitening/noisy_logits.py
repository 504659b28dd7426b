"""Where ACTDE's logits wander when rewards are noisy: the closed forms of the chapter's algebra as numbers."""

import numpy as np
import sympy as sp
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import softmax
from scipy.stats import norm

from actde_book.ch03_noise_and_whitening import algebra
from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.bandit import Bandit, Trajectory

_STEPS = (algebra.sigma, algebra.eta, algebra.alpha)
_LOG_WEIGHT = sp.lambdify((algebra.mean, algebra.temperature, *_STEPS), algebra.choice_log_weight())
_LOGIT_VARIANCE = sp.lambdify(_STEPS, algebra.stationary_logit_variance())
_GAP_MOMENTS = sp.lambdify(algebra.gap_symbols, algebra.gap_moments())


def ring_times(logits: Float[np.ndarray, "plays"], rng: np.random.Generator) -> Float[np.ndarray, "plays"]:
    """When one arm's alarm clock rings in the race whose order of rings is a run of the softmax policy.

    The waits are exponential with rate ``exp(logit)``; ``logits`` are the arm's before each of its plays."""
    return np.cumsum(rng.exponential(size=len(logits)) * np.exp(-logits))


def choice_shares(
    bandit: Bandit, policy_step: float, critic_step: float, prior: ArrayLike | None = None
) -> Float[np.ndarray, "arms"]:
    """Long-run share of each arm under ACTDE with constant steps and Gaussian rewards, from q = 0.

    It is also the time average of the policy. ``prior`` is the initial policy [arms], uniform if left out."""
    if not 0 < critic_step < 2:
        raise SettingError(f"critic_step = {critic_step}: allowed are numbers between 0 and 2")
    arms = len(bandit.rewards)
    prior = np.full(arms, 1 / arms) if prior is None else checks.probabilities("prior", prior)
    weights = _LOG_WEIGHT(bandit.rewards, critic_step / policy_step, bandit.noise, policy_step, critic_step)
    return softmax(np.log(prior) + weights)


def played_shares(run: Trajectory) -> Float[np.ndarray, "runs arms"]:
    """Share of the episodes between the first and the last record in which each run played each arm."""
    return (run.visits[-1] - run.visits[0]) / (run.episodes[-1] - run.episodes[0])


def gap_moments(bandit: Bandit, policy_step: float, critic_step: float) -> tuple[float, float]:
    """Stationary mean and standard deviation of the logit gap of two arms, uniform prior, in nats."""
    mean, variance = _GAP_MOMENTS(*_gap_arguments(bandit, policy_step, critic_step))
    return float(mean), float(np.sqrt(variance))


def gap_density(
    gap: Float[np.ndarray, "points"], bandit: Bandit, policy_step: float, critic_step: float
) -> Float[np.ndarray, "points"]:
    """Stationary density of the logit gap of two arms, uniform prior: the mixture behind :func:`gap_moments`."""
    m, s_1, s_2, share = _gap_arguments(bandit, policy_step, critic_step)
    width = np.hypot(s_1, s_2)
    return share * norm.pdf(gap, m + s_2**2, width) + (1 - share) * norm.pdf(gap, m - s_1**2, width)


def winner_shares(noise: ArrayLike) -> Float[np.ndarray, "arms"]:
    """Limit of the probability that each arm leads, running-mean critic, constant policy step.

    Proportional to one over the arm's standard deviation; mean rewards play no part."""
    noise = checks.finite("noise", noise)
    if (noise <= 0).any():  # that arm would lead for certain
        raise SettingError(f"noise = {noise.tolist()}: allowed are numbers above zero")
    return (1 / noise) / (1 / noise).sum()


def decaying_logit(visits: int, decay: float, offset: float, policy_step: float = 1.0) -> Float[np.ndarray, "visits"]:
    """Logit gained per unit of first error after 1, 2, ... visits, critic step ``decay / (n + offset)``, no noise."""
    step = decay / (np.arange(1, visits) + offset)
    return policy_step * np.cumsum(np.r_[1.0, np.cumprod(1 - step)])


def _gap_arguments(bandit: Bandit, policy_step: float, critic_step: float) -> tuple[float, float, float, float]:
    first, second = bandit.rewards
    deviations = np.sqrt(_LOGIT_VARIANCE(bandit.noise, policy_step, critic_step))
    share, _ = choice_shares(bandit, policy_step, critic_step)
    return (first - second) * policy_step / critic_step, *deviations, share
