"""Rewards for two words in a row, and the price that leads as far."""

import pytest
import torch
from actde_book.ch10_a_small_language.on_the_tree import of_grammar
from actde_book.ch14_sharpness.adjacent_word_rewards import pays_for, price_at_divergence

from actde_nb.exact import policy_on_tree
from actde_nb.worlds.language import Language
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding

GRAMMAR = wedding()
WORLD = Language(GRAMMAR, "We had a big", "hp_cap")


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
    initial = of_grammar(WORLD.tree, GRAMMAR).sentences[0]
    reward = WORLD.worth(WORLD.tree.sentences)
    price = price_at_divergence(1.5, initial, reward)
    assert policy_on_tree.divergence(
        policy_on_tree.optimum(initial, reward, price)[0], initial
    ).item() == pytest.approx(1.5)
