"""One residual of whole texts: its optimum and its gradient by enumeration, its rows as their papers write them."""

import dataclasses
from itertools import combinations, product

import numpy as np
import pytest
import torch
from toy_language import WORLD

from actde_nb.checks import SettingError
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network
from actde_nb.training import losses
from actde_nb.training.advantages import above_optimum, group_centred
from actde_nb.training.algorithms import ALGORITHMS, fill
from actde_nb.training.config import Config
from actde_nb.training.objective import prepare, terms
from actde_nb.training.rollout import part
from actde_nb.training.trainer import Trainer

#: All texts of at most three tokens out of three, of which the first, 0, ends a text.
TEXTS = [t for n in (1, 2, 3) for t in product(range(3), repeat=n) if 0 not in t[:-1] and (t[-1] == 0 or n == 3)]
PREFIXES = sorted({text[:at] for text in TEXTS for at in range(len(text))})
MASK = torch.tensor([[at < len(text) for at in range(3)] for text in TEXTS])
BETA = 0.3
DRAWS = torch.Generator().manual_seed(0)
BEFORE, NOW, OLD = (
    torch.randn(len(PREFIXES), 3, generator=DRAWS, dtype=torch.float64).log_softmax(-1) for _ in range(3)
)
REWARDS = torch.randn(len(TEXTS), generator=DRAWS, dtype=torch.float64)


def log_probs(policy: torch.Tensor) -> torch.Tensor:
    """Of each token of each text, ``[text, time]``; something that must not count where a text is over."""
    rows = []
    for text in TEXTS:
        said = [policy[PREFIXES.index(text[:at]), token] for at, token in enumerate(text)]
        rows.append(torch.stack(said + [policy.sum()] * (3 - len(text))))
    return torch.stack(rows)


def of_texts(policy: torch.Tensor) -> torch.Tensor:
    return torch.where(MASK, log_probs(policy), 0).sum(-1)


def best() -> tuple[torch.Tensor, float]:
    """The policy before times exp(r / beta), normalised, token by token; and beta log Z."""
    weights = (of_texts(BEFORE) + REWARDS / BETA).exp()
    below = {p: sum(w for w, t in zip(weights, TEXTS, strict=True) if t[: len(p)] == p) for p in PREFIXES}
    below |= dict(zip(TEXTS, weights, strict=True))
    table = torch.tensor([[below[(*p, token)] / below[p] for token in range(3)] for p in PREFIXES])
    return table.double().log(), BETA * below[()].log().item()


def loss(policy, anchor, value=0.0, alone=False, **how):
    """Of all texts as a batch, or ``alone``, each a trial of its own."""
    arrays = [log_probs(policy), log_probs(anchor), (REWARDS - value)[:, None].expand(-1, 3), MASK]
    now, anchored, advantages, mask = (x[:, None] if alone else x[None] for x in arrays)
    return losses.squared_residual(now, anchored, advantages, BETA, mask=mask, **how)


def test_there_are_fifteen_texts_and_their_chances_are_one():
    assert len(TEXTS) == 15
    assert of_texts(NOW).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("per_nat", "factor"), [(False, -2 * BETA), (True, -1.0)])
@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_on_policy_it_is_the_gradient_of_the_reward_less_the_price(value, per_nat, factor):
    """Whatever V is. Of a text with V dropped as well as of one with the right V."""
    policy = NOW.clone().requires_grad_()
    said = policy.log_softmax(-1)
    chances = of_texts(said).exp()
    wanted = (chances * (REWARDS - BETA * (of_texts(said) - of_texts(BEFORE)))).sum()
    found = (chances.detach() * loss(said, BEFORE, value, alone=True, per_nat=per_nat)).sum()
    [wanted] = torch.autograd.grad(wanted, policy, retain_graph=True)
    [found] = torch.autograd.grad(found, policy)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(found, factor * wanted, rtol=0, atol=1e-10)


