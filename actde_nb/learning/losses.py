"""Losses: pure functions ``[trial, batch, time] -> [trial]``, lower is better.

Each is a mean over a trial's batch and time. The loop adds the trials up, so that a trial's parameters,
which enter only its own term, get the gradient they would get alone. Gradients flow through the first
argument only; the others are constants.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Steps = Float[Tensor, "trial batch time"]
PerTrial = Float[Tensor, "trial"]


def clipped_surrogate(log_probs: Steps, old_log_probs: Steps, advantages: Steps, clip: float) -> PerTrial:
    """PPO's policy loss, ``-min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A)``.

    Args:
        log_probs: log pi of the action taken, in nats, now.
        old_log_probs: the same when it was sampled.
        advantages: A.
        clip: epsilon; how far the ratio of probabilities is pushed.

    Source: Schulman et al. (2017), eq. 7.
    """
    ratio, advantages = (log_probs - old_log_probs.detach()).exp(), advantages.detach()
    return -_mean(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages))


def score_function(log_probs: Steps, advantages: Steps) -> PerTrial:
    """REINFORCE, ``-A log pi``: its gradient is the score function times the advantage (Williams, 1992)."""
    return -_mean(log_probs * advantages.detach())


def logit_step(logits_taken: Steps, advantages: Steps) -> PerTrial:
    """``-A theta`` of the action taken: moves that logit alone, as the post's tables do.

    This is :func:`score_function` without the normaliser of the softmax. On a table and with plain
    gradient descent it is the update for which the sum of errors telescopes.
    """
    return -_mean(logits_taken * advantages.detach())


def best_share(log_probs: Steps, returns: Steps, share: float) -> PerTrial:
    """Rejection sampling: ``-log pi`` of the ``share`` of steps with the highest returns, averaged over those.

    Args:
        log_probs: log pi of the action taken, in nats, now.
        returns: discounted return from each step to the rollout's end.
        share: 1/4 in the published trainer (``rejectLoss``); the number of steps is rounded down.

    Raises:
        ValueError: a share that holds not one step.
    """
    kept = int(share * log_probs[0].numel())
    if kept < 1:
        raise ValueError(f"share = {share} of {log_probs[0].numel()} steps: allowed are shares that hold one or more")
    best = returns.detach().flatten(1).topk(kept, dim=1).indices
    return -log_probs.flatten(1).gather(1, best).mean(1)


def clipped_value(values: Steps, old_values: Steps, targets: Steps, clip: float) -> PerTrial:
    """Half the larger squared error of v and of v held within ``clip`` of what it was in the rollout.

    Source: the published trainer (``ppoLoss``), which has it from earlier implementations of PPO.
    """
    old_values, targets = old_values.detach(), targets.detach()
    held = values.clamp(old_values - clip, old_values + clip)
    return 0.5 * _mean(torch.maximum((values - targets) ** 2, (held - targets) ** 2))


def expectile(values: Steps, targets: Steps, level: float) -> PerTrial:
    """Squared error weighted ``level`` where v is below the target and ``1 - level`` where it is above.

    Above one half this draws v towards the better actions; the target is the rollout's q of the action taken.
    Source: implicit language Q-learning (Snell et al., 2023), and the published trainer with level .9.
    """
    error = targets.detach() - values
    below = (error >= 0).to(error.dtype)
    return _mean((level * below + (1 - level) * (1 - below)) * error**2)


def squared_error(predictions: Steps, targets: Steps) -> PerTrial:
    """Mean squared error, without the usual half: the published trainer's loss of q."""
    return _mean((predictions - targets.detach()) ** 2)


def _mean(losses: Steps) -> PerTrial:
    return losses.mean((1, 2))
