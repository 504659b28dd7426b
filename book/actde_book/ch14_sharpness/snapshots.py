"""A run's networks as they were after each rollout, and which of them to look at."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from actde_nb.checks import SettingError
from actde_nb.networks.policies import Policy
from actde_nb.training.config import Config
from actde_nb.training.trainer import Trainer
from actde_nb.worlds import World

Params = dict[str, Tensor]


def snapshots(world: World, policy: Policy, config: Config) -> list[Params]:
    """Train, and keep the parameters before the first rollout is learned from and after each; one stack for each."""
    trainer = Trainer(world, policy, config)
    kept = []

    def keep(now: Trainer) -> None:
        kept.append({name: value.detach().clone() for name, value in now.parameters.items()})

    keep(trainer)
    trainer.run(report=keep)
    return kept


def pick(kept: Sequence[Params], place: Int[np.ndarray, "trial"]) -> Params:
    """One stack again, each trial's network taken from its own place in the run."""
    return {name: torch.stack([kept[k][name][i] for i, k in enumerate(place)]) for name in kept[0]}


def first_above(curve: Float[np.ndarray, "rollout trial"], level: float) -> Int[np.ndarray, "trial"]:
    """Where each trial's curve first reaches ``level``; its last place if it never does."""
    reached = curve >= level
    return np.where(reached.any(0), reached.argmax(0), len(curve) - 1)


def nearest(
    curve: Float[np.ndarray, "rollout trial"], wanted: Float[np.ndarray, "trial"], since: int = 0
) -> Int[np.ndarray, "trial"]:
    """Where each trial's curve comes nearest to a number of its own, not before place ``since``.

    Raises:
        SettingError: ``since`` beyond the curve."""
    if not 0 <= since < len(curve):
        raise SettingError(f"since = {since}: allowed are 0 to {len(curve) - 1}")
    return since + np.abs(curve[since:] - wanted).argmin(0)
