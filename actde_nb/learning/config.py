"""Settings of the training loop. Defaults are those of the published runs; beside each, where it is from."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.learning.algorithms import ALGORITHMS

OPTIMISERS = ("adamw", "sgd")

#: Settings that a run may change when it goes on from a checkpoint: it is the same run still.
FREE = ("updates", "checkpoint_every", "device")


@dataclass(frozen=True)
class Config:
    """How to train; "trainer" is the published code's ``prisonerTrainer.py``, "notebook" its ``prisonerTest.ipynb``.

    Args:
        algorithm: Row of the table of algorithms.
        trials: Independent runs, trained together as one stack.
        updates: Gradient updates in all, which the post calls epochs.
        seed: Seed of all random draws, together with a trial's number.
        sequences: Sequences (games side by side, sentences) in each rollout of a trial.
        games: Tokens that are sampled in each sequence (games in a row, words).
        updates_per_rollout: Gradient updates from the same rollout.
        minibatches: Parts that a rollout's sequences are dealt into, which the updates take in turn.
        discount: Factor gamma on rewards one step later.
        trace: Lambda of generalised advantage estimation, and of the targets of v and q.
        whiten: Rescale each rollout's advantages to mean 0 and variance 1, trial by trial.
        clip: How far PPO's loss pushes a ratio of probabilities away from one.
        value_clip: How far the value loss pushes a value away from what it was.
        expectile: Weight of values that are too low, in the expectile loss.
        share: Share of the steps that rejection sampling keeps.
        beta: Temperature of AWR and APA, in units of advantage.
        largest_weight: Largest weight that AWR gives a step.
        group: Consecutive sequences that RLOO and GRPO compare with each other.
        kl_reward: Price of a nat of log-ratio to the initial policy, taken off the reward of each step. Above zero, the
            optimum of a bandit or a language is the initial policy times exp(reward / price).
        kl_target: Nats a sequence that the price in the reward is adapted to keep to; 0 leaves the price fixed.
        kl_loss: Weight in the loss of the divergence from the initial policy, in nats a step.
        entropy_bonus: Weight in the loss of the policy's entropy, in nats a step.
        warmup: Updates over which the learning rate rises to its value.
        value_coefficient: Weight of the value loss; None for that of the algorithm's row.
        sampling_temperature: Number that divides the logits when actions are drawn; log-probabilities are those at 1.
        sigma_scale: Factor on the lead of the greedy action, in the row's unit, before it is cut to [0, 1].
        eta_scale: Factor on the probability of the greedy action, before it is cut to [0, 1].
        evaluate_every: Updates between evaluations, where the world has any; 0 for none.
        head_rate: Learning rate of the heads of v and q, as a multiple of that of the rest.
        optimiser: AdamW, or plain gradient descent.
        learning_rate: Step size of the optimiser.
        beta1: Decay of Adam's mean gradient.
        beta2: Decay of Adam's mean squared gradient.
        epsilon: Number that Adam adds to the root of the mean squared gradient before it divides by it. Far below the
            gradients every step has the same size however small they are; far above, steps shrink with them.
        weight_decay: Weight decay of AdamW, on the matrices of linear layers.
        gradient_clip: Largest norm of a trial's gradient; 0 leaves gradients alone.
        device: Where the tensors live, as PyTorch calls it.
        checkpoint_every: Updates between checkpoints, which is the most that an interrupted run loses.

    Raises:
        SettingError: a value that is not allowed, naming it.
    """

    algorithm: Literal[tuple(ALGORITHMS)] | str = "actde"  # rows may be added to the table
    trials: int = 10  # post: mean over 10 trials
    updates: int = 10_000  # post: 10K epochs, which its code counts in inner updates
    seed: int = 0
    sequences: int = 64  # trainer, `batch_size`
    games: int = 100  # trainer, `gen_len`
    updates_per_rollout: int = 4  # trainer, `for i in range(4)`
    minibatches: int = 1  # trainer, each update on the whole rollout
    discount: float = 0.5  # notebook; the trainer's own default is 0
    trace: float = 0.95  # trainer, `lam`
    whiten: bool = False  # figures: off; the notebook's last training cells: on
    clip: float = 0.2  # trainer, `cliprange`
    value_clip: float = 0.2  # trainer, `cliprange_value`
    expectile: float = 0.9  # trainer, `actdeLoss`
    share: float = 0.25  # trainer, `rejectLoss`
    beta: float = 0.1  # APA, released script, `adv_coeff_sq` 10, there of whitened advantages
    largest_weight: float = 20.0  # AWR, published code
    group: int = 8  # GRPO in TRL, `num_generations`
    kl_reward: float = 0.0  # PPO as compared with APA: 0.05, adapted
    kl_target: float = 0.0  # Ziegler et al. (2019): 6 nats a sample
    kl_loss: float = 0.0
    entropy_bonus: float = 0.0
    warmup: int = 0
    value_coefficient: float | None = None
    sampling_temperature: float = 1.0  # GAA: 0.6 or 0.8
    sigma_scale: float = 0.5  # GAA's text, sigma / 2; its code 1, its scripts 3 and 6
    eta_scale: float = 1.0  # GAA's scripts: 2
    evaluate_every: int = 0
    head_rate: float = 1.0  # GAA: 25, and 250 or 500 where it is compared
    optimiser: Literal[OPTIMISERS] | str = "adamw"  # minGPT, `configure_optimizers`
    learning_rate: float = 5e-4  # notebook; the trainer's own default is 3e-4
    beta1: float = 0.9  # trainer, `betas`
    beta2: float = 0.95
    epsilon: float = 1e-8  # PyTorch's default, which minGPT keeps
    weight_decay: float = 0.1  # trainer, "only applied on matmul weights", heads among them
    gradient_clip: float = 1.0  # trainer, `grad_norm_clip`
    device: str = "cpu"
    checkpoint_every: int = 400

    def __post_init__(self):
        self._check()

    def _check(self):
        checks.one_of("algorithm", self.algorithm, tuple(ALGORITHMS))
        checks.one_of("optimiser", self.optimiser, OPTIMISERS)
        for name in (
            "trials",
            "updates",
            "sequences",
            "games",
            "updates_per_rollout",
            "checkpoint_every",
            "minibatches",
        ):
            checks.whole(name, getattr(self, name))
        for name in ("seed", "warmup", "evaluate_every"):
            checks.whole(name, getattr(self, name), least=0)
        checks.whole("group", self.group, least=2)
        for name in ("discount", "trace", "expectile", "share"):
            checks.unit_interval(name, getattr(self, name))
        positive = ("clip", "value_clip", "learning_rate", "epsilon", "beta", "largest_weight", "sampling_temperature")
        for name in (*positive, "sigma_scale", "eta_scale", "head_rate"):
            checks.positive(name, getattr(self, name))
        for name in ("weight_decay", "gradient_clip", "kl_reward", "kl_target", "kl_loss", "entropy_bonus"):
            checks.at_least_zero(name, getattr(self, name))
        if self.value_coefficient is not None:
            checks.at_least_zero("value_coefficient", self.value_coefficient)
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(f"{name} = {getattr(self, name)}: allowed are numbers in [0, 1)")
        for name in ("updates", "checkpoint_every", "evaluate_every"):
            if getattr(self, name) % self.updates_per_rollout:
                raise SettingError(
                    f"{name} = {getattr(self, name)}: allowed are multiples of updates_per_rollout = "
                    f"{self.updates_per_rollout}, since a rollout is learned from as a whole"
                )

        for name in ("updates_per_rollout", "sequences"):
            if getattr(self, name) % self.minibatches:
                raise SettingError(
                    f"minibatches = {self.minibatches}: allowed are numbers that divide {name} = {getattr(self, name)}"
                )
        if ALGORITHMS[self.algorithm].grouped and self.sequences % self.group:
            raise SettingError(f"group = {self.group}: allowed are numbers that divide sequences = {self.sequences}")
        row = ALGORITHMS[self.algorithm]
        if row.corrected and self.whiten:
            raise SettingError(
                f"whiten = True with algorithm = {self.algorithm!r}: allowed is False, since q stays in units of reward"
            )
        if row.soft and not self.kl_reward:
            raise SettingError(f"kl_reward = 0 with algorithm = {self.algorithm!r}: allowed is a price above zero")
        if self.kl_target and not self.kl_reward:
            raise SettingError(f"kl_target = {self.kl_target} with kl_reward = 0: allowed is a price to start from")

    @property
    def needs_initial(self) -> bool:
        """Whether the policy before training is asked about each rollout."""
        return bool(self.kl_reward or self.kl_loss) or ALGORITHMS[self.algorithm].needs_initial

    @property
    def rollouts(self) -> int:
        """Number of rollouts."""
        return self.updates // self.updates_per_rollout


def canonical(settings) -> str:
    """A dataclass as JSON that is the same whenever its values are."""
    return json.dumps(asdict(settings), sort_keys=True)


def fingerprint(settings) -> str:
    """A short stable hash of a dataclass."""
    return hashlib.sha256(canonical(settings).encode()).hexdigest()[:16]
