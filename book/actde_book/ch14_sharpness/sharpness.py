"""How sharp a loss is where a network stands: curvatures, random directions, and how far the policy moves with them.

A loss takes the parameters of a stack of networks and gives one number for each. Networks of a stack do not know of one
another, so that the second derivative of the sum is the Hessian of each: one product serves them all. An eigenvalue is
in loss per squared unit of parameter. Both units are a matter of choice (a layer before a layer norm can be scaled at
no change of the policy; Dinh et al., 2017). Hence the company it keeps here: directions scaled with the weights, and
the Fisher matrix, in whose units a step is what the policy makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.networks import gpt, over_tree
from actde_nb.networks.sampling import NEVER
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.tree import Tree

Params = Mapping[str, Tensor]
Loss = Callable[[Params], Float[Tensor, "trial"]]
Flat = Float[Tensor, "trial weight"]


def flatten(params: Params) -> Flat:
    """All parameters of each network in one row."""
    return torch.cat([value.flatten(1) for value in params.values()], 1)


def unflatten(flat: Flat, like: Params) -> dict[str, Tensor]:
    """Rows as :func:`flatten` makes them, as parameters again."""
    parts = flat.split([value[0].numel() for value in like.values()], 1)
    return {name: part.view_as(value) for part, (name, value) in zip(parts, like.items(), strict=True)}


def _gradient(loss: Loss, params: Params, keep: bool) -> tuple[Flat, list[Tensor]]:
    """The gradient, which can be differentiated again if it is to be kept, and the parameters it is taken in."""
    at = {name: value.detach().requires_grad_() for name, value in params.items()}
    found = torch.autograd.grad(loss(at).sum(), list(at.values()), create_graph=keep, materialize_grads=True)
    return torch.cat([part.flatten(1) for part in found], 1), list(at.values())


def hessian_products(loss: Loss, params: Params) -> Callable[[Flat], Flat]:
    """Products of the Hessian at ``params`` with vectors, by differentiating the gradient once more (Pearlmutter,
    1994). The gradient is worked out once and kept. Parameters that the loss does not use have rows of zeros."""
    flat, leaves = _gradient(loss, params, keep=True)

    def product(vector: Flat) -> Flat:
        twice = torch.autograd.grad(flat, leaves, vector, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten(1) for part in twice], 1)

    return product


class Extremes(NamedTuple):
    """Ends of a spectrum, of each network."""

    highest: Float[Tensor, "trial"]
    lowest: Float[Tensor, "trial"]


def lanczos(product: Callable[[Flat], Flat], start: Flat, steps: int = 20) -> Extremes:
    """Highest and lowest eigenvalue of a symmetric matrix that is known by its products, by ``steps`` of them.

    Lanczos' method, each new vector made orthogonal to all before (twice). Its highest value is never below that of as
    many steps of the power method, nor above the truth; as many steps as weights give the whole spectrum. ``start``
    must have a share in the eigenvectors sought; a random one has."""
    steps = min(steps, start.shape[1])
    basis = [start / start.norm(dim=1, keepdim=True)]
    small = start.new_zeros(len(start), steps, steps)
    for i in range(steps):
        image = product(basis[i])
        small[:, i, i] = (image * basis[i]).sum(1)
        if i + 1 == steps:
            break
        known = torch.stack(basis, 1)  # [S, i + 1, W]
        for _ in range(2):
            image = image - ((known @ image[..., None]) * known).sum(1)
        length = image.norm(dim=1)
        # A row that is exhausted goes on with zeros, which add eigenvalues of zero to none but its own matrix.
        alive = length > 1e-6 * small.abs().amax((1, 2)).clamp(min=torch.finfo(length.dtype).tiny)
        small[:, i, i + 1] = small[:, i + 1, i] = length * alive
        basis.append(torch.where(alive[:, None], image / length[:, None].clamp(min=1e-30), 0.0))
    values, vectors = torch.linalg.eigh(small)
    used = torch.stack([vector.abs().sum(1) > 0 for vector in basis], 1)  # [S, steps]
    inside = (vectors.square() * used[:, :, None]).sum(1) > 0.5  # eigenvectors within the space that was reached
    return Extremes(torch.where(inside, values, -torch.inf).amax(1), torch.where(inside, values, torch.inf).amin(1))


def uphill(loss: Loss, params: Params) -> dict[str, Tensor]:
    """Each network's gradient, as a direction of length one."""
    flat, _ = _gradient(loss, params, keep=False)
    return unflatten(flat / flat.norm(dim=1, keepdim=True), params)


