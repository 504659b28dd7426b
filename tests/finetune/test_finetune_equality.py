"""The loop on a language model is the project's own loop: one network, in both forms, in float64."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from tiny_language_models import END, SO, WORDS, as_gpt2, of_gpt2, tokenizer
from torch import Tensor

from actde_nb.finetune.loop import FineTuning, Work
from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.sampling import uniforms
from actde_nb.finetune.settings import Settings
from actde_nb.finetune.texts import Prompt
from actde_nb.networks import gpt, sampling
from actde_nb.networks.policies import Network
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config
from actde_nb.training.objective import TrainingBatch, prepare, terms
from actde_nb.training.trainer import Trainer

SIZE = gpt.GPTConfig(2, 2, 16, block_size=12, vocabulary=len(WORDS), detach_heads=True, compiled=False)
BATCH, STEPS, BAD = 12, 6, WORDS.index("bad")
#: One prompt for each place of a rollout, all of two words; those that a row compares are told apart by place alone.
PROMPTS = [Prompt("the movie", (5, 6), {})] * BATCH
SHARED = {
    "batch": BATCH, "steps": STEPS, "updates_per_rollout": 2, "updates": 2, "checkpoint_every": 2, "minibatches": 1,
    "discount": 0.9, "gae_lambda": 0.8, "group_size": 4, "kl_in_reward": 0.3, "kl_in_loss": 0.2,
    "entropy_bonus": 0.1, "weight_decay": 0.0, "learning_rate": 1e-3,
    "sampling_temperature": 1.3, "clip": 0.05, "value_clip": 0.05,
}  # fmt: skip


def reward(prompts: list[str], completions: list[str]) -> list[float]:
    """A point for each "so", half a point off for each "bad"."""
    return [text.split().count("so") - text.split().count("bad") / 2 for text in completions]


@dataclass(frozen=True)
class Sentences:
    """The same reward on tokens, as a world of the project's loop: paid at the end, or where there is no more room."""

    identity: str = "sentences"
    vocabulary: int = len(WORDS)
    continues: bool = False
    labels: dict = field(default_factory=dict)

    def start(self, draws: Tensor) -> Tensor:
        return torch.tensor([prompt.ids for prompt in PROMPTS])[None]

    def mask(self, tokens: Tensor) -> Tensor:
        drawn = tokens[..., 2:]
        return (drawn == END).cumsum(-1) - (drawn == END).long() == 0

    def rewards(self, tokens: Tensor) -> Tensor:
        mask, drawn = self.mask(tokens), tokens[..., 2:]
        points = ((drawn == SO) * 1.0 - (drawn == BAD) * 0.5) * mask
        last = mask.sum(-1, keepdim=True) - 1 == torch.arange(drawn.shape[-1])
        return points.sum(-1, keepdim=True) * last

    def statistics(self, tokens: Tensor, logits: Tensor, q: Tensor) -> dict:
        return {}


def network(seed: int) -> gpt.Params:
    fresh = gpt.init(SIZE, 1, [torch.Generator().manual_seed(seed)])
    return {name: 8 * value.double() if name.endswith("weight") else value.double() for name, value in fresh.items()}


@pytest.fixture
def both():
    """A function of a row's settings -> the project's loop and this one, of the same networks, in the same state."""

    def make(**options: object) -> tuple[Trainer, FineTuning]:
        if ALGORITHMS[options["row"]].fits_texts:
            options |= {"kl_in_reward": 0.0, "optimal_value": 0.5}
        config = Config(trials=1, **SHARED | {k if k != "row" else "algorithm": v for k, v in options.items()})
        params, reference = network(2), network(1)
        model = LanguageModel(as_gpt2(SIZE, params), tokenizer(), "all")
        model.first_values |= of_gpt2(SIZE, reference)
        run = FineTuning(model, PROMPTS, reward, Settings(**SHARED | options, critic_width=0, micro_batch=BATCH))
        draws, critic = torch.Generator().manual_seed(2), run.critic
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.normal_(0, 0.3, generator=draws)
            # v + offset + (U h).E[a] as one linear head of q for each token.
            params["value.weight"], params["value.bias"] = critic.value.weight[None], critic.value.bias[None]
            common = critic.value.weight + critic.offset.weight
            params["q.weight"] = (common + model.embeddings @ critic.direction.weight)[None]
            params["q.bias"] = (critic.value.bias + critic.offset.bias).expand(SIZE.vocabulary)[None]
        trainer = Trainer(Sentences(), Network(SIZE), config)
        trainer.parameters = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
        trainer.reference = reference
        trainer._uniforms = lambda *shape: uniforms(0, 0, *shape)[None] if len(shape) == 2 else torch.zeros(1, *shape)
        return trainer, run

    return make


