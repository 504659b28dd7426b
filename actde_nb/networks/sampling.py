"""Draw sequences from the policy, one token at a time, keeping the keys and values of what was read.

And ask what if the likeliest token had been said instead, by one pass over the sequences and one over those tokens."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.networks import fast, gpt
from actde_nb.networks.dropout import Draws, Dropout
from actde_nb.networks.packing import LANES

NEVER = -1e9  # logit of a word that is ruled out: finite, so that no infinity meets a zero

#: What may come after the tokens so far.
Rule = Callable[[Int[Tensor, "trial batch moves"]], Bool[Tensor, "trial batch moves vocabulary"]]


class Sampled(NamedTuple):
    """Drawn sequences and what the network said on the way."""

    tokens: Int[Tensor, "trial batch moves"]  # the given first token or prompt, then those drawn
    log_probs: Float[Tensor, "trial batch steps"]  # of each draw, under the policy itself whatever the temperature
    values: Float[Tensor, "trial batch steps+1"]  # before each draw, and the bootstrap after the last token
    q: Float[Tensor, "trial batch steps vocabulary"]  # before each draw


@torch.no_grad()
def sample(
    networks: Sequence[gpt.Params], config: gpt.GPTConfig,
    first: Int[Tensor, "trial batch *prompt"], uniforms: Float[Tensor, "trial batch steps"],
    join: gpt.Join = lambda said: said, *, dropout_generators: Draws = None, temperature: float = 1.0,
    legal: Rule | None = None,
) -> Sampled:  # fmt: skip
    """Continue each first token, or prompt, by one token for each uniform draw, to ``block_size`` tokens at most.

    Drawn is the first token whose cumulative probability is above the number in [0, 1); for the draw only, logits are
    divided by ``temperature``. Several networks speak together, as ``join`` has it, and say nothing that is not legal.
    """
    prompt = first if first.ndim == 3 else first[..., None]
    (trials, batch, asked), steps = prompt.shape, uniforms.shape[-1]
    if not 1 <= steps <= config.block_size - asked:
        raise SettingError(f"steps = {steps}: allowed are 1 to block_size - {asked} = {config.block_size - asked}")
    if uniforms.shape[:2] != (trials, batch):
        raise SettingError(f"uniforms has shape {tuple(uniforms.shape)}: allowed is {(trials, batch, steps)}")
    checks.positive("temperature", temperature)
    for params in networks:
        gpt.check(params, config, prompt)
    dropouts = [gpt.dropout_of(config, dropout_generators, trials, batch) for _ in networks]
    if config.compiled and len(networks) == asked == 1 and legal is None:
        parameters = [networks[0][name] for name in gpt.shapes(config)]
        drawn = fast.sample(prompt[..., 0], uniforms, temperature, dropouts[0], parameters)
        if drawn is not None:
            return Sampled(*drawn)
    each = zip(networks, dropouts, strict=True)
    readers = [Reader(params, config, batch, asked + steps, dropout) for params, dropout in each]
    tokens, said = prompt, [join(*(reader.read(prompt, 0) for reader in readers))]
    for t in range(steps):
        logits = said[-1].logits[..., 0, :]
        if legal is not None:
            logits = torch.where(legal(tokens)[..., -1, :], logits, NEVER)
            said[-1] = said[-1]._replace(logits=logits[..., None, :])
        cumulative = (logits / temperature).softmax(-1).cumsum(-1)
        token = (uniforms[..., t, None] >= cumulative[..., :-1]).sum(-1, keepdim=True)
        tokens = torch.cat([tokens, token], -1)
        said.append(join(*(reader.read(token, asked + t) for reader in readers)))
    logits, values, q = (torch.cat(parts, 2) for parts in zip(*said, strict=True))
    log_probs = logits[:, :, :steps].log_softmax(-1).gather(-1, tokens[..., asked:, None])[..., 0]
    return Sampled(tokens, log_probs, values, q[:, :, :steps])


class Reader:
    """A network that reads ``batch`` sequences bit by bit, up to ``length`` tokens, and remembers keys and values."""

    def __init__(self, params: gpt.Params, config: gpt.GPTConfig, batch: int, length: int, dropout: Dropout):
        self.params, self.config, self.dropout = params, config, dropout
        self.blocks = [gpt.block_of(params, layer) for layer in range(config.layers)]
        embedding, length = params["token_embedding"], length + -length % LANES
        size, part = (config.layers, len(embedding), batch, config.heads), config.width // config.heads
        keys, values = embedding.new_zeros(*size, length, part), embedding.new_zeros(*size, part, length)
        self.memory = list(zip(keys, values, strict=True))
        self.future = embedding.new_full((length, length), -torch.inf).triu(1)

    def read(self, tokens: Int[Tensor, "trial batch time"], t: int) -> gpt.Outputs:
        """Read tokens from place ``t`` on; what the network says after the last of them."""
        dropout, places, here = self.dropout, self.dropout.places, slice(t, t + tokens.shape[-1])
        batch = tokens.shape[1]
        if t == 0 and not dropout.active and (tokens == tokens[:, :1]).all():
            tokens = tokens[:, :1]  # all begin alike: once is enough
        x = dropout(gpt.embed(self.params, tokens, t), places.embedding, t)  # [S, B, T, C]
        for layer, (block, (keys, values)) in enumerate(zip(self.blocks, self.memory, strict=True)):
            q, k, v = gpt.queries_keys_values(block, self.config, x)  # [S, B, H, T, D] each
            keys.narrow(3, t, k.shape[3]).copy_(k)
            values.narrow(4, t, v.shape[3]).copy_(v.mT)
            if q.shape[1] < batch:
                keys, values = keys[:, :1], values[:, :1]
            weights = (q @ keys.mT / math.sqrt(q.shape[-1]) + self.future[here]).softmax(-1)  # [S, B, H, T, length]
            read = dropout.attention(weights, layer, t) @ values.mT
            x = x + dropout(gpt.join_heads(block, read), places.attention_out(layer), t)
            x = x + dropout(gpt.perceptron(block, x), places.mlp_out(layer), t)
        return gpt.heads(self.params, self.config, x[:, :, -1:].expand(-1, batch, -1, -1))


class GreedyTokens(NamedTuple):
    """At each place: the likeliest next token, its log-probability, and v of the beginning that it would make."""

    tokens: Int[Tensor, "trial batch time"]
    log_probs: Float[Tensor, "trial batch time"]
    values: Float[Tensor, "trial batch time"]


@torch.no_grad()
def greedy_tokens(
    networks: Sequence[gpt.Params], config: gpt.GPTConfig, tokens: gpt.Tokens, last: int,
    join: gpt.Join = lambda said: said, legal: Rule | None = None,
) -> GreedyTokens:  # fmt: skip
    """The likeliest token after each of the ``last`` places of sequences of fewer than ``block_size``, and its value.

    The tokens not taken are read all at once: each sees the sequence up to its place, from the keys and values that
    the sequence left, and itself. (The published code has one whole pass for each place.) What the networks say is
    joined, and ruled out, as in :func:`sample`."""
    time = tokens.shape[2]
    if time >= config.block_size:
        raise SettingError(f"tokens has {time} places: allowed are fewer than block_size = {config.block_size}")
    said, memories = [], [[] for _ in networks]
    for params, memory in zip(networks, memories, strict=True):
        gpt.check(params, config, tokens)
        said.append(gpt.read(params, config, tokens, gpt.dropout_of(config, None, *tokens.shape[:2]), memory))
    logits = join(*said).logits[:, :, -last:]
    if legal is not None:
        logits = torch.where(legal(tokens)[:, :, -last:], logits, NEVER)
    log_probs, chosen = logits.log_softmax(-1).max(-1)
    each = zip(networks, memories, strict=True)
    after = join(*(_after(params, config, memory, chosen, time) for params, memory in each))
    return GreedyTokens(chosen, log_probs, after.values)


def _after(
    params: gpt.Params, config: gpt.GPTConfig, memory: gpt.Memory, chosen: Int[Tensor, "trial batch last"], time: int
) -> gpt.Outputs:
    """What a network says after each of ``chosen``, which see the tokens before them but not one another."""
    last = chosen.shape[-1]
    ahead = torch.ones(last, time, dtype=torch.bool, device=chosen.device).triu(time - last + 1)  # [reader, read]
    y = gpt.embed(params, chosen, time - last + 1)
    for layer, (k, v) in enumerate(memory):
        block = gpt.block_of(params, layer)
        q, own_k, own_v = gpt.queries_keys_values(block, config, y)  # [S, B, H, last, D] each
        scores = (q @ k.mT).masked_fill(ahead, -torch.inf)
        scores = torch.cat([scores, (q * own_k).sum(-1, keepdim=True)], -1) / math.sqrt(k.shape[-1])
        weights = scores.softmax(-1)
        y = y + gpt.join_heads(block, weights[..., :-1] @ v + weights[..., -1:] * own_v)
        y = y + gpt.perceptron(block, y)
    return gpt.heads(params, config, y)
