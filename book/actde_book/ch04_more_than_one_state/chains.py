"""Chains of states under a policy: what the best one earns, where a policy goes and how much it varies."""

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from actde_nb.tables.mdp import MDP, evaluate


def optimal_values(mdp: MDP) -> Float[np.ndarray, "states actions"]:
    """Action values of the best policy, by policy iteration from the uniform one."""
    states, actions = mdp.shape
    choice = evaluate(mdp, np.full(mdp.shape, 1 / actions)).argmax(-1)
    while True:
        q = evaluate(mdp, np.eye(actions)[choice])
        kept = q[np.arange(states), choice]
        # Ties and rounding do not count as improvements, so no choice comes up twice.
        better = q.max(-1) - kept > 1e-11 * (1 + np.abs(kept))
        if not better.any():
            return q
        choice = np.where(better, q.argmax(-1), choice)


def stationary(mdp: MDP, policy: Float[np.ndarray, "states actions"]) -> Float[np.ndarray, "states"]:
    """Long-run share of time in each state, where no episode ends and every state leads back to the first ones.

    Computed by state reduction (Grassmann, Taksar and Heyman), which never subtracts: shares of
    states that are left once in 1e13 steps keep all their digits."""
    chain = np.einsum("sa,sat->st", policy, mdp.transitions)
    for last in range(len(chain) - 1, 0, -1):
        chain[:last, last] /= chain[last, :last].sum()
        chain[:last, :last] += chain[:last, last, None] * chain[last, :last]
    share = np.ones(1)
    for state in range(1, len(chain)):
        share = np.append(share, share @ chain[:state, state])
    return share / share.sum()


def entropy_rate(mdp: MDP, policy: Float[np.ndarray, "states actions"]) -> float:
    """Entropy of the action, averaged over the states as often as the policy visits them, in nats per step."""
    return float((stationary(mdp, policy) * entr(policy).sum(-1)).sum())
