"""ACTDE's other forms: the return less q, the baseline given back, a second network, logits tied to q."""

import dataclasses

import pytest
import torch
from toy_language import GRAMMAR, WORLD

from actde_nb.checks import SettingError
from actde_nb.exact import policy_on_tree
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network, SeparateCritic, TiltedReference
from actde_nb.training import losses
from actde_nb.training.advantages import return_minus_q
from actde_nb.training.config import Config
from actde_nb.training.objective import prepare, terms
from actde_nb.training.trainer import Trainer

NETWORK = Network(gpt.GPTConfig(1, 2, 8, block_size=6, vocabulary=6), legal=WORLD.legal)
CONFIG = Config(
    algorithm="actde_return", trials=2, updates=8, batch=16, steps=4, discount=1.0, learning_rate=1e-2,
    weight_decay=0.0,
)  # fmt: skip


def steps(*numbers: float) -> torch.Tensor:
    return torch.tensor([[numbers]], dtype=torch.float64)


def test_the_return_less_q_by_hand():
    # 1 + .5 * 2 - 1.5 and 2 - 3; v plays no part.
    torch.testing.assert_close(return_minus_q(steps(1, 2), steps(1.5, 3), 0.5), steps(0.5, -1))


def test_what_the_correction_gives_back_makes_it_the_policy_gradient():
    # One state, four actions with rewards and a q that is wrong: by enumeration.
    draw = torch.Generator().manual_seed(0)
    logits, reward, q = (torch.randn(4, generator=draw, dtype=torch.float64) for _ in range(3))
    logits.requires_grad_()
    policy = logits.softmax(-1)
    [wanted] = torch.autograd.grad(policy @ reward, logits, retain_graph=True)
    baseline = (policy.detach() * policy.log() * (reward - q)).sum()
    shape = (1, 1, 1, 4)
    correction = losses.expected(policy.view(shape), q.view(shape)).sum()
    [without] = torch.autograd.grad(baseline, logits, retain_graph=True)
    [with_it] = torch.autograd.grad(baseline + correction, logits)
    torch.testing.assert_close(with_it, wanted)
    assert (without - wanted).abs().max() > 0.1


def test_the_loop_corrects_with_the_q_of_the_rollout():
    trainer = Trainer(WORLD, NETWORK, dataclasses.replace(CONFIG, algorithm="actde_corrected"))
    trainer.parameters["q.weight"].data.normal_(generator=torch.Generator().manual_seed(3))
    learned = prepare(trainer.play(), trainer.config)
    outputs = NETWORK.forward(trainer.parameters, learned.rollout.context)
    policy, q, mask = (x[:, :, -4:] for x in (outputs.logits.softmax(-1), outputs.q, learned.rollout.mask))
    mean = torch.stack([v[m].mean() for v, m in zip((policy * q).sum(-1), mask, strict=True)])
    torch.testing.assert_close(terms(outputs, learned, trainer.config)["correction"], -mean, atol=1e-5, rtol=1e-4)
    with pytest.raises(SettingError, match="whiten = True with algorithm = 'actde_corrected': allowed is False"):
        dataclasses.replace(trainer.config, whiten=True)


