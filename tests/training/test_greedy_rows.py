"""Greedy-advantage-aware rows of the table: by hand, against PPO, against the tabular formulas."""

import dataclasses

import numpy as np
import pytest
import torch
from actde_book.ch12_greedy_advantage import one_state as tabular
from table import Table
from toy_language import GRAMMAR, WORLD

from actde_nb.networks import gpt
from actde_nb.networks.policies import Network
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config
from actde_nb.training.greedy import GreedyPenalty, GreedyTargets, coefficients
from actde_nb.training.objective import prepare, terms
from actde_nb.training.rollout import greedy_actions, part
from actde_nb.training.trainer import Trainer

NETWORK = Network(gpt.GPTConfig(1, 2, 8, block_size=6, vocabulary=6), legal=WORLD.legal)
CONFIG = Config(
    algorithm="gaa", trials=2, updates=8, batch=16, steps=4, discount=1.0, whiten=True, learning_rate=1e-2,
    weight_decay=0.0,
)  # fmt: skip
GREEDY = [name for name, row in ALGORITHMS.items() if row.greedy_penalty]


def test_coefficients_are_those_of_the_tables():
    eta, sigma = np.random.default_rng(0).uniform(size=(2, 50))
    ours = coefficients(torch.tensor(eta), torch.tensor(sigma))
    np.testing.assert_allclose(np.array([x.numpy() for x in ours]), tabular.coefficients(eta, 2 * sigma), rtol=1e-12)


def test_weights_of_a_batch_are_those_of_the_steps_that_count():
    # eta .2 and .4, sigma 0 and .2 count, so .3 and .1; the last step does not.
    targets = GreedyTargets(*(torch.tensor([[x]]) for x in ([0.0, 0.0, 0.0], [0.2, 0.4, 0.9], [0.0, 0.2, 0.9])))
    mask = torch.tensor([[[True, True, False]]])
    found = GreedyPenalty(per_batch=True).weights(targets, mask)
    fading = 0.9**10
    assert found[0].item() == pytest.approx(0.7 * 1.1 + 0.3 * fading)
    assert found[1].item() == pytest.approx(-0.7 * 0.1 + 0.3 * (fading - 1))


def test_the_greedy_advantage_of_three_words_by_hand():
    policy = Table(6)
    trainer = Trainer(WORLD, policy, dataclasses.replace(CONFIG, trials=1))
    so, a, b, stop = (GRAMMAR.vocabulary.index(word) for word in ("so", "a", "b", "."))
    logits, values = trainer.parameters["logits"].data[0], trainer.parameters["values"].data[0]
    # After "so" the likeliest is b, after a it is the full stop, after b it is a.
    logits[so, b], logits[a, stop], logits[b, a] = 3.0, 3.0, 3.0
    values[so], values[a], values[b], values[stop] = 0.1, 0.2, 0.4, 9.0
    tokens = torch.tensor([[[1, so, a, b, stop, 0]]])
    other = greedy_actions(WORLD, tokens, *policy.greedy_tokens(trainer.parameters, tokens[..., :-1], 4))
    assert other.tokens[0, 0, :3].tolist() == [b, stop, a]
    # "so b" goes on, so that v after b counts. "so a." ends there and earns sigmoid(2 (.2 - .8)); "so a a" goes on.
    assert other.next_values[0, 0, :3].tolist() == pytest.approx([0.4, 0.0, 0.2])
    assert other.rewards[0, 0, :3].tolist() == pytest.approx([0.0, 1 / (1 + np.exp(1.2)), 0.0])
    # After "." nothing is asked; what the table says there must not count.
    rollout = trainer.play()
    targets = prepare(rollout, trainer.config).greedy
    eta = torch.tensor([np.exp(3) / (np.exp(3) + 5), np.exp(3) / (np.exp(3) + 5)])
    assert targets.eta[0, 0, 0].item() == pytest.approx(eta[0].item(), rel=1e-6)


