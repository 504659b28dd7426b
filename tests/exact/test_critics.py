"""What each form of ACTDE's error does: by hand, against a list of all sentences, and where it must vanish."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from actde_book.ch10_a_small_language.on_the_tree import of_grammar
from actde_book.ch15_actde_language.watched_critics import partial, state_baseline
from tree_policies import GRAMMAR, INITIAL, POLICY, REWARD, REWARDS, SCORER, SENTENCES, of_sentences, path

from actde_nb import paths
from actde_nb.exact import policy_on_tree
from actde_nb.exact.critics import (
    Critics,
    Signal,
    _in_state,
    _sums,
    critics_of,
    final_measures,
    published_error,
    pull,
    return_minus_q,
    tilt,
)
from actde_nb.experiments import runs
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network
from actde_nb.worlds.tree import grow

GOLD = REWARDS["gold"]
BRANCH = grow(GRAMMAR, "We had a fun wedding")
ON_BRANCH = of_grammar(BRANCH, GRAMMAR), SCORER.reward("gold")(BRANCH.sentences)


def any_critics(policy, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return Critics(*(torch.rand(policy.edges.shape, generator=draws, dtype=torch.float64) for _ in "vq"))


def close(seen, expected, atol=1e-12):
    torch.testing.assert_close(seen, torch.as_tensor(expected, dtype=torch.float64), atol=atol, rtol=0)


def one_by_one(policy, rewards, critics, gae_lambda, form):
    """Mean and square of each word's error, from a list of sentences; the errors are added up word by word."""
    tree, chances = policy.tree, policy.sentences[0].exp()
    total, mean, square = np.zeros(len(tree)), np.zeros(len(tree)), np.zeros(len(tree))
    v, q = critics.v[0].numpy(), critics.q[0].numpy()
    for leaf, chance, reward in zip(tree.leaves.tolist(), chances.tolist(), rewards.tolist(), strict=True):
        words = path(tree, leaf)[1:]
        for t, word in enumerate(words):
            if form == "return":
                error = reward - q[word]
            else:
                error = 0.0
                for k, later in enumerate(words[t:]):
                    before = words[t + k - 1] if t + k else 0
                    paid, after = (reward, 0.0) if later == leaf else (0.0, v[later])
                    expected = q[later] if form == "published" else v[before]
                    error += gae_lambda**k * (paid + after - expected)
            total[word] += chance
            mean[word] += chance * error
            square[word] += chance * error**2
    return Signal(*(torch.tensor(x / np.maximum(total, 1e-300))[None] for x in (mean, square)))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_errors_are_those_of_a_list_of_all_sentences(gae_lambda):
    for policy, rewards, critics in ((POLICY, REWARD, any_critics(POLICY)), (*ON_BRANCH, any_critics(ON_BRANCH[0], 1))):
        for form, seen in (
            ("published", published_error(policy, rewards, critics, gae_lambda)),
            ("state", state_baseline(policy, rewards, critics, gae_lambda)),
            ("return", return_minus_q(policy, rewards, critics)),
        ):
            listed = one_by_one(policy, rewards, critics, gae_lambda, form)
            for ours, theirs in zip(seen, listed, strict=True):
                close(ours[:, 1:], theirs[:, 1:], atol=1e-10)


def test_published_error_on_three_sentences_by_hand():
    # v of "b" is .5 and of "b a" 3; q of ".", "b", "b .", "b a", "b a ." is .1, .2, .3, .4, .5.
    critics = Critics(
        torch.tensor([[0.0, 9, 0.5, 9, 3, 9]], dtype=torch.float64),
        torch.tensor([[9, 0.1, 0.2, 0.3, 0.4, 0.5]], dtype=torch.float64),
    )
    one = published_error(POLICY, REWARD, critics, 0.0).mean
    close(one[0, 1:], [0.9, 0.3, -0.3, 2.6, 1.5])
    # After "b": -.3 or 2.6 + 1.5/2, evenly; "b" itself adds .3 to half of their mean.
    half = published_error(POLICY, REWARD, critics, 0.5).mean
    close(half[0, 1:], [0.9, 0.3 + 0.5 * (-0.3 + 3.35) / 2, -0.3, 3.35, 1.5])


