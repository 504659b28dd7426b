"""Chains of states under a policy: where they go, how long they stay."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import entr

from actde_nb.checks import SettingError
from actde_nb.tables.mdp import MDP, States, Tables, _chain, _policy, _reachable, evaluate, start_distribution


def optimal_values(mdp: MDP) -> Float[np.ndarray, "states actions"]:
    """Action values of the best policy, by policy iteration from the uniform one."""
    states, actions = mdp.shape
    q = evaluate(mdp, np.full(mdp.shape, 1 / actions))
    choice = q.argmax(-1)
    while True:
        q = evaluate(mdp, np.eye(actions)[choice])
        kept = q[np.arange(states), choice]
        # Ties and rounding do not count as improvements, so no choice comes up twice.
        better = q.max(-1) - kept > 1e-11 * (1 + np.abs(kept))
        if not better.any():
            return q
        choice = np.where(better, q.argmax(-1), choice)


def stationary(mdp: MDP, policy: Tables, restart: ArrayLike | None = None) -> States:
    """Long-run share of time in each state.

    Computed by state reduction (Grassmann, Taksar and Heyman), which never subtracts: shares of
    states that are left once in 1e13 steps keep all their digits.

    Args:
        mdp: the model.
        policy: [*batch, states, actions].
        restart: distribution of the first state of the next episode, [states]; needed where
            episodes end.

    Returns:
        Distribution over states, [*batch, states].

    Raises:
        SettingError: episodes end and no ``restart`` says where they begin again; the policy splits
            the states so that the share depends on the start.
    """
    policy = _policy(mdp, policy)
    if mdp.ending.any() and restart is None:
        raise SettingError("restart = None with episodes that end: allowed is a distribution over states")
    chain = restarted_chain(mdp, policy, start_distribution("restart", restart, mdp))
    if not _reachable(chain).all(-2).any(-1).all():
        raise SettingError("policy keeps some states apart for ever: allowed are policies with one recurrent class")
    return chain_shares(chain)


def restarted_chain(
    mdp: MDP, policy: Tables, restart: Float[np.ndarray, "states"]
) -> Float[np.ndarray, "*batch states states"]:
    """Transition probabilities from state to state, where an end leads to a first state of the next episode."""
    return _chain(mdp, policy) + (policy * mdp.ending).sum(-1)[..., None] * restart


def chain_shares(chain: Float[np.ndarray, "*batch states states"]) -> States:
    """Stationary distribution of a chain with one recurrent class; nothing is checked, see :func:`stationary`."""
    chain, states = chain.copy(), chain.shape[-1]
    leaving = np.ones(chain.shape[:-1])
    for last in range(states - 1, 0, -1):
        leaving[..., last] = chain[..., last, :last].sum(-1)
        passed = chain[..., :last, last] / np.where(leaving[..., last] > 0, leaving[..., last], 1.0)[..., None]
        chain[..., :last, :last] += passed[..., :, None] * chain[..., last, None, :last]
    share = np.zeros(chain.shape[:-1])
    share[..., 0] = 1
    for state in range(1, states):
        into = (share[..., :state] * chain[..., :state, state]).sum(-1)
        absorbing = leaving[..., state] == 0  # never left for the states before it: those are transient
        share[..., :state] *= ~absorbing[..., None]
        share[..., state] = np.where(absorbing, 1.0, into / np.where(absorbing, 1.0, leaving[..., state]))
        share /= share.sum(-1, keepdims=True)
    return share


def entropy_rate(mdp: MDP, policy: Tables, restart: ArrayLike | None = None) -> Float[np.ndarray, "*batch"] | float:
    """Entropy of the action, averaged over the states as often as the policy visits them, in nats per step."""
    return (stationary(mdp, policy, restart) * entr(policy).sum(-1)).sum(-1)
