"""From a row of the table of algorithms to numbers: what the policy learns from, and the loss."""

from collections.abc import Callable
from dataclasses import dataclass, replace

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
    "leave_one_out": lambda r, c: advantages.leave_one_out(r.rewards, c.group),
    "group_normalised": lambda r, c: advantages.group_normalised(r.rewards, c.group),
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

    def part(self, number: int, parts: int) -> "Lesson":
        """Every ``parts``-th sequence, from ``number`` on."""
        arrays = (x[:, number::parts] for x in (self.advantages, self.weights, self.targets))
        return Lesson(self.rollout.part(number, parts), *arrays)


def lesson(rollout: Rollout, config: Config, price: PerTrial | None = None) -> Lesson:
    """Work out advantages and targets.

    Args:
        rollout: the record.
        config: how.
        price: of a nat of log-ratio to the initial policy, taken off the reward of each step.
    """
    if price is not None:
        rollout = replace(rollout, rewards=rollout.rewards - price[:, None, None] * rollout.log_ratio)
    advantage = ADVANTAGES[ALGORITHMS[config.algorithm].advantage](rollout, config)
    targets = ADVANTAGES["gae"](rollout, config) + rollout.values
    weights = advantages.whiten(advantage, mask=rollout.mask) if config.whiten else advantage
    return Lesson(rollout, advantage, weights, targets)


@dataclass(frozen=True)
class Said:
    """What the present policy says of the actions taken; gradients flow through it."""

    logits: Steps
    log_probs: Steps
    values: Steps
    q: Steps


POLICY_LOSSES: dict[str, Callable[[Said, Lesson, Config], PerTrial]] = {
    "clipped": lambda s, x, c: losses.clipped_surrogate(
        s.log_probs, x.rollout.log_probs, x.weights, c.clip, x.rollout.mask
    ),
    "score": lambda s, x, c: losses.score_function(s.log_probs, x.weights, x.rollout.mask),
    "logit": lambda s, x, c: losses.logit_step(s.logits, x.weights, x.rollout.mask),
    "best_share": lambda s, x, c: losses.best_share(s.log_probs, x.weights, c.share, x.rollout.mask),
    "awr": lambda s, x, c: losses.advantage_weighted(s.log_probs, x.weights, c.beta, c.largest_weight, x.rollout.mask),
    "apa": lambda s, x, c: losses.advantage_induced(
        s.log_probs, x.rollout.log_probs - x.rollout.log_ratio, x.weights, c.beta, x.rollout.mask
    ),
}

VALUE_LOSSES: dict[str, Callable[[Said, Lesson, Config], PerTrial]] = {
    "clipped": lambda s, x, c: losses.clipped_value(
        s.values, x.rollout.values, x.targets, c.value_clip, x.rollout.mask
    ),
    "expectile": lambda s, x, c: losses.expectile(s.values, x.rollout.q_taken, c.expectile, x.rollout.mask),
}


def terms(outputs: Outputs, lesson: Lesson, config: Config) -> dict[str, PerTrial]:
    """The loss's terms, each with its coefficient; absent terms are left out, so that no gradient reaches their head.

    Returns:
        Some of ``policy``, ``value``, ``q``, ``kl`` and ``entropy``; the loss is their sum.
    """
    row, taken, mask = ALGORITHMS[config.algorithm], lesson.rollout.taken[..., None], lesson.rollout.mask
    outputs = Outputs(*(said[:, :, -taken.shape[2] :] for said in outputs))  # of a prompt, the last alone is asked
    logits, q = outputs.logits.gather(-1, taken)[..., 0], outputs.q.gather(-1, taken)[..., 0]
    said = Said(logits, logits - outputs.logits.logsumexp(-1), outputs.values, q)
    parts = {}
    if row.policy_loss in POLICY_LOSSES:
        parts["policy"] = POLICY_LOSSES[row.policy_loss](said, lesson, config)
    if row.value_loss in VALUE_LOSSES:
        parts["value"] = row.value_coefficient * VALUE_LOSSES[row.value_loss](said, lesson, config)
    if row.q_coefficient:
        parts["q"] = row.q_coefficient * losses.squared_error(said.q, lesson.targets, mask)
    if config.kl_loss:
        log_policy = outputs.logits.log_softmax(-1)
        parts["kl"] = config.kl_loss * losses.divergence(log_policy, lesson.rollout.initial, mask)
    if config.entropy_bonus:
        parts["entropy"] = config.entropy_bonus * losses.negative_entropy(outputs.logits.log_softmax(-1), mask)
    return parts
