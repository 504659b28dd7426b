"""What each form of ACTDE's error does: by hand, against a list of all sentences, and where it must vanish."""

import math

import numpy as np
import pytest
import torch

from actde_nb import places
from actde_nb.learning.policy import Network
from actde_nb.policies import gpt
from actde_nb.study import disagreement, metrics, runs
from actde_nb.study.disagreement import Critics, Signal
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.rewards import Scorer
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
TREE = grow(TOY, "a")
POLICY = metrics.of_grammar(TREE, TOY)
#: Nodes: the root, ".", "b", "b .", "b a", "b a .". Values: 1, 1, 1, 0, 2, 2.
REWARD = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)

GRAMMAR = wedding()
SENTENCES = grow(GRAMMAR, "We had a")
GOLD = Scorer.of(GRAMMAR).reward("gold")(SENTENCES.sentences)
SAID = metrics.of_grammar(SENTENCES, GRAMMAR)
BRANCH = grow(GRAMMAR, "We had a fun wedding")
ON_BRANCH = metrics.of_grammar(BRANCH, GRAMMAR), Scorer.of(GRAMMAR).reward("gold")(BRANCH.sentences)


def any_critics(policy, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return Critics(*(torch.rand(policy.edges.shape, generator=draws, dtype=torch.float64) for _ in "vq"))


def close(seen, expected, atol=1e-12):
    torch.testing.assert_close(seen, torch.as_tensor(expected, dtype=torch.float64), atol=atol, rtol=0)


def one_by_one(policy, rewards, critics, trace, form):
    """Mean and square of each word's error, from a list of sentences; the errors are added up word by word."""
    tree, chances = policy.tree, policy.sentences[0].exp()
    total, mean, square = np.zeros(len(tree)), np.zeros(len(tree)), np.zeros(len(tree))
    v, q = critics.v[0].numpy(), critics.q[0].numpy()
    for leaf, chance, reward in zip(tree.leaves.tolist(), chances.tolist(), rewards.tolist(), strict=True):
        words = tree.path(leaf).tolist()[1:]
        for t, word in enumerate(words):
            if form == "return":
                error = reward - q[word]
            else:
                error = 0.0
                for k, later in enumerate(words[t:]):
                    before = words[t + k - 1] if t + k else 0
                    paid, after = (reward, 0.0) if later == leaf else (0.0, v[later])
                    expected = q[later] if form == "published" else v[before]
                    error += trace**k * (paid + after - expected)
            total[word] += chance
            mean[word] += chance * error
            square[word] += chance * error**2
    return Signal(*(torch.tensor(x / np.maximum(total, 1e-300))[None] for x in (mean, square)))


@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
def test_errors_are_those_of_a_list_of_all_sentences(trace):
    for policy, rewards, critics in (
        (POLICY, REWARD, any_critics(POLICY)),
        (*ON_BRANCH, any_critics(ON_BRANCH[0], 1)),
    ):
        for form, seen in (
            ("published", disagreement.published(policy, rewards, critics, trace)),
            ("state", disagreement.state_baseline(policy, rewards, critics, trace)),
            ("return", disagreement.return_minus_q(policy, rewards, critics)),
        ):
            listed = one_by_one(policy, rewards, critics, trace, form)
            for ours, theirs in zip(seen, listed, strict=True):
                close(ours[:, 1:], theirs[:, 1:], atol=1e-10)


def test_published_error_on_three_sentences_by_hand():
    # v of "b" is .5 and of "b a" 3; q of ".", "b", "b .", "b a", "b a ." is .1, .2, .3, .4, .5.
    critics = Critics(
        torch.tensor([[0.0, 9, 0.5, 9, 3, 9]], dtype=torch.float64),
        torch.tensor([[9, 0.1, 0.2, 0.3, 0.4, 0.5]], dtype=torch.float64),
    )
    one = disagreement.published(POLICY, REWARD, critics, 0.0).mean
    close(one[0, 1:], [0.9, 0.3, -0.3, 2.6, 1.5])
    # After "b": -.3 or 2.6 + 1.5/2, evenly; "b" itself adds .3 to half of their mean.
    half = disagreement.published(POLICY, REWARD, critics, 0.5).mean
    close(half[0, 1:], [0.9, 0.3 + 0.5 * (-0.3 + 3.35) / 2, -0.3, 3.35, 1.5])


@pytest.mark.parametrize("trace", [0.0, 0.95, 1.0])
def test_with_exact_critics_no_reward_is_left_in_the_published_error(trace):
    exact = disagreement.partial(SAID, GOLD, 1, 1)
    for part in disagreement.published(SAID, GOLD, exact, trace):
        close(part[:, 1:], torch.zeros_like(part[:, 1:]))
    # The return keeps the luck of later words: nothing on average, and the same variance as sentences from there on.
    mean, square = disagreement.return_minus_q(SAID, GOLD, exact)
    close(mean, torch.zeros_like(mean))
    close(square, SAID.values(GOLD**2) - SAID.values(GOLD) ** 2)


def test_later_words_advantages_are_subtracted_and_were_in_the_return():
    # published = (lambda-return - q) - sum of lambda^k (q - v) of later words, whatever the critics.
    critics, trace = any_critics(SAID), 0.9
    lead = critics.q - critics.v[:, SENTENCES.parent]  # what the critics think a word adds
    subtracted = disagreement._sums(SAID, lead, trace).mean - lead
    to_return = disagreement.state_baseline(SAID, GOLD, critics, trace).mean - lead
    close(disagreement.published(SAID, GOLD, critics, trace).mean[:, 1:], (to_return - subtracted)[:, 1:])
    # If v is the policy's mean of q, the subtracted part averages to zero.
    mean = disagreement._in_state(SAID, critics.q)
    fair = Critics(mean, critics.q)
    lead = fair.q - fair.v[:, SENTENCES.parent]
    close((disagreement._sums(SAID, lead, trace).mean - lead)[:, 1:], torch.zeros(1, len(SENTENCES) - 1))


def test_with_q_put_for_v_it_is_ppo():
    critics = any_critics(SAID)
    same = Critics(critics.v, critics.v[:, SENTENCES.parent])
    ours = disagreement.published(SAID, GOLD, same, 0.95)
    for one, other in zip(ours, disagreement.state_baseline(SAID, GOLD, critics, 0.95), strict=True):
        close(one[:, 1:], other[:, 1:])


def test_gain_of_return_less_q_is_what_q_does_not_know():
    everything = disagreement.pull(
        SAID, GOLD, disagreement.return_minus_q(SAID, GOLD, disagreement.partial(SAID, GOLD, 0, 0))
    )
    for v_knows, q_knows in ((0, 0.3), (0.9, 0.3), (0.5, 1)):
        critics = disagreement.partial(SAID, GOLD, v_knows, q_knows)
        seen = disagreement.pull(SAID, GOLD, disagreement.return_minus_q(SAID, GOLD, critics))
        close(seen.gain, (1 - q_knows) * everything.gain)
        if q_knows < 1:
            close(seen.aim, [1.0])


def test_sign_of_the_published_gain_is_who_knows_more():
    for trace in (0.0, 0.95):
        signs = [
            disagreement.pull(
                SAID, GOLD, disagreement.published(SAID, GOLD, disagreement.partial(SAID, GOLD, v, q), trace)
            ).gain.item()
            for v, q in ((0.8, 0.2), (0.2, 0.8))
        ]
        assert signs[0] > 0.01
        assert signs[1] < -0.01


def test_gain_is_the_slope_of_the_mean_reward():
    critics = any_critics(SAID)
    signal = disagreement.published(SAID, GOLD, critics, 0.95)
    worth = []
    for step in (1e-4, -1e-4):
        moved = SAID.edges + step * signal.mean
        total = SENTENCES.log_sum_children(moved[:, 1:], slice(1, len(SENTENCES)), slice(0, len(SENTENCES)))
        edges = (moved - total[:, SENTENCES.parent]).index_fill(1, torch.tensor([0]), 0)
        worth.append((SENTENCES.down(edges)[:, SENTENCES.leaves].exp() @ GOLD).item())
    seen = disagreement.pull(SAID, GOLD, signal).gain.item()
    assert (worth[0] - worth[1]) / 2e-4 == pytest.approx(seen, rel=1e-5)


def test_tilt_at_the_fixed_point_is_one_over_temperature():
    rest = metrics.advantage_fixed_point(SAID, GOLD, 0.2)
    slope, share = disagreement.tilt(rest, SAID, GOLD)
    assert slope.item() == pytest.approx(5)
    assert share.item() == pytest.approx(1)
    close(torch.cat(disagreement.tilt(SAID, SAID, GOLD)), [0, 0])
    best = metrics.of_sentences(SENTENCES, metrics.optimum(SAID.sentences, GOLD, 0.2)[0])
    slope, share = disagreement.tilt(best, SAID, GOLD)
    assert slope.item() != pytest.approx(5, rel=0.01)
    assert share.item() < 0.999


def test_ending():
    rest = metrics.advantage_fixed_point(SAID, GOLD, 0.2)
    critics = disagreement.partial(rest, GOLD, 0.5, 1)
    seen = disagreement.ending(rest, SAID, GOLD, critics, 0.2)
    assert seen["fixed_point_kl"].item() == pytest.approx(0, abs=1e-12)
    best, log_z = metrics.optimum(SAID.sentences, GOLD, 0.2)
    assert seen["optimum_kl"].item() == pytest.approx(
        metrics.soft_regret(rest.sentences, SAID.sentences, GOLD, 0.2).item() / 0.2
    )
    assert seen["q_error"].item() == pytest.approx(0)
    assert seen["v_error"].item() == pytest.approx(seen["disagreement"].item())
    assert seen["return_gain"].item() == pytest.approx(0)
    assert seen["published_000_gain"].item() < 0
    gone = metrics.Spoken(SENTENCES, rest.edges, torch.tensor([0.06], dtype=torch.float64))
    assert all(math.isnan(value.item()) for value in disagreement.ending(gone, SAID, GOLD, critics, 0.2).values())


def test_critics_of_a_network_are_what_it_says_sentence_by_sentence():
    config = gpt.GPTConfig(2, 4, 32, block_size=GRAMMAR.longest + 1, vocabulary=len(GRAMMAR.vocabulary))
    params = gpt.init(config, 2, [torch.Generator().manual_seed(i) for i in range(2)])
    for name, value in params.items():
        if name.startswith(("q", "value")):
            value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3))
    critics = disagreement.of_network(SENTENCES, Network(config), params)
    for leaf in SENTENCES.leaves[::3000].tolist():
        nodes = SENTENCES.path(leaf)
        tokens = torch.cat([SENTENCES.prompt, SENTENCES.token[nodes[1:]]])
        said = gpt.forward(params, config, tokens.expand(2, 1, -1))
        at = len(SENTENCES.prompt) - 1
        v = said.values[:, 0, at:-1].double()
        q = said.q[:, 0, at:-1].gather(-1, tokens[at + 1 :].expand(2, -1)[..., None])[..., 0].double()
        torch.testing.assert_close(critics.v[:, nodes[:-1]], v, atol=1e-5, rtol=0)
        torch.testing.assert_close(critics.q[:, nodes[1:]], q, atol=1e-5, rtol=0)


