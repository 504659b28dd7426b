"""Settings of the training loop. Defaults are those of the published runs; beside each, where it is from."""

import hashlib
import json
from dataclasses import asdict, dataclass

from actde_nb.learning.algorithms import ALGORITHMS
from actde_nb.learning.errors import SettingError
from actde_nb.tabular import checks

OPTIMISERS = ("adamw", "sgd")

#: Settings that a run may change when it goes on from a checkpoint: it is the same run still.
FREE = ("updates", "checkpoint_every", "device")


@dataclass(frozen=True)
class Config:
    """How to train; "trainer" is the published code's ``prisonerTrainer.py``, "notebook" its ``prisonerTest.ipynb``.

    Args:
        algorithm: a row of the table of algorithms, such as ppo or actde.
        trials: independent runs, trained together as one stack.
        updates: gradient updates; the axis that the post calls epochs.
        seed: with a trial's number, where all its random draws come from.
        sequences: games played side by side in each trial.
        games: games in a row in each rollout.
        updates_per_rollout: gradient updates from the same rollout, each on all of it.
        discount: gamma.
        trace: lambda, of the policy's advantages and of the targets of v and q.
        whiten: rescale each rollout's advantages to mean 0 and variance 1, for each trial.
        clip: how far a ratio of probabilities is pushed.
        value_clip: how far a value is pushed.
        expectile: weight of values that are too low, for the loss of that name.
        share: steps that rejection sampling keeps.
        optimiser: "adamw", or "sgd" for plain gradient descent.
        learning_rate: step size.
        beta1: decay of Adam's mean gradient.
        beta2: decay of Adam's mean squared gradient.
        epsilon: what Adam adds to the root of that mean before it divides by it. Far below the gradients every step
            has the same size however small they are; far above, steps shrink with them.
        weight_decay: AdamW's, on the weights the policy names (matrices of linear layers).
        gradient_clip: largest norm of a trial's gradient; 0 leaves gradients alone.
        device: where the tensors live, as PyTorch calls it.
        checkpoint_every: updates between checkpoints; a killed run loses no more than these.

    Raises:
        SettingError: a value that is not allowed, naming it.
    """

    algorithm: str = "actde"
    trials: int = 10  # post: mean over 10 trials
    updates: int = 10_000  # post: 10K epochs, which its code counts in inner updates
    seed: int = 0
    sequences: int = 64  # trainer, `batch_size`
    games: int = 100  # trainer, `gen_len`
    updates_per_rollout: int = 4  # trainer, `for i in range(4)`
    discount: float = 0.5  # notebook; the trainer's own default is 0
    trace: float = 0.95  # trainer, `lam`
    whiten: bool = False  # figures: off; the notebook's last training cells: on
    clip: float = 0.2  # trainer, `cliprange`
    value_clip: float = 0.2  # trainer, `cliprange_value`
    expectile: float = 0.9  # trainer, `actdeLoss`
    share: float = 0.25  # trainer, `rejectLoss`
    optimiser: str = "adamw"  # minGPT, `configure_optimizers`
    learning_rate: float = 5e-4  # notebook; the trainer's own default is 3e-4
    beta1: float = 0.9  # trainer, `betas`
    beta2: float = 0.95
    epsilon: float = 1e-8  # PyTorch's default, which minGPT keeps
    weight_decay: float = 0.1  # trainer, "only applied on matmul weights", heads among them
    gradient_clip: float = 1.0  # trainer, `grad_norm_clip`
    device: str = "cpu"
    checkpoint_every: int = 400

    def __post_init__(self):
        try:
            self._check()
        except ValueError as error:
            raise SettingError(str(error)) from None

    def _check(self):
        checks.one_of("algorithm", self.algorithm, tuple(ALGORITHMS))
        checks.one_of("optimiser", self.optimiser, OPTIMISERS)
        for name in ("trials", "updates", "sequences", "games", "updates_per_rollout", "checkpoint_every"):
            checks.whole(name, getattr(self, name))
        checks.whole("seed", self.seed, least=0)
        for name in ("discount", "trace", "expectile", "share"):
            checks.unit_interval(name, getattr(self, name))
        for name in ("clip", "value_clip", "learning_rate", "epsilon"):
            checks.positive(name, getattr(self, name))
        for name in ("weight_decay", "gradient_clip"):
            checks.at_least_zero(name, getattr(self, name))
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: allowed are numbers in [0, 1)")
        for name in ("updates", "checkpoint_every"):
            if getattr(self, name) % self.updates_per_rollout:
                raise ValueError(
                    f"{name} = {getattr(self, name)}: allowed are multiples of updates_per_rollout = "
                    f"{self.updates_per_rollout}, since a rollout is learned from as a whole"
                )

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
