"""What the training loop asks of a policy, and policies made of networks."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb import checks
from actde_nb.networks import gpt, over_tree
from actde_nb.networks.dropout import Draws, Generators
from actde_nb.networks.gpt import GPTConfig, Needed, Outputs, Params, Tokens
from actde_nb.networks.sampling import NEVER, GreedyTokens, Rule, Sampled, greedy_tokens, sample
from actde_nb.worlds.tree import Tree

First = Int[Tensor, "trial batch *prompt"]
Uniforms = Float[Tensor, "trial batch time"]


@runtime_checkable
class Policy(Protocol):
    """A family of stochastic policies over tokens. Parameters lead with the trial axis."""

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""

    def init(self, generators: Generators) -> Params:
        """Fresh parameters, each trial's from its own generator."""

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to this parameter."""

    def forward(self, params: Params, tokens: Tokens, dropout: Draws = None, needed: Needed = None) -> Outputs:
        """Logits, v and q after every token, differentiable in the parameters; anything finite where not ``needed``."""

    def sample(
        self, params: Params, first: First, uniforms: Uniforms, dropout: Draws = None, temperature: float = 1.0
    ) -> Sampled:
        """Play on from ``first``, a token or a prompt, one move for each uniform draw, which alone decides it."""

    def greedy_tokens(self, params: Params, tokens: Tokens, last: int) -> GreedyTokens:
        """The token that each of the last places makes likeliest, and what v would be after it."""

    def over_tree(self, params: Params, tree: Tree) -> Outputs:
        """What it says at the inner nodes of a tree, as :func:`actde_nb.networks.over_tree.read`; no rule applies."""


class OfNetworks(Policy):
    """A policy that asks one network, or several of one size, and joins what they say."""

    config: GPTConfig
    legal: Rule | None

    def parts(self, params: Params) -> list[Params]:
        """The parameters of each network."""
        return [params]

    def joined(self, *said: Outputs) -> Outputs:
        """What the policy says, of what its networks say."""
        return said[0]

    @property
    def vocabulary(self) -> int:
        return self.config.vocabulary

    def init(self, generators: Generators) -> Params:
        return gpt.init(self.config, len(generators), generators)

    def decays(self, name: str) -> bool:
        return gpt.decays(name)

    def forward(self, params: Params, tokens: Tokens, dropout: Draws = None, needed: Needed = None) -> Outputs:
        optional = {"dropout_generators": dropout, "needed": needed}
        said = self.joined(*(gpt.forward(part, self.config, tokens, **optional) for part in self.parts(params)))
        return said if self.legal is None else said._replace(logits=torch.where(self.legal(tokens), said.logits, NEVER))

    def sample(
        self, params: Params, first: First, uniforms: Uniforms, dropout: Draws = None, temperature: float = 1.0
    ) -> Sampled:
        return sample(
            self.parts(params), self.config, first, uniforms, self.joined,
            dropout_generators=dropout, temperature=temperature, legal=self.legal,
        )  # fmt: skip

    def greedy_tokens(self, params: Params, tokens: Tokens, last: int) -> GreedyTokens:
        return greedy_tokens(self.parts(params), self.config, tokens, last, self.joined, self.legal)

    @torch.no_grad()
    def over_tree(self, params: Params, tree: Tree) -> Outputs:
        return self.joined(*(over_tree.read(part, self.config, tree) for part in self.parts(params)))


@dataclass(frozen=True)
class Network(OfNetworks):
    """The small GPT; ``legal`` says which tokens may come after each, for a policy that says no others."""

    config: GPTConfig
    legal: Rule | None = None


@dataclass(frozen=True)
class TwoNetworks(OfNetworks):
    """Two networks that begin alike; the second one's parameters have ``second.`` before their names."""

    first: Network

    @property
    def config(self) -> GPTConfig:
        """Size of either network."""
        return self.first.config

    @property
    def legal(self) -> Rule | None:
        """Which tokens may come after each."""
        return self.first.legal

    def init(self, generators: Generators) -> Params:
        fresh = self.first.init(generators)
        return {**fresh, **{f"second.{name}": value.clone() for name, value in fresh.items()}}

    def parts(self, params: Params) -> list[Params]:
        second = {name.removeprefix("second."): value for name, value in params.items() if name.startswith("second.")}
        return [{name: params[name] for name in second}, second]


@dataclass(frozen=True)
class SeparateCritic(TwoNetworks):
    """A network that speaks, and a second one for v and q that shares nothing with it."""

    def joined(self, one: Outputs, two: Outputs) -> Outputs:
        return Outputs(one.logits, two.values, two.q)


@dataclass(frozen=True)
class TiltedReference(TwoNetworks):
    """The policy before training times exp(q / temperature), normalised: what it says follows from q.

    Here the second network is what the first was before training, and stays so. The first one's v and q are learned;
    its own policy is not asked."""

    temperature: float

    def __post_init__(self):
        checks.positive("temperature", self.temperature)

    def parts(self, params: Params) -> list[Params]:
        first, second = super().parts(params)
        return [first, {name: value.detach() for name, value in second.items()}]

    def joined(self, one: Outputs, two: Outputs) -> Outputs:
        return Outputs(two.logits + one.q / self.temperature, one.values, one.q)


@dataclass(frozen=True)
class Boltzmann(OfNetworks):
    """The small GPT without a policy of its own: its logits are ``q / temperature``.

    What tabular ACTDE keeps to by its updates, this keeps to by construction: train its q (the algorithm ``"critic"``)
    and it plays the softmax of it. The q head has no bias: the policy head, whose place it takes in sampling, has none.
    """

    config: GPTConfig
    temperature: float
    legal: Rule | None = None

    def __post_init__(self):
        checks.positive("temperature", self.temperature)

    def init(self, generators: Generators) -> Params:
        return {name: x for name, x in super().init(generators).items() if name not in ("policy.weight", "q.bias")}

    def parts(self, params: Params) -> list[Params]:
        q = params["q.weight"]
        return [{**params, "policy.weight": q / self.temperature, "q.bias": q.new_zeros(q.shape[:2])}]