def test_it_is_zero_at_the_optimum_and_not_with_the_normaliser_dropped():
    policy, normaliser = best()
    known = torch.full((1, 15, 3), normaliser, dtype=torch.float64)
    # Only v of the first step counts.
    known[..., 1:] = 100
    for how in ({"group_size": 15}, {"group_size": 5}, {"group_size": 3}, {"values": known}, {"value": normaliser}):
        assert loss(policy, BEFORE, **how).item() <= 1e-20, how
        assert loss(NOW, BEFORE, **how).item() > 0.01, how
    assert loss(policy, BEFORE).item() == pytest.approx(normaliser**2, abs=1e-12)
    assert abs(normaliser) > 0.1
    learned = losses.value_residual(
        known, log_probs(policy)[None], log_probs(BEFORE)[None], REWARDS[None, :, None].expand(-1, -1, 3), BETA,
        MASK[None],
    )  # fmt: skip
    assert learned.item() <= 1e-20


def test_the_optimum_is_a_minimum_for_texts_from_elsewhere_too():
    policy, normaliser = best()
    policy.requires_grad_()
    for weights in torch.rand(5, 15, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
        [slope] = torch.autograd.grad(
            (weights * loss(policy, BEFORE, normaliser, alone=True)).sum(), policy, allow_unused=False
        )
        assert slope.abs().max() <= 1e-10


@pytest.mark.parametrize("size", [2, 3, 5])
def test_rebel_on_all_pairs_is_the_centred_form(size):
    """The paper's square of a pair, ``(log-ratio less log-ratio) / eta - (r - r')`` with eta = 1 / beta."""
    texts = 15 // size * size
    policy = NOW.clone().requires_grad_()
    lean = policy.log_softmax(-1)
    ratios = (of_texts(lean) - of_texts(OLD))[:texts]
    pairs = [
        ((ratios[i] - ratios[j]) * BETA - (REWARDS[i] - REWARDS[j])) ** 2
        for first in range(0, texts, size)
        for i, j in combinations(range(first, first + size), 2)
    ]
    arrays = log_probs(lean), log_probs(OLD), REWARDS[:, None].expand(-1, 3), MASK
    now, old, rewards, mask = (x[None, :texts] for x in arrays)
    centred = losses.squared_residual(now, old, group_centred(rewards / 3, size), BETA, size, mask=mask)
    wanted = torch.stack(pairs).mean() * (size - 1) / (2 * size)
    assert centred.item() == pytest.approx(wanted.item(), abs=1e-12)
    slopes = [torch.autograd.grad(x.sum(), policy, retain_graph=True)[0] for x in (centred, wanted)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-10)


def test_centring_may_be_seen_as_a_constant():
    """The gradient is that with V fixed at the mean residual, as VarGrad has it."""
    policy = NOW.clone().requires_grad_()
    arrays = log_probs(policy)[None], log_probs(BEFORE)[None], REWARDS[None, :, None].expand(-1, -1, 3)
    mean = (BETA * (of_texts(policy) - of_texts(BEFORE)) - REWARDS).mean().item()
    free = losses.squared_residual(*arrays, BETA, 15, mask=MASK[None])
    fixed = losses.squared_residual(*arrays[:2], arrays[2] + mean, BETA, mask=MASK[None])
    slopes = [torch.autograd.grad(x.sum(), policy, retain_graph=True)[0] for x in (free, fixed)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-10)


def test_the_same_square_teaches_policy_and_value():
    """Trajectory balance: the two terms' gradients are those of one square with a free log Z."""
    policy, value = NOW.clone().requires_grad_(), torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    square = ((BETA * (of_texts(policy) - of_texts(BEFORE)) - REWARDS + value) ** 2).mean()
    wanted = torch.autograd.grad(square, (policy, value))
    values = value.expand(1, 15, 3)
    arrays = log_probs(policy)[None], log_probs(BEFORE)[None], REWARDS[None, :, None].expand(-1, -1, 3), BETA
    both = losses.squared_residual(*arrays, None, values, MASK[None])
    both = both + losses.value_residual(values, *arrays, MASK[None])
    for found, expected in zip(torch.autograd.grad(both.sum(), (policy, value)), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


KINDS = {
    "known": lambda x, y, z, v, m: losses.squared_residual(x, y, z, 0.5, mask=m),
    "per nat": lambda x, y, z, v, m: losses.squared_residual(x, y, z, 0.5, mask=m, per_nat=True),
    "groups": lambda x, y, z, v, m: losses.squared_residual(x, y, z, 0.5, 2, mask=m),
    "values": lambda x, y, z, v, m: losses.squared_residual(x, y, z, 0.5, None, v, m),
    "value": lambda x, y, z, v, m: losses.value_residual(x, y, z, v, 0.5, m),
}


@pytest.mark.parametrize("kind", KINDS)
def test_trials_do_not_touch_and_masked_tokens_do_not_matter(kind):
    draws = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([[1, 2, 3, 4, 5, 3]] * 3)[..., None]
    x, *others = (array.requires_grad_() for array in draws.clone())
    together = KINDS[kind](x, *others, mask)
    together.sum().backward()
    assert all(other.grad is None for other in others)
    for trial in range(3):
        own = draws[0, trial : trial + 1].clone().requires_grad_()
        alone = KINDS[kind](own, *(array[trial : trial + 1].detach() for array in others), mask[trial : trial + 1])
        torch.testing.assert_close(alone[0], together[trial])
        alone.sum().backward()
        torch.testing.assert_close(own.grad[0], x.grad[trial])
    elsewhere = torch.where(mask, draws, draws + 7 * torch.randn(draws.shape, generator=DRAWS, dtype=torch.float64))
    torch.testing.assert_close(KINDS[kind](*elsewhere, mask), together)
    assert torch.equal(KINDS[kind](*draws, torch.ones_like(mask)), KINDS[kind](*draws, None))
    if kind != "value":
        assert (x.grad[~mask] == 0).all()
    assert x.grad.abs().max() > 0


def test_rewards_are_summed_over_a_text():
    rewards = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 0.5, 0.0]]])
    for row in ("trajectory_balance", "dro"):  # whatever the run's discount; of a text its first step is read
        whole = fill(ALGORITHMS[row].advantage, {"rewards": rewards, "discount": 0.5})
        assert whole[..., 0].tolist() == [[3.0, 0.5]]
    assert above_optimum(rewards, 2.0).tolist() == [[[1.0] * 3, [-1.5] * 3]]


