"""The network over a whole tree of sequences, each beginning read once.

Sequences that begin alike share keys and values, so that a node costs one token, not one sentence. Nodes go through the
network layer by layer: a node needs its ancestors' keys and values of the same layer, and these come from the layer
before."""

import math

import torch

from actde_nb.checks import SettingError
from actde_nb.networks import gpt
from actde_nb.worlds.tree import Tree

BATCH = 1024  # nodes at once, of all trials: so many stay in the processor's cache


def read(params: gpt.Params, config: gpt.GPTConfig, tree: Tree, batch: int | None = BATCH) -> gpt.Outputs:
    """What the network says at every node that asks for a prediction, nodes of ``inner`` in place of the batch.

    ``batch`` is nodes at once, of all trials and of one level; None for all, which is quicker to differentiate."""
    trials, asked, inner = len(params["token_embedding"]), len(tree.prompt), tree.inner
    deepest = asked + len(tree.levels) - 1
    if deepest > config.block_size + 1:
        raise SettingError(f"sequences of {deepest} tokens: allowed are block_size + 1 = {config.block_size + 1}")
    gpt.check(params, config, tree.prompt.expand(trials, 1, asked))
    gpt.check(params, config, tree.token[None, :, None].expand(trials, -1, -1))
    # Rows are what is read: the prompt but its last token, then the inner nodes. A path holds the rows of a beginning.
    depth = torch.cat([torch.full((level.stop - level.start,), i) for i, level in enumerate(tree.levels)])
    last = torch.cat([torch.arange(asked - 1), depth[inner] + asked - 1])
    row = torch.zeros_like(tree.parent).index_copy(0, inner, torch.arange(len(inner)) + asked - 1)
    path = torch.zeros(len(tree.parent), deepest, dtype=torch.long)
    path[:, : asked - 1] = torch.arange(asked - 1)
    for place, level in enumerate(tree.levels, asked - 1):
        path[level] = path[tree.parent[level]]
        path[level, place] = row[level]
    path = torch.cat([torch.arange(deepest).expand(asked - 1, -1), path[inner]])
    ahead = torch.arange(deepest) > last[:, None]  # [N, P]
    path = path.masked_fill(ahead, 0)
    tokens = torch.cat([tree.prompt[:-1], tree.token[inner]])
    rows = torch.arange(len(tokens))
    levels = rows.split(last.unique_consecutive(return_counts=True)[1].tolist())
    parts = [part for level in levels for part in level.split(max(batch // trials, 1))] if batch else [rows]
    longest = [int(last[part[-1]]) + 1 for part in parts]
    table, positions = params["token_embedding"], params["position_embedding"]
    path, ahead, last, tokens = (of_tree.to(table.device) for of_tree in (path, ahead, last, tokens))
    xs = [(table[:, tokens[part]] + positions[:, last[part]])[:, :, None] for part in parts]  # [S, N, 1, C] each
    for layer in range(config.layers):
        block = gpt.block_of(params, layer)
        said = [[cut.squeeze(3) for cut in gpt.queries_keys_values(block, config, x)] for x in xs]  # [S, N, H, D] each
        queries, *memory = zip(*said, strict=True)
        keys, values = (torch.cat(kept, 1) for kept in memory)
        for i, (part, time, q) in enumerate(zip(parts, longest, queries, strict=True)):
            paths = path[part, :time]
            k, v = (kept.index_select(1, paths.flatten()).unflatten(1, paths.shape) for kept in (keys, values))
            weights = (q[:, :, None] * k).sum(-1) / math.sqrt(k.shape[-1])
            weights = weights.masked_fill(ahead[part, :time, None], -torch.inf).softmax(2)  # [S, N, P, H]
            x = xs[i] + gpt.join_heads(block, (weights[..., None] * v).sum(2)[:, :, :, None])
            xs[i] = x + gpt.perceptron(block, x)
    said = [gpt.heads(params, config, x) for x in xs]
    return gpt.Outputs(*(torch.cat(parts, 1)[:, asked - 1 :] for parts in zip(*said, strict=True)))
