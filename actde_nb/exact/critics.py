"""What a policy learns from, exactly: the mean and the noise of each form of ACTDE's error over a whole language.

Words lead to one state each, so that v after a word and q of the word predict one number. An error ``r + v(next) -
q(word)`` then holds no reward that both have learned: it is by how much two critics disagree.

Rewards come at the end of a sentence and are not discounted. What leaves the language is set aside, as in
:mod:`actde_nb.exact.policy_on_tree`, whose arrays these are: ``[trial, node]``, one number for the word that leads to a
node."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb import checks
from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import Ends, TreePolicy
from actde_nb.networks import gpt
from actde_nb.worlds.tree import Tree

Words = Float[Tensor, "trial node"]
PerTrial = Float[Tensor, "trial"]


@dataclass(frozen=True, eq=False)
class Critics:
    """Predictions of a sentence's reward: ``v`` at each node, of those who have said so much (not asked at whole
    sentences), and ``q`` of the word that leads to each node, before it is said (not asked at the root)."""

    v: Words
    q: Words


class Signal(NamedTuple):
    """Mean and mean square of a sampled word's error, over all ways in which the sentence may go on."""

    mean: Words
    square: Words


class Pull(NamedTuple):
    """What an expected update does to the mean reward, and what else it does.

    ``gain``: rise of the mean reward, to first order, per small step, if every word's logit moves by its error: the
    mean of A times error, added up over a sentence's words. ``aim``: correlation of expected error and A within the
    states that the policy visits; 1 for the policy gradient. ``force``: root mean square of the expected error less its
    mean in each state; ``noise``: standard deviation of a sampled error about its mean; both a word."""

    gain: PerTrial
    aim: PerTrial
    force: PerTrial
    noise: PerTrial


@torch.no_grad()
def critics_of(tree: Tree, said: gpt.Outputs) -> Critics:
    """What networks predict, of what they say at the inner nodes of the tree."""
    values, q = said.values.squeeze(2).cpu().double(), said.q.squeeze(2).cpu().double()
    place = torch.zeros_like(tree.parent).index_copy(0, tree.inner, torch.arange(len(tree.inner)))
    v = values.new_zeros(len(values), len(tree)).index_copy(1, tree.inner, values)
    return Critics(v, q[:, place[tree.parent], tree.token].index_fill(1, torch.tensor([0]), 0))


def published_error(policy: TreePolicy, rewards: Ends, critics: Critics, gae_lambda: float) -> Signal:
    """The published trainer's error: sums of ``r + v(next) - q(word)`` over this word and later ones. With
    ``gae_lambda`` 0 it is the error of the post's text."""
    checks.unit_interval("gae_lambda", gae_lambda)
    return _sums(policy, _after(policy.tree, rewards, critics) - critics.q, gae_lambda)


def return_minus_q(policy: TreePolicy, rewards: Ends, critics: Critics) -> Signal:
    """The sentence's reward, less q of the word; v is not asked."""
    mean, square = policy.values(rewards), policy.values(rewards**2)
    return Signal(mean - critics.q, square - 2 * critics.q * mean + critics.q**2)


def pull(policy: TreePolicy, rewards: Ends, signal: Signal) -> Pull:
    """What updates along a signal do to the policy."""
    tree, advantages = policy.tree, policy.advantages(rewards)[:, 1:]
    chances = policy.beginnings[:, 1:].exp()
    words = chances.sum(-1)
    centred = (signal.mean - _in_state(policy, signal.mean)[:, tree.parent])[:, 1:]
    gain, power = (chances * advantages * signal.mean[:, 1:]).sum(-1), (chances * centred**2).sum(-1)
    largest = (power * (chances * advantages**2).sum(-1)).sqrt()
    variance = (chances * (signal.square - signal.mean**2)[:, 1:]).sum(-1) / words
    aim = torch.where(largest > 1e-12, gain / largest, 0.0)
    return Pull(gain, aim, (power / words).sqrt(), variance.clamp(min=0).sqrt())


def errors(policy: TreePolicy, rewards: Ends, critics: Critics) -> tuple[PerTrial, PerTrial, PerTrial]:
    """Root mean squares, over the words that the policy says, of q's error, v's error and their disagreement. The last
    is of ``r + v(next) - q(word)``; v's error is that after the word, or zero where the sentence ends."""
    values, after = policy.values(rewards), _after(policy.tree, rewards, critics)
    chances = policy.beginnings[:, 1:].exp()
    chances = chances / chances.sum(-1, keepdim=True)
    apart = (critics.q - values, after - values, after - critics.q)
    return tuple((chances * error[:, 1:] ** 2).sum(-1).sqrt() for error in apart)