# The rows, through the loop.

POLICY = Network(gpt.GPTConfig(1, 2, 8, block_size=6, vocabulary=6), legal=WORLD.legal)
SHORT = Config(
    algorithm="rebel", trials=2, updates=8, batch=16, steps=4, minibatches=1, discount=0.5, group_size=4, beta=0.3,
    optimal_value=0.6, learning_rate=1e-2, weight_decay=0.0, checkpoint_every=4,
)  # fmt: skip
ROWS = [name for name, row in ALGORITHMS.items() if row.fits_texts]


def changed(**settings) -> Config:
    return dataclasses.replace(SHORT, **settings)


def as_published(name, now, old, before, rewards, value):
    """Policy's and value's loss of one trial from the paper's formula, in NumPy; arrays ``[text]``."""
    beta, groups = 0.3, lambda x: x.reshape(-1, 4)
    group_mean = lambda x: np.repeat(groups(x).mean(1), 4)  # noqa: E731
    if name == "rebel":  # squares of pairs, each pair of a group twice and each text with itself, halved
        d, r = groups(beta * (now - old)), groups(rewards)
        return ((d[:, :, None] - d[:, None] - (r[:, :, None] - r[:, None])) ** 2).mean() / 2, None
    if name == "mirror_descent":  # Kimi: -(r - mean) log-ratio + tau/2 log-ratio^2, and what does not depend on it
        d, lead = now - old, rewards - group_mean(rewards)
        return (beta / 2 * d**2 - lead * d + lead**2 / (2 * beta)).mean(), None
    d = now - before
    if name == "vargrad":
        return groups(beta * d - rewards).var(1).mean(), None
    if name == "a_star_po":
        return ((beta * d - (rewards - 0.6)) ** 2).mean(), None
    if name == "trajectory_balance":  # log Z P_F / R with Z = exp(v / beta) and R = before exp(r / beta)
        square = ((value / beta + now - (before + rewards / beta)) ** 2).mean() * beta**2
        return square, square
    square = ((rewards - value - beta * d) ** 2).mean()  # DRO
    return square / (2 * beta), square / 2


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_as_published(name):
    trainer = Trainer(WORLD, POLICY, changed(algorithm=name))
    draw = torch.Generator().manual_seed(0)

    def move():
        for key in ("policy.weight", "value.weight"):
            trainer.parameters[key].data.add_(torch.randn(trainer.parameters[key].shape, generator=draw) / 3)

    move()
    batch = prepare(trainer.play(), trainer.config)
    move()
    rollout = batch.rollout
    outputs = POLICY.forward(trainer.parameters, rollout.context)
    before = POLICY.forward(Trainer(WORLD, POLICY, changed(algorithm="a_star_po")).reference, rollout.context)
    pick = lambda said: said.logits[:, :, -4:].log_softmax(-1).gather(-1, rollout.taken[..., None])[..., 0]  # noqa: E731
    # Where a text is over, a word may be illegal.
    total = lambda x: torch.where(rollout.mask, x, 0).sum(-1).detach().double().numpy()  # noqa: E731
    texts = total(pick(outputs)), total(rollout.log_probs), total(pick(before)), total(rollout.rewards)
    value = outputs.values[:, :, -4].detach().double().numpy()
    parts = terms(outputs, batch, trainer.config)
    for trial in range(2):
        policy, taught = as_published(name, *(x[trial] for x in (*texts, value)))
        assert parts["policy"][trial].item() == pytest.approx(policy, rel=1e-4)
        assert policy > 1e-3
        if taught is None:
            assert set(parts) == {"policy"}
        else:
            assert parts["value"][trial].item() == pytest.approx(taught, rel=1e-4)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_learns_to_say_what_pays(name):
    trainer = Trainer(WORLD, POLICY, changed(algorithm=name, updates=60, minibatches=2, beta=0.1, optimal_value=0.8))
    trainer.run()
    first, last = trainer.records[0]["sentence"][:, 0], trainer.records[-1]["sentence"][:, 0]
    assert (first < 0.7).all()
    assert (last > first + 0.1).all()