def learned(trainer: Trainer, run: FineTuning) -> tuple[TrainingBatch, Work]:
    """What each learns from one rollout."""
    batch = prepare(trainer.play(), trainer.config, trainer.price)
    return batch, run.play()[0]


def close(found: Tensor, wanted: Tensor, within: float) -> None:
    """Within a share of the largest number."""
    assert wanted.abs().max() > 0
    assert (found - wanted).abs().max() <= within * wanted.abs().max()


def test_the_same_uniforms_make_the_same_tokens(both):
    trainer, run = both(row="gaa")
    batch, work = learned(trainer, run)
    ours, theirs = batch.rollout, work.batch.rollout
    mask = ours.mask
    assert torch.equal(theirs.mask, mask)
    assert 0 < mask.sum() < mask.numel()  # some end early, some never
    assert torch.equal(theirs.taken[mask], ours.taken[mask])
    assert (theirs.log_probs - ours.log_probs)[mask].abs().max() <= 1e-10
    assert (theirs.reference_log_probs - ours.reference_log_probs)[mask].abs().max() <= 1e-10
    assert torch.equal(theirs.greedy.tokens[mask], ours.greedy.tokens[mask])
    close(theirs.greedy.next_values[mask], ours.greedy.next_values[mask], 1e-10)
    close(theirs.greedy.rewards[mask], ours.greedy.rewards[mask], 1e-10)
    close(theirs.rewards[mask], ours.rewards[mask], 1e-10)
    paid, earned = (found + 0.3 * found_ratio for found, found_ratio in
                    ((theirs.rewards, theirs.log_ratio), (ours.rewards, ours.log_ratio)))  # fmt: skip
    close(paid[mask], earned[mask], 1e-6)
    assert len(set(earned.sum(-1)[0].round(decimals=3).tolist())) > 2  # some earn more than others


def test_our_sampler_agrees_without_the_loop(both):
    trainer, run = both(row="ppo")
    draws = uniforms(0, 0, BATCH, STEPS)[None]
    drawn = sampling.sample([trainer.parameters], SIZE, Sentences().start(draws), draws, temperature=1.3)
    work, _ = run.play()
    counted = work.batch.rollout.mask
    assert torch.equal(work.batch.rollout.taken[counted], drawn.tokens[..., 2:][counted])
    close(work.batch.rollout.log_probs[counted], drawn.log_probs[counted], 1e-10)


@pytest.mark.parametrize("kl_estimator", ["exact", "k3"])
@pytest.mark.parametrize("row", ALGORITHMS)
def test_loss_and_gradient_of_every_row(both, row, kl_estimator):
    whiten = kl_estimator == "k3" and not (ALGORITHMS[row].corrected or ALGORITHMS[row].fits_texts)
    trainer, run = both(row=row, kl_estimator=kl_estimator, whiten=whiten)
    batch, work = learned(trainer, run)
    for name in ("advantages", "weights", "targets", "q_targets"):
        # A row that trains no policy has advantages of zero.
        wanted, found = getattr(batch, name)[work.batch.rollout.mask], getattr(work.batch, name)
        assert torch.allclose(found[work.batch.rollout.mask], wanted, rtol=0, atol=1e-9), name
    # Policy and reference as they were; the policy that learns has moved on since it drew.
    moved = {name: value + 0.05 * torch.sin(torch.arange(value.numel())).view_as(value) for name, value in
             trainer.parameters.items() if not name.startswith(("value", "q."))}  # fmt: skip
    with torch.no_grad():
        for name, value in moved.items():
            trainer.parameters[name].copy_(value)
        for name, value in of_gpt2(SIZE, trainer.parameters).items():
            run.model.learned[name].copy_(value)
    outputs = trainer.policy.forward(trainer.parameters, batch.rollout.context)
    wanted = terms(outputs, batch, trainer.config)
    torch.stack(list(wanted.values())).sum().backward()
    found = run.gradients(work)
    assert found.keys() == {f"loss_{name}" for name in wanted}
    for name, value in wanted.items():
        assert found[f"loss_{name}"] == pytest.approx(value.item(), rel=1e-8, abs=1e-12), name
    ours = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in trainer.parameters.items()}
    for name, gradient in of_gpt2(SIZE, ours).items():
        close(run.model.learned[name].grad, gradient, 1e-8)
    check_critic(run, ours)


