"""From a row of the table of algorithms to numbers: what the policy learns from, and the loss."""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor, positive

from actde_nb.networks.gpt import Outputs
from actde_nb.training import advantages, losses
from actde_nb.training.advantages import Total
from actde_nb.training.algorithms import ALGORITHMS, OF_ROLLOUT, SETTINGS, fill
from actde_nb.training.config import TrainingSettings
from actde_nb.training.greedy import GreedyTargets
from actde_nb.training.rollout import Rollout

Steps = Float[Tensor, "trial batch time"]
PerTrial = Float[Tensor, "trial"]
Price = PerTrial | None


@dataclass(frozen=True)
class TrainingBatch:
    """A rollout with what there is to learn from it; constants, worked out once and used in every inner update."""

    rollout: Rollout
    advantages: Steps  # in units of reward, before any whitening
    weights: Steps  # what the policy's loss uses: the advantages, whitened if so configured
    targets: Steps  # lambda-return computed with v
    q_targets: Steps  # those of q, where they differ
    greedy: GreedyTargets | None = None  # for algorithms that learn from the likeliest actions too


def prepare(rollout: Rollout, config: TrainingSettings, price: Price = None, total: Total = positive) -> TrainingBatch:
    """Work out advantages and targets, where each step's reward pays ``price`` for a nat of log-ratio to the reference;
    ``total`` is that of :func:`~actde_nb.training.advantages.moments`."""
    paid = 0.0
    if price is not None:
        paid = price[:, None, None] * rollout.log_ratio
        rollout = replace(rollout, rewards=rollout.rewards - paid)
    row = ALGORITHMS[config.algorithm]
    offered = _settings(config) | {name: getattr(rollout, name) for name in OF_ROLLOUT}
    advantage = fill(row.advantage, offered) if row.advantage else rollout.rewards.new_zeros(rollout.rewards.shape)
    targets = fill(advantages.gae, offered) + rollout.values
    weights = advantages.whiten(advantage, mask=rollout.mask, total=total) if config.whiten else advantage
    greedy = _greedy_targets(rollout, advantage, config, price, total) if row.greedy_penalty else None
    return TrainingBatch(rollout, advantage, weights, targets, targets + paid if row.soft else targets, greedy)


def _settings(config: TrainingSettings) -> dict[str, int | float]:
    return {name: getattr(config, name) for name in SETTINGS}


def _greedy_targets(
    rollout: Rollout, advantage: Steps, config: TrainingSettings, price: Price, total: Total
) -> GreedyTargets:
    """The likeliest actions' advantages, in the units of the others', and how far they are ahead."""
    other, values = rollout.greedy, rollout.values
    rewards = other.rewards
    if price is not None:
        reference = rollout.reference.gather(-1, other.tokens[..., None])[..., 0]
        rewards = rewards - price[:, None, None] * (other.log_probs - reference)
    theirs = rewards + config.discount * other.next_values - values
    # Both of one step, whatever lambda is: one number each for how good a word was.
    taken = advantages.gae(rollout.rewards, values, rollout.next_value, config.discount, 0.0)
    lead, in_rewards = theirs - taken, ALGORITHMS[config.algorithm].greedy_penalty.in_rewards
    if config.whiten or not in_rewards:
        mean, variance = advantages.moments(advantage, rollout.mask, total)
        deviation = (variance + advantages.VARIANCE_FLOOR).sqrt()
        theirs = (theirs - mean) / deviation if config.whiten else theirs
        lead = lead if in_rewards else lead / deviation
    return GreedyTargets(theirs, other.log_probs.exp() * config.eta_scale, lead * config.sigma_scale)


def terms(outputs: Outputs, batch: TrainingBatch, config: TrainingSettings, bonus: Price = None) -> dict[str, PerTrial]:
    """The loss's terms by name, each with its coefficient; the loss is their sum. Absent terms are left out, so that no
    gradient reaches their head. ``bonus`` is that of entropy, where it has moved from the configured one."""
    row, rollout = ALGORITHMS[config.algorithm], batch.rollout
    taken, mask = rollout.taken[..., None], rollout.mask
    outputs = Outputs(*(said[:, :, -taken.shape[2] :] for said in outputs))  # of a prompt, the last alone is asked
    logits_taken, normaliser = outputs.logits.gather(-1, taken)[..., 0], outputs.logits.logsumexp(-1)
    log_probs, weights = logits_taken - normaliser, batch.weights
    scale = losses.step_weights(weights, mask, row.aggregation, config.steps)
    if row.greedy_penalty:
        ordinary, penalty = row.greedy_penalty.weights(batch.greedy, mask)
        weights, scale = ordinary * weights, ordinary if row.greedy_penalty.scales_all else scale
    offered = _settings(config) | {
        "log_probs": log_probs, "logits_taken": logits_taken, "values": outputs.values,
        "old_log_probs": rollout.log_probs, "old_values": rollout.values, "q_taken": rollout.q_taken,
        "reference_log_probs": rollout.reference_log_probs if row.needs_reference else None,
        "anchor_log_probs": rollout.reference_log_probs if row.needs_reference else rollout.log_probs,
        "advantages": weights, "targets": batch.targets, "mask": mask, "aggregation": row.aggregation,
    }  # fmt: skip
    parts = {}
    if row.policy_loss:
        parts["policy"] = fill(row.policy_loss, offered)
    if row.greedy_penalty:
        now, old = log_probs, rollout.log_probs
        if not row.greedy_penalty.sampled_ratio:
            now = outputs.logits.gather(-1, rollout.greedy.tokens[..., None])[..., 0] - normaliser
            old = rollout.greedy.log_probs
        # The smaller of two, times a weight below zero, holds nothing back: so it is in the published code.
        clips = {"clip": config.clip, "clip_high": config.clip_high}
        parts["greedy"] = losses.clipped_surrogate(now, old, batch.greedy.advantages, **clips, mask=mask, scale=penalty)
    if row.corrected:
        parts["correction"] = -losses.expected(outputs.logits.softmax(-1), rollout.q, mask)
    if row.value_loss:
        weight = row.value_coefficient if config.value_coefficient is None else config.value_coefficient
        parts["value"] = weight * fill(row.value_loss, {**offered, "scale": scale})
    if row.learns_q:
        q = outputs.q.gather(-1, taken)[..., 0]
        parts["q"] = row.q_coefficient * losses.squared_error(q, batch.q_targets, mask)
    if config.kl_in_loss:
        if config.kl_estimator == "exact":
            divergence = losses.divergence(outputs.logits.log_softmax(-1), rollout.reference, mask, scale)
        else:
            before = rollout.reference_log_probs
            divergence = losses.sampled_divergence(log_probs, before, config.kl_estimator, mask, scale)
        parts["kl"] = config.kl_in_loss * divergence
    if config.entropy_bonus:
        log_policy = outputs.logits.log_softmax(-1)
        weight = config.entropy_bonus if bonus is None else bonus
        parts["entropy"] = weight * losses.negative_entropy(log_policy, mask, scale)
    return parts
