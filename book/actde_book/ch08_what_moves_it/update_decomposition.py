"""What moves a policy: the change of its logit gap in an update, split up among the things that make it.

The gap is the logit of cooperating minus that of defecting, after either move. A force's *push* is what it does to the
gap to first order: the gradient of the gap times the force's share of the step. Forces are the terms of the loss
(``policy``, ``value``, ``q``) and ``decay``, the optimiser's weight decay."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from actde_nb.networks.gpt import Outputs
from actde_nb.training.objective import TrainingBatch, prepare, terms
from actde_nb.training.trainer import Trainer, generator
from actde_nb.worlds.prisoner import MOVES

Flat = Float[Tensor, "trial weight"]
PROBES = 16  # sequences on which a gap is measured; it hardly depends on anything but the last move


def flat(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None] | None = None) -> Flat:
    """All of a stack's parameters in a row, or something of the same shapes in their place; None counts as zero."""
    chosen = parameters if gradients is None else gradients
    parts = [torch.zeros_like(p) if chosen[n] is None else chosen[n].detach() for n, p in parameters.items()]
    return torch.cat([part.reshape(len(part), -1) for part in parts], 1)


@contextmanager
def aside(trainer: Trainer, seed: int) -> Iterator[None]:
    """Let ``trainer`` play with other draws and forget afterwards that it did."""
    draws, last = trainer.play_draws, trainer.last
    trainer.play_draws = [generator(seed, trial, "play") for trial in trainer.trials]
    try:
        yield
    finally:
        trainer.play_draws, trainer.last = draws, last


class Gap:
    """The mean logit gap after either move, in nats, over sequences that the trainer plays now, aside."""

    def __init__(self, trainer: Trainer, sequences: int = PROBES, seed: int = 0):
        with aside(trainer, seed):
            self.tokens = trainer.play().context[:, :sequences]
        self.policy = trainer.policy
        after = torch.stack([self.tokens == move for move in range(len(MOVES))], 1)
        self.weights = after / after.sum((2, 3), keepdim=True)  # [trial, last_move, batch, time]

    def __call__(self, parameters: Mapping[str, Tensor]) -> Float[Tensor, "trial last_move"]:
        """The gaps; NaN after a move that never came up."""
        logits = self.policy.forward(dict(parameters), self.tokens).logits
        return ((logits[..., 0] - logits[..., 1])[:, None] * self.weights).sum((2, 3))

    def slopes(
        self, parameters: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, "trial last_move"], Float[Tensor, "last_move trial weight"]]:
        """The gaps, and the gradient of each in all parameters."""
        gaps = self(parameters)
        slopes = torch.stack([_gradient(gap.sum(), parameters) for gap in gaps.unbind(1)])
        return gaps.detach(), slopes


def _gradient(loss: Tensor, parameters: Mapping[str, Tensor]) -> Flat:
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
    return flat(parameters, dict(zip(parameters, found, strict=True)))


def gradients(
    trainer: Trainer, outputs: Outputs, batch: TrainingBatch, algorithm: str | None = None
) -> dict[str, Flat]:
    """Gradient of each term of the loss (by default the trainer's own) in all parameters, before any clipping."""
    config = replace(trainer.config, algorithm=algorithm or trainer.config.algorithm)
    parts = terms(outputs, batch, config)
    return {name: _gradient(part.sum(), trainer.parameters) for name, part in parts.items()}


def decay(trainer: Trainer, gradient: Flat) -> Flat:
    """What weight decay does to the parameters in an update, in units of the learning rate. A parameter that the loss's
    ``gradient`` leaves out, such as PPO's q head, is not decayed either."""
    kept = {}
    each = gradient.split([p[0].numel() for p in trainer.parameters.values()], 1)
    for (name, p), part in zip(trainer.parameters.items(), each, strict=True):
        kept[name] = p if trainer.policy.decays(name) and part.any() else None
    return -trainer.config.weight_decay * flat(trainer.parameters, kept)


