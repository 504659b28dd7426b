"""When an optimum leaves the language."""

import pytest
import torch
from actde_book.ch10_a_small_language.leaving_the_language import leaving_price, log_prob
from actde_book.ch10_a_small_language.on_the_tree import of_grammar

from actde_nb.exact import policy_on_tree
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network
from actde_nb.worlds.rewards import Scorer
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding

EVEN = torch.full((2,), 0.5, dtype=torch.float64).log()


def test_one_reward_for_all_by_hand():
    # Sentences earn 1, the text 3 at e^-10: exp(1/b) = exp(-10 + 3/b), so that b = 1/5.
    same = torch.ones(2, dtype=torch.float64)
    assert leaving_price(EVEN, same, -10.0, 3.0) == pytest.approx(0.2)


def test_at_the_price_the_text_has_half_the_optimum():
    grammar = wedding()
    tree = grow(grammar, "We had a")
    initial = of_grammar(tree, grammar).sentences[0]
    reward = Scorer.of(grammar).reward("bow")(tree.sentences)
    beta = leaving_price(initial, reward, -60.0, 1.0)
    outside = torch.tensor([-60.0], dtype=torch.float64)
    both, _ = policy_on_tree.optimum(torch.cat([initial, outside]), torch.cat([reward, torch.ones_like(outside)]), beta)
    assert both[-1].exp().item() == pytest.approx(0.5, abs=1e-6)


def test_texts_inside_have_the_probabilities_of_the_tree():
    grammar = wedding()
    tree = grow(grammar, "We had a")
    config = gpt.GPTConfig(1, 2, 8, block_size=16, vocabulary=49)
    params = gpt.init(config, 2, [torch.Generator().manual_seed(i) for i in range(2)])
    policy = policy_on_tree.of_policy(tree, grammar, Network(config), params)
    some = torch.arange(0, len(tree.leaves), 900)
    seen = log_prob(params, config, tree.sentences[some], len(tree.prompt))
    inside = (1 - policy.leak).log()[:, None] + policy.sentences[:, some]
    torch.testing.assert_close(seen, inside, atol=2e-4, rtol=0)