def noisy(params, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return {name: value + 0.3 * torch.randn(value.shape, generator=draw) for name, value in params.items()}


def test_a_separate_critic_is_another_network():
    pair = SeparateCritic(NETWORK)
    params = noisy(pair.init([torch.Generator().manual_seed(i) for i in range(2)]))
    params = {name: value.requires_grad_() for name, value in params.items()}
    tokens = torch.tensor([1, 3, 4, 5]).expand(2, 3, -1)
    said = pair.forward(params, tokens)
    one = NETWORK.forward({n: v for n, v in params.items() if not n.startswith("second.")}, tokens)
    two = NETWORK.forward({n[7:]: v for n, v in params.items() if n.startswith("second.")}, tokens)
    assert torch.equal(said.logits, one.logits)
    assert torch.equal(said.values, two.values)
    assert torch.equal(said.q, two.q)
    (said.values.sum() + said.q.square().sum()).backward()
    assert params["token_embedding"].grad is None
    assert params["second.token_embedding"].grad.abs().sum() > 0


def test_logits_tied_to_q_begin_as_they_were_and_follow_it():
    pair = TiltedReference(NETWORK, 0.5)
    params = pair.init([torch.Generator().manual_seed(i) for i in range(2)])
    params = {n: torch.zeros_like(v) if n.startswith("q.") else v for n, v in params.items()}
    tokens = torch.tensor([1, 3, 4, 5]).expand(2, 3, -1)
    before = pair.forward(params, tokens).logits
    torch.testing.assert_close(
        before, NETWORK.forward({n: params[n] for n in gpt.shapes(NETWORK.config)}, tokens).logits
    )
    params["q.bias"] = params["q.bias"].index_fill(1, torch.tensor([4]), 1.5)
    after = pair.forward(params, tokens).logits
    torch.testing.assert_close((after - before)[..., 1:3, 4], torch.full((2, 3, 2), 3.0), atol=1e-4, rtol=0)


def test_a_term_on_the_logits_reaches_the_q_that_they_are_made_of_once():
    # Plain descent on the entropy bonus alone: q's gradient is that of the logits over the temperature.
    config = dataclasses.replace(
        CONFIG, algorithm="critic", optimiser="sgd", gradient_clip=0.0, learning_rate=1.0, entropy_bonus=1.0,
        value_coefficient=0.0,
    )  # fmt: skip
    trainer = Trainer(WORLD, TiltedReference(NETWORK, 0.5), config)
    batch = prepare(trainer.play(), config)
    trainer.parameters["q.weight"].data.normal_(generator=torch.Generator().manual_seed(3))
    before = {name: value.detach().clone().requires_grad_() for name, value in trainer.parameters.items()}
    parts = terms(trainer.policy.forward(before, batch.rollout.context), batch, config)
    torch.stack(list(parts.values())).sum().backward()
    outputs = trainer.policy.forward(trainer.parameters, batch.rollout.context)
    trainer.learn(outputs, batch)
    for name in ("q.weight", "q.bias"):
        moved = trainer.parameters[name].detach() - before[name].detach()
        torch.testing.assert_close(moved, -before[name].grad, rtol=1e-3, atol=1e-6)


def test_the_soft_critic_comes_to_the_optimum_and_the_plain_one_does_not():
    price, found = 0.2, {}
    for algorithm in ("soft_critic", "critic"):
        config = Config(
            algorithm=algorithm, trials=2, updates=400, batch=64, steps=4, discount=1.0, gae_lambda=0.95,
            learning_rate=1e-2, weight_decay=0.0, value_coefficient=1.0,
            kl_in_reward=price if algorithm == "soft_critic" else 0.0,
        )  # fmt: skip
        trainer = Trainer(WORLD, TiltedReference(NETWORK, price), config)
        first = {name: value.detach().clone() for name, value in trainer.parameters.items()}
        first = {n: torch.zeros_like(v) if n.startswith("q.") else v for n, v in first.items()}
        trainer.run()
        initial = policy_on_tree.of_policy(WORLD.tree, GRAMMAR, trainer.policy, first, masked=True)
        policy = policy_on_tree.of_policy(WORLD.tree, GRAMMAR, trainer.policy, trainer.parameters, masked=True)
        reward = WORLD.worth(WORLD.tree.sentences)
        found[algorithm] = policy_on_tree.soft_regret(policy.sentences, initial.sentences, reward, price)
        fixed = policy_on_tree.advantage_fixed_point(initial, reward, price)
        to_fixed = policy_on_tree.divergence(policy.sentences, fixed.sentences)
        found[f"{algorithm} to the fixed point"] = to_fixed
    assert (found["soft_critic"] < 0.01).all()
    # Without the price of later words it is ACTDE's own fixed point, where APA rests too.
    assert (found["critic to the fixed point"] < 0.02).all()
    with pytest.raises(SettingError, match="kl_in_reward = 0.0 with algorithm = 'soft_critic'"):
        Config(algorithm="soft_critic")
