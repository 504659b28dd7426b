"""Where a leash holds: by hand on three sentences, and by the gradient of the loss on the whole language."""

import numpy as np
import pytest
import torch
from actde_book.ch10_a_small_language.on_the_tree import of_grammar
from actde_book.ch13_honeypots import kl_penalty_rest
from tree_policies import of_sentences

from actde_nb.exact import policy_on_tree
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.rewards import FORMULAS, Scorer
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding

# After "a": "." half the time, or "b" and then "." or "a ." evenly: sentences of chances 1/2, 1/4, 1/4.
TOY = Grammar(
    (".", "a", "b"),
    {
        START: {"a": (1.0, "after")},
        "after": {".": (0.5, END), "b": (0.5, "more")},
        "more": {".": (0.5, END), "a": (0.5, "stop")},
        "stop": {".": (1.0, END)},
    },
    longest=4,
)
SMALL = of_grammar(grow(TOY, "a"), TOY)

GRAMMAR = wedding()
TREE = grow(GRAMMAR, "We had a")
SCORER = Scorer.of(GRAMMAR)
KNOWN = {name: SCORER.reward(name)(TREE.sentences) for name in FORMULAS}
KNOWN["honeypot"] = (SCORER.features(TREE.sentences).honeypots > 0).double()
KNOWN["reward"] = KNOWN["hp_cap"]
INITIAL = of_grammar(TREE, GRAMMAR)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_deviation_by_hand(gae_lambda):
    # Values are 1 until the last choice, which gains or loses 1: in half the sentences, for their 1st and 2nd words.
    found = kl_penalty_rest.deviation(SMALL, torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64), gae_lambda)
    words = (0.5 * 1) + (0.25 * 2) + (0.25 * 3)
    assert found.item() == pytest.approx(np.sqrt(0.5 * (1 + gae_lambda**2) / words))


def test_deviation_is_that_of_estimates_along_sampled_sentences():
    policy, gae_lambda = INITIAL, 0.95
    rewards, steps = KNOWN["reward"], policy.advantages(KNOWN["reward"])[0]
    leaves = torch.multinomial(policy.sentences[0].exp(), 4_000, True, generator=torch.Generator().manual_seed(0))
    squares, words = [], 0
    for leaf in leaves:
        estimate, total, node = 0.0, 0.0, int(TREE.leaves[leaf])
        while node:
            estimate = steps[node].item() + gae_lambda * estimate
            total, words, node = total + estimate**2, words + 1, int(TREE.parent[node])
        squares.append(total)
    mean, error = np.mean(squares), np.std(squares) / np.sqrt(len(squares))
    expected = kl_penalty_rest.deviation(policy, rewards, gae_lambda).item() ** 2 * words / len(leaves)
    assert abs(mean - expected) < 4 * error


def test_whitened_loss_with_the_leash_is_flat_at_a_rest():
    price, gae_lambda = 0.3, 0.95
    rest = policy_on_tree.advantage_fixed_point(INITIAL, KNOWN["reward"], price)
    found = kl_penalty_rest.resting(INITIAL, KNOWN, [price], gae_lambda)
    white = rest.advantages(KNOWN["reward"]) / kl_penalty_rest.deviation(rest, KNOWN["reward"], gae_lambda)
    reach = rest.beginnings.exp()[..., TREE.parent]

    def loss(weight):
        logits = rest.edges.clone().requires_grad_()
        every = slice(0, len(TREE))
        normaliser = TREE.log_sum_children(logits[..., 1:], slice(1, len(TREE)), every)
        said = (logits - normaliser[..., TREE.parent])[..., 1:]
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
    found = kl_penalty_rest.favourites(SMALL, torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))
    assert (found.sure.item(), found.best.item()) == pytest.approx((0.5, 1))


def test_favourites_that_are_not_the_best():
    # ". ": .5 and 1; "b": half of the time, worth 3 / 2; then 1/4 of 0 against 3/4 of 2.
    chances = torch.tensor([[0.6, 0.1, 0.3]], dtype=torch.float64)
    policy = of_sentences(SMALL.tree, chances.log())
    found = kl_penalty_rest.favourites(policy, torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))
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
