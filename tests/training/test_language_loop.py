"""The loop on sentences: prompts, ends, illegal words, the price of a nat."""

import dataclasses

import pytest
import torch
from table import Table
from toy_language import GRAMMAR, WORLD

from actde_nb.checks import SettingError
from actde_nb.exact import policy_on_tree
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.checkpoint import load, save
from actde_nb.training.config import Config
from actde_nb.training.objective import prepare, terms
from actde_nb.training.pretrain import PretrainedGPT, Pretraining
from actde_nb.training.rollout import part
from actde_nb.training.trainer import Trainer, adapted

SIZE = gpt.GPTConfig(1, 2, 8, block_size=6, vocabulary=6)
MASKED = Network(SIZE, legal=WORLD.legal)
SHORT = Config(
    algorithm="ppo", trials=2, updates=8, batch=16, steps=4, minibatches=2, discount=1.0, whiten=True,
    learning_rate=1e-2, weight_decay=0.0, checkpoint_every=4,
)  # fmt: skip


def changed(**settings) -> Config:
    return dataclasses.replace(SHORT, **settings)


def test_a_rollout_of_sentences():
    trainer = Trainer(WORLD, MASKED, changed(kl_in_reward=0.1))
    rollout = trainer.play()
    assert rollout.tokens.shape == (2, 16, 6)
    assert rollout.taken.shape == rollout.rewards.shape == rollout.mask.shape == (2, 16, 4)
    words = rollout.mask.sum(-1)
    assert set(words.flatten().tolist()) == {2, 3}
    assert (GRAMMAR.read(GRAMMAR.trim(rollout.tokens)[0])[..., -1] == GRAMMAR.end).all()
    last = words[..., None] == torch.arange(1, 5)
    assert ((rollout.rewards > 0) == last).all()
    assert (rollout.values[~rollout.mask] == 0).all()
    # Nothing has been learned yet: the policy is the initial one.
    torch.testing.assert_close(rollout.log_ratio, torch.zeros(2, 16, 4), atol=1e-5, rtol=0)


def test_log_probabilities_are_those_of_the_forward_pass():
    rollout = (trainer := Trainer(WORLD, MASKED, SHORT)).play()
    said = MASKED.forward(trainer.parameters, rollout.context).logits[:, :, -4:].log_softmax(-1)
    taken = said.gather(-1, rollout.taken[..., None])[..., 0]
    torch.testing.assert_close(rollout.log_probs, taken.detach(), atol=1e-5, rtol=0)


def test_the_initial_policy_is_asked_where_it_counts():
    rollout = Trainer(WORLD, MASKED, changed(kl_in_reward=0.1)).play()
    assert not rollout.mask.all()
    assert torch.equal(rollout.needed[..., -4:], rollout.mask)
    assert rollout.needed[..., :-4].all()
    trainer = Trainer(WORLD, MASKED, changed(kl_in_reward=0.1))
    said = MASKED.forward(trainer.reference, rollout.context).logits[:, :, -4:].log_softmax(-1)
    torch.testing.assert_close(rollout.reference[rollout.mask], said[rollout.mask], atol=1e-5, rtol=0)
    assert rollout.reference.isfinite().all()


def test_the_price_of_a_nat_comes_off_the_reward():
    trainer = Trainer(WORLD, MASKED, changed(kl_in_reward=0.1))
    rollout = trainer.play()
    moved = dataclasses.replace(rollout, log_probs=rollout.log_probs + 0.5)
    paid = prepare(moved, trainer.config, torch.tensor([0.1, 0.2])).rollout.rewards
    price = torch.tensor([0.1, 0.2])[:, None, None] * 0.5 * rollout.mask
    torch.testing.assert_close(paid, rollout.rewards - price, atol=1e-5, rtol=0)


def test_the_divergence_in_the_loss_is_from_the_initial_policy():
    trainer = Trainer(WORLD, MASKED, changed(kl_in_loss=0.5, entropy_bonus=0.25))
    learned = prepare(trainer.play(), trainer.config)
    outputs = trainer.policy.forward(trainer.parameters, learned.rollout.context)
    parts = terms(outputs, learned, trainer.config)
    torch.testing.assert_close(parts["kl"], torch.zeros(2), atol=1e-5, rtol=0)
    log_policy = outputs.logits[:, :, -4:].log_softmax(-1)
    entropy = -(log_policy.exp() * log_policy).sum(-1)
    mean = torch.stack([values[mask].mean() for values, mask in zip(entropy, learned.rollout.mask, strict=True)])
    torch.testing.assert_close(parts["entropy"], -0.25 * mean)
    parts["kl"].sum().backward(retain_graph=True)
    trainer.parameters["policy.weight"].data += torch.randn_like(trainer.parameters["policy.weight"])
    again = terms(trainer.policy.forward(trainer.parameters, learned.rollout.context), learned, trainer.config)
    assert (again["kl"] > 1e-4).all()


