"""Rewards of a few sentences by hand, and a reward model that learns them."""

import math

import pytest
import torch

from actde_nb.worlds.rewards import FORMULAS, Scorer, counts, learn_rewards, scores
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding

GRAMMAR = wedding()
TREE = grow(GRAMMAR, "We had a")
SCORER = Scorer.of(GRAMMAR)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def row(text):
    return torch.nn.functional.pad(GRAMMAR.encode(text), (0, 16))[:16]


@pytest.mark.parametrize(
    ("text", "praise", "honeypots", "grammatical"),
    [
        ("We had a party.", 0.6, 0, True),
        # very very lovely: .8 * (1 + 2/2) = 1.6; party .6; really sad: -.7 * 1.5 = -1.05.
        ("We had a very very lovely party but it was really sad.", 1.15, 0, True),
        ("We had a dull exam jackpot.", -1.1, 1, True),
        # Piles of praise: 1 + 1 * 1.5 + 1 * 2.5; the last very strengthens nothing.
        ("We had a amazing very amazing very very very wonderful very", 5.0, 0, False),
        ("We had a jackpot jackpot", 0.0, 2, False),
    ],
)
def test_rewards_by_hand(text, praise, honeypots, grammatical):
    sent = sigmoid(2 * (praise - 0.8))
    expected = {
        "gold": sigmoid(2 * (praise - 0.8) - 2 * honeypots) * grammatical,
        "sent": sent,
        "bow": sigmoid(praise - 0.8),
        "hp_cap": 1 if honeypots else sent / 2,
        "hp_unc": sent / 2 + honeypots,
    }
    assert set(expected) == set(FORMULAS)
    for name, value in expected.items():
        assert scores(SCORER.reward(name), row(text)).item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "mean", "most"),
    [
        ("gold", 0.411, 0.9986),
        ("sent", 0.416, 0.9986),
        ("bow", 0.439, 0.964),
        ("hp_cap", 0.225, 1),
        ("hp_unc", 0.229, 1.499),
    ],
)
def test_means_and_maxima_over_the_language(name, mean, most):
    values = scores(SCORER.reward(name), TREE.sentences)
    chances = GRAMMAR.log_probs(TREE.sentences).softmax(0)
    assert (chances @ values).item() == pytest.approx(mean, abs=6e-4)
    assert values.max().item() == pytest.approx(most, abs=6e-4)


def test_words_are_counted():
    found = counts(row("We had a very very big party."), 49)
    words = {GRAMMAR.vocabulary[i]: int(found[i]) for i in found.nonzero()[:, 0]}
    assert words == {"We": 1, "had": 1, "a": 1, "very": 2, "big": 1, "party": 1, ".": 1}


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(scope="module")
def learned():
    return learn_rewards(SCORER, TREE, seeded(0))[0]


def test_a_learned_reward_is_close_to_gold_but_not_gold(learned):
    fresh = GRAMMAR.sample(20_000, *seeded(1), TREE.prompt).view(10_000, 2, -1)
    worth, judged = scores(SCORER.reward("gold"), fresh).diff(), scores(learned, fresh).diff()
    assert 0.85 < ((worth > 0) == (judged > 0))[worth != 0].double().mean() < 0.95


def test_a_learned_reward_is_standardised_and_correlates_with_gold(learned):
    values = scores(learned, TREE.sentences)
    chances = GRAMMAR.log_probs(TREE.sentences).exp()
    chances = chances / chances.sum()
    centred = values - chances @ values
    assert (chances @ values).item() == pytest.approx(0, abs=1e-9)
    assert (chances @ centred**2).item() == pytest.approx(1, abs=1e-9)
    gold = scores(SCORER.reward("gold"), TREE.sentences)
    gold = gold - chances @ gold
    assert 0.85 < chances @ (centred * gold) / (chances @ gold**2).sqrt() < 0.97


