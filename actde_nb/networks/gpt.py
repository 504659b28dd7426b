"""A small GPT with a policy, a value and a q head, many of them trained side by side.

The network is minGPT's (Karpathy, 2020, ``mingpt/model.py``; there one ``nn.Module``, here functions of a dictionary
of parameters): learned positions, normalisation before attention and before the perceptron, "new" GELU, a policy head
without bias. Two linear heads stand beside the policy's, for the value of a history and for the q of each next token.

Every parameter leads with the axis ``trial``: independent networks in one stack. Those of the
blocks have ``layer`` as their second axis.

Names of axes in comments: S trial, B batch, T time, C width, H head, D width of a head, V vocabulary."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import gelu, layer_norm

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.networks import fast
from actde_nb.networks.dropout import Draws, Dropout, Generators, Places, Stream
from actde_nb.networks.packing import Packing, select

Params = dict[str, Tensor]
Tokens = Int[Tensor, "trial batch time"]
Needed = Bool[Tensor, "trial batch time"] | None
Heads = Float[Tensor, "trial batch head time part"]
Memory = list[tuple[Heads, Heads]]  # keys and values of each block

EPSILON = 1e-5  # of the layer norms; PyTorch's default, which minGPT keeps
DEVIATION = 0.02  # of the initial weights; mingpt/model.py, _init_weights


@dataclass(frozen=True)
class GPTConfig:
    """Size of the network; the defaults are the published ones ("gpt-pico" of the prisoner's dilemma code).

    Dropout applies wherever generators for it are passed; the published code has 0.1. Without ``compiled`` all is plain
    PyTorch: the same dropout and draws, and the same numbers up to rounding."""

    layers: int = 3
    heads: int = 3
    width: int = 12  # numbers per token in the residual stream, a multiple of ``heads``
    block_size: int = 128  # longest sequence
    vocabulary: int = 2
    dropout: float = 0.0  # probability of dropping an embedding, an attention weight or what a block adds
    detach_heads: bool = False  # whether the losses of the value and q heads leave the rest of the network alone
    compiled: bool = True  # take the compiled twin (:mod:`actde_nb.networks.fast`) where it serves

    def __post_init__(self):
        for field in ("layers", "heads", "width", "block_size", "vocabulary"):
            checks.whole(field, getattr(self, field))
        if self.width % self.heads:
            raise SettingError(f"width = {self.width}: allowed are multiples of heads = {self.heads}")
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout = {self.dropout}: allowed are numbers in [0, 1)")


class Outputs(NamedTuple):
    """What the network says after each token."""

    logits: Float[Tensor, "trial batch time vocabulary"]
    values: Float[Tensor, "trial batch time"]
    q: Float[Tensor, "trial batch time vocabulary"]


#: What several networks say together, of what each says.
Join = Callable[..., Outputs]


def shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter of one network, without the trial axis. Weights are ``[..., out, in]`` as in PyTorch."""
    layers, width, vocabulary = config.layers, config.width, config.vocabulary
    return {
        "token_embedding": (vocabulary, width), "position_embedding": (config.block_size, width),
        "blocks.norm1.weight": (layers, width), "blocks.norm1.bias": (layers, width),
        "blocks.attention.weight": (layers, 3 * width, width), "blocks.attention.bias": (layers, 3 * width),
        "blocks.attention_out.weight": (layers, width, width), "blocks.attention_out.bias": (layers, width),
        "blocks.norm2.weight": (layers, width), "blocks.norm2.bias": (layers, width),
        "blocks.mlp.weight": (layers, 4 * width, width), "blocks.mlp.bias": (layers, 4 * width),
        "blocks.mlp_out.weight": (layers, width, 4 * width), "blocks.mlp_out.bias": (layers, width),
        "norm.weight": (width,), "norm.bias": (width,), "policy.weight": (vocabulary, width),
        "value.weight": (1, width), "value.bias": (1,), "q.weight": (vocabulary, width), "q.bias": (vocabulary,),
    }  # fmt: skip


def parameter_count(config: GPTConfig) -> int:
    """Number of parameters of one network; 7,299 for the published one."""
    return sum(math.prod(shape) for shape in shapes(config).values())


def decays(name: str) -> bool:
    """Whether AdamW's weight decay applies: to linear weights; not to biases, layer norms and embeddings (minGPT)."""
    return name.endswith(".weight") and "norm" not in name


def init(config: GPTConfig, trials: int, generators: Generators) -> Params:
    """Fresh parameters, float32, on the generators' device; trial i's are drawn from generator i alone.

    As in minGPT: weights and embeddings are normal with deviation 0.02, those that write into the residual stream
    with 0.02 / sqrt(2 layers); biases are zero and layer norms do nothing."""
    if len(generators) != trials or trials < 1:
        raise SettingError(f"generators has {len(generators)} entries: allowed is one for each of trials = {trials}")

    def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if name.endswith(".bias"):
            return torch.zeros(shape, device=generator.device)
        if "norm" in name:
            return torch.ones(shape, device=generator.device)
        scale = DEVIATION / math.sqrt(2 * config.layers) if "_out." in name else DEVIATION
        return scale * torch.randn(shape, generator=generator, device=generator.device)

    networks = [{name: draw(name, shape, g) for name, shape in shapes(config).items()} for g in generators]
    return {name: torch.stack([network[name] for network in networks]) for name in shapes(config)}


def forward(
    params: Params, config: GPTConfig, tokens: Tokens, *, dropout_generators: Draws = None, needed: Needed = None
) -> Outputs:
    """Run every trial's network over its own sequences; position t has seen tokens 0 to t.

    ``needed`` are places whose outputs matter, with each all earlier ones of its sequence; None for all. What comes out
    elsewhere is finite and means nothing; without dropout it is not read (:mod:`actde_nb.networks.packing`)."""
    check(params, config, tokens)
    dropout = dropout_of(config, dropout_generators, *tokens.shape[:2])
    if config.compiled:
        said = fast.network(tokens, dropout, config.detach_heads, [params[name] for name in shapes(config)])
        if said is not None:
            return Outputs(*said)
    if needed is not None and not dropout.active:
        return _packed(params, config, tokens, Packing.of(tokens, needed))
    return read(params, config, tokens, dropout)


def read(params: Params, config: GPTConfig, tokens: Tokens, dropout: Dropout, memory: Memory | None = None) -> Outputs:
    """The network, step by step; a list given as ``memory`` gets the keys and values of each block."""
    time, places = tokens.shape[2], dropout.places
    x = dropout(embed(params, tokens, 0), places.embedding)  # [S, B, T, C]
    future = torch.ones(time, time, dtype=torch.bool, device=tokens.device).triu(1)  # [T, T]
    for layer in range(config.layers):
        block = block_of(params, layer)
        q, k, v = queries_keys_values(block, config, x)  # [S, B, H, T, D] each
        if memory is not None:
            memory.append((k, v))
        weights = (q @ k.mT / math.sqrt(k.shape[-1])).masked_fill(future, -torch.inf).softmax(-1)  # [S, B, H, T, T]
        x = x + dropout(join_heads(block, dropout.attention(weights, layer) @ v), places.attention_out(layer))
        x = x + dropout(perceptron(block, x), places.mlp_out(layer))
    return heads(params, config, x)


def _packed(params: Params, config: GPTConfig, tokens: Tokens, packing: Packing) -> Outputs:
    """The same without dropout, and without reading anything twice; x is ``[trial, 1, row, width]``."""
    time = tokens.shape[2]
    x = select(params["token_embedding"], packing.tokens(tokens))
    x = (x + select(params["position_embedding"], packing.position))[:, None]
    future = x.new_full((packing.time, packing.time), -torch.inf).triu(1)  # [T, T]
    stacks = {name[7:]: value.unbind(1) for name, value in params.items() if name.startswith("blocks.")}
    for layer in range(config.layers):
        block = {name: stack[layer] for name, stack in stacks.items()}
        said = packing.spread(linear(block, "attention", norm(block, "norm1", x)))
        q, k, v = (part.flatten(0, 2) for part in cut(said, config))  # [S*B*H, T, D] each
        scores = torch.baddbmm(future, q, k.mT, alpha=1 / math.sqrt(k.shape[-1]))  # [S*B*H, T, T]
        read = (scores.softmax(-1) @ v).unflatten(0, (*said.shape[:2], -1))  # [S, B, H, T, D]
        x = x + linear(block, "attention_out", packing.pack(read.transpose(2, 3).flatten(-2)))
        x = x + perceptron(block, x)
    logits, values, q = heads(params, config, x)
    logits, values, q = (packing.spread(said)[:, :, :time] for said in (logits, values[..., None], q))
    return Outputs(logits, values[..., 0], q)


def dropout_of(config: GPTConfig, generators: Draws, trials: int, batch: int) -> Dropout:
    """The dropout of one call of the network; see :class:`actde_nb.networks.dropout.Dropout`."""
    places = Places(config.layers, config.heads, config.width, config.block_size)
    return Dropout(config.dropout, places, generators, trials, batch)


# The pieces, in the order in which a token meets them; sampling uses the same ones.
def embed(params: Params, tokens: Tokens, start: int) -> Stream:
    """What the token is plus where it stands; the first of ``tokens`` stands at position ``start``."""
    positions = params["position_embedding"][:, start : start + tokens.shape[2]]
    return select(params["token_embedding"], tokens) + positions[:, None]


def block_of(params: Params, layer: int) -> Params:
    """Parameters of one block under their short names, each ``[trial, ...]``."""
    return {name[7:]: value[:, layer] for name, value in params.items() if name.startswith("blocks.")}


def linear(params: Params, name: str, x: Float[Tensor, "trial batch time in"]) -> Float[Tensor, "trial batch time out"]:
    """``x`` times the weight, plus the bias if there is one, with each trial's own."""
    weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
    if x.shape[0] == 1:  # as below, with less to do around the product
        return functional.linear(x, weight.squeeze(0), bias if bias is None else bias.squeeze(0))
    flat = x.reshape(x.shape[0], -1, x.shape[-1])  # [S, B*T, in]
    out = flat @ weight.mT if bias is None else torch.baddbmm(bias[:, None], flat, weight.mT)
    return out.view(*x.shape[:-1], -1)


def norm(params: Params, name: str, x: Stream) -> Stream:
    """Layer norm with each trial's own scale and shift."""
    scale, shift = params[f"{name}.weight"], params[f"{name}.bias"]
    if x.shape[0] == 1:
        return layer_norm(x, x.shape[-1:], scale.squeeze(0), shift.squeeze(0), EPSILON)
    scale, shift = scale[:, None, None], shift[:, None, None]
    return torch.addcmul(shift, layer_norm(x, x.shape[-1:], eps=EPSILON), scale)


def queries_keys_values(block: Params, config: GPTConfig, x: Stream) -> tuple[Heads, ...]:
    """The three inputs of attention, cut into heads."""
    return cut(linear(block, "attention", norm(block, "norm1", x)), config)


def cut(out: Float[Tensor, "trial batch time all"], config: GPTConfig) -> tuple[Heads, ...]:
    """Queries, keys and values, each cut into heads."""
    return out.unflatten(-1, (3, config.heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)


def join_heads(block: Params, y: Heads) -> Stream:
    """What attention adds to the stream."""
    return linear(block, "attention_out", y.transpose(2, 3).flatten(-2))


def perceptron(block: Params, x: Stream) -> Stream:
    """What the perceptron adds to the stream; minGPT's ``NewGELU`` is PyTorch's tanh approximation."""
    return linear(block, "mlp_out", gelu(linear(block, "mlp", norm(block, "norm2", x)), approximate="tanh"))


def heads(params: Params, config: GPTConfig, x: Stream) -> Outputs:
    """Policy, value and q from the residual stream."""
    x = norm(params, "norm", x)
    critic = x.detach() if config.detach_heads else x
    values = linear(params, "value", critic).squeeze(-1)
    return Outputs(linear(params, "policy", x), values, linear(params, "q", critic))


def check(params: Params, config: GPTConfig, tokens: Tokens) -> None:
    """Raise ``SettingError`` if parameters, configuration and tokens do not fit together."""
    trials, batch, time = tokens.shape
    for name, shape in shapes(config).items():
        found = tuple(params[name].shape) if name in params else None
        if found != (trials, *shape):
            raise SettingError(f"params[{name!r}] has shape {found}: allowed is {(trials, *shape)} for {trials} trials")
    if trials < 1 or batch < 1 or not 1 <= time <= config.block_size:
        raise SettingError(
            f"tokens has shape {tuple(tokens.shape)}: allowed are one trial or more, one sequence or more, "
            f"1 to block_size = {config.block_size} in a row"
        )
    lowest, highest = (int(end) for end in tokens.aminmax())
    if not 0 <= lowest <= highest < config.vocabulary:
        raise SettingError(f"tokens reach from {lowest} to {highest}: allowed are 0 to {config.vocabulary - 1}")