def pushes(trainer: Trainer, rollouts: int, algorithm: str | None = None, seed: int = 0) -> xr.Dataset:
    """Stand still and ask many fresh rollouts where they would push the gap; without dropout.

    ``plain`` and ``adam`` ``[force, trial, rollout, last_move]`` are the push of one update in nats: of plain gradient
    descent with the trainer's learning rate, and of Adam if it stayed here for long. Adam divides by the root mean
    square of the total gradient over the rollouts, and each gradient's effect, spread over the updates to come, counts
    once and whole. ``decay`` is weight decay's push, ``gradient`` the total gradient's root mean square over rollouts
    and parameters."""
    config = replace(trainer.config, algorithm=algorithm or trainer.config.algorithm)
    _, slopes = Gap(trainer, seed=seed).slopes(trainer.parameters)
    found: dict[str, list[Flat]] = {}
    with aside(trainer, seed + 1):
        for _ in range(rollouts):
            batch = prepare(trainer.play(), config)
            outputs = trainer.policy.forward(trainer.parameters, batch.rollout.context)
            for name, gradient in gradients(trainer, outputs, batch, algorithm).items():
                found.setdefault(name, []).append(gradient)
    each = torch.stack([torch.stack(found[name]) for name in found])  # [force, rollout, trial, weight]
    squares = each.sum(0).square().mean(0)
    dims = ("force", "trial", "rollout", "last_move")
    rates = {"plain": torch.ones_like(squares), "adam": 1 / (squares.sqrt() + config.epsilon)}
    data = {
        name: (dims, -config.learning_rate * torch.einsum("frtw,tw,mtw->ftrm", each, rate, slopes).numpy())
        for name, rate in rates.items()
    }
    data["decay"] = (("trial", "last_move"), _push(config.learning_rate * decay(trainer, squares), slopes))
    data["gradient"] = (("trial",), squares.mean(1).sqrt().numpy())
    return xr.Dataset(data, {"force": list(found), "trial": trainer.trials, "last_move": list(MOVES)})


def _push(step: Flat, slopes: Float[Tensor, "last_move trial weight"]) -> Float[np.ndarray, "trial last_move"]:
    return torch.einsum("tw,mtw->tm", step, slopes).numpy()


def remembered(trainer: Trainer, name: str) -> Flat:
    """One of Adam's running means, ``exp_avg`` or ``exp_avg_sq``; zero where there is none yet."""
    parameters, state = trainer.parameters, trainer.optimiser.state
    return flat(parameters, {n: state[p][name] if name in state.get(p, {}) else None for n, p in parameters.items()})


def scale(trainer: Trainer) -> Flat:
    """What turns the running mean of the gradient into a step, bias corrections included; the learning rate is not."""
    config, parameters, state = trainer.config, trainer.parameters, trainer.optimiser.state
    if config.optimiser == "sgd":
        return torch.ones_like(flat(parameters))
    rows = {}
    for name, p in parameters.items():
        if p not in state:  # never had a gradient
            rows[name] = torch.zeros_like(p)
            continue
        steps = float(state[p]["step"])
        root = (state[p]["exp_avg_sq"] / (1 - config.beta2**steps)).sqrt()
        rows[name] = 1 / (1 - config.beta1**steps) / (root + config.epsilon)
    return flat(parameters, rows)


def sizes(trainer: Trainer) -> dict[str, Float[np.ndarray, "trial"]]:
    """How large gradients have been lately, from Adam's running mean square, and its last step without weight decay:
    root mean squares over all of a trial's parameters."""
    steps = max(float(memory["step"]) for memory in trainer.optimiser.state.values())
    squares = remembered(trainer, "exp_avg_sq") / (1 - trainer.config.beta2**steps)
    step = trainer.config.learning_rate * scale(trainer) * remembered(trainer, "exp_avg")
    return {"gradient": squares.mean(1).sqrt().numpy(), "step": _size(step).numpy()}


def _size(rows: Flat) -> Float[Tensor, "trial"]:
    """Root mean square over weights."""
    return rows.square().mean(1).sqrt()