def check_critic(run: FineTuning, ours: dict[str, Tensor]) -> None:
    """By the chain rule, of the heads that are made of the critic's: the value head counts in v alone."""
    value, q, bias = ours["value.weight"][0], ours["q.weight"][0], ours["q.bias"][0]
    wanted = {
        "value.weight": value, "value.bias": ours["value.bias"][0], "offset.weight": q.sum(0, keepdim=True),
        "offset.bias": bias.sum()[None], "direction.weight": run.model.embeddings.mT @ q,
    }  # fmt: skip
    for name, parameter in run.critic.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert (gradient - wanted[name]).abs().max() <= 1e-8 * max(wanted[name].abs().max(), 1e-6), name


def test_several_updates_agree(both):
    """Not only gradients: clipped, stepped and forgotten, five times over, policy and price."""
    moving = {"kl_target": 2.0, "entropy_target": 1.0}
    trainer, run = both(row="rloo", updates=10, checkpoint_every=2, warmup=3, gradient_clip=0.5, **moving)
    for number in range(5):
        trainer._uniforms = lambda *shape, n=number: (
            uniforms(0, n, *shape)[None] if len(shape) == 2 else torch.zeros(1, *shape)
        )
        trainer.optimiser = trainer.optimiser if number else trainer._optimiser()
        trainer.step()
        run.step()
    for name, first in (("price", 0.3), ("bonus", 0.1)):
        assert run.records[-1][name].item() == pytest.approx(trainer.records[-1][name].item(), rel=1e-6)
        assert run.records[-1][name].item() != pytest.approx(first, rel=1e-3)
    for name, value in of_gpt2(SIZE, trainer.parameters).items():
        close(run.model.learned[name], value, 1e-7)  # there the bonus goes by an entropy in float32


@pytest.mark.parametrize("micro_batch", [4, 9])
@pytest.mark.parametrize(
    "row", ["grpo", "grpo_sequence", "dr_grpo_constant", "rebel", "vargrad", "trajectory_balance", "dro"]
)
def test_pieces_of_a_minibatch_make_the_whole(both, row, micro_batch):
    """Of unequal lengths and numbers; groups that a loss compares are of four, and stay together."""
    _, run = both(row=row, kl_estimator="k3", sampling_temperature=4.0)
    work, _ = run.play()
    assert len(set(work.batch.rollout.mask.sum(-1)[0].tolist())) > 2
    with torch.no_grad():
        for value in run.model.learned.values():
            value += 0.05 * torch.sin(torch.arange(value.numel())).view_as(value)
    wanted, whole = run.gradients(work, first=True), {n: p.grad for n, p in run.parameters.items()}
    for parameter in run.parameters.values():
        parameter.grad = None
    run.settings = replace(run.settings, micro_batch=micro_batch)
    assert run.gradients(work, first=True) == pytest.approx(wanted, rel=1e-8, abs=1e-12)
    for name, parameter in run.parameters.items():
        if whole[name] is not None:
            assert (parameter.grad - whole[name]).abs().max() <= 1e-8 * max(whole[name].abs().max(), 1e-6), name
