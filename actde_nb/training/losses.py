"""Losses: pure functions ``[trial, batch, time] -> [trial]``, lower is better.

Each is a mean over a trial's batch and time, or over the steps of a ``mask``. The loop adds the trials up, so that a
trial's parameters, which enter only its own term, get the gradient they would get alone. Gradients flow through the
first argument only; the others are constants. Names of arguments are those that the table of algorithms fills in
(:data:`actde_nb.training.algorithms.OFFERED`); log-probabilities are of the action taken, in nats."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from actde_nb.checks import SettingError

Steps = Float[Tensor, "trial batch time"]
PerTrial = Float[Tensor, "trial"]
All = Float[Tensor, "trial batch time action"]
Mask = Bool[Tensor, "trial batch time"] | None
Scale = Float[Tensor, "trial #batch #time"] | float


def clipped_surrogate(
    log_probs: Steps, old_log_probs: Steps, advantages: Steps, clip: float, mask: Mask = None, *, scale: Scale = 1.0
) -> PerTrial:
    """PPO's policy loss, ``-min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A)`` (Schulman et al., 2017, eq. 7).

    ``scale`` multiplies the smaller of the two, so that below zero the larger loss becomes a bound."""
    ratio, advantages = (log_probs - old_log_probs.detach()).exp(), advantages.detach()
    return -_mean(scale * torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), mask)


def score_function(log_probs: Steps, advantages: Steps, mask: Mask = None) -> PerTrial:
    """REINFORCE, ``-A log pi``: its gradient is the score function times the advantage (Williams, 1992)."""
    return -_mean(log_probs * advantages.detach(), mask)


def logit_step(logits_taken: Steps, advantages: Steps, mask: Mask = None) -> PerTrial:
    """``-A theta`` of the action taken, which moves that logit alone: :func:`score_function` without the normaliser of
    the softmax. On a table, with plain gradient descent, it is the post's update, for which the sum of errors
    telescopes."""
    return -_mean(logits_taken * advantages.detach(), mask)


def best_share(log_probs: Steps, advantages: Steps, kept_share: float, mask: Mask = None) -> PerTrial:
    """Rejection sampling: the mean ``-log pi`` of the ``kept_share`` of steps, rounded down, with the highest
    advantages (a quarter in the published trainer, ``rejectLoss``)."""
    steps = log_probs[0].numel()
    kept = int(kept_share * steps)
    if kept < 1:
        raise SettingError(f"kept_share = {kept_share} of {steps} steps: allowed are shares that hold one or more")
    if mask is None:
        best = advantages.detach().flatten(1).topk(kept, dim=1).indices
        return -log_probs.flatten(1).gather(1, best).mean(1)
    # So many of the steps that count, which are not as many in each trial.
    rank = torch.where(mask, advantages.detach(), -torch.inf).flatten(1).argsort(1, descending=True).argsort(1)
    chosen = rank.view_as(mask) < (kept_share * mask.sum((1, 2), keepdim=True)).floor().clamp(min=1)
    return -_mean(log_probs, chosen)


def clipped_value(
    values: Steps, old_values: Steps, targets: Steps, value_clip: float, mask: Mask = None, scale: Scale = 1.0
) -> PerTrial:
    """Half the larger squared error of v and of v held within ``value_clip`` of what it was in the rollout, as in the
    published trainer (``ppoLoss``) and earlier implementations of PPO."""
    old_values, targets = old_values.detach(), targets.detach()
    held = values.clamp(old_values - value_clip, old_values + value_clip)
    return 0.5 * _mean(scale * torch.maximum((values - targets) ** 2, (held - targets) ** 2), mask)


def expectile_value(values: Steps, q_taken: Steps, expectile: float, mask: Mask = None, scale: Scale = 1.0) -> PerTrial:
    """Squared error weighted ``expectile`` where v is below the rollout's q, and ``1 - expectile`` where it is above.

    Above one half this draws v towards the better actions (implicit language Q-learning: Snell et al., 2023)."""
    error = q_taken.detach() - values
    below = (error >= 0).to(error.dtype)
    return _mean(scale * (expectile * below + (1 - expectile) * (1 - below)) * error**2, mask)


def squared_error(predictions: Steps, targets: Steps, mask: Mask = None) -> PerTrial:
    """Mean squared error, without the usual half: the published trainer's loss of q."""
    return _mean((predictions - targets.detach()) ** 2, mask)


def advantage_weighted(
    log_probs: Steps, advantages: Steps, beta: float, largest_weight: float, mask: Mask = None
) -> PerTrial:
    """AWR, ``-exp(A / beta) log pi``: imitation of what was done, the better the more (Peng et al., 2019).

    ``beta`` is in units of A; weights are cut at ``largest_weight``, 20 in the published code."""
    return -_mean((advantages.detach() / beta).exp().clamp(max=largest_weight) * log_probs, mask)


def advantage_induced(
    log_probs: Steps, reference_log_probs: Steps, advantages: Steps, beta: float, mask: Mask = None
) -> PerTrial:
    """APA, ``(log pi - log pi_ref - A / beta)^2``: a regression of the log-ratio on the advantage (Zhu et al., 2023).

    The reference is the policy before any training, not the one that sampled the action. ``beta`` is in units of A."""
    return _mean((log_probs - reference_log_probs.detach() - advantages.detach() / beta) ** 2, mask)


def divergence(log_policy: All, log_reference: All, mask: Mask = None, scale: Scale = 1.0) -> PerTrial:
    """KL(pi || pi_ref) of a step, in nats, summed over all actions."""
    return _mean(scale * (log_policy.exp() * (log_policy - log_reference.detach())).sum(-1), mask)


def sampled_divergence(
    log_probs: Steps, reference_log_probs: Steps, kl_estimator: str, mask: Mask = None, scale: Scale = 1.0
) -> PerTrial:
    """KL(pi || pi_ref) of a step, in nats, estimated from the action taken alone (Schulman, 2020).

    With r = log pi - log pi_ref: k1 is r, whose gradient is zero in expectation; k2 is r^2 / 2, whose expected gradient
    is the divergence's own; k3 is exp(-r) - 1 + r, never negative and GRPO's (Shao et al., 2024, eq. 4), whose expected
    gradient is that of KL(pi_ref || pi). Each of the three holds where actions are drawn from the present policy."""
    ratio = log_probs - reference_log_probs.detach()
    of_kind = {"k1": lambda: ratio, "k2": lambda: ratio**2 / 2, "k3": lambda: torch.expm1(-ratio) + ratio}
    return _mean(scale * of_kind[kl_estimator](), mask)


def negative_entropy(log_policy: All, mask: Mask = None, scale: Scale = 1.0) -> PerTrial:
    """Minus the policy's entropy at a step, in nats."""
    return _mean(scale * (log_policy.exp() * log_policy).sum(-1), mask)


def expected(policy: All, q: All, mask: Mask = None) -> PerTrial:
    """The policy's expected q at a step; gradients reach the policy alone."""
    return _mean((policy * q.detach()).sum(-1), mask)


def _mean(losses: Steps, mask: Mask) -> PerTrial:
    return losses.mean((1, 2)) if mask is None else (losses * mask).sum((1, 2)) / mask.sum((1, 2))
