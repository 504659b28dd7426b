"""Exact full-batch updates of policies on a tree: no samples, no critics, no network.

A policy is a logit for each node of the tree. A loss is an expectation over all sentences or all words, in nats, as the
method writes it: weights, advantages and values that the method does not differentiate are constants. Its gradient is
autograd's. A step divides the gradient of each logit by how often the data come there (a natural gradient, if they are
the policy's own), which moves no point of rest and brings all logits to one scale."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.worlds.tree import Tree

Nodes = Float[Tensor, "node"]


@dataclass(frozen=True)
class Problem:
    """A reward of sentences, a price of a nat or a temperature, and the policy that log-ratios are taken to."""

    anchor: TreePolicy
    reward: Float[Tensor, "sentence"]
    beta: float


@dataclass(frozen=True)
class State:
    """What a loss sees: ``edges`` and ``values`` are differentiated, the policies ``now`` and ``data`` are not."""

    edges: Nodes
    values: Nodes  # of beginnings, for losses that learn them; in units of reward
    now: TreePolicy
    data: TreePolicy


Loss = Callable[[Problem, State], Float[Tensor, ""]]
Step = Callable[[Problem, TreePolicy, TreePolicy, Nodes], Nodes]  # of the policy, its data and the gradient


def flat(policy: TreePolicy) -> TreePolicy:
    """The same sentences with the same chances as children of one node: a logit each. For losses of whole texts, which
    do not see words, fits to fixed data are much faster so; the policies that can be reached are the same."""
    tree, count = policy.tree, len(policy.tree.leaves)
    nodes = torch.arange(1, count + 1)
    state = torch.cat([tree.state[:1], tree.state[tree.leaves]])
    levels, zeros = (slice(0, 1), slice(1, count + 1)), torch.zeros(count + 1, dtype=torch.long)
    star = Tree(tree.prompt, zeros, zeros, state, levels, tree.sentences, nodes, zeros[:1])
    return TreePolicy(star, torch.cat([policy.edges[:, :1], policy.sentences], 1), policy.leak)


def _chances(policy: TreePolicy) -> Nodes:
    return policy.beginnings[0].exp()


def _ratio(problem: Problem, edges: Nodes) -> Float[Tensor, "sentence"]:
    tree = problem.anchor.tree
    return tree.down(edges - problem.anchor.edges[0])[tree.leaves]


def _said(policy: TreePolicy) -> Float[Tensor, "sentence"]:
    return policy.sentences[0].exp()


# A text as a whole.


def squares(value: float | str) -> Loss:
    """Mean square of log(policy / anchor) - (reward - value) / beta over sentences, halved. The value is a number, or
    ``learned``, or ``rewards``: the mean reward of the data, or ``residuals``: what makes the mean residual zero."""

    def loss(problem: Problem, state: State) -> Float[Tensor, ""]:
        said, ratio = _said(state.data), _ratio(problem, state.edges)
        known = {
            "learned": lambda: state.values[0],
            "rewards": lambda: said @ problem.reward,
            "residuals": lambda: said @ (problem.reward - problem.beta * ratio),
        }
        start = known[value]() if isinstance(value, str) else value
        return said @ (ratio - (problem.reward - start) / problem.beta) ** 2 / 2

    return loss


def imitation(problem: Problem, state: State) -> Float[Tensor, ""]:
    """KL(anchor exp(reward / beta) / Z || policy), up to a constant: the fit of AWR and REPS."""
    target, _ = policy_on_tree.optimum(problem.anchor.sentences[0], problem.reward, problem.beta)
    return -target.exp() @ _ratio(problem, state.edges)


def larger(problem: Problem, policy: TreePolicy, data: TreePolicy, slopes: Nodes) -> Nodes:
    """A step for :func:`imitation` on a :func:`flat` tree, in which no logit overshoots."""
    target, _ = policy_on_tree.optimum(problem.anchor.sentences, problem.reward, problem.beta)
    return slopes / torch.maximum(_chances(policy), torch.cat([torch.ones(1), target[0].exp()]))


def reward_less_kl(problem: Problem, state: State) -> Float[Tensor, ""]:
    """Policy gradient of reward with the KL in it, by the score function."""
    ratio = _ratio(problem, state.edges)
    return -_said(state.now) @ (ratio * (problem.reward / problem.beta - ratio.detach()))


def reward_alone(problem: Problem, state: State) -> Float[Tensor, ""]:
    """Policy gradient of the reward."""
    return -_said(state.now) @ (_ratio(problem, state.edges) * problem.reward / problem.beta)


# Word by word.


def soft_consistency(problem: Problem, state: State) -> Float[Tensor, ""]:
    """Squares for one word, with a learned value before it and the value after it held still."""
    tree, values = problem.anchor.tree, state.values
    after = values.detach().index_copy(0, tree.leaves, problem.reward)
    gain = (after - values[tree.parent]) / problem.beta
    return (_chances(state.data) * (state.edges - problem.anchor.edges[0] - gain) ** 2)[1:].sum() / 2


def advantage_squares(kept: bool) -> Loss:
    """APA: squares for one word with the policy's own advantages, log Z of each beginning kept or not."""

    def loss(problem: Problem, state: State) -> Float[Tensor, ""]:
        tree, advantages = problem.anchor.tree, state.now.advantages(problem.reward)
        target = advantages[0] / problem.beta
        if kept:
            normaliser = policy_on_tree.log_z(problem.anchor, advantages, problem.beta)[0]
            target = target - torch.zeros_like(target).index_copy(0, tree.inner, normaliser)[tree.parent]
        residual = state.edges - problem.anchor.edges[0] - target
        return (_chances(state.data) * residual**2)[1:].sum() / 2

    return loss


