"""Finite Markov decision processes: the model, and the exact values it implies.

Axes are ``[state, action]`` and ``[state, action, next state]``; policies may carry batch axes in
front. Rewards are numbers without noise, all values are in units of reward, temperatures too.
A row of transition probabilities may sum to less than one: the missing mass ends the episode."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax

from actde_nb import checks
from actde_nb.checks import SettingError

ROUNDING = 1e-12  # probability mass below this is rounding, not an end of the episode
Tables = Float[np.ndarray, "*batch states actions"]
States = Float[np.ndarray, "*batch states"]


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process.

    Args:
        rewards: reward of each action in each state, [states, actions].
        transitions: probability of each next state, [states, actions, states]; what a row lacks
            to one is the probability that the episode ends there.
        discount: factor on the next state's value, in [0, 1]."""

    rewards: Float[np.ndarray, "states actions"] | ArrayLike
    transitions: Float[np.ndarray, "states actions states"] | ArrayLike
    discount: float

    def __post_init__(self):
        rewards = checks.finite("rewards", self.rewards)
        if rewards.ndim != 2 or rewards.shape[1] < 2 or not rewards.shape[0]:
            raise SettingError(f"rewards has shape {rewards.shape}: allowed is (states, actions), two actions or more")
        transitions, allowed = checks.finite("transitions", self.transitions), (*rewards.shape, len(rewards))
        if transitions.shape != allowed:
            raise SettingError(f"transitions has shape {transitions.shape}: allowed is {allowed}")
        if (transitions < 0).any():
            raise SettingError(f"transitions has the entry {transitions.min()}: allowed are numbers of zero or more")
        if (transitions.sum(-1) > 1 + 1e-9).any():
            raise SettingError(f"transitions has a row that sums to {transitions.sum(-1).max()}: allowed is up to one")
        object.__setattr__(self, "rewards", rewards)
        object.__setattr__(self, "transitions", transitions)
        object.__setattr__(self, "discount", float(checks.unit_interval("discount", self.discount)))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of states, number of actions."""
        return self.rewards.shape

    @property
    def ending(self) -> Float[np.ndarray, "states actions"]:
        """Probability that the episode ends with this action."""
        missing = 1 - self.transitions.sum(-1)
        return np.where(missing > ROUNDING, missing, 0.0)


def backup(mdp: MDP, next_values: States) -> Tables:
    """Reward now plus the discounted value of what follows, :math:`r + \\gamma P v`; an episode's end is worth zero."""
    return mdp.rewards + mdp.discount * np.einsum("sat,...t->...sa", mdp.transitions, next_values)


def evaluate(mdp: MDP, policy: Tables) -> Tables:
    """Action values of a policy (expected discounted returns), by solving the linear system exactly."""
    if policy.shape[-2:] != mdp.shape:
        raise SettingError(f"policy has shape {policy.shape}: allowed is (..., {mdp.shape[0]}, {mdp.shape[1]})")
    if not np.allclose(policy.sum(-1), 1, rtol=0, atol=1e-9) or (policy < 0).any():
        raise SettingError(f"policy = {policy.tolist()}: allowed are numbers of zero or more that sum to one")
    chain = np.einsum("...sa,sat->...st", policy, mdp.transitions)
    if mdp.discount == 1:
        ends = (policy * mdp.ending).sum(-1) > 0
        for _ in range(mdp.shape[0]):  # as many steps lead to every state that can be reached
            ends = ends | ((chain > 0) & ends[..., None, :]).any(-1)
        if not ends.all():
            endless = np.flatnonzero(~ends.reshape(-1, ends.shape[-1]).all(0)).tolist()
            allowed = "discounts below one, or policies that can end from everywhere"
            raise SettingError(f"discount = 1 and the episode never ends from states {endless}: allowed are {allowed}")
    rewards = (policy * mdp.rewards).sum(-1)
    values = np.linalg.solve(np.eye(mdp.shape[0]) - mdp.discount * chain, rewards[..., None])[..., 0]
    return backup(mdp, values)


def soft_optimal_values(
    mdp: MDP, temperature: float, prior: ArrayLike | None = None
) -> Float[np.ndarray, "states actions"]:
    """Action values of the best policy when every step is charged its KL divergence from the prior.

    They solve :math:`q = r + \\gamma P\\, \\tau \\log \\sum_a \\pi_0 e^{q/\\tau}`, and the best policy is
    ``softmax_policy(q, temperature, prior)``. Solved by policy iteration, which here is Newton's
    method on a convex equation: it rises monotonically to the only solution. ``temperature`` is the price of one nat
    of divergence, in units of reward; the prior is broadcast to [states, actions], uniform if left out. The values
    include the future charges but not the present one."""
    log_prior = log_anchor(mdp, temperature, prior)
    log_policy, values = log_prior, np.full(mdp.shape[0], -np.inf)
    while True:
        policy = np.exp(log_policy)
        charged = replace(mdp, rewards=mdp.rewards - temperature * (log_policy - log_prior))
        improved = (policy * evaluate(charged, policy)).sum(-1)
        if (improved - values).max() <= 1e-14 * (1 + np.abs(improved).max()):
            return backup(mdp, np.maximum(values, improved))
        values = improved
        log_policy = log_softmax(log_prior + backup(mdp, values) / temperature, axis=-1)


def log_anchor(mdp: MDP, temperature: float, prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0):
    """Logarithm of the policy that zero action values mean, normalised :math:`\\pi_0 e^{-q_0/\\tau}`.

    A Boltzmann policy that starts from ``prior`` at ``initial_q`` is anchored there; for an ``initial_q`` that is
    constant over actions it is the prior itself. Both are broadcast to [states, actions]; uniform if left out."""
    checks.positive("temperature", temperature)
    prior = np.full(mdp.shape, 1 / mdp.shape[1]) if prior is None else checks.probabilities("prior", prior)
    initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), mdp.shape)
    return log_softmax(np.log(checks.shape("prior", prior, mdp.shape)) - initial_q / temperature, axis=-1)


def softmax_policy(q: Tables, temperature: float, prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0) -> Tables:
    """Boltzmann policy :math:`\\pi_0 e^{(q - q_0)/\\tau}`, normalised over actions; uniform prior if left out."""
    checks.positive("temperature", temperature)
    log_prior = 0.0 if prior is None else np.log(checks.probabilities("prior", prior))
    return softmax(log_prior + (q - checks.finite("initial_q", initial_q)) / temperature, axis=-1)