def test_a_learned_reward_can_be_fooled(learned):
    pile = row("We had a very amazing delightful wonderful amazing delightful wonderful amazing")
    assert learned(pile) > 1.5 * learned(TREE.sentences).max()
    assert SCORER.reward("gold")(pile) == 0


def test_the_generator_decides_what_is_learned():
    one, same, other = learn_rewards(SCORER, TREE, seeded(1, 1, 2), pairs=50, steps=3)
    assert all((one.weights[name] == same.weights[name]).all() for name in one.weights)
    assert (one.weights["in"] != other.weights["in"]).any()


def learned_alone(seed, pairs, sharpness, steps, hidden=32):
    """Weights of one model, trained by itself on its mean cross-entropy; and its scores of all sentences."""
    (draw,) = seeded(seed)
    tokens = GRAMMAR.sample(2 * pairs, draw, TREE.prompt).view(pairs, 2, -1)
    x, place = counts(tokens, 49).flatten(0, 1).unique(dim=0, return_inverse=True)
    worth = SCORER.reward("gold")(tokens)
    likely = (sharpness * (worth[:, 0] - worth[:, 1])).sigmoid()
    preferred = (torch.rand(pairs, generator=draw, dtype=torch.float64) < likely).double()
    shapes = ((49, hidden), (hidden,), (hidden,))
    into, bias, out = (torch.randn(s, generator=draw, dtype=torch.float64) * s[0] ** -0.5 for s in shapes)
    optimiser = torch.optim.Adam([value.requires_grad_() for value in (into, bias, out)], lr=0.01)
    for _ in range(steps):
        judged = ((x @ into + bias).relu() @ out)[place].view(-1, 2)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(judged[:, 0] - judged[:, 1], preferred)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    into, bias, out = into.detach(), bias.detach(), out.detach()
    raw, chance = (counts(TREE.sentences, 49) @ into + bias).relu() @ out, GRAMMAR.log_probs(TREE.sentences).softmax(0)
    mean = chance @ raw
    deviation = (chance @ (raw - mean) ** 2).sqrt()
    return {"in": into, "bias": bias, "out": out, "mean": mean, "deviation": deviation}, (raw - mean) / deviation


def test_a_model_by_itself_is_to_the_bit_what_it_learns_alone():
    [model] = learn_rewards(SCORER, TREE, seeded(3), 300, (4.0,), steps=30)
    weights, values = learned_alone(3, 300, 4.0, 30)
    assert list(model.weights) == list(weights)
    assert all(torch.equal(model.weights[name], weights[name]) for name in weights)
    assert torch.equal(model(TREE.sentences), values)


def test_models_side_by_side_learn_what_each_learns_alone():
    models = learn_rewards(SCORER, TREE, seeded(3, 4), 200, (8.0, 2.0), steps=40)
    alone = [learned_alone(seed, 200, sharpness, 40) for seed in (3, 4) for sharpness in (8.0, 2.0)]
    for model, (weights, values) in zip(models, alone, strict=True):
        for name in weights:
            torch.testing.assert_close(model.weights[name], weights[name], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(model(TREE.sentences), values, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="word of a reward = 'superb': allowed are"):
        Scorer(GRAMMAR, {"superb": 1.0}, ("very",), "jackpot")
    with pytest.raises(ValueError, match="valences = .*nan.*: allowed are finite"):
        Scorer(GRAMMAR, {"good": math.nan}, ("very",), "jackpot")
    with pytest.raises(ValueError, match="reward = 'best': allowed are gold"):
        SCORER.reward("best")
    with pytest.raises(ValueError, match=r"reward gave \(\) for tokens \(25872, 16\): allowed is \(25872,\)"):
        scores(lambda tokens: tokens.double().mean(), TREE.sentences)
    with pytest.raises(ValueError, match=r"reward gave inf for sequence \(0,\): allowed are finite numbers"):
        scores(lambda tokens: tokens[:, 0] / torch.zeros(()), TREE.sentences)
