"""Pretraining watched: how near a network is to the grammar, step by step, with two kinds of targets."""

import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.networks import gpt
from actde_nb.training.pretrain import Pretraining, divergence
from actde_nb.training.trainer import clip_gradients, generator
from actde_nb.worlds.grammar import Grammar


def lesson(
    grammar: Grammar,
    config: gpt.GPTConfig,
    settings: Pretraining,
    soft: bool = True,
    trials: int = 1,
) -> tuple[gpt.Params, Float[Tensor, "trial step"]]:
    """Teach networks as :func:`actde_nb.training.pretrain.pretrain` does, and watch.

    Networks with either kind of targets see the same sentences from the same initial weights.

    Args:
        grammar: to learn.
        config: size of the networks.
        settings: how.
        soft: whether the target is the grammar's probabilities of the next word, and not the word that came.
        trials: number of networks.

    Returns:
        The networks, and KL(grammar || network) in nats a word on the sentences of each step before they are learned
        from, which the network has not seen.
    """
    params = gpt.init(config, trials, [generator(settings.seed, trial, "init") for trial in range(trials)])
    draws = [generator(settings.seed, trial, "play") for trial in range(trials)]
    critic = [name for name in params if name.startswith(("value.", "q."))]
    learned = {name: value.requires_grad_() for name, value in params.items() if name not in critic}
    optimiser = torch.optim.Adam(learned.values(), lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, settings.steps + 1, pct_start=0.1, cycle_momentum=False
    )
    seen = []
    for _ in range(settings.steps):
        tokens = torch.stack([grammar.sample(settings.batch, draw) for draw in draws])
        logits = gpt.forward(params, config, tokens[..., :-1]).logits
        away = divergence(logits, tokens[..., :-1], grammar)
        seen.append(away.detach())
        losses = away if soft else _cross_entropy(logits, tokens[..., 1:])
        losses.sum().backward()
        clip_gradients(list(learned.values()), settings.gradient_clip)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    params = {name: torch.zeros_like(value) if name in critic else value.detach() for name, value in params.items()}
    return params, torch.stack(seen, 1)


def _cross_entropy(logits: Float[Tensor, "trial batch time token"], following: Tensor) -> Float[Tensor, "trial"]:
    """Mean surprise at the words that came, padding aside."""
    surprise = -logits.log_softmax(-1).gather(-1, following[..., None])[..., 0]
    asked = (following > 0).to(surprise.dtype)
    return (surprise * asked).sum((1, 2)) / asked.sum((1, 2))
