"""Where ACTDE's logits wander when rewards are noisy: closed forms as numbers.

The expressions are those of :mod:`actde_book.ch03_noise_and_whitening.algebra`, turned into functions of arrays.
"""

import numpy as np
import sympy as sp
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import softmax
from scipy.stats import norm

from actde_book.ch03_noise_and_whitening import algebra as symbolic
from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables.bandit import Bandit, Trajectory

_LOG_WEIGHT = sp.lambdify(
    (symbolic.mean, symbolic.temperature, symbolic.sigma, symbolic.eta, symbolic.alpha), symbolic.choice_log_weight()
)


_LOGIT_VARIANCE = sp.lambdify((symbolic.sigma, symbolic.eta, symbolic.alpha), symbolic.stationary_logit_variance())


# SymPy 1.14 prints "n - harmonic(n - 1)" as code without the brackets that it needs; the digamma form has none.
_WALK_VARIANCE = sp.lambdify(
    (symbolic.n, symbolic.sigma, symbolic.eta), sp.expand(symbolic.walk_variance().rewrite(sp.digamma))
)


_GAP_MOMENTS = sp.lambdify(symbolic.gap_symbols, symbolic.gap_moments())


def ring_times(logits: Float[np.ndarray, "plays"], rng: np.random.Generator) -> Float[np.ndarray, "plays"]:
    """When one arm's alarm clock rings in the race whose order of rings is a run of the softmax policy.

    Args:
        logits: the arm's logit before each of its plays.
        rng: source of the waits, exponential with rate ``exp(logit)``.

    Returns:
        Time of each ring, increasing.
    """
    return np.cumsum(rng.exponential(size=len(logits)) * np.exp(-logits))


def logit_variance(
    noise: ArrayLike, policy_step: float, critic_step: float
) -> Float[np.ndarray, "*shape"] | np.float64 | float:
    """Variance of a logit over its own arm's visits, constant steps, in nats squared."""
    return _LOGIT_VARIANCE(checks.finite("noise", noise), *_steps(policy_step, critic_step))


def choice_shares(
    bandit: Bandit,
    policy_step: float,
    critic_step: float,
    prior: ArrayLike | None = None,
    initial_q: float = 0.0,
) -> Float[np.ndarray, "arms"]:
    """Long-run share of each arm under ACTDE with constant steps and Gaussian rewards.

    Args:
        bandit: mean rewards and their deviations.
        policy_step: logits per unit of reward.
        critic_step: dimensionless, between 0 and 2.
        prior: initial policy, [arms]; uniform if left out.
        initial_q: initial action value of every arm, in reward.

    Returns:
        Shares, [arms]; they are also the time average of the policy.

    Raises:
        SettingError: a step outside its range, a prior that is no distribution.
    """
    eta, alpha = _steps(policy_step, critic_step)
    arms = len(bandit.rewards)
    prior = np.full(arms, 1 / arms) if prior is None else checks.probabilities("prior", prior)
    weights = _LOG_WEIGHT(bandit.rewards - initial_q, alpha / eta, bandit.noise, eta, alpha)
    return softmax(np.log(checks.shape("prior", prior, (arms,))) + weights)


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

    Proportional to one over the arm's standard deviation; mean rewards play no part.

    Raises:
        SettingError: a deviation of zero (that arm would lead for certain).
    """
    noise = checks.finite("noise", noise)
    if (noise <= 0).any():
        raise SettingError(f"noise = {noise.tolist()}: allowed are numbers above zero")
    return (1 / noise) / (1 / noise).sum()


def walk_variance(visits: ArrayLike, noise: float = 1.0, policy_step: float = 1.0) -> Float[np.ndarray, "*shape"]:
    """Variance of a logit after so many visits of its arm, running-mean critic, constant policy step."""
    return np.asarray(_WALK_VARIANCE(np.asarray(visits, dtype=float), noise, policy_step))


def decaying_logit(visits: int, decay: float, offset: float, policy_step: float = 1.0) -> Float[np.ndarray, "visits"]:
    """Logit gained per unit of first error after 1, 2, ... visits, critic step ``decay / (n + offset)``, no noise."""
    if not offset >= 0:
        raise SettingError(f"offset = {offset}: allowed are numbers of zero or more")
    step = decay / (np.arange(1, visits) + offset)
    return policy_step * np.cumsum(np.r_[1.0, np.cumprod(1 - step)])


def _steps(policy_step: float, critic_step: float) -> tuple[float, float]:
    checks.positive("policy_step", policy_step)
    if not 0 < critic_step < 2:
        raise SettingError(f"critic_step = {critic_step}: allowed are numbers between 0 and 2")
    return policy_step, critic_step


def _gap_arguments(bandit: Bandit, policy_step: float, critic_step: float) -> tuple[float, float, float, float]:
    if len(bandit.rewards) != 2:
        raise SettingError(f"bandit has {len(bandit.rewards)} arms: allowed is 2")
    difference = (bandit.rewards[0] - bandit.rewards[1]) * policy_step / critic_step
    deviations = np.sqrt(logit_variance(bandit.noise, policy_step, critic_step))
    return difference, *deviations, choice_shares(bandit, policy_step, critic_step)[0]
