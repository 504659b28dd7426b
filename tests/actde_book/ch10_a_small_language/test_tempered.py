"""Temperatures of a policy by hand."""

import torch
from actde_book.ch10_a_small_language.on_the_tree import tempered
from tree_policies import INITIAL, SENTENCES, TREE

from actde_nb.exact import policy_on_tree


def test_a_temperature_sharpens_each_word():
    # At temperature 1/2 probabilities are squared: 1/4 and 1/4 stay even, as do the two after "b".
    policy = policy_on_tree.condition_on_language(
        TREE, torch.tensor([[1, 0.6, 0.4, 0.75, 0.25, 1]], dtype=torch.float64).log()
    )
    cold = tempered(policy, 0.5)
    expected = torch.tensor([1, 0.36 / 0.52, 0.16 / 0.52, 0.9, 0.1, 1], dtype=torch.float64)
    torch.testing.assert_close(cold.edges[0].exp(), expected)
    torch.testing.assert_close(tempered(policy, 1.0).edges, policy.edges)
    hot = tempered(INITIAL, 1e9)
    torch.testing.assert_close(hot.edges[0, 1:2], -torch.tensor([(SENTENCES.parent[1:] == 0).sum()]).double().log())