def test_groups_are_dealt_whole():
    trainer = Trainer(WORLD, POLICY, changed(algorithm="vargrad", group_size=2, minibatches=2))
    batch = prepare(trainer.play(), trainer.config)
    halves = [part(batch, number, 2, trainer.config.together) for number in range(2)]
    for number, half in enumerate(halves):
        wanted = batch.rollout.tokens.unflatten(1, (8, 2))[:, number::2].flatten(1, 2)
        assert torch.equal(half.rollout.tokens, wanted)
    outputs = POLICY.forward(trainer.parameters, batch.rollout.context)
    whole = terms(outputs, batch, trainer.config)["policy"]
    each = [terms(POLICY.forward(trainer.parameters, h.rollout.context), h, trainer.config)["policy"] for h in halves]
    torch.testing.assert_close(sum(each) / 2, whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"algorithm": "a_star_po", "optimal_value": None},
            "optimal_value = None with algorithm = 'a_star_po': allowed",
        ),
        ({"optimal_value": float("inf")}, "optimal_value = inf: allowed are finite numbers"),
        ({"algorithm": "dro", "kl_in_reward": 0.1}, "kl_in_reward = 0.1 with algorithm = 'dro': allowed is 0, since"),
        (
            {"algorithm": "rebel", "whiten": True},
            "whiten = True with algorithm = 'rebel': allowed is False, since beta",
        ),
        (
            {"minibatches": 4, "group_size": 8},
            "group_size = 8 with algorithm = 'rebel': allowed are numbers that divide b",
        ),
    ],
)
def test_settings_that_would_be_something_else(settings, message):
    with pytest.raises(SettingError, match=message):
        changed(**settings)


def test_a_price_may_be_added_where_the_anchor_moves():
    trainer = Trainer(WORLD, POLICY, changed(algorithm="rebel", kl_in_reward=0.1))
    trainer.run()
    assert trainer.records[-1]["price"].tolist() == pytest.approx([0.1, 0.1])