class Ledger:
    """Train on, without dropout, and enter for every update which force moved the gap by how much.

    Adam's step is linear in its running mean of the gradient, and so splits up exactly into what the terms of the loss
    have contributed; ``before`` is what the running mean still holds from before the first entry. What the first-order
    pushes leave of the true change is entered as ``curvature``. No records are kept."""

    def __init__(self, trainer: Trainer, seed: int = 0):
        self.trainer, self.gap = trainer, Gap(trainer, seed=seed)
        self.means = {"before": remembered(trainer, "exp_avg")}
        self.entries: list[dict[str, np.ndarray]] = []
        self.seen: list[dict[str, np.ndarray]] = []

    def run(self, updates: int) -> None:
        """Train for ``updates`` more, whole rollouts."""
        per_rollout = self.trainer.config.updates_per_rollout
        for _ in range(updates // per_rollout):
            batch = prepare(self.trainer.play(), self.trainer.config)
            for _ in range(per_rollout):
                self.update(batch)

    def update(self, batch: TrainingBatch) -> None:
        """One update and its entry."""
        trainer, config = self.trainer, self.trainer.config
        gaps, slopes = self.gap.slopes(trainer.parameters)
        there = flat(trainer.parameters)
        outputs = trainer.policy.forward(trainer.parameters, batch.rollout.context)
        found = gradients(trainer, outputs, batch)
        found = {name: self._clipped(sum(found.values())) * gradient for name, gradient in found.items()}
        steps = {"decay": config.learning_rate * decay(trainer, sum(found.values()))}
        trainer.learn(outputs, batch)
        trainer.update += 1
        rate = config.learning_rate * scale(trainer)
        for name in self.means | found:
            self.means[name] = self._keep(self.means.get(name), found.get(name), like=there)
            steps[name] = -rate * self.means[name]
        left = flat(trainer.parameters) - there - sum(steps.values())
        self.entries.append({name: _push(step, slopes) for name, step in steps.items()})
        seen = {"gap": gaps, "gradient": _size(sum(found.values())), "step": _size(rate * sum(self.means.values()))}
        self.seen.append({name: x.numpy() for name, x in (seen | {"unexplained": left.abs().amax(1)}).items()})

    def dataset(self) -> xr.Dataset:
        """``push`` ``[force, trial, update, last_move]`` in nats, whose sum over forces is the gap's change in that
        update; ``gap`` before it; ``gradient`` and ``step``, root mean squares over the parameters, of the clipped
        gradient and of the step without decay; ``unexplained``, the largest part of a parameter's change that the
        forces leave out: rounding."""
        push = {name: np.stack([entry[name] for entry in self.entries], 1) for name in self.entries[0]}
        seen = {name: np.stack([row[name] for row in self.seen], 1) for name in self.seen[0]}
        with torch.no_grad():
            end = self.gap(self.trainer.parameters).numpy()
        change = np.diff(seen["gap"], axis=1, append=end[:, None])
        push["curvature"] = change - sum(push.values())
        data = {name: (("trial", "update", "last_move")[: row.ndim], row) for name, row in seen.items()}
        data["push"] = (("force", "trial", "update", "last_move"), np.stack(list(push.values())))
        updates = self.trainer.update - len(self.seen) + np.arange(len(self.seen))
        coordinates = {"force": list(push), "trial": self.trainer.trials, "update": updates, "last_move": list(MOVES)}
        return xr.Dataset(data, coordinates)

    def _clipped(self, gradient: Flat) -> Float[Tensor, "trial 1"]:
        limit, norms = self.trainer.config.gradient_clip, gradient.norm(dim=1, keepdim=True)
        return (limit / (norms + 1e-6)).clamp(max=1) if limit else torch.ones_like(norms)

    def _keep(self, mean: Flat | None, fresh: Flat | None, like: Flat) -> Flat:
        """The running mean, one gradient later; plain descent remembers none."""
        mean, fresh = (torch.zeros_like(like) if part is None else part for part in (mean, fresh))
        if self.trainer.config.optimiser == "sgd":
            return fresh
        return torch.lerp(mean, fresh, 1 - self.trainer.config.beta1)


def branch(trainer: Trainer, **changes) -> Trainer:
    """Another trainer in the state of this one, that goes on with the same draws under other settings of its config. If
    ``optimiser`` is among the ``changes``, the branch starts with none of Adam's memory."""
    other = Trainer(trainer.world, trainer.policy, replace(trainer.config, **changes), trainer.trials)
    with torch.no_grad():
        for name, parameter in other.parameters.items():
            parameter.copy_(trainer.parameters[name])
    if "optimiser" not in changes:
        memory = copy.deepcopy(trainer.optimiser.state_dict()["state"])
        other.optimiser.load_state_dict(other.optimiser.state_dict() | {"state": memory})
    other.play_draws = [draw.clone_state() for draw in trainer.play_draws]
    other.dropout_draws = [draw.clone_state() for draw in trainer.dropout_draws]
    other.last, other.price = trainer.last.clone(), trainer.price.clone()
    other.update, other.records = trainer.update, copy.deepcopy(trainer.records)
    return other