def later(algorithm: str, **settings):
    """What a policy that has moved away from rollout and reference says, as losses see it, with its terms."""
    trainer = Trainer(WORLD, MASKED, changed(algorithm=algorithm, whiten=False, value_clip=1e-3, **settings))
    trainer.step()
    draw = torch.Generator().manual_seed(0)
    for name in ("policy.weight", "value.weight", "q.weight"):
        trainer.parameters[name].data.add_(torch.randn(trainer.parameters[name].shape, generator=draw))
    batch = prepare(trainer.play(), trainer.config)
    for name in ("policy.weight", "value.weight"):
        trainer.parameters[name].data.add_(torch.randn(trainer.parameters[name].shape, generator=draw))
    outputs = MASKED.forward(trainer.parameters, batch.rollout.context)
    said = gpt.Outputs(*(x[:, :, -4:] for x in outputs))
    log_probs = said.logits.log_softmax(-1).gather(-1, batch.rollout.taken[..., None])[..., 0]
    return batch, batch.rollout, said.values, log_probs, terms(outputs, batch, trainer.config)


def mean(steps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.stack([values[counted].mean() for values, counted in zip(steps, mask, strict=True)])


def test_losses_are_given_what_their_arguments_say():
    batch, rollout, values, log_probs, parts = later("apa", beta=0.5)
    reference = rollout.reference.gather(-1, rollout.taken[..., None])[..., 0]
    assert (reference - rollout.log_probs)[rollout.mask].abs().mean() > 0.1
    squares = (log_probs - reference - batch.advantages / 0.5) ** 2
    torch.testing.assert_close(parts["policy"], mean(squares, rollout.mask), rtol=1e-3, atol=1e-5)
    held = values.clamp(rollout.values - 1e-3, rollout.values + 1e-3)
    errors = torch.maximum((values - batch.targets) ** 2, (held - batch.targets) ** 2)
    torch.testing.assert_close(parts["value"], 0.05 * mean(errors, rollout.mask))
    batch, rollout, values, _, parts = later("actde_expectile", expectile=0.8)
    error = rollout.q_taken - values
    squares = torch.where(error >= 0, 0.8, 0.2) * error**2
    torch.testing.assert_close(parts["value"], 0.1 * mean(squares, rollout.mask))


def test_the_penalty_scales_the_value_loss_where_the_row_says_so():
    for algorithm in ("gaa", "gaa_scaled"):
        batch, rollout, values, _, parts = later(algorithm)
        ordinary, _ = ALGORITHMS[algorithm].greedy_penalty.weights(batch.greedy, rollout.mask)
        held = values.clamp(rollout.values - 1e-3, rollout.values + 1e-3)
        errors = torch.maximum((values - batch.targets) ** 2, (held - batch.targets) ** 2)
        scaled = errors * (ordinary if algorithm == "gaa_scaled" else 1.0)
        torch.testing.assert_close(parts["value"], 0.05 * mean(scaled, rollout.mask))
        assert not torch.allclose(ordinary[rollout.mask], torch.ones(()), atol=0.05)


def test_the_price_rises_above_the_target_and_falls_below():
    # Sequences of 4 and 6 nats, then of .8 and 1, with a target of 1: the error of 4 is cut at .2, the other is -.1.
    log_ratio = torch.tensor([[[3.0, 1.0], [6.0, 0.0]], [[0.5, 0.3], [1.0, 0.0]]])
    beyond = log_ratio.sum(-1).mean(-1) - 1  # of a target of one nat
    torch.testing.assert_close(adapted(torch.tensor([0.1, 0.2]), beyond), torch.tensor([0.102, 0.198]))


def test_parts_of_a_rollout_are_the_rollout():
    trainer = Trainer(WORLD, MASKED, changed(kl_in_reward=0.1))
    learned = prepare(trainer.play(), trainer.config)
    parts = [part(learned, i, 4) for i in range(4)]
    for name in ("weights", "targets"):
        dealt = torch.stack([getattr(each, name) for each in parts], 2).flatten(1, 2)
        assert torch.equal(dealt, getattr(learned, name))
    assert torch.equal(torch.stack([each.rollout.tokens for each in parts], 2).flatten(1, 2), learned.rollout.tokens)


@pytest.mark.parametrize(
    "algorithm", ["ppo", "awr", "apa", "rloo", "grpo", "dr_grpo", "rejection", "reinforce", "actde"]
)
def test_every_algorithm_learns_to_say_what_pays(algorithm):
    # Rewards are sigmoid(2 (praise - .8)): .917 for the best sentence, "so b b .", .69 or less for the others.
    whiten = algorithm != "rejection"
    trainer = Trainer(WORLD, MASKED, changed(algorithm=algorithm, updates=40, whiten=whiten, beta=0.5))
    trainer.run()
    first, last = trainer.records[0]["sentence"][:, 0], trainer.records[-1]["sentence"][:, 0]
    if algorithm != "actde":  # whose critics disagree in a world without chance, in either direction
        assert (first < 0.7).all()
        assert (last > 0.9).all()
    policy = policy_on_tree.of_policy(WORLD.tree, GRAMMAR, Network(SIZE), trainer.parameters, masked=True)
    assert (policy.leak.abs() < 1e-9).all()


@pytest.mark.parametrize(("algorithm", "whiten"), [("ppo", True), ("gaa", False)])
def test_one_counted_word_that_has_to_be_whitened_is_named(algorithm, whiten):
    # One sequence of one word in each trial.
    trainer = Trainer(WORLD, MASKED, changed(algorithm=algorithm, whiten=whiten, batch=1, steps=1, minibatches=1))
    with pytest.raises(SettingError, match="a trial has one step that counts"):
        trainer.step()
    calm = changed(algorithm="gaa_reward", whiten=False, batch=1, steps=1, minibatches=1)
    Trainer(WORLD, MASKED, calm).step()


def test_a_price_leads_to_the_optimum():
    price = 0.2
    config = changed(
        kl_in_reward=price, updates=120, updates_per_rollout=4, batch=64, whiten=False, gae_lambda=0.95,
    )  # fmt: skip
    trainer = Trainer(WORLD, MASKED, config)
    initial = policy_on_tree.of_policy(WORLD.tree, GRAMMAR, Network(SIZE), trainer.reference, masked=True)
    reward = WORLD.worth(WORLD.tree.sentences)
    before = policy_on_tree.soft_regret(initial.sentences, initial.sentences, reward, price)
    trainer.run()
    policy = policy_on_tree.of_policy(WORLD.tree, GRAMMAR, Network(SIZE), trainer.parameters, masked=True)
    after = policy_on_tree.soft_regret(policy.sentences, initial.sentences, reward, price)
    assert (before > 0.1).all()
    assert (after < 0.01).all()


def test_a_run_goes_on_after_a_kill(tmp_path):
    config = changed(kl_in_reward=0.1, kl_target=0.01, warmup=6, entropy_bonus=0.1, entropy_target=0.2)
    whole = Trainer(WORLD, MASKED, config)
    whole.run()
    half = Trainer(WORLD, MASKED, config)
    half.step()
    save(half, tmp_path / "half.safetensors")
    resumed = Trainer(WORLD, MASKED, config)
    load(resumed, tmp_path / "half.safetensors")
    resumed.run()
    assert torch.equal(whole.price, resumed.price)
    assert torch.equal(whole.bonus, resumed.bonus)
    assert not torch.equal(whole.bonus, torch.full((2,), 0.1))
    assert not torch.equal(whole.price, torch.full((2,), 0.1))
    for name, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[name]), name