@pytest.mark.parametrize("gae_lambda", [0.0, 0.95, 1.0])
def test_with_exact_critics_no_reward_is_left_in_the_published_error(gae_lambda):
    exact = partial(INITIAL, GOLD, 1, 1)
    for part in published_error(INITIAL, GOLD, exact, gae_lambda):
        close(part[:, 1:], torch.zeros_like(part[:, 1:]))
    # The return keeps the luck of later words: nothing on average, and the same variance as sentences from there on.
    mean, square = return_minus_q(INITIAL, GOLD, exact)
    close(mean, torch.zeros_like(mean))
    close(square, INITIAL.values(GOLD**2) - INITIAL.values(GOLD) ** 2)


def test_later_words_advantages_are_subtracted_and_were_in_the_return():
    # published = (lambda-return - q) - sum of lambda^k (q - v) of later words, whatever the critics.
    critics, gae_lambda = any_critics(INITIAL), 0.9
    lead = critics.q - critics.v[:, SENTENCES.parent]  # what the critics think a word adds
    subtracted = _sums(INITIAL, lead, gae_lambda).mean - lead
    to_return = state_baseline(INITIAL, GOLD, critics, gae_lambda).mean - lead
    close(published_error(INITIAL, GOLD, critics, gae_lambda).mean[:, 1:], (to_return - subtracted)[:, 1:])
    # If v is the policy's mean of q, the subtracted part averages to zero.
    mean = _in_state(INITIAL, critics.q)
    fair = Critics(mean, critics.q)
    lead = fair.q - fair.v[:, SENTENCES.parent]
    close((_sums(INITIAL, lead, gae_lambda).mean - lead)[:, 1:], torch.zeros(1, len(SENTENCES) - 1))


def test_gain_of_return_less_q_is_what_q_does_not_know():
    everything = pull(INITIAL, GOLD, return_minus_q(INITIAL, GOLD, partial(INITIAL, GOLD, 0, 0)))
    for v_knows, q_knows in ((0, 0.3), (0.9, 0.3), (0.5, 1)):
        critics = partial(INITIAL, GOLD, v_knows, q_knows)
        seen = pull(INITIAL, GOLD, return_minus_q(INITIAL, GOLD, critics))
        close(seen.gain, (1 - q_knows) * everything.gain)
        if q_knows < 1:
            close(seen.aim, [1.0])


def test_sign_of_the_published_gain_is_who_knows_more():
    for gae_lambda in (0.0, 0.95):
        signs = [
            pull(INITIAL, GOLD, published_error(INITIAL, GOLD, partial(INITIAL, GOLD, v, q), gae_lambda)).gain.item()
            for v, q in ((0.8, 0.2), (0.2, 0.8))
        ]
        assert signs[0] > 0.01
        assert signs[1] < -0.01


def test_gain_is_the_slope_of_the_mean_reward():
    critics = any_critics(INITIAL)
    signal = published_error(INITIAL, GOLD, critics, 0.95)
    worth = []
    for step in (1e-4, -1e-4):
        moved = INITIAL.edges + step * signal.mean
        total = SENTENCES.log_sum_children(moved[:, 1:], slice(1, len(SENTENCES)), slice(0, len(SENTENCES)))
        edges = (moved - total[:, SENTENCES.parent]).index_fill(1, torch.tensor([0]), 0)
        worth.append((SENTENCES.down(edges)[:, SENTENCES.leaves].exp() @ GOLD).item())
    seen = pull(INITIAL, GOLD, signal).gain.item()
    assert (worth[0] - worth[1]) / 2e-4 == pytest.approx(seen, rel=1e-5)


