"""What a policy learns from, exactly: the mean and the noise of each form of ACTDE's error over a whole language.

Words lead to one state each, so that v after a word and q of the word predict one number. An error
``r + v(next) - q(word)`` then holds no reward that both have learned: it is by how much two critics disagree. Here is
what that does to a policy, word by word, for any critics, those of a network among them.

Rewards come at the end of a sentence and are not discounted. What leaves the language is set aside, as in
:mod:`actde_nb.study.metrics`, whose arrays these are: ``[trial, node]``, one number for the word that leads to a node.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.learning.train import Trainer
from actde_nb.networks import gpt
from actde_nb.networks.policies import Policy
from actde_nb.study import metrics
from actde_nb.study.metrics import Spoken
from actde_nb.worlds.tree import Tree

Ends = Float[Tensor, "sentence"]
Words = Float[Tensor, "trial node"]
PerTrial = Float[Tensor, "trial"]


@dataclass(frozen=True, eq=False)
class Critics:
    """Two predictions of a sentence's reward.

    Args:
        v: at each node, of those who have said so much; what it is at whole sentences is not asked.
        q: of the word that leads to each node, before it is said; what it is at the root is not asked.
    """

    v: Words
    q: Words


class Signal(NamedTuple):
    """What a sampled word's error is, over all ways in which the sentence may go on.

    Args:
        mean: expected error of each word.
        square: expected square of it.
    """

    mean: Words
    square: Words


class Pull(NamedTuple):
    """What an expected update does to the mean reward, and what else it does.

    Args:
        gain: by how much the mean reward rises, to first order, if every word's logit moves by its error times a small
            step; per step, for a sentence of the policy: the mean of A times error, added up over its words.
        aim: correlation of expected error and A, within the states that the policy visits; 1 for the policy gradient.
        force: root mean square of the expected error, less its mean in each state, a word.
        noise: standard deviation of a sampled error about its mean, a word.
    """

    gain: PerTrial
    aim: PerTrial
    force: PerTrial
    noise: PerTrial


@torch.no_grad()
def of_network(tree: Tree, policy: Policy, params: gpt.Params) -> Critics:
    """What networks predict, by one pass over the tree."""
    said = policy.over_tree(params, tree)
    values, q = said.values.squeeze(2).double(), said.q.squeeze(2).double()
    place = torch.zeros_like(tree.parent).index_copy(0, tree.inner, torch.arange(len(tree.inner)))
    v = values.new_zeros(len(values), len(tree)).index_copy(1, tree.inner, values)
    return Critics(v, q[:, place[tree.parent], tree.token].index_fill(1, torch.tensor([0]), 0))


def partial(policy: Spoken, rewards: Ends, v_knows: float, q_knows: float) -> Critics:
    """Critics that know the mean reward, and a share of what tells the beginnings of sentences apart.

    Args:
        policy: whose values they are.
        rewards: of each sentence.
        v_knows: 0 for one number everywhere, 1 for exact values.
        q_knows: the same of q.
    """
    checks.unit_interval("v_knows", v_knows)
    checks.unit_interval("q_knows", q_knows)
    values = policy.values(rewards)
    mean = values[:, :1]
    return Critics(mean + v_knows * (values - mean), mean + q_knows * (values - mean))


def published(policy: Spoken, rewards: Ends, critics: Critics, trace: float) -> Signal:
    """The published trainer's error: sums of ``r + v(next) - q(word)`` over this word and later ones.

    Args:
        policy: what speaks.
        rewards: of each sentence.
        critics: both are asked.
        trace: lambda; 0 for the error of the post's text.
    """
    checks.unit_interval("trace", trace)
    return _sums(policy, _after(policy.tree, rewards, critics) - critics.q, trace)


def state_baseline(policy: Spoken, rewards: Ends, critics: Critics, trace: float) -> Signal:
    """PPO's error: sums of ``r + v(next) - v(state)``; q is not asked."""
    checks.unit_interval("trace", trace)
    return _sums(policy, _after(policy.tree, rewards, critics) - critics.v[:, policy.tree.parent], trace)


