"""The loop as a whole: it learns, and nothing but rounding depends on how it is cut into pieces."""

import math

import numpy as np
import pytest
import torch
from tiny_language_models import SHAPES, language_model, llama, tokenizer

from actde_nb.checks import Diverged, SettingError
from actde_nb.finetune import loop, sampling
from actde_nb.finetune.loop import FineTuning, distinct
from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.run import finetune
from actde_nb.finetune.settings import Settings
from actde_nb.finetune.texts import read

PROMPTS = ["the movie was", "the", "a movie", "the movie"]
SMALL = {
    "batch": 16, "steps": 6, "updates": 4, "updates_per_rollout": 4, "minibatches": 2, "micro_batch": 4,
    "critic_width": 8, "checkpoint_every": 4,
}  # fmt: skip


def reward(prompts, completions) -> list[float]:
    return [text.split().count("so") for text in completions]


def fresh(model=None, **options) -> FineTuning:
    model, settings = model or language_model(), Settings(**SMALL | options)
    return FineTuning(model, read(PROMPTS, model, settings.steps), reward, settings)


@pytest.mark.parametrize("row", ["ppo", "rloo", "actde_return", "gaa"])
def test_it_learns(row):
    """From one "so" in a completion to more than two, on the way away from the reference."""
    options = SMALL | {"updates": 80, "checkpoint_every": 80, "learning_rate": 5e-3, "kl_in_reward": 0.01}
    options |= {"batch": 32, "micro_batch": 32}
    run = finetune(
        llama(), PROMPTS, reward, Settings(row=row, learns="lora:4", **options), tokenizer=tokenizer(), quiet=True
    )
    score, kl = (run.records.column(name)[:, 0] for name in ("score", "kl"))
    assert score[0] < 1.2
    assert score[-3:].mean() > 2.2
    assert kl[0] == 0
    assert kl[-1] > 0.3
    assert run.records.column("mismatch").max() < 1e-5
    assert len(run.records) == 20
    assert len(run.examples) == 32


@pytest.mark.parametrize("row", ["ppo", "actde", "gaa", "reinforce"])
def test_gradients_do_not_depend_on_the_pieces(row):
    """Completions are of different lengths here: a mean of the pieces' means would be off by a tenth."""
    found = {}
    for micro_batch in (3, 16):
        run = fresh(row=row, micro_batch=micro_batch)
        work, _ = run.play()
        assert len(set(work.batch.rollout.mask.sum(-1)[0].tolist())) > 2
        run.gradients(work)
        found[micro_batch] = {name: p.grad for name, p in run.parameters.items() if p.grad is not None}
    assert found[3].keys() == found[16].keys()
    for name, gradient in found[3].items():
        assert (gradient - found[16][name]).abs().max() <= 1e-5 * found[16][name].abs().max() + 1e-8, name


def test_plain_gradient_descent(monkeypatch):
    """Each parameter moves by its gradient times its rate, which is three times as high for the critic."""
    run, before, gradients = fresh(optimiser="sgd", learning_rate=0.1, gradient_clip=0.0), {}, {}
    step = run.optimiser.step

    def watched():
        before.update({name: p.detach().clone() for name, p in run.parameters.items()})
        gradients.update({name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None})
        step()

    monkeypatch.setattr(run.optimiser, "step", watched)
    run.step()
    assert gradients["critic/value.weight"].any()
    assert gradients["model/lm_head.weight"].any()
    for name, gradient in gradients.items():
        rate = 0.3 if name.startswith("critic/") else 0.1
        torch.testing.assert_close(run.parameters[name].detach(), before[name] - rate * gradient, msg=name)


def test_rows_that_look_at_a_minibatch_as_a_whole():
    for row in ("rejection", "gaa_batch"):
        with pytest.raises(SettingError, match=f"^micro_batch = 4 with row = '{row}': allowed are 8 or more"):
            Settings(row=row, **SMALL)
        Settings(row=row, **SMALL | {"micro_batch": 8})


def test_records_are_of_the_whole_softmax():
    """KL and entropy, worked out once more from the logits of the policy that drew."""
    run = fresh(minibatches=1, updates_per_rollout=1)
    with torch.no_grad():
        for parameter in run.model.learned.values():
            parameter.add_(0.02 * torch.sin(torch.arange(parameter.numel()) * 1.0).view_as(parameter))
        work, _ = run.play()
        rollout, mask = work.batch.rollout, work.batch.rollout.mask
        now = run.outputs(work).logits.log_softmax(-1)
        then = sampling.learner(run.model, rollout.tokens[0], work.seen[0], mask.shape[-1], reference=True)
        kl = ((now.exp() * (now - then.logits.log_softmax(-1)[None])).sum(-1) * mask).sum(-1).mean()
        entropy = -(now.exp() * now).sum(-1)[mask].mean()
    run.step()
    record = {name: value.item() for name, value in run.records[0].items()}
    assert record["kl"] == pytest.approx(kl.item(), rel=1e-4)
    assert record["kl"] > 0.1
    assert record["entropy"] == pytest.approx(entropy.item(), rel=1e-4)
    assert record["log_ratio"] == pytest.approx(record["kl"], rel=0.5)


