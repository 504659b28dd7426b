"""Exact numbers of a policy over all sentences of a language, and sampled ones for what leaves it.

A policy on the sentences of a tree is an array of log-probabilities, one for each node after its parent. What a network
gives to words outside the language is set aside first: it is reported as ``leak``, and all else is said of the policy
given that it stays inside. Where too much leaks, that says little of the policy, and the numbers are withheld (NaN).

Rewards come at the end of a sentence and are not discounted, so that the action value of a word is the value of the
node that it leads to. All is float64, in nats and in units of reward; arrays lead with ``trial``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb import checks
from actde_nb.networks import gpt
from actde_nb.networks.policies import Policy
from actde_nb.networks.sampling import NEVER
from actde_nb.worlds import Moves, Said
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.rewards import Reward, scores
from actde_nb.worlds.tree import Tree

LEAK = 0.05  # above which exact numbers are withheld
Ends = Float[Tensor, "sentence"]
LogProbs = Float[Tensor, "*batch sentence"]
Others = Float[Tensor, "*#batch sentence"]  # of one policy or of as many
Each = Float[Tensor, "*batch"]


@dataclass(frozen=True, eq=False)
class TreePolicy:
    """Policies on the sentences of a tree: ``edges``, log-probability of each node after its parent, within the
    language (0 for the root), and ``leak``, the probability that a sentence leaves the language."""

    tree: Tree
    edges: Float[Tensor, "trial node"]
    leak: Float[Tensor, "trial"]

    @cached_property
    def beginnings(self) -> Float[Tensor, "trial node"]:
        """Log-probability of reaching each node."""
        return self.tree.down(self.edges)

    @property
    def sentences(self) -> Float[Tensor, "trial sentence"]:
        """Log-probability of each sentence."""
        return self.beginnings[..., self.tree.leaves]

    def values(self, rewards: Ends) -> Float[Tensor, "trial node"]:
        """V of each node: expected reward of the sentences that go on from there. Q of a word is V after it."""
        return self.tree.up(rewards, self.edges)

    def advantages(self, rewards: Ends) -> Float[Tensor, "trial node"]:
        """A of the word that leads to each node: V there, less V before; 0 for the root."""
        values = self.values(rewards)
        return values - values[..., self.tree.parent]


def condition_on_language(tree: Tree, edges: Float[Tensor, "trial node"]) -> TreePolicy:
    """The policy given that it stays in the language; probabilities of ``edges`` sum to one or less."""
    kept, staying = tree.tilt(edges, torch.zeros(len(tree.leaves), dtype=torch.float64))
    return TreePolicy(tree, kept, -torch.expm1(staying.clamp(max=0)))


def of_policy(tree: Tree, grammar: Grammar, policy: Policy, params: gpt.Params, masked: bool = False) -> TreePolicy:
    """What networks say, by one pass over the tree; as :func:`of_outputs`."""
    return of_outputs(tree, grammar, policy.over_tree(params, tree), masked)


@torch.no_grad()
def of_outputs(tree: Tree, grammar: Grammar, said: gpt.Outputs, masked: bool = False) -> TreePolicy:
    """From what networks say at the inner nodes; ``masked`` rules out words that the grammar does not allow.

    Wherever the networks live, the exact numbers are worked out on the processor, as the tree is."""
    logits = said.logits.squeeze(2).cpu().double()
    if masked:
        logits = torch.where(grammar.chances[tree.state[tree.inner]] > 0, logits, NEVER)
    place = torch.zeros_like(tree.parent).index_copy(0, tree.inner, torch.arange(len(tree.inner)))
    return condition_on_language(tree, logits.log_softmax(-1)[:, place[tree.parent], tree.token])


def entropy(log_probs: LogProbs) -> Each:
    """Entropy in nats a sentence."""
    return -(log_probs.exp() * log_probs).sum(-1)


def divergence(log_probs: LogProbs, other: Others) -> Each:
    """KL(policy || other) in nats a sentence."""
    return (log_probs.exp() * (log_probs - other)).sum(-1)


def optimum(initial: LogProbs, reward: Ends, beta: float) -> tuple[LogProbs, Each]:
    """The policy with the highest E[reward] - beta KL(policy || initial), ``initial * exp(reward / beta) / Z``, and log
    Z; beta log Z is what it attains. ``beta`` is the price of a nat, in units of reward."""
    checks.positive("beta", beta)
    checks.finite("reward", reward.numpy())
    unnormalised = initial + reward / beta
    log_z = unnormalised.logsumexp(-1)
    return unnormalised - log_z[..., None], log_z


def soft_regret(log_probs: LogProbs, initial: Others, reward: Ends, beta: float) -> Each:
    """How far E[reward] - beta KL(policy || initial) is below its highest value, beta log Z; never negative."""
    _, log_z = optimum(initial, reward, beta)
    return beta * (log_z + divergence(log_probs, initial)) - log_probs.exp() @ reward


def frontier(
    initial: Ends, reward: Ends, betas: Sequence[float], others: Mapping[str, Ends]
) -> dict[str, Float[Tensor, "beta"]]:
    """The optimum at each beta: no policy has a higher E[reward] at the same KL. Its ``reward``, ``kl`` and
    ``entropy``, and the means of ``others``, further functions of a sentence."""
    best = torch.stack([optimum(initial, reward, beta)[0] for beta in betas])
    chances = best.exp()  # once: it takes longer than all sums
    means = {name: chances @ values for name, values in {"reward": reward, **others}.items()}
    return {**means, "kl": (chances * (best - initial)).sum(-1), "entropy": -(chances * best).sum(-1)}


def log_z(initial: TreePolicy, advantages: Float[Tensor, "trial node"], beta: float) -> Float[Tensor, "trial inner"]:
    """APA's normaliser at each inner node, log of the sum over words of ``initial * exp(advantage / beta)``.

    APA takes Z for 1 (Zhu et al., 2023). If the policy is ``initial * exp(advantage / beta) / Z`` with its own
    advantages, then log Z is minus its divergence from ``initial`` at the node."""
    checks.positive("beta", beta)
    tree = initial.tree
    terms = (initial.edges + advantages / beta)[..., 1:]
    return tree.log_sum_children(terms, slice(1, len(tree)), slice(0, len(tree)))[..., tree.inner]


def advantage_fixed_point(initial: TreePolicy, reward: Ends, beta: float) -> TreePolicy:
    """The policy that is, at each node, ``initial * exp(A / beta) / Z`` with its own advantages A.

    It is where APA rests if it fits exactly. The advantages know nothing of the divergence that later words cost, so
    that it is not the policy of :func:`optimum`. By one induction from the ends."""
    checks.positive("beta", beta)
    tree, edges = initial.tree, torch.zeros_like(initial.edges)
    values = torch.zeros_like(edges).index_copy(-1, tree.leaves, reward.expand(len(edges), -1))
    for above, level in zip(tree.levels[-2::-1], tree.levels[:0:-1], strict=True):
        tilted = initial.edges[..., level] + values[..., level] / beta
        normaliser = tree.log_sum_children(tilted, level, above)
        edges[..., level] = tilted - normaliser[..., tree.parent[level] - above.start]
        values.index_add_(-1, tree.parent[level], edges[..., level].exp() * values[..., level])
    return TreePolicy(tree, edges, torch.zeros_like(initial.leak))


def exact(
    policy: TreePolicy, initial: TreePolicy, rewards: Mapping[str, Ends],
    objective: str | None = None, beta: float | None = None, allowed: float = LEAK,
) -> dict[str, Float[Tensor, "trial"]]:  # fmt: skip
    """All that is known of policies, NaN but for ``leak`` where more than ``allowed`` leaks.

    ``leak``; ``entropy``, its exponential ``effective_sentences``, ``top`` (probability of the likeliest sentence),
    ``kl`` to the initial policy; means of ``rewards``; for the ``objective`` among them that was optimised at a price
    ``beta`` the ``soft_regret``, mean and deviation of log Z over visited states (``log_z_mean``, ``log_z_sd``), and
    ``apa_residual``, the root mean square of log(policy / initial) - A / beta over words."""
    checks.unit_interval("allowed", allowed)
    said, before = policy.sentences, initial.sentences
    found = {
        "entropy": entropy(said),
        "effective_sentences": entropy(said).exp(),
        "top": said.amax(-1).exp(),
        "kl": divergence(said, before),
        **{name: said.exp() @ values for name, values in rewards.items()},
    }
    if objective is not None and beta is not None:
        reward = rewards[checks.one_of("objective", objective, tuple(rewards))]
        found["soft_regret"] = soft_regret(said, before, reward, beta)
        advantages, visits = policy.advantages(reward), policy.beginnings.exp()
        states = visits[..., policy.tree.inner] / visits[..., policy.tree.inner].sum(-1, keepdim=True)
        normaliser = log_z(initial, advantages, beta)
        found["log_z_mean"] = (states * normaliser).sum(-1)
        found["log_z_sd"] = ((states * normaliser**2).sum(-1) - found["log_z_mean"] ** 2).clamp(min=0).sqrt()
        residual = (policy.edges - initial.edges - advantages / beta)[..., 1:]
        words = visits[..., 1:] / visits[..., 1:].sum(-1, keepdim=True)
        found["apa_residual"] = (words * residual**2).sum(-1).sqrt()
    withheld = policy.leak > allowed
    return {"leak": policy.leak, **{name: torch.where(withheld, torch.nan, value) for name, value in found.items()}}


def resting_points(
    initial: TreePolicy, reward: Ends, betas: Sequence[float] | Float[np.ndarray, "beta"]
) -> dict[str, Float[np.ndarray, "beta"]]:
    """Where APA rests if it fits exactly, at each temperature: the policies of :func:`advantage_fixed_point`.

    ``reward``, ``kl``, ``entropy``; ``soft_regret`` at that price; ``log_z_mean`` and ``log_z_sd`` over the states that
    the policy visits; ``apa_residual``, the root mean square of log(policy / initial) - A / beta over its words, which
    there is log Z; ``from_optimum``, KL(fixed point || optimum at that price). A beta of zero or less is a
    SettingError."""
    rows: list[dict[str, Tensor]] = []
    for beta in map(float, betas):
        rest = advantage_fixed_point(initial, reward, beta)
        best, _ = optimum(initial.sentences, reward, beta)
        found = exact(rest, initial, {"reward": reward}, "reward", beta)
        rows.append({**found, "from_optimum": divergence(rest.sentences, best)})
    names = ("reward", "kl", "entropy", "soft_regret", "log_z_mean", "log_z_sd", "apa_residual", "from_optimum")
    return {name: torch.cat([row[name] for row in rows]).numpy() for name in names}


def sampled(
    grammar: Grammar, tokens: Moves, logits: Said, initial_logits: Said, rewards: Mapping[str, Reward]
) -> dict[str, Float[Tensor, "trial"]]:
    """Estimates from a policy's own samples, which hold outside the language too.

    ``tokens`` are prompt and samples; logits are those before each of the last ``time`` tokens. Means over sentences of
    ``kl`` and ``entropy`` in nats, sums over words of exact sums over the vocabulary; ``length`` in words asked for;
    shares that are ``grammatical`` and ``distinct``; the rewards."""
    trimmed, asked = grammar.trim(tokens)
    asked = asked[..., -logits.shape[2] :].double()
    log_policy, log_initial = (said.double().log_softmax(-1) for said in (logits, initial_logits))
    chances = log_policy.exp()

    def per_sentence(per_word: Tensor) -> Tensor:
        return (per_word * asked).sum(-1).mean(-1)

    return {
        "kl": per_sentence((chances * (log_policy - log_initial)).sum(-1)),
        "entropy": per_sentence(-(chances * log_policy).sum(-1)),
        "length": asked.sum(-1).mean(-1),
        "grammatical": (grammar.read(trimmed)[..., -1] == grammar.end).double().mean(-1),
        "distinct": torch.tensor([len(trial.unique(dim=0)) / len(trial) for trial in trimmed], dtype=torch.float64),
        **{name: scores(reward, trimmed).mean(-1) for name, reward in rewards.items()},
    }
