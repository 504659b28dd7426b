"""From a row of the table of algorithms to numbers: what the policy learns from, and the loss."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from actde_nb.networks.gpt import Outputs
from actde_nb.training import advantages, greedy, losses
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config
from actde_nb.training.rollout import Rollout

Steps = Float[Tensor, "trial batch time"]
PerTrial = Float[Tensor, "trial"]
Weights = Float[Tensor, "trial #batch #time"]

ADVANTAGES: dict[str, Callable[[Rollout, Config], Steps]] = {
    "gae": lambda r, c: advantages.gae(r.rewards, r.values, r.next_value, c.discount, c.trace),
    "action_conditioned": lambda r, c: advantages.action_conditioned(
        r.rewards, r.values, r.next_value, r.q_taken, c.discount, c.trace
    ),
    "return_minus_q": lambda r, c: advantages.discounted_sums(r.rewards, c.discount) - r.q_taken,
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
        q_targets: of q, where they differ.
        lead: of the likeliest actions, for algorithms that learn from them too.
    """

    rollout: Rollout
    advantages: Steps
    weights: Steps
    targets: Steps
    q_targets: Steps
    lead: greedy.Lead | None = None

    def part(self, number: int, parts: int) -> "Lesson":
        """Every ``parts``-th sequence, from ``number`` on."""
        arrays = (x[:, number::parts] for x in (self.advantages, self.weights, self.targets, self.q_targets))
        return Lesson(self.rollout.part(number, parts), *arrays, self.lead and self.lead.part(number, parts))


def lesson(rollout: Rollout, config: Config, price: PerTrial | None = None) -> Lesson:
    """Work out advantages and targets.

    Args:
        rollout: the record.
        config: how.
        price: of a nat of log-ratio to the initial policy, taken off the reward of each step.
    """
    paid = 0.0
    if price is not None:
        paid = price[:, None, None] * rollout.log_ratio
        rollout = replace(rollout, rewards=rollout.rewards - paid)
    row = ALGORITHMS[config.algorithm]
    advantage = ADVANTAGES[row.advantage](rollout, config)
    targets = ADVANTAGES["gae"](rollout, config) + rollout.values
    weights = advantages.whiten(advantage, mask=rollout.mask) if config.whiten else advantage
    lead = _lead(rollout, advantage, config, price) if row.greedy != "none" else None
    return Lesson(rollout, advantage, weights, targets, targets + paid if row.soft else targets, lead)


def _lead(rollout: Rollout, advantage: Steps, config: Config, price: PerTrial | None) -> greedy.Lead:
    """The likeliest actions' advantages, in the units of the others', and how far they are ahead."""
    other, values = rollout.greedy, rollout.values
    rewards = other.rewards
    if price is not None:
        initial = rollout.initial.gather(-1, other.tokens[..., None])[..., 0]
        rewards = rewards - price[:, None, None] * (other.log_probs - initial)
    theirs = rewards + config.discount * other.next_values - values
    # Both of one step, whatever the trace: one number each for how good a word was.
    taken = advantages.gae(rollout.rewards, values, rollout.next_value, config.discount, 0.0)
    mean, variance = advantages.moments(advantage, rollout.mask)
    deviation = (variance + 1e-6).sqrt()
    unit = deviation if ALGORITHMS[config.algorithm].greedy_unit == "deviation" else 1.0
    return greedy.Lead(
        (theirs - mean) / deviation if config.whiten else theirs,
        other.log_probs.exp() * config.eta_scale,
        (theirs - taken) / unit * config.sigma_scale,
    )


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

VALUE_LOSSES: dict[str, Callable[[Said, Lesson, Config, losses.Scale], PerTrial]] = {
    "clipped": lambda s, x, c, scale: losses.clipped_value(
        s.values, x.rollout.values, x.targets, c.value_clip, x.rollout.mask, scale
    ),
    "expectile": lambda s, x, c, scale: losses.expectile(s.values, x.rollout.q_taken, c.expectile, x.rollout.mask),
}


def terms(outputs: Outputs, lesson: Lesson, config: Config) -> dict[str, PerTrial]:
    """The loss's terms, each with its coefficient; absent terms are left out, so that no gradient reaches their head.

    Returns:
        Some of ``policy``, ``greedy``, ``correction``, ``value``, ``q``, ``kl``, ``entropy``; the loss is their sum.
    """
    row, rollout = ALGORITHMS[config.algorithm], lesson.rollout
    taken, mask = rollout.taken[..., None], rollout.mask
    outputs = Outputs(*(said[:, :, -taken.shape[2] :] for said in outputs))  # of a prompt, the last alone is asked
    logits, q = outputs.logits.gather(-1, taken)[..., 0], outputs.q.gather(-1, taken)[..., 0]
    normaliser = outputs.logits.logsumexp(-1)
    said = Said(logits, logits - normaliser, outputs.values, q)
    scale = 1.0
    if row.greedy != "none":
        ordinary, penalty = _greedy_weights(lesson.lead, mask, row.greedy)
        lesson = replace(lesson, weights=ordinary * lesson.weights)
        scale = ordinary if row.greedy_scales_all else scale
    parts = {}
    if row.policy_loss in POLICY_LOSSES:
        parts["policy"] = POLICY_LOSSES[row.policy_loss](said, lesson, config)
    if row.greedy != "none":
        log_probs, old = said.log_probs, rollout.log_probs
        if row.greedy_ratio == "greedy":
            chosen = rollout.greedy.tokens[..., None]
            log_probs, old = outputs.logits.gather(-1, chosen)[..., 0] - normaliser, rollout.greedy.log_probs
        # The smaller of two, times a weight below zero, holds nothing back: so it is in the published code.
        parts["greedy"] = losses.clipped_surrogate(log_probs, old, lesson.lead.advantages, config.clip, mask, penalty)
    if row.corrected:
        parts["correction"] = -losses.expected(outputs.logits.softmax(-1), rollout.q, mask)
    if row.value_loss in VALUE_LOSSES:
        weight = row.value_coefficient if config.value_coefficient is None else config.value_coefficient
        parts["value"] = weight * VALUE_LOSSES[row.value_loss](said, lesson, config, scale)
    if row.q_coefficient:
        parts["q"] = row.q_coefficient * losses.squared_error(said.q, lesson.q_targets, mask)
    if config.kl_loss:
        log_policy = outputs.logits.log_softmax(-1)
        parts["kl"] = config.kl_loss * losses.divergence(log_policy, rollout.initial, mask, scale)
    if config.entropy_bonus:
        log_policy = outputs.logits.log_softmax(-1)
        parts["entropy"] = config.entropy_bonus * losses.negative_entropy(log_policy, mask, scale)
    return parts


def _greedy_weights(lead: greedy.Lead, mask: losses.Mask, of: str) -> tuple[Weights, Weights]:
    """Weights of the ordinary and of the greedy part, for each step or for the batch as a whole."""
    eta, sigma = lead.eta, lead.sigma
    if of == "batch":
        counted = eta.new_ones(eta.shape) if mask is None else mask.to(eta.dtype)
        eta, sigma = ((x * counted).sum((1, 2), keepdim=True) / counted.sum((1, 2), keepdim=True) for x in (eta, sigma))
    return greedy.coefficients(eta.clamp(0, 1), sigma.clamp(0, 1))
