"""Losses: pure functions ``[trial, batch, time] -> [trial]``, lower is better.

Each is a mean over a trial's batch and time, or over the steps of a ``mask``, unless it says otherwise. The loop adds
the trials up, so that a trial's parameters, which enter only its own term, get the gradient they would get alone.
Gradients flow through the first argument only; the others are constants. Names of arguments are those that the table
of algorithms fills in (:data:`actde_nb.training.algorithms.OFFERED`); log-probabilities are of the action taken, in
nats."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from actde_nb.checks import SettingError

Steps = Float[Tensor, "trial batch time"]
PerTrial = Float[Tensor, "trial"]
Texts = Float[Tensor, "trial batch"]
All = Float[Tensor, "trial batch time action"]
Mask = Bool[Tensor, "trial batch time"] | None
Scale = Float[Tensor, "trial #batch #time"] | float

#: How steps become one number: as a mean over all (DAPO: Yu et al., 2025, arXiv 2503.14476, eq. 8); over a sequence's
#: own, then over sequences (GRPO: Shao et al., 2024, arXiv 2402.03300, eq. 3); or as their sum over a constant for each
#: sequence, the longest there may be (Dr. GRPO: Liu et al., 2025, arXiv 2503.20783).
AGGREGATIONS = ("token", "sequence", "constant")


def clipped_surrogate(
    log_probs: Steps, old_log_probs: Steps, advantages: Steps, clip: float, mask: Mask = None, *, scale: Scale = 1.0,
    clip_high: float | None = None, aggregation: str = "token", steps: int = 1,
) -> PerTrial:  # fmt: skip
    """PPO's policy loss, ``-min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A)`` (Schulman et al., 2017, eq. 7).

    ``scale`` multiplies the smaller of the two, so that below zero the larger loss becomes a bound. With ``clip_high``
    the upper end is 1 + clip_high (clip-higher: Yu et al., 2025, arXiv 2503.14476, eq. 10)."""
    ratio, advantages = (log_probs - old_log_probs.detach()).exp(), advantages.detach()
    held = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    scale = scale * step_weights(ratio, mask, aggregation, steps)
    return -_mean(scale * torch.minimum(ratio * advantages, held * advantages), mask)


def step_weights(like: Steps, mask: Mask, aggregation: str, steps: int) -> Scale:
    """Weights that make of a mean over all steps that of an ``aggregation``; ``steps`` are the longest there may be."""
    if aggregation == "token":
        return 1.0
    lengths = (torch.ones_like(like) if mask is None else mask).sum(-1, keepdim=True)
    return lengths.to(like.dtype).mean(1, keepdim=True) / {"sequence": lengths, "constant": steps}[aggregation]


def clip_cov(
    log_probs: Steps, old_log_probs: Steps, advantages: Steps, clip: float, covariance_share: float, mask: Mask = None,
    *, clip_high: float | None = None,
) -> PerTrial:  # fmt: skip
    """Clip-Cov: :func:`clipped_surrogate`, but no gradient comes from the ``covariance_share`` of steps at which log pi
    and A are highest together, since these lower entropy fastest (Cui et al., 2025, arXiv 2505.22617).

    A step's covariance is (log pi - mean) * (A - mean), with means over the trial's steps. The paper draws so many at
    random among those between two high bounds (1 and 5); here, where nothing is drawn, they are the highest."""
    held = torch.where(_together(log_probs, advantages, covariance_share, mask), log_probs.detach(), log_probs)
    return clipped_surrogate(held, old_log_probs, advantages, clip, mask, clip_high=clip_high)


def kl_cov(
    log_probs: Steps, old_log_probs: Steps, advantages: Steps, covariance_share: float, mask: Mask = None, *,
    price: float = 1.0,
) -> PerTrial:  # fmt: skip
    """KL-Cov: ``-ratio * A``, with no clip, and at the steps that :func:`clip_cov` picks ``price`` times the divergence
    from the policy that played: of the action taken, ``|log pi - log pi_old|``, as in the published code (ibid.)."""
    ratio = log_probs - old_log_probs.detach()
    penalty = price * ratio.abs() * _together(log_probs, advantages, covariance_share, mask)
    return _mean(penalty - ratio.exp() * advantages.detach(), mask)


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
    return -_mean(log_probs, _highest(advantages.detach(), kept_share, mask))


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


def squared_residual(
    log_probs: Steps, anchor_log_probs: Steps, advantages: Steps, beta: float, group_size: int | None = None,
    values: Steps | None = None, mask: Mask = None, *, per_nat: bool = False,
) -> PerTrial:  # fmt: skip
    """``rho^2``, a mean over whole texts, with ``rho = beta * sum(log pi - log pi_anchor) - (sum r - V)``.

    It is zero where the policy is the anchor times exp(r / beta), normalised, and V is beta times the normaliser's
    logarithm. ``advantages``, the same at each step of a text, are sum r - V, for a V that is known beforehand; or sum
    r, where V is v of the first step, if ``values`` are given, or with ``group_size`` the group's mean of all else, so
    that residuals are centred. So are all pairs of a group compared: REBEL (Gao et al., 2024, arXiv 2404.16767).
    ``per_nat`` divides by 2 beta, after which the gradient on what the policy itself draws is that of beta KL - r."""
    rho = _residuals(log_probs, anchor_log_probs, advantages, beta, mask)
    if group_size is not None:
        groups = rho.unflatten(1, (-1, group_size))
        rho = (groups - groups.mean(-1, keepdim=True)).flatten(1)
    if values is not None:
        rho = rho + values[..., 0].detach()
    return (rho**2).mean(1) / (2 * beta if per_nat else 1)


def value_residual(
    values: Steps, log_probs: Steps, anchor_log_probs: Steps, advantages: Steps, beta: float, mask: Mask = None
) -> PerTrial:
    """The same number as :func:`squared_residual` with ``values``, to teach v of the first step, and v alone."""
    return ((_residuals(log_probs.detach(), anchor_log_probs, advantages, beta, mask) + values[..., 0]) ** 2).mean(1)


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


def _residuals(log_probs: Steps, anchor_log_probs: Steps, advantages: Steps, beta: float, mask: Mask) -> Texts:
    ratio = log_probs - anchor_log_probs.detach()
    return beta * (ratio if mask is None else ratio * mask).sum(-1) - advantages[..., 0].detach()


def _together(log_probs: Steps, advantages: Steps, share: float, mask: Mask) -> Bool[Tensor, "trial batch time"]:
    """The steps at which log pi and A are highest together; one at least."""
    counted = torch.ones_like(log_probs, dtype=torch.bool) if mask is None else mask
    centred = (x.detach() - _mean(x.detach(), counted)[:, None, None] for x in (log_probs, advantages))
    return _highest(torch.mul(*centred), share, counted)


def _highest(numbers: Steps, share: float, mask: Bool[Tensor, "trial batch time"]) -> Bool[Tensor, "trial batch time"]:
    # So many of the steps that count, which are not as many in each trial.
    rank = torch.where(mask, numbers, -torch.inf).flatten(1).argsort(1, descending=True).argsort(1)
    return rank.view_as(mask) < (share * mask.sum((1, 2), keepdim=True)).floor().clamp(min=1)


def _mean(losses: Steps, mask: Mask) -> PerTrial:
    return losses.mean((1, 2)) if mask is None else (losses * mask).sum((1, 2)) / mask.sum((1, 2))
