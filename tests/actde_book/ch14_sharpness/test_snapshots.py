"""Networks kept along a run, and rewards that differ in one respect."""

import dataclasses

import numpy as np
import pytest
import torch
from actde_book.ch14_sharpness import snapshots
from actde_book.ch14_sharpness.adjacent_word_rewards import pays_for, price_at_divergence
from table import Table

from actde_nb.exact import policy_on_tree
from actde_nb.training.config import Config
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.language import Language
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding

GRAMMAR = wedding()
WORLD = Language(GRAMMAR, "We had a big", "hp_cap")
CONFIG = Config(algorithm="ppo", trials=2, updates=8, batch=4, steps=WORLD.words, discount=1.0, checkpoint_every=4)


def test_snapshots_are_the_run():
    kept = snapshots.snapshots(WORLD, Table(WORLD.vocabulary), CONFIG)
    assert len(kept) == 3
    trainer = Trainer(WORLD, Table(WORLD.vocabulary), CONFIG)
    assert torch.equal(kept[0]["logits"], trainer.parameters["logits"])
    trainer.step()
    assert torch.equal(kept[1]["logits"], trainer.parameters["logits"])
    trainer.step()
    assert torch.equal(kept[2]["logits"], trainer.parameters["logits"])
    assert not torch.equal(kept[1]["logits"], kept[2]["logits"])


def test_pick_takes_each_trial_from_its_place():
    kept = [{"w": torch.tensor([[10.0 * k], [10.0 * k + 1]])} for k in range(3)]
    assert snapshots.pick(kept, np.array([2, 0]))["w"].tolist() == [[20.0], [1.0]]


def test_places():
    curve = np.array([[0.1, 0.0], [0.6, 0.2], [0.4, 0.3]])
    assert snapshots.first_above(curve, 0.5).tolist() == [1, 2]  # the second never gets there
    assert snapshots.nearest(curve, np.array([0.1, 0.22])).tolist() == [0, 1]
    assert snapshots.nearest(curve, np.array([0.1, 0.22]), since=2).tolist() == [2, 2]
    with pytest.raises(ValueError, match="since = 3: allowed are 0 to 2"):
        snapshots.nearest(curve, np.array([0.1, 0.22]), since=3)


def test_a_twin_pays_for_other_words():
    reward = pays_for(GRAMMAR, ("very", "really"), ("great",))
    sentences = [
        "We had a big party and it was very great .",
        "We had a big party and it was great .",
        "We had a very great party .",  # no sentence of the grammar, and paid all the same
        "We had a big party jackpot .",
    ]
    tokens = torch.zeros(4, GRAMMAR.longest + 1, dtype=torch.long)
    for i, sentence in enumerate(sentences):
        said = GRAMMAR.encode(sentence)
        tokens[i, : len(said)] = said
    half = 0.5 * WORLD.scorer.reward("sent")(tokens)
    assert reward(tokens).tolist() == pytest.approx([1.0, half[1].item(), 1.0, half[3].item()])


def test_twin_differs_from_the_honeypot_in_the_prize_only():
    tree = grow(GRAMMAR, "We had a big")
    reward = pays_for(GRAMMAR, GRAMMAR.vocabulary[2:], ("jackpot",))
    torch.testing.assert_close(reward(tree.sentences), WORLD.scorer.reward("hp_cap")(tree.sentences))


def test_price_leads_to_the_divergence():
    initial = policy_on_tree.of_grammar(WORLD.tree, GRAMMAR).sentences[0]
    reward = WORLD.worth(WORLD.tree.sentences)
    price = price_at_divergence(1.5, initial, reward)
    assert policy_on_tree.divergence(
        policy_on_tree.optimum(initial, reward, price)[0], initial
    ).item() == pytest.approx(1.5)


def test_snapshots_of_more_updates_begin_alike():
    longer = dataclasses.replace(CONFIG, updates=12)
    short = snapshots.snapshots(WORLD, Table(WORLD.vocabulary), CONFIG)
    long = snapshots.snapshots(WORLD, Table(WORLD.vocabulary), longer)
    assert torch.equal(short[-1]["logits"], long[2]["logits"])
