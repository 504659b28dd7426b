"""The network over a whole tree of sequences, each beginning read once.

Sequences that begin alike share keys and values, so that a node costs one token, not one sentence. Levels follow one
another; within a level, nodes are read in batches small enough to stay in the processor's cache.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from actde_nb.checks import SettingError
from actde_nb.networks import gpt

BATCH = 1024  # nodes at once, of all trials


@torch.no_grad()
def read(
    params: gpt.Params,
    config: gpt.GPTConfig,
    prompt: Int[Tensor, "prompt"],
    parent: Int[Tensor, "node"],
    token: Int[Tensor, "node"],
    levels: Sequence[slice],
    inner: Int[Tensor, "inner"],
) -> gpt.Outputs:
    """What the network says at every node that asks for a prediction.

    Args:
        params: from :func:`actde_nb.networks.gpt.init`.
        config: what they were made with.
        prompt: tokens up to and with the root.
        parent: of each node, on the level before; the root, node 0, is its own.
        token: that each node adds.
        levels: nodes of each level, the root's first.
        inner: nodes to read, in rising order; their parents are among them.

    Returns:
        As :func:`actde_nb.networks.gpt.forward`, with the nodes of ``inner`` in place of the batch and one time.

    Raises:
        SettingError: sequences that are too long or tokens outside the vocabulary.
    """
    trials, asked = len(params["token_embedding"]), len(prompt)
    if asked + len(levels) - 1 > config.block_size + 1:
        raise SettingError(
            f"sequences of {asked + len(levels) - 1} tokens: allowed are block_size + 1 = {config.block_size + 1}, "
            "the last of which is not read"
        )
    gpt.check(params, config, prompt.expand(trials, 1, asked))
    gpt.check(params, config, token[None, :, None].expand(trials, -1, -1))
    slot = torch.empty_like(parent).index_copy(0, inner, torch.arange(len(inner)) + asked - 1)
    # Where to find keys and values of what was read so far: the prompt's in front, then one slot for each node.
    size = (config.layers, 2, trials, asked - 1 + len(inner), config.width)
    memory = params["token_embedding"].new_empty(size)
    blocks = [gpt.block_of(params, layer) for layer in range(config.layers)]
    path = torch.empty(len(parent), asked + len(levels) - 1, dtype=torch.long)
    said = []

    def step(tokens: Tensor, paths: Tensor) -> Tensor:
        """The residual stream of tokens ``[node]`` whose own slot ends their ``paths`` ``[node, time]``."""
        nodes, time = paths.shape
        x = gpt.embed(params, tokens.expand(trials, 1, -1).mT, time - 1)  # [S, N, 1, C]
        for block, (keys, values) in zip(blocks, memory, strict=True):
            q, k, v = gpt.queries_keys_values(block, config, x)  # [S, N, H, 1, D]
            for kept, new in ((keys, k), (values, v)):
                kept[:, paths[:, -1]] = new.flatten(2)
            k, v = (kept[:, paths].unflatten(-1, (config.heads, -1)) for kept in (keys, values))  # [S, N, T, H, D]
            weights = (q.mT.squeeze(-1)[:, :, None] * k).sum(-1)
            weights = (weights / math.sqrt(k.shape[-1])).softmax(2)  # [S, N, T, H]
            x = x + gpt.join_heads(block, (weights[..., None] * v).sum(2)[:, :, :, None])
            x = x + gpt.perceptron(block, x)
        return x

    for t in range(asked - 1):
        step(prompt[t : t + 1], torch.arange(t + 1)[None])
    path[0, : asked - 1] = torch.arange(asked - 1)
    for depth, level in enumerate(levels):
        nodes = inner[torch.searchsorted(inner, level.start) : torch.searchsorted(inner, level.stop)]
        if depth:
            path[nodes] = path[parent[nodes]]
        path[nodes, asked + depth - 1] = slot[nodes]
        for batch in nodes.split(max(BATCH // trials, 1)) if len(nodes) else ():
            x = step(token[batch], path[batch, : asked + depth])
            said.append(gpt.heads(params, config, x))
    return gpt.Outputs(*(torch.cat(parts, 1) for parts in zip(*said, strict=True)))


def read_at_once(
    params: gpt.Params,
    config: gpt.GPTConfig,
    prompt: Int[Tensor, "prompt"],
    parent: Int[Tensor, "node"],
    token: Int[Tensor, "node"],
    levels: Sequence[slice],
    inner: Int[Tensor, "inner"],
) -> gpt.Outputs:
    """:func:`read` for derivatives, of any order: all nodes go through a layer together, in memory that is not reused.

    Within a layer a node needs its ancestors' keys and values of the same layer, and these come from the layer before.
    Takes memory for every node's path, so that it is for small trees. Arguments, result and errors are those of
    :func:`read`.
    """
    trials, asked = len(params["token_embedding"]), len(prompt)
    deepest = asked + len(levels) - 1
    if deepest > config.block_size + 1:
        raise SettingError(
            f"sequences of {deepest} tokens: allowed are block_size + 1 = {config.block_size + 1}, "
            "the last of which is not read"
        )
    gpt.check(params, config, prompt.expand(trials, 1, asked))
    gpt.check(params, config, token[None, :, None].expand(trials, -1, -1))
    # What is read: the prompt but its last token, then the inner nodes. Each row: where its beginning's tokens are.
    slot = torch.empty_like(parent).index_copy(0, inner, torch.arange(len(inner)) + asked - 1)
    depth = torch.cat([torch.full((level.stop - level.start,), i) for i, level in enumerate(levels)])
    path = torch.zeros(len(parent), deepest, dtype=torch.long)
    path[:, : asked - 1] = torch.arange(asked - 1)
    path[0, asked - 1] = slot[0]
    for i, level in enumerate(levels[1:], asked):
        path[level] = path[parent[level]]
        path[level, i] = slot[level]
    beginnings = torch.arange(asked - 1).expand(asked - 1, -1).tril()
    path = torch.cat([torch.nn.functional.pad(beginnings, (0, deepest - asked + 1)), path[inner]])
    last = torch.cat([torch.arange(asked - 1), depth[inner] + asked - 1])
    ahead = torch.arange(deepest) > last[:, None]  # [N, P]
    path = path.masked_fill(ahead, 0)
    tokens = torch.cat([prompt[:-1], token[inner]])
    x = (params["token_embedding"][:, tokens] + params["position_embedding"][:, last])[:, :, None]  # [S, N, 1, C]
    for layer in range(config.layers):
        block = gpt.block_of(params, layer)
        q, k, v = (part.squeeze(3) for part in gpt.queries_keys_values(block, config, x))  # [S, N, H, D]
        k, v = (kept.index_select(1, path.flatten()).unflatten(1, path.shape) for kept in (k, v))  # [S, N, P, H, D]
        weights = (q[:, :, None] * k).sum(-1) / math.sqrt(k.shape[-1])
        weights = weights.masked_fill(ahead[..., None], -torch.inf).softmax(2)  # [S, N, P, H]
        x = x + gpt.join_heads(block, (weights[..., None] * v).sum(2)[:, :, :, None])
        x = x + gpt.perceptron(block, x)
    return gpt.heads(params, config, x[:, asked - 1 :])
