"""The bandit as a stream of tokens."""

import pytest
import torch
from arms import Arms

from actde_nb.worlds import World

TOKENS = torch.tensor([[[0, 2, 1], [0, 1, 1]]])


def test_it_is_a_world_of_as_many_tokens_as_arms():
    world = Arms([1.0, 0.5, -2.0])
    assert isinstance(world, World)
    assert world.vocabulary == 3
    assert not world.continues


def test_every_token_but_the_first_earns_its_arms_reward():
    expected = torch.tensor([[[-2, 0.5], [0.5, 0.5]]], dtype=torch.float64)
    torch.testing.assert_close(Arms([1.0, 0.5, -2.0]).rewards(TOKENS), expected)


def test_shares_are_of_the_pulls():
    world = Arms([1.0, 0.5, -2.0])
    seen = world.statistics(TOKENS, *torch.zeros(2, 1, 2, 2, 3))
    torch.testing.assert_close(seen["outcome_share"], torch.tensor([[0, 0.75, 0.25]]))
    assert world.labels["outcome_share"] == ("outcome", ("arm 0", "arm 1", "arm 2"))
    assert (world.start(torch.rand(2, 5)) == 0).all()


@pytest.mark.parametrize(("payoffs", "message"), [([1.0], "payoffs has shape"), ([1.0, float("inf")], "finite")])
def test_bad_payoffs_are_refused(payoffs, message):
    with pytest.raises(ValueError, match=message):
        Arms(payoffs)
