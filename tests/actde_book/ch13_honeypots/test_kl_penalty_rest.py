"""Where a leash holds: by hand on three sentences, and by the gradient of the loss on the whole language."""

import numpy as np
import pytest
import torch
from actde_book.ch13_honeypots import kl_penalty_rest
from tree_policies import INITIAL, POLICY, REWARD, REWARDS, SENTENCES, of_sentences

from actde_nb.exact import policy_on_tree

KNOWN = {**REWARDS, "reward": REWARDS["hp_cap"]}


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_deviation_by_hand(gae_lambda):
    # Values are 1 until the last choice, which gains or loses 1: in half the sentences, for their 1st and 2nd words.
    found = kl_penalty_rest.deviation(POLICY, REWARD, gae_lambda)
    words = (0.5 * 1) + (0.25 * 2) + (0.25 * 3)
    assert found.item() == pytest.approx(np.sqrt(0.5 * (1 + gae_lambda**2) / words))


def test_deviation_is_that_of_estimates_along_sampled_sentences():
    policy, gae_lambda = INITIAL, 0.95
    rewards, steps = KNOWN["reward"], policy.advantages(KNOWN["reward"])[0]
    leaves = torch.multinomial(policy.sentences[0].exp(), 4_000, True, generator=torch.Generator().manual_seed(0))
    squares, words = [], 0
    for leaf in leaves:
        estimate, total, node = 0.0, 0.0, int(SENTENCES.leaves[leaf])
        while node:
            estimate = steps[node].item() + gae_lambda * estimate
            total, words, node = total + estimate**2, words + 1, int(SENTENCES.parent[node])
        squares.append(total)
    mean, error = np.mean(squares), np.std(squares) / np.sqrt(len(squares))
    expected = kl_penalty_rest.deviation(policy, rewards, gae_lambda).item() ** 2 * words / len(leaves)
    assert abs(mean - expected) < 4 * error


def test_whitened_loss_with_the_leash_is_flat_at_a_rest():
    price, gae_lambda = 0.3, 0.95
    rest = policy_on_tree.advantage_fixed_point(INITIAL, KNOWN["reward"], price)
    found = kl_penalty_rest.resting(INITIAL, KNOWN, [price], gae_lambda)
    white = rest.advantages(KNOWN["reward"]) / kl_penalty_rest.deviation(rest, KNOWN["reward"], gae_lambda)
    reach = rest.beginnings.exp()[..., SENTENCES.parent]

    def loss(weight):
        logits = rest.edges.clone().requires_grad_()
        every = slice(0, len(SENTENCES))
        normaliser = SENTENCES.log_sum_children(logits[..., 1:], slice(1, len(SENTENCES)), every)
        said = (logits - normaliser[..., SENTENCES.parent])[..., 1:]
        gain = white[..., 1:] - weight * (said - INITIAL.edges[..., 1:])
        (-(reach[..., 1:] * said.exp() * gain).sum()).backward()
        return logits.grad.abs().max().item()

    assert loss(found["leash"][0]) < 1e-9
    assert loss(1.1 * found["leash"][0]) > 1e-4


def test_what_is_known_of_a_rest():
    found = kl_penalty_rest.resting(INITIAL, KNOWN, [50.0, 0.3])
    np.testing.assert_allclose(found["leash"] * found["deviation"], [50, 0.3])
    assert found["honeypot"][0] == pytest.approx((INITIAL.sentences[0].exp() @ KNOWN["honeypot"]).item(), abs=1e-3)
    assert found["kl"][0] < 1e-4 < found["kl"][1]
    assert found["honeypot"][1] > 5 * found["honeypot"][0]


def test_held_ends_at_the_loosest_leash():
    rest = {"leash": np.array([2.0, 0.7, 0.5, 0.9]), "deviation": np.array([0.1, 0.2, 0.2, 0.05])}
    shuffled = {name: values[[3, 0, 2, 1]] for name, values in rest.items()}
    held, beyond = kl_penalty_rest.held(shuffled)
    np.testing.assert_array_equal(held["leash"], [2, 0.7, 0.5])
    np.testing.assert_array_equal(beyond["leash"], [0.5, 0.9])
    alone, rest_of_it = kl_penalty_rest.held({name: values[:3] for name, values in rest.items()})
    assert len(alone["leash"]) == 3
    assert len(rest_of_it["leash"]) == 1


def test_favourites_by_hand():
    # Ties everywhere: at the first choice both are worth 1, at the second the better one (2) counts.
    found = kl_penalty_rest.favourites(POLICY, REWARD)
    assert (found.sure.item(), found.best.item()) == pytest.approx((0.5, 1))


def test_favourites_that_are_not_the_best():
    # ". ": .5 and 1; "b": half of the time, worth 3 / 2; then 1/4 of 0 against 3/4 of 2.
    chances = torch.tensor([[0.6, 0.1, 0.3]], dtype=torch.float64)
    policy = of_sentences(POLICY.tree, chances.log())
    found = kl_penalty_rest.favourites(policy, REWARD)
    first, second = 1 / 1.4, 0.4 / 1.4
    assert found.sure.item() == pytest.approx(first * 0.6 + second * 0.75)
    assert found.best.item() == pytest.approx(second)


def test_last_held_rate_has_the_loosest_leash():
    rates = np.linspace(0.3, 0.999, 70_001)
    for first in (0.3, 0.02, 1e-6):
        risen = np.log(rates / (1 - rates)) - np.log(first / (1 - first))
        held = np.divide(1, risen * np.sqrt(rates * (1 - rates)), where=risen > 0, out=np.full_like(rates, np.inf))
        loosest = rates[held.argmin()]
        assert kl_penalty_rest.last_held_rate(first) == pytest.approx(loosest, abs=1e-4)


@pytest.mark.parametrize("price", [0.05, 0.3, 2.0])
def test_the_rest_of_k3_is_where_its_expected_gradient_balances_the_advantages(price):
    """Of the logit of a word in a state: pi A = price (pi - pi_init)."""
    reward = KNOWN["reward"]
    rest = kl_penalty_rest.k3_fixed_point(INITIAL, reward, price)
    torch.testing.assert_close(rest.sentences.exp().sum(-1), torch.ones(1, dtype=torch.float64))
    chances, before = rest.edges[:, 1:].exp(), INITIAL.edges[:, 1:].exp()
    torch.testing.assert_close(chances * rest.advantages(reward)[:, 1:], price * (chances - before))
    least = price / (price + (reward.max() - reward.min()))
    assert (chances >= least * before - 1e-12).all()


def test_the_rest_of_k3_by_hand():
    # At the root "." is worth 1 and "b" what follows; after "b" rewards 0 and 2 with even chances before, price 2:
    # p = 1 / (2 + V) for the word worth 0 and p = 1 / (V) for 2, with V = 2 p: V^2 = 2 has V = sqrt 2.
    rest = kl_penalty_rest.k3_fixed_point(POLICY, REWARD, 2.0)
    assert rest.values(REWARD)[0, 2].item() == pytest.approx(np.sqrt(2))