def tilt(policy: TreePolicy, initial: TreePolicy, rewards: Ends) -> tuple[PerTrial, PerTrial]:
    """Slope of log(policy / initial) on the policy's own A, over the words that it says, and the share it explains.

    Both within states, so that normalisers do not enter. At the fixed point of advantages for temperature tau
    (:func:`actde_nb.exact.policy_on_tree.advantage_fixed_point`) the slope is 1 / tau and the share is 1; a policy that
    has not moved has a slope of 0, and explains nothing."""
    tree, advantages = policy.tree, policy.advantages(rewards)[:, 1:]
    moved = policy.edges - initial.edges
    chances = policy.beginnings[:, 1:].exp()
    centred = (moved - _in_state(policy, moved)[:, tree.parent])[:, 1:]
    common, total = (chances * advantages * centred).sum(-1), (chances * centred**2).sum(-1)
    slope = common / (chances * advantages**2).sum(-1)
    return slope, torch.where(total > 1e-12, slope * common / total, 0.0)


def final_measures(
    policy: TreePolicy, initial: TreePolicy, rewards: Ends,
    critics: Critics | None = None, temperature: float | None = None,
) -> dict[str, PerTrial]:  # fmt: skip
    """What there is to know of policies at the end of a run for the optimised ``rewards``, NaN where too much leaks.

    ``tilt`` and ``tilt_share``; with a temperature, divergence from its fixed point of advantages and from the optimum
    at this price of a nat, ``fixed_point_kl`` and ``optimum_kl``; with critics ``q_error``, ``v_error`` and
    ``disagreement``, and ``..._gain``, ``..._aim``, ``..._force`` and ``..._noise`` of each of :func:`forms`."""
    found = dict(zip(("tilt", "tilt_share"), tilt(policy, initial, rewards), strict=True))
    if temperature is not None:
        rest = policy_on_tree.advantage_fixed_point(initial, rewards, temperature).sentences
        best, _ = policy_on_tree.optimum(initial.sentences, rewards, temperature)
        found["fixed_point_kl"] = policy_on_tree.divergence(policy.sentences, rest)
        found["optimum_kl"] = policy_on_tree.divergence(policy.sentences, best)
    if critics is not None:
        names = ("q_error", "v_error", "disagreement")
        found |= dict(zip(names, errors(policy, rewards, critics), strict=True))
        for name, signal in forms(policy, rewards, critics).items():
            seen = pull(policy, rewards, signal)._asdict()
            found |= {f"{name}_{part}": value for part, value in seen.items()}
    withheld = policy.leak > policy_on_tree.LEAK
    return {name: torch.where(withheld, torch.nan, value) for name, value in found.items()}


def _after(tree: Tree, rewards: Ends, critics: Critics) -> Words:
    """What the next state is held to be worth: v there, or the reward where the sentence ends."""
    return critics.v.index_copy(-1, tree.leaves, rewards.expand(len(critics.v), -1))


def _in_state(policy: TreePolicy, of_word: Words) -> Words:
    """At each node, the policy's mean over the words that may come; zero where none may."""
    weighted = (policy.edges.exp() * of_word)[:, 1:]
    return torch.zeros_like(of_word).index_add(-1, policy.tree.parent[1:], weighted)


def _sums(policy: TreePolicy, one: Words, gae_lambda: float) -> Signal:
    """Discounted sums of each word's own error and those of later ones, which are drawn from the policy."""
    tree, mean, square = policy.tree, one.clone(), one**2
    for level in reversed(tree.levels[1:]):
        chances, above = policy.edges[:, level].exp(), tree.parent[level]
        later = torch.zeros_like(one).index_add(-1, above, chances * mean[:, level])
        mean = mean + gae_lambda * later
        spread = torch.zeros_like(one).index_add(-1, above, chances * square[:, level])
        square = square + 2 * gae_lambda * one * later + gae_lambda**2 * spread
    return Signal(mean, square)


def forms(policy: TreePolicy, rewards: Ends, critics: Critics) -> dict[str, Signal]:
    """The forms of the error that are compared, by name."""
    return {
        "published_000": published_error(policy, rewards, critics, 0.0),
        "published_095": published_error(policy, rewards, critics, 0.95),
        "return": return_minus_q(policy, rewards, critics),
    }
