"""The training loop: one for every algorithm, world and policy.

A rollout is played, learned from in a few updates, and forgotten but for its last token, from which the next
one starts. All trials advance together. One step of the optimiser updates them all: their losses are added up,
each enters only its own trial's parameters, gradients are clipped trial by trial, and the optimiser works
element by element, so that no trial knows of another."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.checks import Diverged, SettingError
from actde_nb.networks.gpt import Outputs
from actde_nb.networks.policies import Policy
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import RESUMABLE, Config
from actde_nb.training.losses import negative_entropy
from actde_nb.training.objective import TrainingBatch, prepare, terms
from actde_nb.training.rollout import Rollout, greedy_actions, part
from actde_nb.worlds import World

PerTrial = Float[Tensor, "trial"]
Hook = Callable[["Trainer"], None]
Evaluation = Callable[["Trainer"], Mapping[str, PerTrial]] | None
Trials = Sequence[int] | None

#: What a trial's random draws are for; each has a stream of its own.
PURPOSES = ("init", "play", "dropout", "evaluation")
ROWS = 64  # of records, to begin with


class Records(Sequence):
    """A list of records, each a dictionary of small arrays, kept as one array ``[record, ...]`` for each name.

    Thousands of small arrays made between the large ones of training would keep the memory allocator from giving
    anything back, which in a long run comes to gigabytes."""

    def __init__(self, columns: Mapping[str, np.ndarray] | None = None):
        self._columns = dict(columns or {})
        self._length = len(next(iter(self._columns.values()))) if self._columns else 0

    @property
    def names(self) -> tuple[str, ...]:
        """What a record holds."""
        return tuple(self._columns)

    def column(self, name: str) -> np.ndarray:
        """All records' entries of one name, ``[record, ...]``."""
        return self._columns[name][: self._length]

    def append(self, record: Mapping[str, np.ndarray]) -> None:
        """Copy a record to the end; all have the same names and shapes."""
        if not self._columns:
            self._columns = {name: np.empty((ROWS, *value.shape), value.dtype) for name, value in record.items()}
        elif self._length == len(self._columns[self.names[0]]):
            self._columns = {name: np.concatenate([c, np.empty_like(c)]) for name, c in self._columns.items()}
        for name, value in record.items():
            self._columns[name][self._length] = value
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> dict[str, np.ndarray] | list[dict[str, np.ndarray]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(f"index = {index}: allowed are {-self._length} to {self._length - 1}")
        return {name: self.column(name)[index] for name in self._columns}


def generator(seed: int, trial: int, purpose: str, device: str = "cpu") -> torch.Generator:
    """One trial's stream of random draws: the same alone, in any stack, and on any day."""
    [state] = np.random.SeedSequence([seed, trial, PURPOSES.index(purpose)]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def clip_gradients(parameters: Sequence[Tensor], limit: float) -> PerTrial:
    """Scale each trial's gradients down to a norm of ``limit`` (0: leave them) and return the norms before.

    As ``torch.nn.utils.clip_grad_norm_`` does for a single network. A parameter whose gradient is zero throughout is
    one that the loss does not use, such as PPO's q head; its gradient is dropped, so that weight decay leaves it
    alone."""
    used = [p for p in parameters if p.grad is not None]
    squares = torch.stack([p.grad.reshape(len(p), -1).square().sum(1) for p in used])  # [parameter, trial]
    norms = squares.sum(0).sqrt()
    scale = (limit / (norms + 1e-6)).clamp(max=1)
    for parameter, idle in zip(used, (squares == 0).all(1).tolist(), strict=True):
        if idle:
            parameter.grad = None
        elif limit:
            parameter.grad.mul_(scale.view(-1, *[1] * (parameter.ndim - 1)))
    return norms


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch work in one thread, in the whole process, as is best for small operations: where others use the
    machine too, waiting for a second thread takes many times as long as the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def adapted(coefficient: PerTrial, beyond: PerTrial) -> PerTrial:
    """A coefficient after a rollout in which what it keeps in check was ``beyond`` its target, as a share of that: up
    by a tenth of that, or down, by 2 % at most (Ziegler et al., 2019)."""
    return coefficient * (1 + 0.1 * beyond.clamp(-0.2, 0.2))


def check_device(device: str) -> str:
    """Return ``device`` if PyTorch finds it here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device = {device!r}: allowed are those PyTorch finds here ({error})") from None
    return device


class Trainer:
    """A run in progress, of some of the configured trials (all by default).

    ``evaluate`` says what else there is to know; it is asked at the start and every ``evaluate_every`` updates."""

    def __init__(
        self, world: World, policy: Policy, config: Config, trials: Trials = None, evaluate: Evaluation = None
    ):
        self.world, self.policy, self.config, self.evaluate = world, policy, config, evaluate
        if policy.vocabulary != world.vocabulary:
            raise SettingError(f"vocabulary = {policy.vocabulary}: allowed is the world's, {world.vocabulary}")
        self.trials = list(range(config.trials) if trials is None else trials)
        if not self.trials or not set(self.trials) <= set(range(config.trials)):
            raise SettingError(f"trials = {self.trials}: allowed are some of 0 to {config.trials - 1}")
        check_device(config.device)
        fresh = policy.init([generator(config.seed, trial, "init") for trial in self.trials])
        self.parameters = {name: value.to(config.device).requires_grad_() for name, value in fresh.items()}
        kept = self.parameters if config.needs_reference else {}
        self.reference = {name: value.detach().clone() for name, value in kept.items()}
        # Price of a nat in the reward, by trial; it moves where it is adapted.
        self.price = torch.full((len(self.trials),), config.kl_in_reward, device=config.device)
        self.bonus = torch.full_like(self.price, config.entropy_bonus)  # of a nat of entropy, likewise
        self.optimiser = self._optimiser()
        self.play_draws = [generator(config.seed, trial, "play") for trial in self.trials]
        self.dropout_draws = [generator(config.seed, trial, "dropout", config.device) for trial in self.trials]
        self.last, self.update = world.start(self._uniforms(config.batch)), 0
        self.records = Records()  # of each rollout: arrays ``[trial]`` or ``[trial, entry]``
        self.evaluations = Records()  # of each evaluation, with the number of updates done
        #: Seconds spent, by stage. On a GPU, which works on while Python goes ahead, only their sum means something.
        self.seconds: dict[str, float] = {}

    def identity(self) -> str:
        """What a checkpoint must have in common with a run to be its own. More updates may be asked for later."""
        settings = {name: value for name, value in asdict(self.config).items() if name not in RESUMABLE}
        return json.dumps([repr(self.world), repr(self.policy), self.trials, settings], sort_keys=True)

    def labels(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Name of the second axis, and of its entries, of each record that has one."""
        names = tuple(sorted(name.removeprefix("loss_") for name in self.records.names if name.startswith("loss_")))
        return {**self.world.labels, "loss": ("term", names)} if names else dict(self.world.labels)

    def run(self, save: Hook = lambda _: None, report: Hook = lambda _: None) -> None:
        """Train to the configured number of updates; save at times and at the end, report after every rollout."""
        if self.update == 0:
            self._evaluate()
        while self.update < self.config.updates:
            self.step()
            self._evaluate()
            report(self)
            if self.update % self.config.checkpoint_every == 0 or self.update == self.config.updates:
                save(self)

    def step(self) -> None:
        """Play one rollout and learn from it; raise Diverged where a loss or a gradient is not finite."""
        with self._clock("sampling"):
            rollout = self.play()
        with self._clock("advantages"), one_thread():
            batch = prepare(rollout, self.config, self.price if self.config.kl_in_reward else None)
            paid = self.price
            if self.config.kl_target:
                self.price = adapted(paid, rollout.log_ratio.sum(-1).mean(-1) / self.config.kl_target - 1)
        sums: dict[str, Tensor] = {}
        parts = self.config.minibatches
        for inner in range(self.config.updates_per_rollout):
            mini = batch if parts == 1 else part(batch, inner % parts, parts, self.config.together)
            with self._clock("forward"):
                context, needed = mini.rollout.context, mini.rollout.needed
                outputs = self.policy.forward(self.parameters, context, self.dropout_draws, needed)
            if inner == 0:  # the policy that played, before it learns; with minibatches, on the first
                with self._clock("statistics"), one_thread():
                    record = self._describe(mini, outputs)
                    if self.config.needs_reference:
                        record |= {"log_ratio": rollout.log_ratio.sum(-1).mean(-1), "price": paid}
            seen = self.learn(outputs, mini)
            self.update += 1
            sums = {name: sums.get(name, 0) + value for name, value in seen.items()}
        if self.config.entropy_target:
            record["bonus"] = self.bonus
            self.bonus = adapted(self.bonus, 1 - record["entropy"] / self.config.entropy_target)
        record |= {name: value / self.config.updates_per_rollout for name, value in sums.items()}
        self.records.append({name: value.float().cpu().numpy() for name, value in record.items()})

    def _evaluate(self) -> None:
        if self.evaluate is None or not self.config.evaluate_every or self.update % self.config.evaluate_every:
            return
        with self._clock("evaluation"):
            found = {name: value.cpu().numpy() for name, value in self.evaluate(self).items()}
        self.evaluations.append({"updates_done": np.full(len(self.trials), self.update), **found})

    @torch.no_grad()
    def play(self) -> Rollout:
        """Play one rollout, in a world that continues on from the last token of the one before."""
        config, row, world = self.config, ALGORITHMS[self.config.algorithm], self.world
        if not world.continues and self.update:
            self.last = world.start(self._uniforms(config.batch))
        uniforms = self._uniforms(config.batch, config.steps)
        draws, temperature = self.dropout_draws, config.sampling_temperature
        sampled = self.policy.sample(self.parameters, self.last, uniforms, draws, temperature)
        tokens, values = sampled.tokens, sampled.values
        self.last, mask = tokens[..., -1], world.mask(tokens)
        counted = 1 if mask is None else mask
        rollout = Rollout(
            tokens=tokens,
            rewards=world.rewards(tokens).to(values.dtype),
            log_probs=sampled.log_probs,
            values=values[..., :-1] * counted,
            next_value=values[..., -1] if world.continues else torch.zeros_like(values[..., -1]),
            q_taken=sampled.q.gather(-1, tokens[..., -config.steps :, None])[..., 0] * counted,
            mask=mask,
            q=sampled.q if row.corrected else None,
        )
        if row.greedy_penalty:
            likeliest = self.policy.greedy_tokens(self.parameters, rollout.context, config.steps)
            rollout = replace(rollout, greedy=greedy_actions(world, tokens, *likeliest))
        if config.needs_reference:
            said = self.policy.forward(self.reference, rollout.context, needed=rollout.needed)
            rollout = replace(rollout, reference=said.logits[:, :, -config.steps :].log_softmax(-1))
        return rollout

    def learn(self, outputs: Outputs, batch: TrainingBatch) -> dict[str, PerTrial]:
        """One update of all trials; returns each trial's loss terms and its gradient norm before clipping."""
        with self._clock("loss"), one_thread():
            # Apart from the network, where one output may be made of another: each gradient then counts once.
            apart = Outputs(*(said.detach().requires_grad_() for said in outputs))
            parts = terms(apart, batch, self.config, self.bonus if self.config.entropy_target else None)
            self._check({f"loss term {name}": value for name, value in parts.items()})
            loss = torch.stack(list(parts.values())).sum()
            gradients = torch.autograd.grad(loss, apart, allow_unused=True)
        with self._clock("backward"):
            reached = [(said, g) for said, g in zip(outputs, gradients, strict=True) if g is not None]
            torch.autograd.backward(*zip(*reached, strict=True))
        with self._clock("optimiser"), one_thread():
            norms = clip_gradients(list(self.parameters.values()), self.config.gradient_clip)
            self._check({"gradient norm": norms})
            if self.config.warmup:
                rise = min((self.update + 1) / self.config.warmup, 1)
                for group in self.optimiser.param_groups:
                    group["lr"] = group["highest"] * rise
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        return {**{f"loss_{name}": value.detach() for name, value in parts.items()}, "gradient_norm": norms}

    @torch.no_grad()
    def _describe(self, batch: TrainingBatch, outputs: Outputs) -> dict[str, Tensor]:
        rollout = batch.rollout
        logits, q = (said[:, :, -rollout.rewards.shape[-1] :] for said in (outputs.logits, outputs.q))
        deviation, mean = torch.std_mean(batch.advantages, dim=(1, 2), correction=0)  # there may be one alone
        entropy = -negative_entropy(logits.log_softmax(-1), rollout.mask)
        found = {"entropy": entropy, "advantage_mean": mean, "advantage_sd": deviation}
        return {**self.world.statistics(rollout.tokens, logits, q), "reward": rollout.rewards.mean((1, 2)), **found}

    def _check(self, quantities: dict[str, PerTrial]) -> None:
        if torch.stack(list(quantities.values())).isfinite().all():
            return
        for name, value in quantities.items():
            for trial, number in zip(self.trials, value.tolist(), strict=True):
                if not np.isfinite(number):
                    raise Diverged(f"update {self.update}: {name} of trial {trial} is {number}")

    def _optimiser(self) -> torch.optim.Optimizer:
        config, kinds = self.config, {}
        for name, parameter in self.parameters.items():
            head = config.head_rate != 1 and name.removeprefix("second.").startswith(("value", "q"))
            kinds.setdefault((head, not self.policy.decays(name)), []).append(parameter)
        groups = []
        for head, kept in sorted(kinds):
            rate = config.learning_rate * (config.head_rate if head else 1.0)
            decay = 0.0 if kept else config.weight_decay
            groups.append({"params": kinds[head, kept], "weight_decay": decay, "lr": rate, "highest": rate})
        if config.optimiser == "sgd":
            return torch.optim.SGD(groups, lr=config.learning_rate)
        betas = (config.beta1, config.beta2)
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)

    def _uniforms(self, *shape: int) -> Float[Tensor, "trial ..."]:
        # Drawn on the CPU: the same numbers on every device.
        return torch.stack([torch.rand(shape, generator=draw) for draw in self.play_draws]).to(self.config.device)

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
