"""The entropy account of an update: what a move of the logits does to the entropy of whole sentences, state by state.

A policy of sentences is a product of choices, and its entropy is the sum over states s of d(s) h(s): how often a state
is visited times the entropy of the choice there. A move changes the choices, and by them the visits. Both parts are
exact. Moves are velocities of logits, an array [trial, node] like the edges of a policy: each node has that of the word
which leads to it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from torch import Tensor

from actde_nb.exact.policy_on_tree import TreePolicy, optimum
from actde_nb.worlds.tree import Tree

Nodes = Float[Tensor, "trial node"]
Ends = Float[Tensor, "sentence"]
MOST_NATS = 1e-6, 1e5  # a unit of reward, between which an optimum is looked for


class Account(NamedTuple):
    """Nats of a sentence by the state in which they are booked; zero at the ends. Their sum is the whole change."""

    choices: Nodes  # of words in the states, with visits held where they are
    visits: Nodes  # of states in which more or less is still open

    @property
    def total(self) -> Float[Tensor, "trial"]:
        """The change of the entropy of whole sentences."""
        return (self.choices + self.visits).sum(-1)


def choice_entropy(policy: TreePolicy) -> Nodes:
    """Entropy of the next word at each node, in nats."""
    return policy.tree.sum_children(-policy.edges.exp() * policy.edges)


def entropy_to_go(policy: TreePolicy) -> Nodes:
    """Entropy of what is still to be said after each node, in nats; at the root that of whole sentences."""
    return policy.tree.up(-policy.sentences, policy.edges) + policy.beginnings


def account(policy: TreePolicy, velocity: Nodes) -> Account:
    """The rate of change of the entropy under a velocity of the logits: by state -d Cov(log pi, velocity), and d Cov of
    the entropy to go after the word with the velocity."""
    tree, chances = policy.tree, policy.edges.exp()

    def covariance(values: Nodes) -> Nodes:
        mean = tree.sum_children(chances * velocity)
        return tree.sum_children(chances * values * (velocity - mean[..., tree.parent]))

    visited = policy.beginnings.exp()
    return Account(-visited * covariance(policy.edges), visited * covariance(entropy_to_go(policy)))


def between(before: TreePolicy, after: TreePolicy) -> Account:
    """The change from one policy to another, however far: choices at the visits before, visits at the choices after."""
    old, new = before.beginnings.exp(), after.beginnings.exp()
    changed = choice_entropy(after) - choice_entropy(before)
    return Account(old * changed, (new - old) * choice_entropy(after))


def by_position(tree: Tree, values: Nodes) -> Float[np.ndarray, "trial position"]:
    """Sums over the states in which so many words have been said after the prompt."""
    return torch.stack([values[..., level].sum(-1) for level in tree.levels[:-1]], -1).numpy()


def natural_velocity(policy: TreePolicy, reward: Ends) -> Nodes:
    """The natural gradient of the expected reward: the advantages (Kakade, 2001), for logits that are free in every
    state."""
    return policy.advantages(reward)


def plain_velocity(policy: TreePolicy, reward: Ends) -> Nodes:
    """The gradient of the expected reward in the logits, d pi A: rarely visited states hardly move."""
    return policy.beginnings.exp() * policy.advantages(reward)


def tilt(initial: TreePolicy, reward: Ends, nats: float) -> TreePolicy:
    """The optimum ``initial * exp(nats * reward) / Z`` as a policy of words; ``nats`` is 1 / beta."""
    edges, _ = initial.tree.tilt(initial.edges, nats * reward)
    return TreePolicy(initial.tree, edges, torch.zeros_like(initial.leak))


def tilt_to(initial: TreePolicy, reward: Ends, worth: float) -> TreePolicy:
    """The optimum whose mean reward is ``worth``, which lies between that of ``initial`` and the highest there is."""

    def ahead(nats: float) -> float:
        said, _ = optimum(initial.sentences[0], reward, 1 / nats)
        return (said.exp() @ reward).item() - worth

    return tilt(initial, reward, brentq(ahead, *MOST_NATS))


def of_logits(tree: Tree, logits: Nodes) -> TreePolicy:
    """The softmax in each state of logits that belong to words inside the language."""
    return TreePolicy(tree, tree.log_softmax(logits), logits.new_zeros(len(logits)))


def plain_flow(
    initial: TreePolicy, reward: Ends, times: Sequence[float] | Float[np.ndarray, "time"], tolerance: float = 1e-5
) -> TreePolicy:
    """Gradient flow of free logits, with no samples and no step size: the policies at ``times``, a stack [time]."""

    def velocity(_: float, logits: Float[np.ndarray, "node"]) -> Float[np.ndarray, "node"]:
        policy = of_logits(initial.tree, torch.from_numpy(logits)[None])
        return plain_velocity(policy, reward)[0].numpy()

    begin = initial.edges[0].numpy()
    found = solve_ivp(velocity, (0, times[-1]), begin, t_eval=np.asarray(times), rtol=tolerance, atol=tolerance)
    return of_logits(initial.tree, torch.from_numpy(found.y.T.copy()))


class Moved(NamedTuple):
    """How much of a move between two policies is a tilt by the advantages, and the entropy that goes with it."""

    step: Float[Tensor, "trial"]  # the multiple of the advantages that is nearest, in nats a unit of reward
    share: Float[Tensor, "trial"]  # of the move's variance within states, as they are visited
    along: Float[Tensor, "trial"]  # nats, to first order: by that multiple alone
    paper: Float[Tensor, "trial"]  # the same with visits held where they are
    first_order: Float[Tensor, "trial"]  # nats, to first order: by the move as it was


def moved(before: TreePolicy, after: TreePolicy, reward: Ends) -> Moved:
    """Split the move from one policy to another into its regression on the advantages before it, and the rest."""
    tree, advantages = before.tree, before.advantages(reward)
    weights = before.beginnings.exp()
    move = after.edges - before.edges
    move = move - tree.sum_children(before.edges.exp() * move)[..., tree.parent]
    both, own, all_ = ((weights * x)[..., 1:].sum(-1) for x in (move * advantages, advantages**2, move**2))
    step = both / own
    along = account(before, advantages)
    return Moved(
        step, both**2 / (own * all_), step * along.total, step * along.choices.sum(-1), account(before, move).total
    )
