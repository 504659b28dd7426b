"""Policies made of networks: each in all that it can be asked, against its own forward pass."""

import dataclasses

import pytest
import torch
from stacks import far, generators, gradients, readable, sequences
from toy_language import WORLD

from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.policies import Boltzmann, Network, Policy, SeparateCritic, TiltedReference

SIZE = GPTConfig(2, 2, 8, block_size=9, vocabulary=6, dropout=0.2)


def rule(tokens):
    """Nothing above the token before, plus one."""
    return torch.arange(6) <= tokens[..., None] + 1


def kinds(config, legal=None):
    network = Network(config, legal)
    return [network, SeparateCritic(network), TiltedReference(network, 0.5), Boltzmann(config, 0.5, legal)]


def noisy(policy, trials=2):
    noise = torch.Generator().manual_seed(5)
    fresh = policy.init(generators(trials))
    return {name: x + 0.3 * torch.randn(x.shape, generator=noise) for name, x in fresh.items()}


SERVED = GPTConfig(block_size=9, vocabulary=6)  # by compiled code, where there is neither a rule nor a prompt
ALL = [*kinds(SIZE), *kinds(SIZE, rule), Network(SERVED), Network(SERVED, rule)]


@pytest.mark.parametrize("policy", ALL)
def test_greedy_tokens_are_those_of_one_pass_for_each_place(policy):
    params, tokens = noisy(policy), sequences(SIZE, 2, 3, 7)
    found = policy.greedy_tokens(params, tokens, 4)
    for place in range(4):
        beginning = tokens[..., : 4 + place]
        log_probs, chosen = policy.forward(params, beginning).logits[..., -1, :].log_softmax(-1).max(-1)
        assert torch.equal(found.tokens[..., place], chosen)
        torch.testing.assert_close(found.log_probs[..., place], log_probs)
        instead = torch.cat([beginning, chosen[..., None]], -1)
        torch.testing.assert_close(found.values[..., place], policy.forward(params, instead).values[..., -1])


def test_there_must_be_room_for_one_more():
    network = Network(SIZE)
    with pytest.raises(ValueError, match="tokens has 9 places: allowed are fewer than block_size = 9"):
        network.greedy_tokens(noisy(network), torch.zeros(2, 1, 9, dtype=torch.long), 3)


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("prompt", [1, 3])
@pytest.mark.parametrize("seed", [None, 3])
def test_it_samples_what_it_says(policy, prompt, seed):
    params, first = noisy(policy), sequences(SIZE, 2, 5, prompt)
    uniforms = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(2))
    draws = [None if seed is None else generators(2, seed) for _ in range(2)]
    sampled = policy.sample(params, first, uniforms, draws[0])
    said = policy.forward(params, sampled.tokens, draws[1])
    before, taken = said.logits[:, :, prompt - 1 : -1].log_softmax(-1), sampled.tokens[..., prompt:, None]
    torch.testing.assert_close(sampled.log_probs, before.gather(-1, taken)[..., 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sampled.values, said.values[..., prompt - 1 :], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sampled.q, said.q[:, :, prompt - 1 : -1], atol=1e-5, rtol=1e-5)
    for end, wanted in ((before.exp().cumsum(-1), True), (before.exp().cumsum(-1) - before.exp(), False)):
        near = (uniforms - end.gather(-1, taken)[..., 0]).abs() < 1e-5
        assert (((uniforms < end.gather(-1, taken)[..., 0]) == wanted) | near).all()


@pytest.mark.parametrize("policy", kinds(dataclasses.replace(SIZE, block_size=12)))
def test_over_a_tree_it_says_what_it_says_of_each_sentence(policy):
    params, tree = noisy(policy), WORLD.tree
    read = policy.over_tree(params, tree)
    place = {int(node): i for i, node in enumerate(tree.inner)}
    for sentence, leaf in zip(tree.sentences, tree.leaves, strict=True):
        said, node = policy.forward(params, sentence.expand(2, 1, -1)), int(tree.parent[leaf])
        for t in range(int((sentence > 0).sum()) - 2, len(tree.prompt) - 2, -1):
            for one, other in zip(read, said, strict=True):
                torch.testing.assert_close(one[:, place[node], 0], other[:, 0, t])
            node = int(tree.parent[node])


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_compiled_and_readable_networks_make_one_policy(number, dropout):
    config = GPTConfig(dropout=dropout)
    found, uniforms = [], torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(2))
    for size in (config, readable(config)):
        policy = kinds(size)[number]
        params = {name: value.requires_grad_() for name, value in noisy(policy).items()}
        sampled = policy.sample(params, sequences(config, 2, 20, 1)[..., 0], uniforms, generators(2), 0.7)
        said = policy.forward(params, sampled.tokens, generators(2))
        learned = {n: x for n, x in params.items() if not (number == 2 and (n.startswith("second.") or "policy" in n))}
        learned = {n: x for n, x in learned.items() if not (number == 1 and n.startswith(("value", "q", "second.pol")))}
        found.append([sampled, said, gradients(learned, said)])
    (one, said, learned), (other, wanted, expected) = found
    assert torch.equal(one.tokens, other.tokens)
    for a, b in zip([*one[1:], *said, *learned.values()], [*other[1:], *wanted, *expected.values()], strict=True):
        assert far(a, b) < 5e-5


@pytest.mark.parametrize("policy", kinds(SIZE))
def test_it_is_a_policy(policy):
    assert isinstance(policy, Policy)
    assert policy.vocabulary == 6
    decayed = {name.removeprefix("second.") for name in policy.init(generators(1)) if policy.decays(name)}
    assert decayed >= {"blocks.attention.weight", "blocks.mlp_out.weight", "value.weight", "q.weight"}
    assert not any("norm" in name or "embedding" in name or "bias" in name for name in decayed)


@pytest.mark.parametrize("kind", [TiltedReference, Boltzmann])
def test_a_temperature_is_above_zero(kind):
    with pytest.raises(ValueError, match="temperature = 0.0: allowed are finite numbers above zero"):
        kind(Network(SIZE) if kind is TiltedReference else SIZE, 0.0)


def test_a_tilted_reference_is_not_trained():
    policy = TiltedReference(Network(SIZE), 0.5)
    params = {name: value.requires_grad_() for name, value in noisy(policy).items()}
    sum(part.square().sum() for part in policy.forward(params, sequences(SIZE, 2, 3, 4))).backward()
    assert all(value.grad is None for name, value in params.items() if name.startswith("second."))
    assert params["q.weight"].grad.abs().sum() > 0
