"""Where APA rests at each price."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy


def resting_points(
    initial: TreePolicy, reward: Float[Tensor, "sentence"], betas: Sequence[float] | Float[np.ndarray, "beta"]
) -> dict[str, Float[np.ndarray, "beta"]]:
    """Where APA rests if it fits exactly, at each temperature: the policies of ``advantage_fixed_point``.

    ``reward``, ``kl``, ``entropy``; ``soft_regret`` at that price; ``log_z_mean`` and ``log_z_sd`` over the states that
    the policy visits; ``apa_residual``, the root mean square of log(policy / initial) - A / beta over its words, which
    there is log Z; ``from_optimum``, KL(fixed point || optimum at that price). A beta of zero or less is a
    SettingError."""
    rows: list[dict[str, Tensor]] = []
    for beta in map(float, betas):
        rest = policy_on_tree.advantage_fixed_point(initial, reward, beta)
        best, _ = policy_on_tree.optimum(initial.sentences, reward, beta)
        found = policy_on_tree.exact(rest, initial, {"reward": reward}, "reward", beta)
        rows.append({**found, "from_optimum": policy_on_tree.divergence(rest.sentences, best)})
    names = ("reward", "kl", "entropy", "soft_regret", "log_z_mean", "log_z_sd", "apa_residual", "from_optimum")
    return {name: torch.cat([row[name] for row in rows]).numpy() for name in names}