def test_shares_are_shares():
    with pytest.raises(ValueError, match="q_knows = 2"):
        disagreement.partial(SAID, GOLD, 0.5, 2)
    with pytest.raises(ValueError, match="trace = -1"):
        disagreement.published(SAID, GOLD, any_critics(SAID), -1)


def short_run(monkeypatch, tmp_path, **settings):
    monkeypatch.setattr(places, "PRETRAINED", tmp_path)
    config = runs.language_config(algorithm="actde", trials=2, sequences=8, **settings)
    return runs.Run(config, runs.LanguageWorld(), runs.PretrainedSettings("small", pretraining=2, masked=True))


def test_ends_of_a_run_are_kept(tmp_path, monkeypatch):
    run = short_run(monkeypatch, tmp_path, updates=4, checkpoint_every=4, evaluate_every=4)
    data = runs.train(run, tmp_path / "run.nc", progress=False)
    assert data["ending"].dims == ("trial", "ending_quantity")
    assert "fixed_point_kl" not in data["ending_quantity"]
    assert np.isfinite(data["ending"].values).all()
    assert (data["ending"].sel(ending_quantity="disagreement") > 0).all()


def test_watching_trains_and_reads(tmp_path, monkeypatch):
    run = short_run(monkeypatch, tmp_path, updates=8)
    work = runs.trainer(run)
    seen = disagreement.watch(work, 8, 4)
    assert work.update == 8
    assert seen["update"].tolist() == [[0, 4, 8]] * 2
    np.testing.assert_allclose(seen["leak"], 0, atol=1e-9)
    # With critics that say zero, only the end of a sentence is news.
    np.testing.assert_allclose(seen["return"][:, 0], 1)
    np.testing.assert_allclose(seen["published_095"][:, 0], seen["state"][:, 0])
    with pytest.raises(ValueError, match="every = 3"):
        disagreement.watch(work, 8, 3)
