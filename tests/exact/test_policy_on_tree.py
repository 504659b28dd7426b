"""Exact measures: by hand on three sentences, against another way on the whole language."""

import math

import pytest
import torch
from actde_book.ch10_a_small_language.on_the_tree import of_grammar
from tree_policies import GRAMMAR, INITIAL, REWARD, REWARDS, SENTENCES, TOY, TREE, of_sentences

from actde_nb.exact import policy_on_tree
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network


def network(grammar, trials=1, width=32):
    config = gpt.GPTConfig(2, 4, width, block_size=grammar.longest + 1, vocabulary=len(grammar.vocabulary))
    params = gpt.init(config, trials, [torch.Generator().manual_seed(i) for i in range(trials)])
    for value in params.values():
        value *= 3  # further from uniform
    return params, config


def close(seen, expected, atol=1e-12):
    torch.testing.assert_close(seen, torch.tensor(expected, dtype=torch.float64), atol=atol, rtol=0)


def test_values_and_advantages_of_three_sentences():
    policy = of_grammar(TREE, TOY)
    # After "b": (0 + 2)/2 = 1, which is worth as much as ending at once.
    close(policy.values(REWARD)[0], [1, 1, 1, 0, 2, 2])
    close(policy.advantages(REWARD)[0], [0, 0, 0, -1, 1, 0])
    close(policy.sentences[0].exp(), [0.5, 0.25, 0.25])
    assert policy_on_tree.entropy(policy.sentences).item() == pytest.approx(1.5 * math.log(2))


def test_optimum_of_three_sentences():
    initial = of_grammar(TREE, TOY).sentences[0]
    e = math.e
    z = 0.5 * e + 0.25 + 0.25 * e**2
    best, log_z = policy_on_tree.optimum(initial, REWARD, 1.0)
    close(best.exp(), [0.5 * e / z, 0.25 / z, 0.25 * e**2 / z])
    assert log_z.item() == pytest.approx(math.log(z))
    # The initial policy attains its mean reward, 1, for no nats.
    assert policy_on_tree.soft_regret(initial, initial, REWARD, 1.0).item() == pytest.approx(math.log(z) - 1)


def test_fixed_point_of_advantages_on_three_sentences():
    # After "b" at beta 1: "." and "a" in proportion to 1 and e^2, so that V = 2 e^2 / (1 + e^2). Then the root.
    e2 = math.exp(2)
    v = 2 * e2 / (1 + e2)
    b = math.exp(v) / (math.exp(v) + math.e)
    found = policy_on_tree.advantage_fixed_point(of_grammar(TREE, TOY), REWARD, 1.0)
    close(found.edges[0].exp(), [1, 1 - b, b, 1 / (1 + e2), e2 / (1 + e2), 1])


def test_what_leaves_the_language_is_set_aside():
    # A policy that says something else one time in five at the start, and half the time after "b".
    edges = torch.tensor([[1, 0.4, 0.4, 0.25, 0.25, 1]], dtype=torch.float64).log()
    policy = policy_on_tree.condition_on_language(TREE, edges)
    # Inside: .4 + .4/2 = .6; given that, sentences .4/.6, .1/.6, .1/.6.
    close(policy.leak, [0.4])
    close(policy.sentences[0].exp(), [4 / 6, 1 / 6, 1 / 6])
    close(policy.edges[0].exp(), [1, 4 / 6, 2 / 6, 0.5, 0.5, 1])


def test_exact_numbers_are_withheld_when_much_leaks():
    edges = torch.tensor([[1, 0.5, 0.5, 0.5, 0.5, 1], [1, 0.46, 0.5, 0.5, 0.5, 1]], dtype=torch.float64).log()
    initial = of_grammar(TREE, TOY)
    seen = policy_on_tree.exact(
        policy_on_tree.condition_on_language(TREE, edges), initial, {"r": REWARD}, "r", 0.5, allowed=0.03
    )
    close(seen.pop("leak"), [0, 0.04])
    assert len(seen) == 9
    assert all(value[0].isfinite() and value[1].isnan() for value in seen.values())


def test_networks_are_read_as_sentence_by_sentence():
    params, config = network(GRAMMAR, trials=2)
    some = torch.arange(0, len(SENTENCES.leaves), 500)
    tokens = SENTENCES.sentences[some]
    said = gpt.forward(params, config, tokens.expand(2, -1, -1)).logits.double()
    counts = tokens[:, 1:] > 0
    counts[:, : len(SENTENCES.prompt) - 1] = False
    taken = said.log_softmax(-1)[:, :, :-1].gather(-1, tokens[:, 1:].expand(2, -1, -1)[..., None])[..., 0]
    policy = policy_on_tree.of_policy(SENTENCES, GRAMMAR, Network(config), params)
    inside = policy.sentences[:, some] + (1 - policy.leak).log()[:, None]
    torch.testing.assert_close(inside, (taken * counts).sum(-1), atol=2e-5, rtol=0)
    assert (policy.leak > 0.9).all()