def extremes(loss: Loss, params: Params, draws: torch.Generator, steps: int = 20) -> Extremes:
    """Highest and lowest eigenvalue of the Hessian of each network's loss, by :func:`lanczos` from a random start."""
    flat = flatten(params)
    start = torch.randn(flat.shape, generator=draws, dtype=flat.dtype)
    return lanczos(hessian_products(loss, params), start, steps)


def filter_normalised(params: Params, draws: torch.Generator) -> dict[str, Tensor]:
    """A random direction in which every filter is as long as the network's own (Li et al., 2018). A filter feeds one
    unit: a row of a weight matrix, or of an embedding. Biases and scales of layer norms stay, as there."""

    def draw(name: str, value: Tensor) -> Tensor:
        if not (name.endswith("embedding") or gpt.decays(name)):
            return torch.zeros_like(value)
        noise = torch.randn(value.shape, generator=draws, dtype=value.dtype)
        return noise * value.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)

    return {name: draw(name, value.detach()) for name, value in params.items()}


@torch.no_grad()
def along(
    measure: Callable[[Params], Tensor], params: Params, direction: Params, offsets: Sequence[float] | np.ndarray
) -> Float[Tensor, "offset ..."]:
    """What ``measure`` says at ``params + offset * direction``; ``params`` are not touched."""
    places = ({name: value + float(x) * direction[name] for name, value in params.items()} for x in offsets)
    return torch.stack([measure(place) for place in places])


def reached(offsets: Sequence[float] | np.ndarray) -> np.ndarray:
    """Where a probe stands that means to go to each offset and forgets to come back in between: the published probe
    copies the model shallowly, so that what it sets on the copy it sets on the model, and the next offset adds to
    that."""
    return np.cumsum(np.asarray(offsets, dtype=float))


def rescaled(params: Params, factor: float) -> dict[str, Tensor]:
    """The same policy with other parameters: layer norms times ``factor``, the weights that read them over it. What
    changes is how far a unit of each parameter goes."""
    readers = {"blocks.attention.weight", "blocks.mlp.weight", "policy.weight", "value.weight", "q.weight"}
    scale = {name: 1 / factor if name in readers else factor if "norm" in name else 1.0 for name in params}
    return {name: value * scale[name] for name, value in params.items()}


