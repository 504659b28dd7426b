"""Pretraining on a grammar's own probabilities."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from actde_nb.checks import CheckpointError
from actde_nb.networks import gpt
from actde_nb.training import pretrain as pretraining
from actde_nb.training.files import write_tensors
from actde_nb.training.pretrain import Pretraining, divergence, network, pretrain, pretrained
from actde_nb.training.trainer import generator
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.wedding import wedding

TOY = Grammar(
    (".", "a", "b"),
    {
        START: {"a": (0.5, "after a"), "b": (0.5, "after b")},
        "after a": {"a": (0.9, "stop"), "b": (0.1, "stop")},
        "after b": {"a": (0.1, "stop"), "b": (0.9, "stop")},
        "stop": {".": (1.0, END)},
    },
    longest=3,
)
SMALL = gpt.GPTConfig(1, 1, 16, block_size=4, vocabulary=5)
QUICK = Pretraining(steps=150, batch=16, learning_rate=1e-2)


def test_divergence_by_hand():
    # A uniform guess among 5 words: ln 5 less the entropy of what comes, over begin, a, then stop for the first
    # sentence; positions after the end do not count.
    tokens = torch.stack([TOY.encode("a b")[:3]])[None]
    coin, biased = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    entropies = -(coin * coin.log()).sum() - (biased * biased.log()).sum()
    expected = torch.tensor([5.0]).log() - entropies / 3
    torch.testing.assert_close(divergence(torch.zeros(1, 1, 3, 5), tokens, TOY), expected)
    whole = torch.nn.functional.pad(TOY.encode("a b."), (0, 3))[None, None]
    torch.testing.assert_close(divergence(torch.zeros(1, 1, 7, 5), whole, TOY), expected)


def test_a_small_network_learns_a_small_grammar():
    params = pretrain(TOY, SMALL, QUICK, trials=2)
    tokens = TOY.sample(500, torch.Generator().manual_seed(7)).expand(2, -1, -1)[..., :-1]
    assert (divergence(gpt.forward(params, SMALL, tokens).logits, tokens, TOY) < 1e-3).all()
    untrained = gpt.init(SMALL, 1, [torch.Generator().manual_seed(0)])
    assert (divergence(gpt.forward(untrained, SMALL, tokens[:1]).logits, tokens[:1], TOY) > 0.5).all()


def test_a_network_within_a_thousandth_of_a_nat():
    grammar = wedding()
    config = network(grammar, "medium")
    params = pretrain(grammar, config, Pretraining(steps=250, batch=32, learning_rate=8e-3))
    tokens = grammar.sample(2_000, torch.Generator().manual_seed(7))[None, :, :-1]
    out = gpt.forward(params, config, tokens)
    assert divergence(out.logits, tokens, grammar).item() < 1e-3
    assert (out.values == 0).all()
    assert (out.q == 0).all()


def watched(settings, targets="soft", trials=1):
    seen = []
    pretrain(TOY, SMALL, settings, trials, targets, seen.append)
    return torch.stack(seen, 1)


def test_what_is_watched_is_the_divergence_on_fresh_sentences():
    seen = watched(Pretraining(steps=1, batch=4_000))
    untrained = gpt.init(SMALL, 1, [generator(0, 0, "init")])
    tokens = TOY.sample(4_000, torch.Generator().manual_seed(5))[None, :, :-1]
    away = divergence(gpt.forward(untrained, SMALL, tokens).logits, tokens, TOY)
    assert seen[0, 0].item() == pytest.approx(away.item(), rel=0.02)


def test_both_targets_begin_alike_and_the_words_that_came_are_noisier():
    settings = Pretraining(steps=120, batch=16, learning_rate=1e-2)
    soft, hard = (watched(settings, targets, trials=3) for targets in ("soft", "hard"))
    torch.testing.assert_close(soft[:, 0], hard[:, 0])
    assert (hard[:, -20:].mean(1) < 0.1).all()  # it learns
    assert (hard[:, -20:].mean(1) > 1.5 * soft[:, -20:].mean(1)).all()


def test_sizes():
    # Without the heads of v and q: 49 words and 16 positions, two blocks, the last layer norm, the policy.
    for size, expected in (("small", 29_120), ("medium", 107_392), ("large", 411_392)):
        config = network(wedding(), size)
        heads = config.width * 50 + 50
        width = config.width
        by_hand = (2 * 49 + 16) * width + 2 * (12 * width**2 + 13 * width) + 2 * width
        assert gpt.parameter_count(config) - heads == by_hand == expected


def test_each_trial_has_its_own_seed():
    brief = Pretraining(steps=5, batch=8)
    alone, stacked = pretrain(TOY, SMALL, brief), pretrain(TOY, SMALL, brief, trials=2)
    for name in alone:
        torch.testing.assert_close(alone[name][0], stacked[name][0], atol=1e-5, rtol=0)
    assert (stacked["policy.weight"][0] != stacked["policy.weight"][1]).any()
    other = pretrain(TOY, SMALL, Pretraining(steps=5, batch=8, seed=1))
    assert (alone["policy.weight"] != other["policy.weight"]).any()


def test_what_was_learned_is_kept_and_found_again(tmp_path):
    brief = Pretraining(steps=5, batch=8)
    made = pretrained(TOY, SMALL, brief, tmp_path)
    [path] = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    found = pretrained(TOY, SMALL, brief, tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mtime_ns == written
    assert list(made) == list(found)
    assert all((made[name] == found[name]).all() for name in made)


@pytest.mark.parametrize("change", ["steps", "grammar", "trials"])
def test_anything_else_is_another_file(tmp_path, change):
    pretrained(TOY, SMALL, Pretraining(steps=1, batch=8), tmp_path)
    rules = {**TOY.rules, START: {"a": (0.4, "after a"), "b": (0.6, "after b")}}
    grammar = Grammar(TOY.words, rules, 3) if change == "grammar" else TOY
    steps, trials = 2 if change == "steps" else 1, 2 if change == "trials" else 1
    pretrained(grammar, SMALL, Pretraining(steps=steps, batch=8), tmp_path, trials)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_version_is_another_file(tmp_path, monkeypatch):
    brief = Pretraining(steps=1, batch=8)
    pretrained(TOY, SMALL, brief, tmp_path)
    monkeypatch.setattr(pretraining, "VERSION", pretraining.VERSION + 1)
    pretrained(TOY, SMALL, brief, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_is_refused(tmp_path):
    brief = Pretraining(steps=1, batch=8)
    pretrained(TOY, SMALL, brief, tmp_path)
    [path] = tmp_path.iterdir()
    tensors = load_file(path)
    tensors["policy.weight"][0, 0, 0] += 1
    with safe_open(path, framework="pt") as file:
        save_file(tensors, path, file.metadata())
    with pytest.raises(CheckpointError, match="is damaged: .*; delete it"):
        pretrained(TOY, SMALL, brief, tmp_path)
    write_tensors(path, tensors, {"format": pretraining.FORMAT, "identity": "another"})
    with pytest.raises(CheckpointError, match="does not hold what its name says; delete it"):
        pretrained(TOY, SMALL, brief, tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read as actde-nb pretrained 2: .*; delete it"):
        pretrained(TOY, SMALL, brief, tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Pretraining(steps=0), "steps = 0: allowed are whole numbers of 1 or more"),
        (lambda: Pretraining(learning_rate=0), "learning_rate = 0: allowed are finite numbers above zero"),
        (lambda: Pretraining(seed=-1), "seed = -1: allowed are whole numbers of 0 or more"),
        (lambda: network(TOY, "huge"), "size = 'huge': allowed are small, medium, large"),
        (lambda: pretrain(TOY, gpt.GPTConfig(1, 1, 4, 4, 4)), "vocabulary = 4: allowed are 5 or more"),
        (lambda: pretrain(TOY, gpt.GPTConfig(1, 1, 4, 2, 5)), "block_size = 2: allowed are 3 or more"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
