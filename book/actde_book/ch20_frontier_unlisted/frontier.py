"""The best reward at each divergence, estimated from samples of the initial policy."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp, softmax

from actde_nb.experiments.pretrained_runs import end, stored

Rewards = Float[np.ndarray, "samples"]
PerCoefficient = Float[np.ndarray, "coefficient"]
LEAST = 100  # effective samples below which an optimum is not reported
ENDS = (0.025, 0.975)  # of a 95 % interval
SURE = 1e-3  # nats a token of entropy, below which a policy says one text


@dataclass(frozen=True, eq=False)
class Known:
    """Texts whose probabilities are known and which the sample lacks: they count beside what the sample says."""

    rewards: Float[np.ndarray, "texts"]
    log_probabilities: Float[np.ndarray, "texts"]  # of the initial policy, nats

    def log_mass(self, coefficient: float) -> float:
        """Log of their part of Z."""
        return float(logsumexp(self.log_probabilities + self.rewards / coefficient))

    def reward(self, coefficient: float) -> float:
        """Their mean reward at the optimum."""
        return float(softmax(self.log_probabilities + self.rewards / coefficient) @ self.rewards)

    @classmethod
    def told_by(cls, *rows: str) -> "Known":
        """The texts on which rows of the real model end: a run that says nothing else has a divergence of exactly minus
        that text's log-probability. Runs whose divergences agree to a tenth of a nat have the same text."""
        told = {}
        for data in map(stored, rows):
            sure = (end(data, "entropy") < SURE).values
            for pair in zip(end(data, "score").values[sure], -end(data, "kl").values[sure], strict=True):
                told.setdefault(round(pair[1], 1), pair)
        return cls(*np.array(list(told.values()), float).T)


@dataclass(frozen=True)
class Optimum:
    """What the policy that is best at one KL coefficient has, as far as the sample tells."""

    reward: float
    kl: float  # nats a sequence, from the initial policy
    effective: float  # number of samples of the optimum that would be as good (Kong et al., 1994), of the sampled part


def optimum(rewards: Rewards, coefficient: float, known: Known | None = None) -> Optimum:
    """The optimum of reward - coefficient x KL is proportional to initial x exp(reward / coefficient).

    Its mean reward is that of samples of the initial policy with these weights, normalised by their own sum; and its
    divergence is (mean reward) / coefficient - log Z, where Z is the mean weight. What is ``known`` counts beside."""
    logits = rewards / coefficient - np.log(len(rewards))
    log_mass = logsumexp(logits)
    weights = np.exp(logits - log_mass)
    reward, effective = float(weights @ rewards), float(1 / (weights @ weights))
    if known is not None:
        log_z = np.logaddexp(log_mass, known.log_mass(coefficient))
        sampled = np.exp(log_mass - log_z)
        reward, log_mass = float(sampled * reward + (1 - sampled) * known.reward(coefficient)), log_z
    return Optimum(reward, float(reward / coefficient - log_mass), effective)


@dataclass(frozen=True, eq=False)
class Frontier:
    """Optima at falling coefficients, down to where the sample still knows them, and the same of bootstrap samples."""

    coefficient: PerCoefficient
    reward: PerCoefficient
    kl: PerCoefficient
    effective: PerCoefficient
    rewards_drawn: Float[np.ndarray, "draws coefficient"]
    kls_drawn: Float[np.ndarray, "draws coefficient"]

    @property
    def interval(self) -> Float[np.ndarray, "2 coefficient"]:
        """Ends of the bootstrap interval of the best reward at each optimum's divergence."""
        return np.quantile(np.stack([self._drawn_at(kl) for kl in self.kl], -1), ENDS, axis=0)

    def best_at(self, kl: float) -> tuple[float, float, float]:
        """The best reward at a divergence, and the ends of its bootstrap interval; NaN beyond what the sample knows."""
        if not 0 <= kl <= self.kl[-1]:
            return np.nan, np.nan, np.nan
        low, high = np.quantile(self._drawn_at(kl), ENDS)
        return float(np.interp(kl, self.kl, self.reward)), float(low), float(high)

    def tangent(self, kl: Float[np.ndarray, "places"]) -> Float[np.ndarray, "places"]:
        """What no policy could have more of at a divergence if the last optimum were known exactly: for any
        coefficient, reward - coefficient x KL is at most coefficient x log Z."""
        return self.reward[-1] + self.coefficient[-1] * (kl - self.kl[-1])

    def _drawn_at(self, kl: float) -> Float[np.ndarray, "draws"]:
        pairs = zip(self.kls_drawn, self.rewards_drawn, strict=True)
        return np.array([np.interp(kl, kls, rewards) for kls, rewards in pairs])


def frontier(
    rewards: Rewards, coefficients: PerCoefficient, draws: int, seed: int, known: Known | None = None
) -> Frontier:
    """Estimate the frontier at ``coefficients`` from rewards of initial samples, with ``draws`` bootstrap samples.

    It begins at the initial policy itself and ends before the effective sample size falls below :data:`LEAST`."""
    kept, found = [np.inf], [Optimum(float(rewards.mean()), 0.0, float(len(rewards)))]
    for coefficient in np.sort(coefficients)[::-1]:
        best = optimum(rewards, coefficient, known)
        if best.effective < LEAST:
            break
        kept.append(coefficient)
        found.append(best)
    chances = np.full(len(rewards), 1 / len(rewards))
    counts = np.random.default_rng(seed).multinomial(len(rewards), chances, size=draws)
    drawn = resampled(rewards, np.array(kept[1:]), counts, known)
    start = np.stack([counts @ rewards / counts.sum(1), np.zeros(draws)], -1)
    drawn = np.concatenate([start[:, None], drawn], axis=1)
    columns = (np.array([getattr(best, name) for best in found]) for name in ("reward", "kl", "effective"))
    return Frontier(np.array(kept), *columns, rewards_drawn=drawn[..., 0], kls_drawn=drawn[..., 1])


def resampled(
    rewards: Rewards, coefficients: PerCoefficient, counts: Int[np.ndarray, "draws samples"], known: Known | None = None
) -> Float[np.ndarray, "draws coefficient 2"]:
    """Reward and KL of the optima of bootstrap samples, in which each sample is so many times as ``counts`` says."""
    found = []
    for coefficient in coefficients:
        logits = rewards / coefficient
        weights = np.exp(logits - logits.max())
        mass = counts @ weights
        reward = counts @ (weights * rewards) / mass
        log_mass = np.log(mass / counts.sum(1)) + logits.max()
        if known is not None:
            log_z = np.logaddexp(log_mass, known.log_mass(coefficient))
            sampled = np.exp(log_mass - log_z)
            reward, log_mass = sampled * reward + (1 - sampled) * known.reward(coefficient), log_z
        found.append((reward, reward / coefficient - log_mass))
    return np.moveaxis(np.array(found), (0, 1), (1, 2))
