"""Settings of a fine-tuning run: those of the project's training loop, with other defaults, and a few of its own."""

import re
from dataclasses import dataclass, field
from typing import Literal

from actde_nb import checks
from actde_nb.training.algorithms import ALGORITHMS, arguments
from actde_nb.training.config import Config

DTYPES = ("float32", "bfloat16", "float64")


@dataclass(frozen=True)
class Settings(Config):
    """How to fine-tune. What :class:`~actde_nb.training.config.Config` explains means the same here: ``batch``
    completions of at most ``steps`` tokens are a rollout; where a row compares them, ``group_size`` have one prompt;
    ``head_rate`` is of the critic; ``trials`` and ``evaluate_every`` are as they are.

    Args:
        row: Row of the table of algorithms, such as ppo or actde, which Config calls algorithm.
        learns: What learns: all of it, adapters (lora:RANK; Hu et al., 2021), or the last blocks (last:BLOCKS).
        micro_batch: Largest number of sequences that are read at a time in learning; gradients are accumulated.
        critic_width: Width of the critic's hidden layer; 0 for a linear critic.
        dtype: Number format of a network that is loaded by name; one that is passed in keeps its own."""

    row: Literal[tuple(ALGORITHMS)] | str = "ppo"  # rows may be added to the table
    algorithm: str = field(init=False, default="")
    learns: str = "lora:16"
    micro_batch: int = 16
    critic_width: int = 256
    dtype: Literal[DTYPES] | str = "float32"
    trials: int = 1
    updates: int = 400
    batch: int = 32
    steps: int = 32
    minibatches: int = 2
    discount: float = 1.0  # a completion is short, and is paid at its end
    group_size: int = 4
    kl_in_reward: float = 0.05  # TRL's PPO, `kl_coef`
    learning_rate: float = 3e-4  # for adapters; for all of a network, 1e-5 is usual
    head_rate: float = 3.0
    weight_decay: float = 0.0
    checkpoint_every: int = 40

    def __post_init__(self):
        checks.one_of("row", self.row, tuple(ALGORITHMS))
        object.__setattr__(self, "algorithm", self.row)
        super().__post_init__()
        checks.one_of("dtype", self.dtype, DTYPES)
        checks.whole("micro_batch", self.micro_batch)
        checks.whole("critic_width", self.critic_width, least=0)
        for name, only in (("trials", 1), ("evaluate_every", 0)):
            self._allow(getattr(self, name) == only, name, f"is {only} here")
        fits = bool(re.fullmatch(r"all|(lora|last):[1-9]\d*", self.learns))
        self._allow(fits, "learns", "are all, lora:RANK and last:BLOCKS, such as lora:16")
        row, part = ALGORITHMS[self.row], self.batch // self.minibatches
        ranks = row.trains_policy and "kept_share" in arguments(row.policy_loss)
        whole = ranks or (row.greedy_penalty is not None and row.greedy_penalty.per_batch)
        least = f"are {part} or more, since the row looks at a minibatch as a whole"
        self._allow(not whole or self.micro_batch >= part, "micro_batch", least, f" with row = {self.row!r}")
