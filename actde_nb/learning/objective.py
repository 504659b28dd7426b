"""From a row of the table of algorithms to numbers: what the policy learns from, and the loss."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from actde_nb.learning import advantages, losses
from actde_nb.learning.algorithms import ALGORITHMS
from actde_nb.learning.config import Config
from actde_nb.learning.rollout import Rollout
from actde_nb.policies.gpt import Outputs

Steps = Float[Tensor, "trial batch time"]
PerTrial = Float[Tensor, "trial"]

ADVANTAGES: dict[str, Callable[[Rollout, Config], Steps]] = {
    "gae": lambda r, c: advantages.gae(r.rewards, r.values, r.next_value, c.discount, c.trace),
    "action_conditioned": lambda r, c: advantages.action_conditioned(
        r.rewards, r.values, r.next_value, r.q_taken, c.discount, c.trace
    ),
    "returns": lambda r, c: advantages.discounted_sums(r.rewards, c.discount),
    "none": lambda r, c: r.rewards.new_zeros(r.rewards.shape),
}


@dataclass(frozen=True)
class Lesson:
    """A rollout with what there is to learn from it; constants, worked out once and used in every inner update.

    Args:
        rollout: the record.
        advantages: of the policy, in units of reward, before any whitening.
        weights: what the policy's loss uses: the advantages, whitened if so configured.
        targets: lambda-return computed with v, the target of v and of q.
    """

    rollout: Rollout
    advantages: Steps
    weights: Steps
    targets: Steps


def lesson(rollout: Rollout, config: Config) -> Lesson:
    """Work out advantages and targets."""
    advantage = ADVANTAGES[ALGORITHMS[config.algorithm].advantage](rollout, config)
    targets = ADVANTAGES["gae"](rollout, config) + rollout.values
    return Lesson(rollout, advantage, advantages.whiten(advantage) if config.whiten else advantage, targets)


@dataclass(frozen=True)
class Said:
    """What the present policy says of the actions taken; gradients flow through it."""

    logits: Steps
    log_probs: Steps
    values: Steps
    q: Steps


POLICY_LOSSES: dict[str, Callable[[Said, Lesson, Config], PerTrial]] = {
    "clipped": lambda s, x, c: losses.clipped_surrogate(s.log_probs, x.rollout.log_probs, x.weights, c.clip),
    "score": lambda s, x, c: losses.score_function(s.log_probs, x.weights),
    "logit": lambda s, x, c: losses.logit_step(s.logits, x.weights),
    "best_share": lambda s, x, c: losses.best_share(s.log_probs, x.weights, c.share),
}

VALUE_LOSSES: dict[str, Callable[[Said, Lesson, Config], PerTrial]] = {
    "clipped": lambda s, x, c: losses.clipped_value(s.values, x.rollout.values, x.targets, c.value_clip),
    "expectile": lambda s, x, c: losses.expectile(s.values, x.rollout.q_taken, c.expectile),
}


def terms(outputs: Outputs, lesson: Lesson, config: Config) -> dict[str, PerTrial]:
    """The loss's terms, each with its coefficient; absent terms are left out, so that no gradient reaches their head.

    Returns:
        Some of ``policy``, ``value`` and ``q``; the loss is their sum.
    """
    row, taken = ALGORITHMS[config.algorithm], lesson.rollout.taken[..., None]
    logits, q = outputs.logits.gather(-1, taken)[..., 0], outputs.q.gather(-1, taken)[..., 0]
    said = Said(logits, logits - outputs.logits.logsumexp(-1), outputs.values, q)
    parts = {}
    if row.policy_loss in POLICY_LOSSES:
        parts["policy"] = POLICY_LOSSES[row.policy_loss](said, lesson, config)
    if row.value_loss in VALUE_LOSSES:
        parts["value"] = row.value_coefficient * VALUE_LOSSES[row.value_loss](said, lesson, config)
    if row.q_coefficient:
        parts["q"] = row.q_coefficient * losses.squared_error(said.q, lesson.targets)
    return parts
