"""Pretraining watched."""

import pytest
import torch

from actde_nb.networks import gpt
from actde_nb.study.teaching import lesson
from actde_nb.training.pretrain import Pretraining, divergence, pretrain
from actde_nb.training.trainer import generator
from actde_nb.worlds.grammar import END, START, Grammar

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
QUICK = Pretraining(steps=120, batch=16, learning_rate=1e-2)


def test_soft_targets_are_how_networks_are_pretrained():
    ours, watched = lesson(TOY, SMALL, QUICK, trials=2)
    theirs = pretrain(TOY, SMALL, QUICK, trials=2)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert watched.shape == (2, 120)


def test_what_is_watched_is_the_divergence_on_fresh_sentences():
    brief = Pretraining(steps=1, batch=4_000)
    _, watched = lesson(TOY, SMALL, brief)
    untrained = gpt.init(SMALL, 1, [generator(0, 0, "init")])
    tokens = TOY.sample(4_000, torch.Generator().manual_seed(5))[None, :, :-1]
    away = divergence(gpt.forward(untrained, SMALL, tokens).logits, tokens, TOY)
    assert watched[0, 0].item() == pytest.approx(away.item(), rel=0.02)


def test_both_targets_begin_alike_and_samples_are_noisier():
    soft, sampled = (lesson(TOY, SMALL, QUICK, kind, trials=3)[1] for kind in (True, False))
    torch.testing.assert_close(soft[:, 0], sampled[:, 0])
    assert (sampled[:, -20:].mean(1) < 0.1).all()  # it learns
    assert (sampled[:, -20:].mean(1) > 1.5 * soft[:, -20:].mean(1)).all()