@dataclass(frozen=True, eq=False)
class Speech:
    """All sentences of a grammar's small tree, as differentiable functions of a network that says no others."""

    tree: Tree
    grammar: Grammar
    config: gpt.GPTConfig

    #: Nodes on the way to each sentence, 0 (whose log-probability is 0) where it is shorter. Worked out at once, since
    #: a tensor that is made while torch.func differentiates must not be kept.
    _steps: Int[Tensor, "sentence depth"] = field(init=False, repr=False)

    def __post_init__(self):
        node, nodes = self.tree.leaves, []
        for _ in self.tree.levels[1:]:
            nodes.append(node)
            node = self.tree.parent[node]
        object.__setattr__(self, "_steps", torch.stack(nodes, 1))

    def sentences(self, params: Params) -> Float[Tensor, "trial sentence"]:
        """Log-probability of each sentence, words that the grammar does not allow ruled out; exact."""
        tree = self.tree
        logits = over_tree.read(dict(params), self.config, tree, batch=None).logits.squeeze(2)
        logits = torch.where(self.grammar.chances[tree.state[tree.inner]] > 0, logits, NEVER)
        place = torch.zeros_like(tree.parent).index_copy(0, tree.inner, torch.arange(len(tree.inner)))
        edges = logits.log_softmax(-1)[:, place[tree.parent], tree.token]
        edges = torch.cat([torch.zeros_like(edges[:, :1]), edges[:, 1:]], 1)
        return edges.index_select(1, self._steps.flatten()).unflatten(1, self._steps.shape).sum(-1)

    def loss(self, reward: Float[Tensor, "sentence"], initial: Float[Tensor, "sentence"], price: float) -> Loss:
        """Price times KL to the initial policy, less expected reward; nothing is sampled."""

        def exact(params: Params) -> Tensor:
            said = self.sentences(params)
            cost = price * (said - initial.to(said)) - reward.to(said)
            return (said.exp() * cost).sum(-1)

        return exact

    def moved(self, params: Params) -> Loss:
        """KL(policy || policy of ``params``), in nats: zero at ``params``, where its Hessian is the Fisher matrix."""
        with torch.no_grad():
            there = self.sentences(params)

        def nats(other: Params) -> Tensor:
            said = self.sentences(other)
            return (said.exp() * (said - there)).sum(-1)

        return nats

    @torch.no_grad()
    def watch(
        self, kept: Sequence[Params], initial: Float[Tensor, "sentence"], means: Mapping[str, Float[Tensor, "sentence"]]
    ) -> dict[str, Float[np.ndarray, "place trial"]]:
        """Along a run: ``kl`` to the initial policy and ``entropy`` in nats, and means of functions of a sentence."""
        said = torch.stack([self.sentences(params) for params in kept]).double()
        found = {"kl": policy_on_tree.divergence(said, initial), "entropy": policy_on_tree.entropy(said)}
        found |= {name: said.exp() @ values.double() for name, values in means.items()}
        return {name: value.numpy() for name, value in found.items()}


def surrogate(
    speech: Speech, params: Params, reward: Float[Tensor, "sentence"], batch: int, draws: torch.Generator
) -> Loss:
    """Policy-gradient loss on a batch that the networks at ``params`` said, without clipping: minus the mean ratio of
    probabilities times the reward less the batch's mean, which PPO descends and the published probe looks at. Over
    draws its gradient and Hessian have those of minus the expected reward as means, but for the factor ``1 - 1 /
    batch`` that centring costs; its eigenvalues do not."""
    with torch.no_grad():
        there = speech.sentences(params)
        drawn = torch.multinomial(there.exp(), batch, replacement=True, generator=draws)
    gains = reward.to(there)[drawn]
    gains = gains - gains.mean(1, keepdim=True)

    def sampled(other: Params) -> Tensor:
        said = speech.sentences(other).gather(1, drawn) - there.gather(1, drawn)
        return -(said.exp() * gains).mean(1)

    return sampled


def portrait(
    speech: Speech, params: Params, loss: Loss, seed: int, *, steps: int = 12, size: float = 0.1, directions: int = 4
) -> dict[str, Float[np.ndarray, "trial"]]:
    """How sharp ``loss`` is at a stack ``params``, in several units; random draws are the same in every call.

    ``highest`` and ``lowest``, ends of the Hessian's spectrum by ``steps`` of Lanczos; ``fisher``, the highest
    eigenvalue of the Fisher matrix; ``nats`` that the policy moves under noise of ``size`` relative to each filter, and
    ``rise`` of the loss, means over ``directions``, each taken forwards and backwards."""
    curved = extremes(loss, params, torch.Generator().manual_seed(seed), steps)
    moved = speech.moved(params)
    fisher = extremes(moved, params, torch.Generator().manual_seed(seed), steps).highest
    draws = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        here = loss(params)
    tried = [filter_normalised(params, draws) for _ in range(directions)]
    nats = torch.stack([along(moved, params, d, (-size, size)).mean(0) for d in tried]).mean(0)
    rise = torch.stack([along(loss, params, d, (-size, size)).mean(0) for d in tried]).mean(0) - here
    found = {"highest": curved.highest, "lowest": curved.lowest, "fisher": fisher, "nats": nats, "rise": rise}
    return {name: value.double().numpy() for name, value in found.items()}
