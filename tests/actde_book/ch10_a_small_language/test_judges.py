"""How noisy labels are, by hand, and where judges' optima are against a judge's own frontier."""

import math

import pytest
import torch
from actde_book.ch10_a_small_language.judges import Panel, agreement, panels
from actde_book.ch10_a_small_language.on_the_tree import of_grammar

from actde_nb.exact import policy_on_tree
from actde_nb.worlds.rewards import Scorer, learn_rewards
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding


def test_labels_of_three_sentences_by_hand():
    # Two of them are as good as each other, half of what is said; only pairs with the third count, all 1 apart.
    said = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64).log()
    gold = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert agreement(gold, said, math.log(3)) == pytest.approx(0.75)
    # With .5 in between: pairs (0, 1), (0, .5), (.5, 1) of weights 1/8, 1/16, 1/8.
    between = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    half = 3**0.5 / (1 + 3**0.5)
    assert agreement(between, said, math.log(3)) == pytest.approx((2 * 0.75 + 3 * half) / 5)


def test_a_fall_is_from_the_best_price_to_the_last():
    gold = torch.tensor([[0.4, 0.9, 0.3], [0.4, 0.5, 0.6]])
    assert Panel(torch.zeros(2), gold, gold).fall.tolist() == pytest.approx([0.6, 0])


def test_panels_are_of_their_judges():
    grammar = wedding()
    tree, scorer = grow(grammar, "We had a"), Scorer.of(grammar)
    said, gold = of_grammar(tree, grammar).sentences[0], scorer.reward("gold")(tree.sentences)
    found = panels(scorer, tree, said, [2.0, 0.2], (3, 4), pairs=60, sharpness=(8.0, 2.0))
    assert list(found) == [8.0, 2.0]
    for sharpness, panel in found.items():
        [judge] = learn_rewards(scorer, tree, [torch.Generator().manual_seed(4)], 60, (sharpness,))
        scores = judge(tree.sentences)
        best, _ = policy_on_tree.optimum(said, scores, 0.2)
        assert panel.kl[1, 1].item() == pytest.approx(policy_on_tree.divergence(best, said).item())
        assert panel.gold[1, 1].item() == pytest.approx((best.exp() @ gold).item())
        assert (panel.gold[0] != panel.gold[1]).all()
        chance = said.exp()
        centred = gold - chance @ gold  # a judge's mean is 0 and its deviation 1
        expected = chance @ (scores * centred) / (chance @ centred**2).sqrt()
        assert panel.correlation[1].item() == pytest.approx(expected.item(), rel=1e-9)
    assert (found[8.0].gold != found[2.0].gold).all()
