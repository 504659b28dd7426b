"""The loop on a language model: draw completions, ask what they earn, learn from them in a few updates.

All that makes a row comes from the project's own loop, :func:`~actde_nb.training.objective.prepare` and
:func:`~actde_nb.training.objective.terms`, with an axis ``trial`` of one."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from actde_nb.checks import Diverged, SettingError
from actde_nb.finetune import ranks
from actde_nb.finetune.critic import Critic
from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.sampling import Sampled, learner, pad_left, sample, uniforms
from actde_nb.finetune.settings import Settings
from actde_nb.finetune.texts import Prompt, Reward, Text, ask, turn
from actde_nb.networks.gpt import Outputs
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import RESUMABLE
from actde_nb.training.losses import divergence, negative_entropy
from actde_nb.training.objective import TrainingBatch, prepare, terms
from actde_nb.training.rollout import GreedyActions, Rollout, part
from actde_nb.training.trainer import Records, adapted

#: Records that are of a rollout's first minibatch alone: later the policy is another one.
FIRST = ("entropy", "kl", "mismatch")
LARGEST_MISMATCH = 0.1  # nats a token; rounding to bfloat16 makes half of it


@dataclass(frozen=True)
class Work:
    """What there is to learn from, and where its prompts begin."""

    batch: TrainingBatch
    seen: Bool[Tensor, "trial batch moves"]  # which tokens are no padding
    trunk: Float[Tensor, "trial batch context width"] | None  # what the blocks said that stand still

    @property
    def counted(self) -> int:
        """Number of tokens that count."""
        return int(self.batch.rollout.mask.sum())


class FineTuning:
    """A run in progress: a model that learns, its critic, and what became of it."""

    def __init__(self, model: LanguageModel, prompts: Sequence[Prompt], reward: Reward, settings: Settings):
        self.model, self.prompts, self.reward, self.settings = model, prompts, reward, settings
        self.row, rate = ALGORITHMS[settings.row], settings.learning_rate
        settings.check_processes(ranks.count())
        own = (*RESUMABLE, "parallel")
        kept = {name: value for name, value in asdict(settings).items() if name not in own}
        #: What a checkpoint must have in common with a run to be its own. A reward function has no content to compare.
        self.identity = json.dumps([kept, model.identity(), sha256(repr(prompts).encode()).hexdigest()])
        ranks.check_alike(self.identity + repr(settings))
        self.critic = Critic(model.embeddings, settings.critic_width, torch.Generator().manual_seed(settings.seed))
        if ranks.count() > 1 and settings.parallel == "fsdp":
            model.shard()
            ranks.shard(self.critic, methods=["all_actions"])
        self.loss = ranks.averaged([model.module, self.critic], self._loss)
        matrices, vectors = ([p for p in model.learned.values() if (p.ndim > 1) is large] for large in (True, False))
        kinds = [(matrices, settings.weight_decay, rate), (vectors, 0.0, rate)]
        kinds += [(list(self.critic.parameters()), 0.0, rate * settings.head_rate)]
        groups = [{"params": p, "weight_decay": decay, "lr": top, "highest": top} for p, decay, top in kinds]
        adam = {"betas": (settings.beta1, settings.beta2), "eps": settings.epsilon}
        plain = settings.optimiser == "sgd"
        self.optimiser = torch.optim.SGD(groups) if plain else torch.optim.AdamW(groups, **adam, fused=True)
        self.price = torch.full((1,), settings.kl_in_reward, device=model.device)  # of a nat in the reward
        self.bonus = torch.full_like(self.price, settings.entropy_bonus)  # of a nat of entropy
        self.update, self.records = 0, Records()  # one of each rollout, of arrays ``[trial]``, of one trial
        self.asked: list[Text] = []  # this process's prompts in the last rollout, and its completions
        self.examples: list[str] = []

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All that learns: of the network, and of the critic."""
        critic = {f"critic/{name}": parameter for name, parameter in self.critic.named_parameters()}
        return {f"model/{name}": parameter for name, parameter in self.model.learned.items()} | critic

    @property
    def due(self) -> bool:
        """Whether the state is to be stored now, after so many updates and at the end."""
        return self.update % self.settings.checkpoint_every == 0 or self.update == self.settings.updates

    def step(self) -> None:
        """One rollout and its updates; raise Diverged for a number that is not finite, and SettingError where the
        network does not say the same when it draws and when it learns."""
        start = time.perf_counter()
        work, played = self.play()
        record = Counter(played)  # which adds up what it is updated with
        inner_steps, parts = self.settings.updates_per_rollout, self.settings.minibatches
        for inner in range(inner_steps):
            seen = self._learn(part(work, inner % parts, parts, self.settings.together), first=inner == 0)
            self.update += 1
            record.update({name: value if name in FIRST else value / inner_steps for name, value in seen.items()})
        if self.settings.entropy_target:
            record["bonus"], entropy = self.bonus.item(), torch.full_like(self.bonus, record["entropy"])
            self.bonus = adapted(self.bonus, 1 - entropy / self.settings.entropy_target)
        speed = torch.tensor(work.counted / (time.perf_counter() - start), dtype=torch.float64)
        record["tokens_per_second"] = ranks.total(speed).item()
        self.records.append({name: np.array([value]) for name, value in record.items()})

    @torch.no_grad()
    def play(self) -> tuple[Work, dict[str, float]]:
        """Draw completions, ask what they earn, and work out what there is to learn; with what to record of it."""
        settings, model, number = self.settings, self.model, self.update // self.settings.updates_per_rollout
        copies = settings.group_size if self.row.compares_groups else 1
        numbers = turn(len(self.prompts), number, settings.batch // copies, settings.seed)
        own = ranks.own(settings.batch)
        chosen = [self.prompts[index] for index in numbers for _ in range(copies)][own]
        tokens, seen = (x.to(model.device) for x in pad_left([prompt.ids for prompt in chosen], model.padding))
        draws = uniforms(settings.seed, number, settings.batch, settings.steps)[own].to(model.device)
        greedy = self.row.greedy_penalty is not None
        with ranks.kept_whole(model.module):
            sampled = sample(model, tokens, seen, draws, settings.sampling_temperature, greedy)
        steps, lengths = sampled.mask.shape[1], ranks.gathered(sampled.mask.sum(-1))
        padded = torch.nn.functional.pad(sampled.tokens[:, -steps:], (0, settings.steps - steps))
        every = [row[:n] for row, n in zip(ranks.gathered(padded).tolist(), lengths.tolist(), strict=True)]
        self.asked, self.examples = [prompt.text for prompt in chosen], [model.decode(ids) for ids in every[own]]
        with ranks.together():
            scores = torch.from_numpy(self._ask(chosen, self.examples)).to(sampled.log_probs)
        rollout = self._rollout(sampled, scores)
        if sampled.likeliest:
            rollout = replace(rollout, greedy=self._greedy(sampled, chosen, every[own]))
        batch = prepare(rollout, settings, self.price if settings.kl_in_reward else None, ranks.total)
        scores, log_ratio = ranks.gathered(scores), ranks.gathered(rollout.log_ratio[0].sum(-1))
        means = {"score": scores, "log_ratio": log_ratio, "price": self.price, "length": lengths.double()}
        record = {name: value.mean().item() for name, value in means.items()} | {"distinct_2": distinct(every, 2)}
        if settings.kl_target:
            self.price = adapted(self.price, log_ratio.mean(-1, keepdim=True) / settings.kl_target - 1)
        return Work(batch, sampled.seen[None], None if sampled.trunk is None else sampled.trunk[None]), record

    def _ask(self, chosen: Sequence[Prompt], completions: Sequence[str]) -> Float[np.ndarray, "batch"]:
        columns = {name: [prompt.columns[name] for prompt in chosen] for name in chosen[0].columns}
        return ask(self.reward, [prompt.text for prompt in chosen], completions, columns)

    def _rollout(self, sampled: Sampled, scores: Float[Tensor, "batch"]) -> Rollout:
        """The record that every row learns from. A completion is paid at its last token, and nothing comes after."""
        mask, steps = sampled.mask, sampled.mask.shape[1]
        last = torch.nn.functional.one_hot(mask.sum(-1) - 1, steps)
        values, q_taken = self.critic(sampled.states, sampled.tokens[:, -steps:])
        read = {"tokens": sampled.tokens, "seen": sampled.seen, "trunk": sampled.trunk}
        before = []
        for at in range(0, len(mask), self.settings.micro_batch):
            piece = {k: v if v is None else v[at : at + self.settings.micro_batch] for k, v in read.items()}
            before.append(learner(self.model, steps=steps, reference=True, **piece).logits.log_softmax(-1))
        return Rollout(
            tokens=sampled.tokens[None], rewards=(last * scores[:, None])[None], log_probs=sampled.log_probs[None],
            values=(values * mask)[None], next_value=values.new_zeros(1, len(values)), q_taken=(q_taken * mask)[None],
            mask=mask[None], reference=torch.cat(before)[None],
            q=self.critic.all_actions(sampled.states)[None] if self.row.corrected else None,
        )  # fmt: skip

    def _greedy(self, sampled: Sampled, chosen: Sequence[Prompt], drawn: Sequence[list[int]]) -> GreedyActions:
        """What would have come of the likeliest tokens: a score where one of them is the completion's last, and v
        elsewhere. So the reward is asked again about few completions only."""
        tokens, log_probs, states = sampled.likeliest
        ends = torch.tensor(self.model.ends, device=tokens.device)
        final = torch.arange(tokens.shape[1], device=tokens.device) == self.settings.steps - 1
        over = (torch.isin(tokens, ends) | final) & sampled.mask
        places, earned = over.nonzero().tolist(), torch.zeros_like(log_probs)
        others = [self.model.decode([*drawn[row][:step], int(tokens[row, step])]) for row, step in places]
        with ranks.together():
            if places:
                earned[over] = torch.from_numpy(self._ask([chosen[row] for row, _ in places], others)).to(earned)
        values = self.critic(states, tokens)[0] * (sampled.mask & ~over)
        return GreedyActions(tokens[None], log_probs[None], earned[None], values[None])

    def outputs(self, work: Work) -> Outputs:
        """What network and critic say now; q of the token taken, which alone the rows ask for, stands for all."""
        rollout = work.batch.rollout
        steps = rollout.rewards.shape[-1]
        trunk = None if work.trunk is None else work.trunk[0]
        logits, states, _ = learner(self.model, rollout.tokens[0], work.seen[0], steps, trunk=trunk)
        values, q_taken = self.critic(states, rollout.taken[0])
        return Outputs(logits[None], values[None], q_taken[None, ..., None].expand(-1, -1, -1, logits.shape[-1]))

    def gradients(self, work: Work, first: bool = False) -> dict[str, float]:
        """Add a minibatch's gradients to the parameters'; returns the loss's terms, at ``first`` with statistics."""
        sums, rows, together = Counter(), work.seen.shape[1], self.settings.together
        pieces = -(-(rows // together) // (self.settings.micro_batch // together))
        counted = ranks.total(torch.tensor(work.counted)).item()
        for number in range(pieces):
            piece = part(work, number, pieces, together)
            # By the share of its tokens: the mean of the pieces' means, or of the ranks', would be another loss. Where
            # the loss is a mean over sequences, by theirs.
            of_tokens, of_sequences = piece.counted / counted, piece.seen.shape[1] / (rows * ranks.count())
            share = of_tokens if self.row.aggregation == "token" else of_sequences
            with ranks.more_to_come(self.loss, number < pieces - 1):
                loss, said = self.loss(piece, first)
                (ranks.count() * share * loss).backward()  # as gradients are averaged
            sums.update({name: (of_tokens if name in FIRST else share) * value for name, value in said.items()})
        found = ranks.total(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist()
        sums = dict(zip(sums, found, strict=True))
        if first:
            sums["kl"] *= counted / (rows * ranks.count())  # a sequence
        return sums

    def _loss(self, piece: Work, first: bool) -> tuple[Float[Tensor, ""], dict[str, float]]:
        outputs = self.outputs(piece)
        found = terms(outputs, piece.batch, self.settings, self.bonus if self.settings.entropy_target else None)
        said = {f"loss_{name}": value.item() for name, value in found.items()}
        if first:
            said |= self._describe(outputs, piece.batch.rollout)
        return torch.stack(list(found.values())).sum(), said

    def _learn(self, work: Work, first: bool) -> dict[str, float]:
        found = self.gradients(work, first)
        for name, group in (("gradient_norm", self.model.learned.values()), ("critic_norm", self.critic.parameters())):
            limit = self.settings.gradient_clip or torch.inf
            found[name] = ranks.whole(torch.nn.utils.clip_grad_norm_(list(group), limit)).item()
        for name, value in found.items():
            if not np.isfinite(value):
                raise Diverged(f"update {self.update}: {name} is {value}")
        if first and self.update == 0 and found["mismatch"] > LARGEST_MISMATCH:
            apart = f"{found['mismatch']:.3g} nats a token apart where it draws and where it learns"
            raise SettingError(f"model is {apart}: allowed are {LARGEST_MISMATCH}")
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * min((self.update + 1) / max(self.settings.warmup, 1), 1)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return found

    @torch.no_grad()
    def _describe(self, outputs: Outputs, rollout: Rollout) -> dict[str, float]:
        """Of the policy that drew, in nats a token: entropy, divergence from the reference, both by the whole softmax,
        and how far the learner's log-probabilities are from the sampler's."""
        log_policy, mask = outputs.logits.log_softmax(-1), rollout.mask
        apart = (log_policy.gather(-1, rollout.taken[..., None])[..., 0] - rollout.log_probs).abs()
        kl, entropy = divergence(log_policy, rollout.reference, mask), -negative_entropy(log_policy, mask)
        return {"entropy": entropy.item(), "kl": kl.item(), "mismatch": apart[mask].mean().item()}


def distinct(sequences: Sequence[Sequence[int]], length: int) -> float:
    """Share of different ones among all runs of ``length`` tokens (Li et al., 2016); 1 if there are none."""
    runs = [tuple(ids[start : start + length]) for ids in sequences for start in range(len(ids) - length + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0