def advantage_less_kl(kind: str = "exact", coefficient: float | None = None) -> Loss:
    """Policy gradient with the KL of the next word in the loss, ``exact`` or by the estimator ``k3``.

    With a ``coefficient`` the advantages are divided by the deviation of the present policy's rewards, and it takes the
    place of beta."""

    def loss(problem: Problem, state: State) -> Float[Tensor, ""]:
        tree, chances, price = problem.anchor.tree, _chances(state.now), problem.beta
        if coefficient is not None:
            said = _said(state.now)
            variance = said @ (problem.reward - said @ problem.reward) ** 2
            price = coefficient * variance.sqrt().clamp(min=1e-6)  # of advantages that have vanished
        gain = chances * state.edges * state.now.advantages(problem.reward)[0] / price
        ratio = state.edges - problem.anchor.edges[0]
        kl = {
            "exact": lambda: chances[tree.parent] * state.edges.exp() * ratio,
            "k3": lambda: chances * ((-ratio).exp() - 1 + ratio),
        }
        return (kl[kind]() - gain)[1:].sum()

    return loss


def curved(problem: Problem, policy: TreePolicy, data: TreePolicy, slopes: Nodes) -> Nodes:
    """A step for losses that are curved as often as the anchor says a word: k3, and squares on the anchor's data.

    It is Gauss and Newton's at each node, in the direction that keeps probabilities summing to one."""
    parent, chances = policy.tree.parent, policy.edges[0].exp()
    grown = chances / problem.anchor.edges[0].exp()
    natural = slopes / (_chances(data)[parent] * chances).clamp(min=1e-300)
    weights = chances * grown
    total, mean = (policy.tree.sum_children(w) for w in (weights, weights * natural))
    return grown * (natural - (mean / total)[parent])


def follow(
    problem: Problem, loss: Loss, updates: int = 60, step: float = 0.7, data: TreePolicy | None = None,
    start: TreePolicy | None = None, passes: int = 1, age: int = 0, towards: Step | None = None,
) -> TreePolicy:  # fmt: skip
    """The policy after so many natural steps, from ``start`` or the anchor.

    ``towards``: what makes a step of the gradient, if not the division by visits of the data. Where a step is not
    finite, the walk ends before it. The data are ``data``'s, or else the policy's own: drawn anew after so many
    ``passes``, and ``age`` steps old."""
    policy = problem.anchor if start is None else start
    tree, values = problem.anchor.tree, torch.zeros_like(policy.edges[0])
    past = deque([policy], maxlen=age + passes)
    for update in range(updates):
        if data is not None:
            batch = data
        elif update % passes == 0:
            batch = past[0] if len(past) <= age else past[-1 - age]
        logits, learned = policy.edges[0].clone().requires_grad_(), values.clone().requires_grad_()
        state = State(problem.anchor.tree.log_softmax(logits), learned, policy, batch)
        slopes = torch.autograd.grad(loss(problem, state), (logits, learned), materialize_grads=True)
        visits = _chances(batch).clamp(min=1e-300)
        taken = slopes[0] / visits if towards is None else towards(problem, policy, batch, slopes[0])
        edges = problem.anchor.tree.log_softmax(policy.edges[0] - step * taken)
        values = values - step * problem.beta**2 * slopes[1] / visits
        if not edges.isfinite().all():
            break
        policy = TreePolicy(tree, edges[None], policy.leak)
        past.append(policy)
    return policy


def minimum(problem: Problem, loss: Loss, data: TreePolicy, updates: int = 3_000) -> TreePolicy:
    """The policy with the least loss on fixed data, from the anchor, by quasi-Newton steps (L-BFGS)."""
    nodes = len(problem.anchor.tree)

    def slope(flat: Float[np.ndarray, "both"]) -> tuple[float, Float[np.ndarray, "both"]]:
        both = torch.from_numpy(flat).requires_grad_()
        scaled = both[:nodes] / root, both[nodes:] * problem.beta / root
        state = State(problem.anchor.tree.log_softmax(scaled[0]), scaled[1], problem.anchor, data)
        value = loss(problem, state)
        return value.item(), torch.autograd.grad(value, both)[0].numpy()

    root = _chances(data).sqrt()  # of the scale on which the loss curves alike in all directions
    begin = torch.cat([problem.anchor.edges[0] * root, torch.zeros_like(root)]).numpy()
    tight = {"maxiter": updates, "maxfun": 2 * updates, "ftol": 0, "gtol": 1e-7, "maxcor": 20}
    end = minimize(slope, begin, jac=True, method="L-BFGS-B", options=tight).x
    edges = problem.anchor.tree.log_softmax(torch.from_numpy(end[:nodes]) / root)
    return TreePolicy(problem.anchor.tree, edges[None], problem.anchor.leak)


def rounds(problem: Problem, fit: Callable[[Problem], TreePolicy], number: int) -> TreePolicy:
    """So many fits, each anchored at the policy before it."""
    for _ in range(number):
        problem = replace(problem, anchor=fit(problem))
    return problem.anchor