def return_minus_q(policy: Spoken, rewards: Ends, critics: Critics) -> Signal:
    """The sentence's reward, less q of the word; v is not asked."""
    mean, square = policy.values(rewards), policy.values(rewards**2)
    return Signal(mean - critics.q, square - 2 * critics.q * mean + critics.q**2)


def pull(policy: Spoken, rewards: Ends, signal: Signal) -> Pull:
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


def errors(policy: Spoken, rewards: Ends, critics: Critics) -> tuple[PerTrial, PerTrial, PerTrial]:
    """Root mean squares, over the words that the policy says, of q's error, v's error and their disagreement.

    The last is of ``r + v(next) - q(word)``; v's error is that after the word, or zero where the sentence ends.
    """
    values, after = policy.values(rewards), _after(policy.tree, rewards, critics)
    chances = policy.beginnings[:, 1:].exp()
    chances = chances / chances.sum(-1, keepdim=True)
    apart = (critics.q - values, after - values, after - critics.q)
    return tuple((chances * error[:, 1:] ** 2).sum(-1).sqrt() for error in apart)


def tilt(policy: Spoken, initial: Spoken, rewards: Ends) -> tuple[PerTrial, PerTrial]:
    """Slope of log(policy / initial) on the policy's own A, over the words that it says, and the share it explains.

    Both within states, so that normalisers do not enter. At the fixed point of advantages for temperature tau
    (:func:`actde_nb.study.metrics.advantage_fixed_point`) the slope is 1 / tau and the share is 1.

    Returns:
        Nats of log-ratio for a unit of reward; and one minus the share of the log-ratio's variance within states that
        a multiple of A leaves. A policy that has not moved has a slope of 0, and explains nothing.
    """
    tree, advantages = policy.tree, policy.advantages(rewards)[:, 1:]
    moved = policy.edges - initial.edges
    chances = policy.beginnings[:, 1:].exp()
    centred = (moved - _in_state(policy, moved)[:, tree.parent])[:, 1:]
    common, total = (chances * advantages * centred).sum(-1), (chances * centred**2).sum(-1)
    slope = common / (chances * advantages**2).sum(-1)
    return slope, torch.where(total > 1e-12, slope * common / total, 0.0)


def ending(
    policy: Spoken, initial: Spoken, rewards: Ends, critics: Critics | None = None, temperature: float | None = None,
    allowed: float = metrics.LEAK,
) -> dict[str, PerTrial]:  # fmt: skip
    """What there is to know of policies at the end of a run, NaN where more than ``allowed`` leaks.

    Args:
        policy: at the end.
        initial: before training, a stack of one or of as many.
        rewards: that was optimised.
        critics: those at the end, if there is a q.
        temperature: of the fixed points that they are compared with.
        allowed: highest leak.

    Returns:
        ``tilt`` and ``tilt_share``; with a temperature, divergence from the fixed point of advantages and from the
        optimum at this price of a nat, ``fixed_point_kl`` and ``optimum_kl``; with critics ``q_error``, ``v_error``
        and ``disagreement``, and ``..._gain``, ``..._aim``, ``..._force`` and ``..._noise`` of the published form with
        lambda 0 and .95 (``published_000``, ``published_095``) and of ``return`` less q.
    """
    checks.unit_interval("allowed", allowed)
    found = dict(zip(("tilt", "tilt_share"), tilt(policy, initial, rewards), strict=True))
    if temperature is not None:
        rest = metrics.advantage_fixed_point(initial, rewards, temperature).sentences
        best, _ = metrics.optimum(initial.sentences, rewards, temperature)
        found["fixed_point_kl"] = metrics.divergence(policy.sentences, rest)
        found["optimum_kl"] = metrics.divergence(policy.sentences, best)
    if critics is not None:
        names = ("q_error", "v_error", "disagreement")
        found |= dict(zip(names, errors(policy, rewards, critics), strict=True))
        for name, signal in _forms(policy, rewards, critics).items():
            seen = pull(policy, rewards, signal)._asdict()
            found |= {f"{name}_{part}": value for part, value in seen.items()}
    withheld = policy.leak > allowed
    return {name: torch.where(withheld, torch.nan, value) for name, value in found.items()}


