"""Settings of a fine-tuning run: those of the project's training loop, with other defaults, and a few of its own."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from actde_nb import checks
from actde_nb.finetune.ranks import WRAPPERS
from actde_nb.training.algorithms import ALGORITHMS, arguments
from actde_nb.training.config import TrainingSettings

DTYPES = ("float32", "bfloat16", "float64")


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """How to fine-tune. What every training loop has means the same here: ``batch`` completions of at most ``steps``
    tokens are a rollout; where a row compares them, ``group_size`` have one prompt; ``head_rate`` is of the critic.

    Args:
        row: Row of the table of algorithms, such as ppo or actde, which the small loop calls algorithm.
        learns: What learns: all of it, adapters (lora:RANK; Hu et al., 2021), or the last blocks (last:BLOCKS).
        micro_batch: Largest number of sequences that are read at a time in learning; gradients are accumulated.
        critic_width: Width of the critic's hidden layer; 0 for a linear critic.
        dtype: Number format of a network that is loaded by name; one that is passed in keeps its own.
        parallel: Where torchrun starts several processes: each holds the whole network (ddp), or a share (fsdp)."""

    row: Literal[tuple(ALGORITHMS)] | str = "ppo"  # rows may be added to the table
    algorithm: str = field(init=False, default="")
    learns: str = "lora:16"
    micro_batch: int = 16
    critic_width: int = 256
    dtype: Literal[DTYPES] | str = "float32"
    parallel: Literal[WRAPPERS] | str = "ddp"
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
        checks.one_of("parallel", self.parallel, WRAPPERS)
        checks.whole("micro_batch", self.micro_batch)
        checks.whole("critic_width", self.critic_width, least=0)
        fits = bool(re.fullmatch(r"all|(lora|last):[1-9]\d*", self.learns))
        self._allow(fits, "learns", "are all, lora:RANK and last:BLOCKS, such as lora:16")
        part = self.batch // self.minibatches
        least = f"are {part} or more, since the row looks at a minibatch as a whole"
        self._allow(not self._whole or self.micro_batch >= part, "micro_batch", least, f" with row = {self.row!r}")
        least = f"are {self.together} or more, since the row looks at a group as a whole"
        self._allow(self.micro_batch >= self.together, "micro_batch", least, f" with row = {self.row!r}")

    @property
    def _whole(self) -> bool:
        """Whether the row looks at a minibatch as a whole."""
        row = ALGORITHMS[self.row]
        sorts = row.trains_policy and {"kept_share", "covariance_share"} & set(arguments(row.policy_loss))
        return bool(sorts) or (row.greedy_penalty is not None and row.greedy_penalty.per_batch)

    def check_processes(self, count: int) -> None:
        """Raise SettingError unless so many processes can share a rollout without any number being another one."""
        on, groups = f" on {count} processes", ALGORITHMS[self.row].compares_groups
        alone = "are rows that do not look at a minibatch as a whole, or one process"
        self._allow(count == 1 or not self._whole, "row", alone, on)
        step = count * math.lcm(self.minibatches * self.together, self.group_size if groups else 1)
        why = f"so that each has {self.minibatches} equal minibatches" + f" and groups of {self.group_size}" * groups
        self._allow(self.batch % step == 0, "batch", f"are multiples of {step}, {why}", on)