def test_an_end_is_paid_and_nothing_comes_after():
    run = fresh()
    rollout = run.play()[0].batch.rollout
    rewards, mask = (rollout.rewards + run.price * rollout.log_ratio)[0], rollout.mask[0]
    last = mask.sum(-1) - 1
    assert rewards.abs().max() > 0
    for row, place in enumerate(last.tolist()):
        assert rewards[row, place] == run.examples[row].split().count("so")
        assert rewards[row].count_nonzero() <= 1
    assert rollout.next_value.count_nonzero() == 0


def test_completions_of_one_prompt_stand_together():
    run = fresh(row="rloo", group_size=4)
    tokens = run.play()[0].batch.rollout.tokens[0]
    starts = tokens[:, : -run.settings.steps].unflatten(0, (-1, 4))
    assert (starts == starts[:, :1]).all()
    assert len(starts.flatten(1).unique(dim=0)) == 4  # each prompt once


def test_the_price_adapts():
    run = fresh(kl_target=1.0, learning_rate=1e-2, updates=8)
    run.step()
    run.step()
    first, second = run.records.column("price")[:, 0]
    assert first == pytest.approx(0.05)
    assert second == pytest.approx(0.05 * 0.98)  # no divergence yet: down by 2 %
    assert run.price.item() != pytest.approx(second)


def test_warmup_and_clipping(monkeypatch):
    rates = []
    run = fresh(warmup=4, head_rate=2.0, learning_rate=1e-3)
    step = run.optimiser.step
    monkeypatch.setattr(
        run.optimiser, "step", lambda: (rates.append([g["lr"] for g in run.optimiser.param_groups]), step())
    )
    run.step()
    assert [rate[0] for rate in rates] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])
    assert [rate[-1] for rate in rates] == pytest.approx([5e-4, 1e-3, 1.5e-3, 2e-3])


def test_a_network_that_says_one_thing_and_learns_another(monkeypatch):
    """As where positions are not passed, something is dropped out, or a temperature is left out on one side."""
    honest = sampling.sample
    monkeypatch.setattr(loop, "sample", lambda *a: (s := honest(*a))._replace(log_probs=s.log_probs - 0.11))
    with pytest.raises(SettingError, match=r"^model is 0\.11 nats a token apart .*: allowed are 0\.1$"):
        fresh().step()
    monkeypatch.setattr(loop, "sample", lambda *a: (s := honest(*a))._replace(log_probs=s.log_probs - 0.09))
    fresh().step()


def test_a_loss_that_is_not_finite_stops_the_run():
    run = fresh()
    with torch.no_grad():
        run.critic.value.bias.fill_(math.nan)
    with pytest.raises(Diverged, match=r"^update 0: loss_\w+ is nan$"):
        run.step()


def test_a_row_that_trains_no_policy_leaves_the_network_alone():
    run = fresh(row="critic")
    before = {name: value.clone() for name, value in run.parameters.items()}
    run.step()
    moved = {name.split("/")[0] for name, value in run.parameters.items() if not torch.equal(value, before[name])}
    assert moved == {"critic"}


def test_the_critic_leaves_the_network_alone():
    run = fresh(row="actde")
    work, _ = run.play()
    values, q_taken = run.critic(run.model.read(*lookup(work), 6).states, work.batch.rollout.taken[0])
    (values.sum() + q_taken.sum()).backward()
    assert all(parameter.grad is None for parameter in run.model.learned.values())
    assert run.critic.direction.weight.grad is not None


def lookup(work):
    tokens, seen = work.batch.rollout.tokens[0][:, :-1], work.seen[0][:, :-1]
    return tokens, seen, sampling.positions(seen)


def test_q_of_the_token_taken_is_one_of_all():
    run = fresh(row="actde_corrected")
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in run.critic.parameters():
            parameter.normal_(generator=draws)
        states = torch.randn(3, 5, 32, generator=draws)
        actions = torch.randint(12, (3, 5), generator=draws)
        values, q_taken = run.critic(states, actions)
        every = run.critic.all_actions(states)
    assert torch.allclose(every.gather(-1, actions[..., None])[..., 0], q_taken, atol=1e-5)
    assert torch.allclose(
        q_taken - values, (every - values[..., None]).gather(-1, actions[..., None])[..., 0], atol=1e-5
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_learning_in_bfloat16_is_allowed(shape):
    run = fresh(LanguageModel(SHAPES[shape]().bfloat16(), tokenizer(), "all"))
    run.step()
    assert run.records[0]["mismatch"].item() < 0.1
    assert run.records[0]["kl"].item() == 0
    assert {value.dtype for value in run.model.learned.values()} == {torch.bfloat16}
    assert {value.dtype for value in run.critic.parameters()} == {torch.float32}


def test_distinct_runs():
    assert distinct([[1, 2, 3], [1, 2]], 2) == pytest.approx(2 / 3)  # 12 23 12
    assert distinct([[1], []], 2) == 1.0
    assert np.isfinite(distinct([], 2))
