"""Settings of the training loop. Defaults are those of the published runs; beside each, where it is from."""

from dataclasses import dataclass
from typing import Literal

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.training.algorithms import ALGORITHMS, arguments

OPTIMISERS = ("adamw", "sgd")
KL_ESTIMATORS = ("exact", "k1", "k2", "k3")

#: Settings of the loop, whichever algorithm it trains with; all others say what an update makes of a rollout.
LOOP = (
    "trials", "updates", "seed", "batch", "steps", "updates_per_rollout", "minibatches", "sampling_temperature",
    "optimiser", "learning_rate", "head_rate", "warmup", "beta1", "beta2", "epsilon", "weight_decay", "gradient_clip",
    "evaluate_every", "checkpoint_every", "device",
)  # fmt: skip
#: Settings that a run may change when it goes on from a checkpoint: it is the same run still.
RESUMABLE = ("updates", "checkpoint_every", "device")


@dataclass(frozen=True)
class TrainingSettings:
    """What every training loop has. Beside defaults, "trainer" is the published code's ``prisonerTrainer.py``, and
    "notebook" its ``prisonerTest.ipynb``.

    A few fields are there for what was published with them, though no run of the book sets them: entropy_bonus,
    kept_share, largest_weight, group_size, value_clip, beta1, beta2, gradient_clip, expectile.

    Args:
        algorithm: Row of the table of algorithms, such as ppo or actde.
        updates: Number of gradient updates, which the post calls epochs.
        seed: Together with a trial's number, the source of all its random draws.
        batch: Number of sequences played side by side in each trial.
        steps: Number of tokens sampled one after another in each rollout (games, or words of a sentence).
        updates_per_rollout: Number of gradient updates from the same rollout.
        minibatches: Parts that a rollout's sequences are dealt into; updates take them in turn.
        discount: Discount of later rewards, gamma.
        gae_lambda: Lambda of generalised advantage estimation, also in the targets of v and q.
        whiten: Whether each trial's advantages are rescaled to mean 0 and variance 1 over a rollout.
        clip: How far a ratio of probabilities may move before its gradient is cut (PPO's epsilon).
        clip_high: How far a ratio may rise, where that is not as far as it may fall; None for as far.
        value_clip: How far a value may move from that of the rollout before its gradient is cut.
        expectile: Weight of the values that are too low, in the expectile loss.
        kept_share: Share of a rollout's steps that rejection sampling keeps.
        beta: Temperature of AWR and APA, in units of advantage; of rows that fit whole texts the price of a nat.
        optimal_value: What A*-PO takes a text from the best policy to be worth, in units of reward, its price paid.
        largest_weight: Largest weight that AWR gives to a step.
        covariance_share: Share of steps that Clip-Cov and KL-Cov hold back, one at least.
        group_size: Number of sequences in a row that RLOO and GRPO compare with each other.
        kl_in_reward: Price of a nat of log-ratio to the reference policy, taken off each step's reward.
        kl_target: Nats a sequence to which the price in the reward is adapted; 0 leaves it as it is.
        kl_in_loss: Weight in the loss of the divergence from the reference policy, in nats a step.
        kl_estimator: How that divergence is computed: exactly over all actions, or from the action taken (k1 to k3).
        entropy_bonus: Weight in the loss of the policy's entropy, in nats a step.
        entropy_target: Nats a token to which the entropy bonus is adapted; 0 leaves it as it is.
        warmup: Number of updates over which the learning rate rises to its value.
        value_coefficient: Weight of the value loss; None for that of the algorithm's row.
        sampling_temperature: Divisor of the logits when actions are drawn; log-probabilities are those at one.
        sigma_scale: Factor on the greedy action's lead, in the row's unit, before it is cut to [0, 1].
        eta_scale: Factor on the greedy action's probability, before it is cut to [0, 1].
        head_rate: Learning rate of the heads of v and q, as a multiple of that of the rest.
        optimiser: Either adamw, or sgd for plain gradient descent.
        learning_rate: Step size of the optimiser.
        beta1: Decay of Adam's mean gradient.
        beta2: Decay of Adam's mean squared gradient.
        epsilon: What Adam adds to the root of the mean squared gradient; far above it, steps shrink with gradients.
        weight_decay: AdamW's decay of the weights that the policy names (matrices of linear layers).
        gradient_clip: Largest norm of a trial's gradient; 0 leaves gradients alone.
        device: Where the tensors live, as PyTorch calls it.
        checkpoint_every: Number of updates between checkpoints; a killed run loses no more than these."""

    algorithm: Literal[tuple(ALGORITHMS)] | str = "actde"  # rows may be added to the table
    updates: int = 10_000  # post: 10K epochs, which its code counts in inner updates
    seed: int = 0
    batch: int = 64  # trainer, `batch_size`
    steps: int = 100  # trainer, `gen_len`
    updates_per_rollout: int = 4  # trainer, `for i in range(4)`
    minibatches: int = 1  # trainer, each update on the whole rollout
    discount: float = 0.5  # notebook; the trainer's own default is 0
    gae_lambda: float = 0.95  # trainer, `lam`
    whiten: bool = False  # figures: off; the notebook's last training cells: on
    clip: float = 0.2  # trainer, `cliprange`
    clip_high: float | None = None  # DAPO: 0.28
    value_clip: float = 0.2  # trainer, `cliprange_value`
    expectile: float = 0.9  # trainer, `actdeLoss`
    kept_share: float = 0.25  # trainer, `rejectLoss`
    beta: float = 0.1  # APA, released script, `adv_coeff_sq` 10, there of whitened advantages
    optimal_value: float | None = None
    largest_weight: float = 20.0  # AWR, published code
    covariance_share: float = 2e-4  # both in verl; paper: KL-Cov 2e-3 on the smaller model
    group_size: int = 8  # GRPO in TRL, `num_generations`
    kl_in_reward: float = 0.0  # PPO as compared with APA: 0.05, adapted
    kl_target: float = 0.0  # Ziegler et al. (2019): 6 nats a sample
    kl_in_loss: float = 0.0
    kl_estimator: Literal[KL_ESTIMATORS] | str = "exact"  # GRPO: k3
    entropy_bonus: float = 0.0
    entropy_target: float = 0.0
    warmup: int = 0
    value_coefficient: float | None = None
    sampling_temperature: float = 1.0  # GAA: 0.6 or 0.8
    sigma_scale: float = 0.5  # GAA's text, sigma / 2; its code 1, its scripts 3 and 6
    eta_scale: float = 1.0  # GAA's scripts: 2
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
        checks.one_of("algorithm", self.algorithm, tuple(ALGORITHMS))
        checks.one_of("optimiser", self.optimiser, OPTIMISERS)
        checks.one_of("kl_estimator", self.kl_estimator, KL_ESTIMATORS)
        for name in ("updates", "batch", "steps", "updates_per_rollout", "checkpoint_every", "minibatches"):
            checks.whole(name, getattr(self, name))
        for name in ("seed", "warmup"):
            checks.whole(name, getattr(self, name), least=0)
        checks.whole("group_size", self.group_size, least=2)
        for name in ("discount", "gae_lambda", "expectile", "kept_share", "covariance_share"):
            checks.unit_interval(name, getattr(self, name))
        scales = ("sampling_temperature", "sigma_scale", "eta_scale", "head_rate")
        for name in ("clip", "value_clip", "learning_rate", "epsilon", "beta", "largest_weight", *scales):
            checks.positive(name, getattr(self, name))
        entropy = ("entropy_bonus", "entropy_target")
        for name in ("weight_decay", "gradient_clip", "kl_in_reward", "kl_target", "kl_in_loss", *entropy):
            checks.at_least_zero(name, getattr(self, name))
        if self.clip_high is not None:
            checks.positive("clip_high", self.clip_high)
        if self.value_coefficient is not None:
            checks.at_least_zero("value_coefficient", self.value_coefficient)
        if self.optimal_value is not None:
            checks.finite("optimal_value", self.optimal_value)
        for name in ("beta1", "beta2"):
            self._allow(0 <= getattr(self, name) < 1, name, "are numbers in [0, 1)")
        for name in ("updates", "checkpoint_every"):
            self._check_whole_rollouts(name)
        for name in ("updates_per_rollout", "batch"):
            divided = getattr(self, name)
            self._allow(divided % self.minibatches == 0, "minibatches", f"are numbers that divide {name} = {divided}")
        row, named, priced = ALGORITHMS[self.algorithm], f" with algorithm = {self.algorithm!r}", self.kl_in_reward > 0
        grouped = not row.compares_groups or self.batch % self.group_size == 0
        self._allow(grouped, "group_size", f"are numbers that divide batch = {self.batch}")
        whole = self.batch // self.minibatches % self.together == 0
        self._allow(whole, "group_size", "are numbers that divide batch / minibatches", named)
        self._allow(not (row.corrected and self.whiten), "whiten", "is False, since q stays in units of reward", named)
        self._allow(not (row.fits_texts and self.whiten), "whiten", "is False, since beta is in units of reward", named)
        double = priced and row.fits_texts and row.needs_reference
        self._allow(not double, "kl_in_reward", "is 0, since beta is the price of a nat", named)
        known = self.optimal_value is not None or not row.takes("optimal_value")
        self._allow(known, "optimal_value", "is a number, beta log mean exp(r / beta) before training", named)
        self._allow(priced or not row.soft, "kl_in_reward", "is a price above zero", named)
        self._allow(priced or not self.kl_target, "kl_target", "is a price to start from", " with kl_in_reward = 0")
        moves = self.entropy_bonus > 0 or not self.entropy_target
        self._allow(moves, "entropy_target", "is a bonus to start from", " with entropy_bonus = 0")

    def _check_whole_rollouts(self, name: str) -> None:
        whole = f"are multiples of updates_per_rollout = {self.updates_per_rollout}: rollouts are learned from whole"
        self._allow(getattr(self, name) % self.updates_per_rollout == 0, name, whole)

    def _allow(self, condition: bool, name: str, allowed: str, beside: str = "") -> None:
        if not condition:
            raise SettingError(f"{name} = {getattr(self, name)}{beside}: allowed {allowed}")

    @property
    def needs_reference(self) -> bool:
        """Whether the policy before training is asked about each rollout."""
        return bool(self.kl_in_reward or self.kl_in_loss) or ALGORITHMS[self.algorithm].needs_reference

    @property
    def together(self) -> int:
        """Number of sequences in a row that the loss compares, so that no minibatch may part them."""
        row = ALGORITHMS[self.algorithm]
        return self.group_size if row.trains_policy and "group_size" in arguments(row.policy_loss) else 1

    @property
    def rollouts(self) -> int:
        """Number of rollouts."""
        return self.updates // self.updates_per_rollout


@dataclass(frozen=True)
class Config(TrainingSettings):
    """How to train a stack of networks of this package.

    Args:
        trials: Number of independent runs, trained together as one stack.
        evaluate_every: Number of updates between evaluations, if the run has any; 0 for none."""

    trials: int = 10  # post: mean over 10 trials
    evaluate_every: int = 0

    def __post_init__(self):
        super().__post_init__()
        checks.whole("trials", self.trials)
        checks.whole("evaluate_every", self.evaluate_every, least=0)
        self._check_whole_rollouts("evaluate_every")