def test_tilt_at_the_fixed_point_is_one_over_temperature():
    rest = policy_on_tree.advantage_fixed_point(INITIAL, GOLD, 0.2)
    slope, share = tilt(rest, INITIAL, GOLD)
    assert slope.item() == pytest.approx(5)
    assert share.item() == pytest.approx(1)
    close(torch.cat(tilt(INITIAL, INITIAL, GOLD)), [0, 0])
    best = of_sentences(SENTENCES, policy_on_tree.optimum(INITIAL.sentences, GOLD, 0.2)[0])
    slope, share = tilt(best, INITIAL, GOLD)
    assert slope.item() != pytest.approx(5, rel=0.01)
    assert share.item() < 0.999


def test_ending():
    rest = policy_on_tree.advantage_fixed_point(INITIAL, GOLD, 0.2)
    critics = partial(rest, GOLD, 0.5, 1)
    seen = final_measures(rest, INITIAL, GOLD, critics, 0.2)
    assert seen["fixed_point_kl"].item() == pytest.approx(0, abs=1e-12)
    best, log_z = policy_on_tree.optimum(INITIAL.sentences, GOLD, 0.2)
    assert seen["optimum_kl"].item() == pytest.approx(
        policy_on_tree.soft_regret(rest.sentences, INITIAL.sentences, GOLD, 0.2).item() / 0.2
    )
    assert seen["q_error"].item() == pytest.approx(0)
    assert seen["v_error"].item() == pytest.approx(seen["disagreement"].item())
    assert seen["return_gain"].item() == pytest.approx(0)
    assert seen["published_000_gain"].item() < 0
    gone = policy_on_tree.TreePolicy(SENTENCES, rest.edges, torch.tensor([0.06], dtype=torch.float64))
    assert all(math.isnan(value.item()) for value in final_measures(gone, INITIAL, GOLD, critics, 0.2).values())


def test_critics_of_a_network_are_what_it_says_sentence_by_sentence():
    config = gpt.GPTConfig(2, 4, 32, block_size=GRAMMAR.longest + 1, vocabulary=len(GRAMMAR.vocabulary))
    params = gpt.init(config, 2, [torch.Generator().manual_seed(i) for i in range(2)])
    for name, value in params.items():
        if name.startswith(("q", "value")):
            value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3))
    critics = critics_of(SENTENCES, Network(config).over_tree(params, SENTENCES))
    for leaf in SENTENCES.leaves[::3000].tolist():
        nodes = path(SENTENCES, leaf)
        tokens = torch.cat([SENTENCES.prompt, SENTENCES.token[nodes[1:]]])
        said = gpt.forward(params, config, tokens.expand(2, 1, -1))
        at = len(SENTENCES.prompt) - 1
        v = said.values[:, 0, at:-1].double()
        q = said.q[:, 0, at:-1].gather(-1, tokens[at + 1 :].expand(2, -1)[..., None])[..., 0].double()
        torch.testing.assert_close(critics.v[:, nodes[:-1]], v, atol=1e-5, rtol=0)
        torch.testing.assert_close(critics.q[:, nodes[1:]], q, atol=1e-5, rtol=0)


def test_lambda_is_a_share():
    with pytest.raises(ValueError, match="gae_lambda = -1"):
        published_error(INITIAL, GOLD, any_critics(INITIAL), -1)


def short_run(monkeypatch, tmp_path, **settings):
    monkeypatch.setattr(paths, "PRETRAINED", tmp_path)
    config = replace(runs.LanguageWorld.usual, algorithm="actde", trials=2, batch=8, **settings)
    return runs.Run(config, runs.LanguageWorld(), runs.PretrainedSettings("small", pretraining=2, masked=True))


def test_ends_of_a_run_are_kept(tmp_path, monkeypatch):
    run = short_run(monkeypatch, tmp_path, updates=4, checkpoint_every=4, evaluate_every=4)
    data = runs.train(run, tmp_path / "run.nc", progress=False)
    assert data["ending"].dims == ("trial", "ending_quantity")
    assert "fixed_point_kl" not in data["ending_quantity"]
    assert np.isfinite(data["ending"].values).all()
    assert (data["ending"].sel(ending_quantity="disagreement") > 0).all()
