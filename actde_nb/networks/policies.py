"""What the training loop asks of a policy, and the kinds of policy it is used with: networks and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb import checks
from actde_nb.networks import gpt, over_tree
from actde_nb.networks.gpt import GPTConfig, Outputs
from actde_nb.networks.greedy_tokens import Likeliest, likeliest
from actde_nb.networks.sampling import NEVER, Reader, Rule, Sampled, draw, sample
from actde_nb.worlds.tree import Tree

Params = dict[str, Tensor]
Generators = Sequence[torch.Generator]
Needed = Bool[Tensor, "trial batch time"] | None


@runtime_checkable
class Policy(Protocol):
    """A family of stochastic policies over tokens. Parameters lead with the trial axis."""

    def init(self, generators: Generators) -> Params:
        """Fresh parameters, each trial's from its own generator."""
        ...

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to this parameter."""
        ...

    def forward(
        self,
        params: Params,
        tokens: Int[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        needed: Needed = None,
    ) -> Outputs:
        """Logits, v and q after every token, differentiable in the parameters; anything finite where not ``needed``."""
        ...

    def sample(
        self,
        params: Params,
        first: Int[Tensor, "trial batch *prompt"],
        uniforms: Float[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        temperature: float = 1.0,
    ) -> Sampled:
        """Play on from ``first``, one move for each uniform draw, which alone decides it."""
        ...


@dataclass(frozen=True)
class Network:
    """The small GPT.

    Args:
        config: its size.
        attention: passed on, ``"fast"`` or ``"reference"``.
        legal: which tokens may come after each, for a policy that says no others.
    """

    config: GPTConfig
    attention: str = "fast"
    legal: Rule | None = None

    def init(self, generators: Generators) -> Params:
        """Fresh parameters, each trial's from its own generator."""
        return gpt.init(self.config, len(generators), generators)

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to this parameter."""
        return gpt.decays(name)

    def forward(
        self,
        params: Params,
        tokens: Int[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        needed: Needed = None,
    ) -> Outputs:
        """Logits, v and q after every token."""
        said = gpt.forward(
            params, self.config, tokens, dropout_generators=dropout, attention=self.attention, needed=needed
        )
        if self.legal is None:
            return said
        return said._replace(logits=torch.where(self.legal(tokens), said.logits, NEVER))

    def sample(
        self,
        params: Params,
        first: Int[Tensor, "trial batch *prompt"],
        uniforms: Float[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        temperature: float = 1.0,
    ) -> Sampled:
        """Play on from ``first``, one move for each uniform draw."""
        steps, legal = uniforms.shape[-1], self.legal
        return sample(
            params, self.config, first, steps, uniforms,
            dropout_generators=dropout, temperature=temperature, legal=legal,
        )  # fmt: skip

    def likeliest(self, params: Params, tokens: Int[Tensor, "trial batch time"], last: int) -> Likeliest:
        """The token that each of the last places makes likeliest, and what v would be after it."""
        return likeliest(params, self.config, tokens, last, self.legal)

    def over_tree(self, params: Params, tree: Tree) -> Outputs:
        """What it says at the inner nodes of a tree, as :func:`actde_nb.networks.over_tree.read`."""
        return over_tree.read(params, self.config, tree.prompt, tree.parent, tree.token, tree.levels, tree.inner)


@dataclass(frozen=True)
class Pair:
    """Two networks that begin alike: one that learns to speak, and a second one.

    Args:
        first: the network.
        temperature: 0 if the second is the critic, which shares nothing with the first: v and q are its. A number above
            zero if the second is what the first was before training and stays so; then the logits are the second's
            plus q over this temperature, and the first has no policy of its own.

    Raises:
        SettingError: a temperature below zero.
    """

    first: Network
    temperature: float = 0.0

    def __post_init__(self):
        checks.at_least_zero("temperature", self.temperature)

    def init(self, generators: Generators) -> Params:
        """Fresh parameters, the second network's with ``second.`` before their names."""
        fresh = self.first.init(generators)
        return {**fresh, **{f"second.{name}": value.clone() for name, value in fresh.items()}}

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to this parameter."""
        return self.first.decays(name)

    def forward(
        self,
        params: Params,
        tokens: Int[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        needed: Needed = None,
    ) -> Outputs:
        """Logits, v and q after every token."""
        return self._joined(*(self.first.forward(part, tokens, dropout, needed) for part in self._parts(params)))

    def sample(
        self,
        params: Params,
        first: Int[Tensor, "trial batch *prompt"],
        uniforms: Float[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        temperature: float = 1.0,
    ) -> Sampled:
        """Play on from ``first``, one move for each uniform draw."""
        prompt = first if first.ndim == 3 else first[..., None]
        (trials, batch, asked), config = prompt.shape, self.first.config
        off = gpt.dropout_of(config, dropout, trials, batch)
        readers = [Reader(part, config, batch, asked + uniforms.shape[-1], off) for part in self._parts(params)]

        def read(tokens: Tensor, t: int) -> Outputs:
            return self._joined(*(reader.read(tokens, t) for reader in readers))

        return draw(read, prompt, uniforms, temperature, self.first.legal)

    def over_tree(self, params: Params, tree: Tree) -> Outputs:
        """What it says at the inner nodes of a tree."""
        return self._joined(*(self.first.over_tree(part, tree) for part in self._parts(params)))

    def _parts(self, params: Params) -> tuple[Params, Params]:
        second = {name.removeprefix("second."): value for name, value in params.items() if name.startswith("second.")}
        if self.temperature:
            second = {name: value.detach() for name, value in second.items()}
        return {name: params[name] for name in second}, second

    def _joined(self, one: Outputs, two: Outputs) -> Outputs:
        if self.temperature:
            return Outputs(two.logits + one.q / self.temperature, one.values, one.q)
        return Outputs(one.logits, two.values, two.q)


@dataclass(frozen=True)
class Boltzmann:
    """The small GPT without a policy of its own: its logits are ``q / temperature``.

    What tabular ACTDE keeps to by its updates, this keeps to by construction: train its q (the row ``"critic"`` of the
    table of algorithms) and it plays the softmax of it.
    The q head has no bias, since the policy head, whose place it takes in sampling, has none.

    Raises:
        SettingError: a temperature that is not above zero.
    """

    config: GPTConfig
    temperature: float

    def __post_init__(self):
        checks.positive("temperature", self.temperature)

    def init(self, generators: Generators) -> Params:
        """Fresh parameters, each trial's from its own generator."""
        fresh = gpt.init(self.config, len(generators), generators)
        return {name: value for name, value in fresh.items() if name not in ("policy.weight", "q.bias")}

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to this parameter."""
        return gpt.decays(name)

    def forward(
        self,
        params: Params,
        tokens: Int[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        needed: Needed = None,
    ) -> Outputs:
        """Logits, v and q after every token."""
        return gpt.forward(self._whole(params), self.config, tokens, dropout_generators=dropout, needed=needed)

    def sample(
        self,
        params: Params,
        first: Int[Tensor, "trial batch *prompt"],
        uniforms: Float[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        temperature: float = 1.0,
    ) -> Sampled:
        """Play on from ``first``, one move for each uniform draw."""
        steps, whole = uniforms.shape[-1], self._whole(params)
        return sample(whole, self.config, first, steps, uniforms, dropout_generators=dropout, temperature=temperature)

    def _whole(self, params: Params) -> Params:
        q = params["q.weight"]
        return {**params, "policy.weight": q / self.temperature, "q.bias": q.new_zeros(q.shape[:2])}


@dataclass(frozen=True)
class Table:
    """One row of logits, one v and one row of q for each last token; float64, and zero to begin with.

    This is part one's policy behind the same interface: with it the loop is the tabular simulation,
    in batches.
    """

    vocabulary: int = 2

    def init(self, generators: Generators) -> Params:
        """Fresh parameters, each trial's from its own generator."""
        trials, n = len(generators), self.vocabulary
        shapes = {"logits": (trials, n, n), "values": (trials, n), "q": (trials, n, n)}
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def decays(self, name: str) -> bool:
        """Whether weight decay applies to this parameter."""
        return True

    def forward(
        self,
        params: Params,
        tokens: Int[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        needed: Needed = None,
    ) -> Outputs:
        """Logits, v and q after every token."""
        trial = torch.arange(len(tokens), device=tokens.device)[:, None, None]
        return Outputs(*(params[name][trial, tokens] for name in ("logits", "values", "q")))

    @torch.no_grad()
    def sample(
        self,
        params: Params,
        first: Int[Tensor, "trial batch *prompt"],
        uniforms: Float[Tensor, "trial batch time"],
        dropout: Generators | None = None,
        temperature: float = 1.0,
    ) -> Sampled:
        """Play on from ``first``, one move for each uniform draw."""
        tokens = list(first.unbind(-1)) if first.ndim == 3 else [first]
        for uniform in uniforms.unbind(-1):
            chances = (self.forward(params, tokens[-1][..., None]).logits[..., 0, :] / temperature).softmax(-1)
            tokens.append((uniform[..., None] >= chances.cumsum(-1)[..., :-1]).sum(-1))
        tokens = torch.stack(tokens, -1)
        steps = uniforms.shape[-1]
        said = Outputs(*(array[:, :, -steps - 1 :] for array in self.forward(params, tokens)))
        log_probs = said.logits[..., :-1, :].log_softmax(-1).gather(-1, tokens[..., -steps:, None])[..., 0]
        return Sampled(tokens, log_probs, said.values, said.q[..., :-1, :])

    def likeliest(self, params: Params, tokens: Int[Tensor, "trial batch time"], last: int) -> Likeliest:
        """The token that each of the last places makes likeliest, and what v would be after it."""
        log_policy = self.forward(params, tokens[..., -last:]).logits.log_softmax(-1)
        log_probs, chosen = log_policy.max(-1)
        return Likeliest(chosen, log_probs, self.forward(params, chosen).values)
