"""The coins of dropout."""

import pytest
import torch
from stacks import generators

from actde_nb.networks.dropout import WORD, Dropout, Places, scramble

PLACES = Places(layers=2, heads=3, width=6, block_size=10)


def dropout(rate=0.1, trials=2, batch=50, seed=0):
    return Dropout(rate, PLACES, generators(trials, seed), trials, batch)


def test_the_hash_is_the_published_one():
    # For 1 the first shift changes nothing; the rest in Python's own integers.
    x = 0x7FEB352D ^ (0x7FEB352D >> 15)
    x = x * 0x846CA68B % 2**32
    assert scramble(torch.tensor([0, 1])).tolist() == [0, x ^ (x >> 16)]
    numbers = scramble(torch.arange(100_000) * 42_949)
    assert numbers.unique().numel() == 100_000  # one to one
    assert int(numbers.min()) >= 0
    assert int(numbers.max()) <= WORD


def test_every_place_has_coins_of_its_own():
    places = []
    for layer in range(PLACES.layers):
        first = PLACES.attention(layer)
        places += range(first, first + PLACES.heads * PLACES.block_size)
        for first in (PLACES.attention_out(layer), PLACES.mlp_out(layer)):
            places += range(first, first + PLACES.width)
    places += range(PLACES.embedding, PLACES.embedding + PLACES.width)
    assert sorted(places) == list(range(PLACES.token))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_mean_stays_and_the_stated_share_goes(rate):
    dropped = dropout(rate)(torch.ones(2, 50, 10, 6), PLACES.embedding)
    weights = dropout(rate).attention(torch.ones(2, 50, 3, 10, 10), layer=1)
    for x in (dropped, weights):
        count = x.numel()
        share, error = (x == 0).double().mean(), (rate * (1 - rate) / count) ** 0.5
        assert abs(share - rate) < 4 * error
        assert abs(x.double().mean() - 1) < 4 * error / (1 - rate)
        torch.testing.assert_close(x.amax(), torch.tensor(1 / (1 - rate)))


def test_coins_along_every_axis_are_independent():
    coins = (dropout(0.5, batch=200).attention(torch.ones(2, 200, 3, 10, 10), layer=0) == 0).double() - 0.5
    for axis in range(5):
        neighbours = (coins.narrow(axis, 1, coins.shape[axis] - 1) * coins.narrow(axis, 0, coins.shape[axis] - 1)) * 4
        # Products of independent signs are signs: the mean of n has deviation 1 / sqrt(n).
        assert abs(neighbours.mean()) < 4 / neighbours.numel() ** 0.5, axis


def test_token_by_token_the_same_coins_fall():
    x, weights = torch.rand(2, 50, 10, 6), torch.rand(2, 50, 3, 10, 10)
    whole = dropout()(x, PLACES.mlp_out(1)), dropout().attention(weights, layer=1)
    again = dropout()
    for t in range(10):
        part = again(x[:, :, t : t + 1], PLACES.mlp_out(1), start=t)
        assert torch.equal(part, whole[0][:, :, t : t + 1])
        part = again.attention(weights[..., t : t + 1, : t + 1], layer=1, start=t)
        assert torch.equal(part, whole[1][..., t : t + 1, : t + 1])


def test_a_trial_has_the_same_coins_alone_and_others_at_the_next_call():
    x, draws = torch.ones(2, 50, 10, 6), generators(2)
    first = Dropout(0.1, PLACES, draws, 2, 50)(x, 0)
    second = Dropout(0.1, PLACES, draws, 2, 50)(x, 0)
    alone = Dropout(0.1, PLACES, generators(2)[1:], 1, 50)(x[1:], 0)
    assert torch.equal(alone[0], first[1])
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_without_generators_nothing_is_dropped():
    x = torch.rand(1, 2, 3, 6)
    assert Dropout(0.1, PLACES, None, 1, 2)(x, 0) is x
    assert Dropout(0.0, PLACES, generators(1), 1, 2)(x, 0) is x