def test_leak_is_what_the_sentences_leave():
    params, config = network(TOY, trials=3)
    tokens = TREE.sentences
    said = gpt.forward(params, config, tokens.expand(3, -1, -1)).logits.double().log_softmax(-1)
    taken = said[:, :, :-1].gather(-1, tokens[:, 1:].expand(3, -1, -1)[..., None])[..., 0]
    sentences = (taken * (tokens[:, 1:] > 0))[..., 1:].sum(-1)
    policy = policy_on_tree.of_policy(TREE, TOY, Network(config), params)
    torch.testing.assert_close(policy.leak, 1 - sentences.exp().sum(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(policy.sentences, sentences.log_softmax(-1), atol=1e-6, rtol=0)


def test_ruling_out_illegal_words_leaves_nothing_outside():
    params, config = network(GRAMMAR)
    policy = policy_on_tree.of_policy(SENTENCES, GRAMMAR, Network(config), params, masked=True)
    assert policy.leak.abs().item() < 1e-12
    assert policy.sentences.logsumexp(-1).item() == pytest.approx(0, abs=1e-9)


def test_sequences_that_do_not_fit_are_refused():
    params, config = network(TOY)
    with pytest.raises(ValueError, match="sequences of 15 tokens: allowed are block_size"):
        policy_on_tree.of_policy(SENTENCES, GRAMMAR, Network(config), params)


@pytest.mark.parametrize("reward", ["gold", "hp_cap", "hp_unc"])
@pytest.mark.parametrize("beta", [0.5, 0.1, 0.05])
def test_the_optimum_has_no_regret_and_others_have(reward, beta):
    initial, values = INITIAL.sentences[0], REWARDS[reward]
    best, log_z = policy_on_tree.optimum(initial, values, beta)
    assert best.logsumexp(0).item() == pytest.approx(0, abs=1e-9)
    assert policy_on_tree.soft_regret(best, initial, values, beta).item() == pytest.approx(0, abs=1e-9)
    other = policy_on_tree.optimum(initial, values, 2 * beta)[0]
    regret = policy_on_tree.soft_regret(other, initial, values, beta).item()
    assert regret == pytest.approx(beta * policy_on_tree.divergence(other, best).item(), abs=1e-9)
    assert regret > 0.001


@pytest.mark.parametrize(
    ("beta", "proxy", "gold", "honeypot", "kl", "entropy"),
    [
        (0.5, 0.323, 0.479, 0.090, 0.11, 7.49),
        (0.3, 0.435, 0.486, 0.207, 0.41, 7.60),
        (0.2, 0.630, 0.419, 0.453, 1.23, 7.63),
        (0.1, 0.971, 0.176, 0.952, 3.54, 6.93),
        (0.05, 1.000, 0.145, 1.000, 3.87, 6.73),
    ],
)
def test_frontier_of_the_capped_honeypot(beta, proxy, gold, honeypot, kl, entropy):
    # Numbers of an earlier program with a pretrained network in the grammar's place.
    seen = policy_on_tree.frontier(INITIAL.sentences[0], REWARDS["hp_cap"], [beta], REWARDS)
    for name, value, digits in (("reward", proxy, 3), ("gold", gold, 3), ("honeypot", honeypot, 3)):
        assert seen[name].item() == pytest.approx(value, abs=1.1 * 10**-digits)
    assert seen["kl"].item() == pytest.approx(kl, abs=0.006)
    assert seen["entropy"].item() == pytest.approx(entropy, abs=0.006)


@pytest.mark.parametrize(("beta", "kl"), [(1.0, 0.00022), (0.3, 0.018), (0.1, 0.354), (0.05, 0.671)])
def test_at_the_fixed_point_of_advantages(beta, kl):
    reward = REWARDS["gold"]
    found = policy_on_tree.advantage_fixed_point(INITIAL, reward, beta)
    # log Z = -KL at every state, and log(policy / initial) = A / beta - log Z along every word.
    tree, gaps = SENTENCES, found.edges - INITIAL.edges
    local = torch.zeros_like(gaps).index_add_(-1, tree.parent[1:], (found.edges.exp() * gaps)[..., 1:])
    log_z = policy_on_tree.log_z(INITIAL, found.advantages(reward), beta)
    torch.testing.assert_close(log_z, -local[..., tree.inner], atol=1e-9, rtol=0)
    best = policy_on_tree.optimum(INITIAL.sentences, reward, beta)[0]
    assert policy_on_tree.divergence(found.sentences, best).item() == pytest.approx(kl, rel=0.02)
    seen = policy_on_tree.exact(found, INITIAL, REWARDS, "gold", beta)
    # The residual and log Z are the same up to what is weighed: words said or states visited, once each.
    assert seen["apa_residual"].item() == pytest.approx(
        (seen["log_z_mean"] ** 2 + seen["log_z_sd"] ** 2).sqrt().item(), abs=1e-9
    )
    assert seen["soft_regret"].item() == pytest.approx(beta * kl, rel=0.02)


def test_a_policy_of_sentences_is_a_policy_of_words():
    best = policy_on_tree.optimum(INITIAL.sentences, REWARDS["gold"], 0.1)[0]
    policy = of_sentences(SENTENCES, best)
    torch.testing.assert_close(policy.sentences, best, atol=1e-9, rtol=0)
    children = torch.zeros_like(policy.edges).index_add_(-1, SENTENCES.parent[1:], policy.edges.exp()[..., 1:])
    torch.testing.assert_close(children[..., SENTENCES.inner], torch.ones(1, len(SENTENCES.inner)).double())


def test_samples_are_measured_by_hand():
    begin, stop, a, b = 1, 2, 3, 4
    tokens = torch.tensor([[[begin, a, stop, b], [begin, a, b, a], [begin, a, stop, a]]])
    chances = torch.tensor([0.1, 0.1, 0.2, 0.3, 0.3], dtype=torch.float64)
    said = chances.log().expand(1, 3, 2, 5)
    before = torch.zeros(1, 3, 2, 5, dtype=torch.float64)
    seen = policy_on_tree.sampled(TOY, tokens, said, before, {"stops": lambda x: (x == stop).sum(-1).double()})
    # Four words are asked for: one after each "a ." sentence's prompt, two in the other. Three sentences.
    entropy = -(chances * chances.log()).sum().item()
    assert seen["length"].item() == pytest.approx(4 / 3)
    assert seen["entropy"].item() == pytest.approx(4 / 3 * entropy)
    assert seen["kl"].item() == pytest.approx(4 / 3 * (math.log(5) - entropy))
    assert seen["grammatical"].item() == pytest.approx(2 / 3)
    assert seen["distinct"].item() == pytest.approx(2 / 3)
    assert seen["stops"].item() == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="reward gave nan"):
        policy_on_tree.sampled(TOY, tokens, said, before, {"bad": lambda x: x[..., 0] * torch.nan})


def test_samples_agree_with_the_exact_numbers():
    params, config = network(TOY)
    generator = torch.Generator().manual_seed(0)
    tokens = TOY.sample(20_000, generator, TREE.prompt)[None]
    said, before = (torch.randn(5, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    legal = TOY.chances > 0
    # One row of logits for each state, illegal words ruled out; samples are the grammar's own.
    said = TOY.chances.log().clamp(min=policy_on_tree.NEVER)
    before = torch.where(legal, torch.randn(said.shape, generator=generator, dtype=torch.float64), policy_on_tree.NEVER)
    states = TOY.read(tokens)[..., 1:-1]
    seen = policy_on_tree.sampled(TOY, tokens, said[states], before[states], {})
    edges = before.log_softmax(-1)[TREE.state[TREE.parent], TREE.token][None]
    policy, initial = of_grammar(TREE, TOY), policy_on_tree.condition_on_language(TREE, edges)
    exact = policy_on_tree.exact(policy, initial, {})
    assert seen["kl"].item() == pytest.approx(exact["kl"].item(), rel=0.02)
    assert seen["entropy"].item() == pytest.approx(exact["entropy"].item(), rel=0.02)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_a_temperature_is_above_zero(beta):
    policy = of_grammar(TREE, TOY)
    for call in (
        lambda: policy_on_tree.optimum(policy.sentences, REWARD, beta),
        lambda: policy_on_tree.advantage_fixed_point(policy, REWARD, beta),
        lambda: policy_on_tree.log_z(policy, policy.advantages(REWARD), beta),
    ):
        with pytest.raises(ValueError, match="beta = .*: allowed are finite numbers above zero"):
            call()


def test_other_bad_input_is_refused():
    policy = of_grammar(TREE, TOY)
    with pytest.raises(ValueError, match="reward = .*nan.*: allowed are finite"):
        policy_on_tree.optimum(policy.sentences, REWARD * math.nan, 1.0)
    with pytest.raises(ValueError, match="objective = 's': allowed are r"):
        policy_on_tree.exact(policy, policy, {"r": REWARD}, "s", 1.0)
    with pytest.raises(ValueError, match="allowed = 2: allowed are numbers in"):
        policy_on_tree.exact(policy, policy, {"r": REWARD}, allowed=2)
