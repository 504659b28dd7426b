"""Rewards of a few sentences by hand, and a reward model that learns them."""

import math

import pytest
import torch

from actde_nb.worlds.rewards import FORMULAS, Scorer, counts, learn_reward, scores
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


@pytest.fixture(scope="module")
def learned():
    return learn_reward(SCORER, TREE, seed=0)


def test_a_learned_reward_is_close_to_gold_but_not_gold(learned):
    assert 0.85 < learned.accuracy < 0.95
    assert 0.85 < learned.correlation < 0.97


def test_a_learned_reward_is_standardised_and_correlates_as_it_says(learned):
    values = scores(learned, TREE.sentences)
    chances = GRAMMAR.log_probs(TREE.sentences).exp()
    chances = chances / chances.sum()
    centred = values - chances @ values
    assert (chances @ values).item() == pytest.approx(0, abs=1e-9)
    assert (chances @ centred**2).item() == pytest.approx(1, abs=1e-9)
    gold = scores(SCORER.reward("gold"), TREE.sentences)
    gold = gold - chances @ gold
    assert (chances @ (centred * gold) / (chances @ gold**2).sqrt()).item() == pytest.approx(learned.correlation)


def test_a_learned_reward_can_be_fooled(learned):
    pile = row("We had a very amazing delightful wonderful amazing delightful wonderful amazing")
    assert learned(pile) > 1.5 * learned(TREE.sentences).max()
    assert SCORER.reward("gold")(pile) == 0


def test_the_seed_decides_what_is_learned():
    one, same, other = (learn_reward(SCORER, TREE, seed, pairs=50, steps=3) for seed in (1, 1, 2))
    assert all((one.weights[name] == same.weights[name]).all() for name in one.weights)
    assert (one.weights["in"] != other.weights["in"]).any()


def test_without_fresh_pairs_the_same_is_learned():
    one, untried = (learn_reward(SCORER, TREE, 1, pairs=50, steps=3, fresh=fresh) for fresh in (200, 0))
    assert all((one.weights[name] == untried.weights[name]).all() for name in one.weights)
    assert one.correlation == untried.correlation
    assert 0 < one.accuracy < 1
    assert math.isnan(untried.accuracy)


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
