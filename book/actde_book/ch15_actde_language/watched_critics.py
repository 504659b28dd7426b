"""Critics that know a share of the truth, and critics watched as they learn it."""

import numpy as np
import torch
from jaxtyping import Float

from actde_nb.exact import policy_on_tree
from actde_nb.exact.critics import Critics, Ends, Signal, critics_of, errors, forms, published_error, pull
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.training.trainer import Trainer


def partial(policy: TreePolicy, rewards: Ends, v_knows: float, q_knows: float) -> Critics:
    """Critics that know the mean reward, and a share (0 to 1) of what tells the beginnings of sentences apart."""
    values = policy.values(rewards)
    mean = values[:, :1]
    return Critics(mean + v_knows * (values - mean), mean + q_knows * (values - mean))


def state_baseline(policy: TreePolicy, rewards: Ends, critics: Critics, gae_lambda: float) -> Signal:
    """PPO's error, sums of ``r + v(next) - v(state)``: the published one with v of the state for q of the word."""
    return published_error(policy, rewards, Critics(critics.v, critics.v[:, policy.tree.parent]), gae_lambda)


def watch(work: Trainer, updates: int, every: int) -> dict[str, Float[np.ndarray, "trial point"]]:
    """Train a run on, and see every so many updates what the critics know and where each form of the error would pull.

    The run rules out words outside the language and has a q. ``update``, ``reward``, ``entropy``; ``q_error``,
    ``v_error`` and ``disagreement``; the aim of each of ``forms`` and of ``state`` (PPO's, with this v and lambda
    .95)."""
    world, begun, rows = work.world, work.update, []
    tree, rewards = world.tree, world.worth(world.tree.sentences)
    for stop in range(0, updates + 1, every):
        while work.update < begun + stop:
            work.step()
        said = work.policy.over_tree(work.parameters, tree)
        policy, critics = policy_on_tree.of_outputs(tree, world.grammar, said, masked=True), critics_of(tree, said)
        signals = {**forms(policy, rewards, critics), "state": state_baseline(policy, rewards, critics, 0.95)}
        rows.append(
            {
                "update": torch.full_like(policy.leak, begun + stop),
                "reward": policy.values(rewards)[:, 0],
                "entropy": policy_on_tree.entropy(policy.sentences),
                **dict(zip(("q_error", "v_error", "disagreement"), errors(policy, rewards, critics), strict=True)),
                **{name: pull(policy, rewards, signal).aim for name, signal in signals.items()},
            }
        )
    return {name: torch.stack([row[name] for row in rows], -1).detach().numpy() for name in rows[0]}