def gradients(algorithm: str, **settings) -> torch.Tensor:
    trainer = Trainer(WORLD, NETWORK, dataclasses.replace(CONFIG, algorithm=algorithm, **settings))
    trainer.parameters["value.weight"].data.normal_(generator=torch.Generator().manual_seed(5))
    learned = prepare(trainer.play(), trainer.config, trainer.price if trainer.config.kl_in_reward else None)
    outputs = NETWORK.forward(trainer.parameters, learned.rollout.context)
    torch.stack(list(terms(outputs, learned, trainer.config).values())).sum().backward()
    return torch.cat([p.grad.flatten() for p in trainer.parameters.values() if p.grad is not None])


@pytest.mark.parametrize("algorithm", GREEDY)
def test_without_a_lead_it_is_ppo(algorithm):
    ppo = gradients("ppo", kl_in_loss=0.3)
    torch.testing.assert_close(gradients(algorithm, kl_in_loss=0.3, sigma_scale=1e-30), ppo, atol=1e-7, rtol=1e-5)
    assert not torch.allclose(gradients(algorithm, kl_in_loss=0.3), ppo, atol=1e-4)


def leads(algorithm: str, prize: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled leads where nothing is paid but a prize, and the differences of what is paid; values are zero."""
    trainer = Trainer(WORLD, NETWORK, dataclasses.replace(CONFIG, algorithm=algorithm, sigma_scale=1.0))
    rollout = trainer.play()
    other = dataclasses.replace(
        rollout.greedy, rewards=prize * rollout.greedy.rewards, next_values=0 * rollout.greedy.next_values
    )
    zero = {"values": 0 * rollout.values, "next_value": 0 * rollout.next_value}
    told = dataclasses.replace(rollout, rewards=prize * rollout.rewards, greedy=other, **zero)
    return prepare(told, trainer.config).greedy.sigma, other.rewards - told.rewards


def test_a_larger_prize_is_a_larger_lead_in_units_of_reward_only():
    lead, earned = leads("gaa_reward", 1.0)
    torch.testing.assert_close(lead, earned)
    torch.testing.assert_close(leads("gaa_reward", 10.0)[0], 10 * lead)
    torch.testing.assert_close(leads("gaa", 10.0)[0], leads("gaa", 1.0)[0], rtol=1e-3, atol=1e-5)


def test_rows_differ_in_what_they_say_they_do():
    found = {name: gradients(name, kl_in_loss=0.3) for name in GREEDY}
    for i, one in enumerate(GREEDY):
        for other in GREEDY[i + 1 :]:
            assert not torch.allclose(found[one], found[other], atol=1e-5), (one, other)


@pytest.mark.parametrize("ratio", ["sampled", "greedy"])
def test_on_policy_the_sampled_words_ratio_teaches_nothing(ratio):
    # One state, four actions: sum over all samples of pi(x) times the gradient of b * ratio * A(greedy).
    logits = torch.tensor([0.3, 1.2, -0.5, 0.1], dtype=torch.float64, requires_grad=True)
    policy = logits.softmax(-1)
    moved = policy if ratio == "sampled" else policy[1].expand(4)
    loss = (policy.detach() * (-0.7) * 0.21 * (moved / moved.detach())).sum()
    [gradient] = torch.autograd.grad(loss, logits)
    if ratio == "sampled":
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-15, rtol=0)
    else:
        # -.147 times the gradient of log pi(greedy): 1 - pi there.
        assert gradient[1].item() == pytest.approx(-0.147 * (1 - policy[1].item()))


@pytest.mark.parametrize("algorithm", GREEDY)
def test_parts_are_the_whole(algorithm):
    trainer = Trainer(WORLD, NETWORK, dataclasses.replace(CONFIG, algorithm=algorithm, minibatches=2, kl_in_reward=0.1))
    learned = prepare(trainer.play(), trainer.config, trainer.price)
    halves = [part(learned, i, 2) for i in range(2)]
    dealt = torch.stack([half.greedy.sigma for half in halves], 2).flatten(1, 2)
    assert torch.equal(dealt, learned.greedy.sigma)
    fresh = Trainer(WORLD, NETWORK, trainer.config)
    fresh.run()
    assert len(fresh.records) == 2
