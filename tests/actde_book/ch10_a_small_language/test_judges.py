"""How noisy labels are, by hand, and where judges' optima are against a judge's own frontier."""

import math

import pytest
import torch
from actde_book.ch10_a_small_language.judges import Panel, agreement, panel
from actde_book.ch10_a_small_language.on_the_tree import of_grammar

from actde_nb.exact import policy_on_tree
from actde_nb.worlds.rewards import Scorer, learn_reward
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


def test_a_panel_is_of_its_judges():
    grammar = wedding()
    tree, scorer = grow(grammar, "We had a"), Scorer.of(grammar)
    said = of_grammar(tree, grammar).sentences[0]
    found = panel(scorer, tree, said, [2.0, 0.2], (3, 4), pairs=60, sharpness=2.0)
    judge = learn_reward(scorer, tree, 4, 60, 2.0)
    best, _ = policy_on_tree.optimum(said, judge(tree.sentences), 0.2)
    assert found.correlation[1].item() == judge.correlation
    assert found.kl[1, 1].item() == pytest.approx(policy_on_tree.divergence(best, said).item())
    assert found.gold[1, 1].item() == pytest.approx((best.exp() @ scorer.reward("gold")(tree.sentences)).item())
    assert (found.gold[0] != found.gold[1]).all()
