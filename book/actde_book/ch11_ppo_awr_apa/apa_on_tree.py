"""APA on the sentence tree: one of its runs step by step, and the normaliser that it drops."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.training.trainer import Trainer


def normaliser_mismatch(initial: TreePolicy, reward: Float[Tensor, "sentence"], beta: float) -> float:
    """How far log Z is from minus the divergence of the words at APA's fixed point, at the worst of all states."""
    rest, tree = policy_on_tree.advantage_fixed_point(initial, reward, beta), initial.tree
    terms = rest.edges.exp() * (rest.edges - initial.edges)
    nats = torch.zeros_like(terms).index_add_(-1, tree.parent[1:], terms[..., 1:])[..., tree.inner]
    return (policy_on_tree.log_z(initial, rest.advantages(reward), beta) + nats).abs().max().item()


def follow(
    work: Trainer, targets: Mapping[str, Float[Tensor, "1 sentence"]], updates: int, every: int
) -> dict[str, Float[np.ndarray, "trial point"] | Float[np.ndarray, "point"]]:
    """Train a run on, looking every so many updates, and see how far its policies are from some others.

    Under each target's name KL(policy || target) in nats, of the policy given that it stays in the language, NaN where
    it leaks too much for that to say anything; ``leak``; and ``update``, updates done at each look."""
    rows: list[dict[str, Tensor]] = []
    stops = [*range(0, updates, every), updates]
    begun = work.update
    for stop in stops:
        while work.update < begun + stop:
            work.step()
        seen = policy_on_tree.of_policy(work.world.tree, work.world.grammar, work.policy, work.parameters)
        near = {name: policy_on_tree.divergence(seen.sentences, target) for name, target in targets.items()}
        near = {name: torch.where(seen.leak > policy_on_tree.LEAK, torch.nan, nats) for name, nats in near.items()}
        rows.append({**near, "leak": seen.leak})
    found = {name: torch.stack([row[name] for row in rows], -1).numpy() for name in rows[0]}
    return {**found, "update": begun + np.array(stops, float)}