def _after(tree: Tree, rewards: Ends, critics: Critics) -> Words:
    """What the next state is held to be worth: v there, or the reward where the sentence ends."""
    return critics.v.index_copy(-1, tree.leaves, rewards.expand(len(critics.v), -1))


def _in_state(policy: Spoken, of_word: Words) -> Words:
    """At each node, the policy's mean over the words that may come; zero where none may."""
    weighted = (policy.edges.exp() * of_word)[:, 1:]
    return torch.zeros_like(of_word).index_add(-1, policy.tree.parent[1:], weighted)


def _sums(policy: Spoken, one: Words, trace: float) -> Signal:
    """Discounted sums of each word's own error and those of later ones, which are drawn from the policy."""
    tree, mean, square = policy.tree, one.clone(), one**2
    for level in reversed(tree.levels[1:]):
        chances, above = policy.edges[:, level].exp(), tree.parent[level]
        later = torch.zeros_like(one).index_add(-1, above, chances * mean[:, level])
        mean = mean + trace * later
        spread = torch.zeros_like(one).index_add(-1, above, chances * square[:, level])
        square = square + 2 * trace * one * later + trace**2 * spread
    return Signal(mean, square)


def watch(work: Trainer, updates: int, every: int) -> dict[str, Float[np.ndarray, "trial point"]]:
    """Train on, and see what the critics know and where each form of the error would pull.

    Args:
        work: a run on a language whose algorithm has a q; it is trained further.
        updates: how many, in whole rollouts.
        every: updates between looks, in whole rollouts.

    Returns:
        ``update``, updates done at each look; ``leak``; ``reward`` and ``entropy`` of the policies given that they stay
        in the language; ``q_error``, ``v_error`` and ``disagreement``; and the aim of ``published_000``,
        ``published_095``, ``return`` and ``state`` (PPO's, with this v and lambda .95). NaN but for the first two
        where a policy leaks too much.

    Raises:
        SettingError: numbers of updates that are not whole rollouts.
    """
    rollout, world = work.config.updates_per_rollout, work.world
    for name, number in (("updates", updates), ("every", every)):
        checks.whole(name, number)
        if number % rollout:
            raise SettingError(f"{name} = {number}: allowed are multiples of the updates per rollout, {rollout}")
    tree, rewards, begun, rows = world.tree, world.worth(world.tree.sentences), work.update, []
    for stop in range(0, updates + 1, every):
        while work.update < begun + stop:
            work.step()
        policy = metrics.of_policy(tree, world.grammar, work.policy, work.parameters, _masked(work.policy))
        critics = of_network(tree, work.policy, work.parameters)
        row = {
            "reward": policy.values(rewards)[:, 0],
            "entropy": metrics.entropy(policy.sentences),
            **dict(zip(("q_error", "v_error", "disagreement"), errors(policy, rewards, critics), strict=True)),
        }
        signals = {**_forms(policy, rewards, critics), "state": state_baseline(policy, rewards, critics, 0.95)}
        for name, signal in signals.items():
            row[name] = pull(policy, rewards, signal).aim
        withheld = policy.leak > metrics.LEAK
        row = {name: torch.where(withheld, torch.nan, value) for name, value in row.items()}
        rows.append({"update": torch.full_like(policy.leak, begun + stop), "leak": policy.leak, **row})
    return {name: torch.stack([row[name] for row in rows], -1).detach().numpy() for name in rows[0]}


def _masked(policy: object) -> bool:
    return getattr(getattr(policy, "first", policy), "legal", None) is not None


def _forms(policy: Spoken, rewards: Ends, critics: Critics) -> dict[str, Signal]:
    return {
        "published_000": published(policy, rewards, critics, 0.0),
        "published_095": published(policy, rewards, critics, 0.95),
        "return": return_minus_q(policy, rewards, critics),
    }