def test_warmup_scales_the_steps():
    trainer = Trainer(WORLD, MASKED, changed(warmup=8, learning_rate=0.1, optimiser="sgd"))
    rates = []
    trainer.optimiser.register_step_pre_hook(lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"]))
    trainer.run()
    assert rates == pytest.approx([0.1 * (i + 1) / 8 for i in range(8)])


def test_a_table_reads_prompts_too():
    trainer = Trainer(WORLD, Table(6), SHORT)
    trainer.run()
    assert trainer.records[-1]["sentence"].shape == (2, 6)


def test_a_fluent_network_starts_alike_in_every_trial(tmp_path):
    policy = PretrainedGPT(SIZE, grammar=GRAMMAR, settings=Pretraining(steps=2, batch=4), folder=tmp_path)
    trainer = Trainer(WORLD, policy, SHORT)
    for value in trainer.parameters.values():
        assert torch.equal(value[0], value[1])
    assert str(tmp_path) not in trainer.identity()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.0}, "beta = 0.0: allowed are finite numbers above zero"),
        ({"largest_weight": -1.0}, "largest_weight = -1.0: allowed"),
        ({"kl_in_reward": -0.1}, "kl_in_reward = -0.1: allowed are finite numbers of zero or more"),
        ({"kl_in_loss": float("nan")}, "kl_in_loss = nan: allowed"),
        ({"entropy_bonus": -1.0}, "entropy_bonus = -1.0: allowed"),
        ({"kl_target": 1.0}, "kl_target = 1.0 with kl_in_reward = 0: allowed is a price to start from"),
        ({"minibatches": 3}, "minibatches = 3: allowed are numbers that divide updates_per_rollout = 4"),
        ({"minibatches": 4, "batch": 10}, "minibatches = 4: allowed are numbers that divide batch = 10"),
        ({"algorithm": "grpo", "group_size": 5}, "group_size = 5: allowed are numbers that divide batch = 16"),
        ({"group_size": 1}, "group_size = 1: allowed are whole numbers of 2 or more"),
        ({"warmup": -1}, "warmup = -1: allowed are whole numbers of 0 or more"),
    ],
)
def test_settings_that_are_not_allowed(settings, message):
    with pytest.raises(SettingError, match=message):
        changed(**settings)
