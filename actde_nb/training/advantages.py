"""How much better was it than expected? Pure functions of arrays ``[trial, batch, time]``.

All advantages are sums over later errors, weighted by powers of ``discount * gae_lambda``
(generalised advantage estimation: Schulman et al. 2016, eq. 16). What differs is the prediction in the error."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, positive

from actde_nb.checks import SettingError

Steps = Float[Tensor, "trial batch time"]
Ends = Float[Tensor, "trial batch"]
Mask = Bool[Tensor, "trial batch time"] | None
PerTrial = Float[Tensor, "trial 1 1"]
Total = Callable[[Tensor], Tensor]  # sum over the processes that hold a batch together, with a mask

VARIANCE_FLOOR = 1e-6  # what is added to a variance before its root divides, as in the published trainer


def discounted_sums(errors: Steps, factor: float) -> Steps:
    """Sum over k of ``factor**k * errors[t + k]``, for each t."""
    # As one product with a triangle of powers: a loop over time would be a hundred small operations.
    steps = torch.arange(errors.shape[-1], device=errors.device)
    delay = steps[:, None] - steps  # [later, now]
    weights = torch.where(delay >= 0, factor ** delay.clamp(min=0).to(errors.dtype), 0.0)
    return errors @ weights.to(errors.dtype)


def gae(rewards: Steps, values: Steps, next_value: Ends, discount: float, gae_lambda: float) -> Steps:
    """Generalised advantage estimate: the errors are ``r + discount * v(next) - v``, where ``next_value`` is the last
    v.

    ``gae_lambda`` = 0 is the one-step TD error, 1 the return minus v. Adding ``values`` gives the lambda-return."""
    return discounted_sums(rewards + discount * _next(values, next_value) - values, discount * gae_lambda)


def action_conditioned(
    rewards: Steps, values: Steps, next_value: Ends, q_taken: Steps, discount: float, gae_lambda: float
) -> Steps:
    """ACTDE as published: the errors are ``r + discount * v(next) - q(s, a)``, summed up as in :func:`gae`.

    With ``gae_lambda = 0`` this is the action-conditioned TD error of the post's tables. The post's text has no
    lambda; its trainer has (``actdeLoss``, where it is computed anew in each inner update, but from the rollout
    alone)."""
    return discounted_sums(rewards + discount * _next(values, next_value) - q_taken, discount * gae_lambda)


def returns(rewards: Steps, discount: float) -> Steps:
    """Discounted reward from each step to the rollout's end, compared with nothing."""
    return discounted_sums(rewards, discount)


def return_minus_q(rewards: Steps, q_taken: Steps, discount: float) -> Steps:
    """Discounted reward from each step to the rollout's end, less q of the action taken."""
    return discounted_sums(rewards, discount) - q_taken


def whiten(advantages: Steps, epsilon: float = VARIANCE_FLOOR, mask: Mask = None, total: Total = positive) -> Steps:
    """Shift and scale each trial's advantages to mean 0 and variance 1 over its batch and time, or where ``mask`` is;
    the others come out as zero. ``epsilon``, in reward squared, is added to the variance."""
    mean, variance = moments(advantages, mask, total)
    centred = advantages - mean if mask is None else (advantages - mean) * mask
    return centred * torch.rsqrt(variance + epsilon)


def moments(advantages: Steps, mask: Mask = None, total: Total = positive) -> tuple[PerTrial, PerTrial]:
    """Mean and variance (with n - 1 below) of each trial's advantages over its batch and time, or where ``mask`` is."""
    count = advantages[0].numel() if mask is None else total(mask.sum((1, 2), keepdim=True))
    if (count if mask is None else count.min()) < 2:
        allowed = "allowed are two or more, or whiten = False and an algorithm that asks for no deviation"
        raise SettingError(f"a trial has one step that counts, which has no variance to divide by: {allowed}")
    if mask is None:
        variance, mean = torch.var_mean(advantages, dim=(1, 2), keepdim=True)
        return mean, variance
    mean = total((advantages * mask).sum((1, 2), keepdim=True)) / count
    return mean, total((((advantages - mean) * mask) ** 2).sum((1, 2), keepdim=True)) / (count - 1)


def leave_one_out(rewards: Steps, group_size: int) -> Steps:
    """A sequence's summed reward less the mean of the others in its group, at every step (RLOO: Kool et al., 2019; on
    language models: Ahmadian et al., 2024). A group is ``group_size`` sequences in a row, those of one prompt."""
    totals = rewards.sum(-1).unflatten(1, (-1, group_size))  # [trial, groups, member]
    others = (totals.sum(-1, keepdim=True) - totals) / (group_size - 1)
    return (totals - others).flatten(1)[..., None].expand_as(rewards)


def group_normalised(rewards: Steps, group_size: int, *, epsilon: float = 1e-4) -> Steps:
    """A sequence's summed reward in deviations from its group's mean, at every step (GRPO: Shao et al., 2024).
    ``epsilon``, in units of reward, is added to the deviation (with n - 1 below)."""
    totals = rewards.sum(-1).unflatten(1, (-1, group_size))
    deviation, mean = torch.std_mean(totals, dim=-1, keepdim=True)
    return ((totals - mean) / (deviation + epsilon)).flatten(1)[..., None].expand_as(rewards)


def group_centred(rewards: Steps, group_size: int) -> Steps:
    """A sequence's summed reward less its group's mean, its own included, at every step (Dr. GRPO: Liu et al., 2025).
    A run with it should not whiten. The paper's other half, a sum over tokens divided by a constant, is of the loss."""
    totals = rewards.sum(-1).unflatten(1, (-1, group_size))
    return (totals - totals.mean(-1, keepdim=True)).flatten(1)[..., None].expand_as(rewards)


def above_optimum(rewards: Steps, optimal_value: float) -> Steps:
    """A sequence's summed reward less what the best policy at a price is worth, ``optimal_value``: beta log E exp(r /
    beta) over texts from before training, worked out from samples of these (A*-PO: Brantley et al., 2025, arXiv
    2505.20686, eq. 4)."""
    return rewards.sum(-1, keepdim=True).expand_as(rewards) - optimal_value


def _next(values: Steps, next_value: Ends) -> Steps:
    return torch.cat([values[..., 1:], next_value[..., None]], dim=-1)
