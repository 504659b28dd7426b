"""Fixed points of APA by hand, and a run watched on its way."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from actde_book.ch10_a_small_language.on_the_tree import of_grammar
from actde_book.ch11_ppo_awr_apa import apa_on_tree

from actde_nb import paths
from actde_nb.exact import policy_on_tree
from actde_nb.experiments import runs
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.language import Language
from actde_nb.worlds.rewards import Scorer
from actde_nb.worlds.tree import grow

GRAMMAR = Grammar(
    ("so", "a", "b"),
    {
        START: {"so": (1.0, "first")},
        "first": {"a": (0.5, "second"), "b": (0.5, END)},
        "second": {"a": (0.5, END), "b": (0.5, END)},
    },
    longest=3,
)
TREE = grow(GRAMMAR, "so")
INITIAL = of_grammar(TREE, GRAMMAR)


def worth(**rewards: float) -> torch.Tensor:
    """Rewards of the sentences by what follows the prompt."""
    said = [GRAMMAR.decode(row).removeprefix("so ").rstrip() for row in TREE.sentences]
    return torch.tensor([rewards[text.replace(" ", "")] for text in said], dtype=torch.float64)


def test_resting_point_by_hand():
    """At the end aa : ab = e : 1 for a difference of beta. The value before it is their mean, and against b it counts
    as much, so that a : b = exp(that mean) at beta = 1."""
    reward = worth(aa=1.0, ab=0.0, b=0.0)
    last = np.e / (1 + np.e)
    first = 1 / (1 + np.exp(-last))
    (found,) = zip(policy_on_tree.resting_points(INITIAL, reward, [1.0])["reward"], strict=True)
    assert found[0] == pytest.approx(first * last, abs=1e-12)


def test_resting_points_are_nearer_to_the_optimum_where_the_price_is_high():
    found = policy_on_tree.resting_points(INITIAL, worth(aa=1.0, ab=0.2, b=0.5), [30.0, 1.0, 0.3])
    assert (np.diff(found["kl"]) > 0).all()
    assert found["from_optimum"][0] < 1e-6
    assert (np.diff(found["from_optimum"]) > 0).all()
    np.testing.assert_allclose(found["soft_regret"], [30, 1, 0.3] * found["from_optimum"], atol=1e-12)
    assert (found["log_z_mean"] < 0).all()


@pytest.mark.parametrize("beta", [2.0, 0.1])
def test_log_z_is_minus_the_divergence_at_the_fixed_point_and_not_beside_it(beta, monkeypatch):
    reward = worth(aa=1.0, ab=0.2, b=0.5)
    assert apa_on_tree.normaliser_mismatch(INITIAL, reward, beta) < 1e-12
    beside = policy_on_tree.advantage_fixed_point(INITIAL, reward, 2 * beta)
    monkeypatch.setattr(policy_on_tree, "advantage_fixed_point", lambda *_: beside)
    assert apa_on_tree.normaliser_mismatch(INITIAL, reward, beta) > 1e-3


def test_follow_sees_a_run_come_nearer(monkeypatch, tmp_path):
    toy = Language(GRAMMAR, "so", "sent", Scorer(GRAMMAR, {"a": 0.0, "b": 1.0}, (), "so"))
    monkeypatch.setattr(paths, "PRETRAINED", tmp_path)
    config = replace(
        runs.LanguageWorld.usual,
        algorithm="apa",
        trials=2,
        steps=2,
        batch=32,
        warmup=0,
        beta=0.2,
        whiten=False,
        learning_rate=3e-3,
    )
    run = runs.Run(config, runs.LanguageWorld(), runs.PretrainedSettings("small", pretraining=250))
    work = runs.trainer(run, world=toy)
    before = work.evaluate.initial
    rest = policy_on_tree.advantage_fixed_point(before, toy.worth(TREE.sentences), 0.2).sentences
    seen = apa_on_tree.follow(work, {"rest": rest, "start": before.sentences}, updates=80, every=40)
    assert seen["rest"].shape == seen["leak"].shape == (2, 3)
    np.testing.assert_array_equal(seen["update"], [0, 40, 80])
    np.testing.assert_allclose(seen["start"][:, 0], 0, atol=1e-9)
    kept = seen["leak"][:, -1] <= policy_on_tree.LEAK
    assert (seen["rest"][kept, -1] < 0.5 * seen["rest"][kept, 0]).all()
    assert np.isnan(seen["rest"][~kept, -1]).all()
