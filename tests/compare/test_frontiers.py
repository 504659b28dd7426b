"""Runs beside each other: made-up ones with known answers, and a frontier around a small network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from actde_book.ch16_one_frontier import comparison
from scipy import stats

from actde_nb import paths
from actde_nb.checks import ResultsError
from actde_nb.compare import frontiers
from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.experiments import runs
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.language import Language
from actde_nb.worlds.rewards import Scorer
from actde_nb.worlds.tree import grow

EXACT, SAMPLED = ["leak", "kl", "reward", "top"], ["kl", "reward", "length"]


def run(exact: np.ndarray, sampled: np.ndarray, trials=None) -> xr.Dataset:
    """A run with these numbers [trial, evaluated, quantity]."""
    return xr.Dataset(
        {
            "exact": (("trial", "evaluated", "exact_quantity"), exact.astype(np.float32)),
            "sampled": (("trial", "evaluated", "sampled_quantity"), sampled.astype(np.float32)),
        },
        {
            "trial": np.arange(len(exact)) if trials is None else trials,
            "evaluated": 40 * np.arange(exact.shape[1]),
            "exact_quantity": EXACT,
            "sampled_quantity": SAMPLED,
        },
    )


@pytest.fixture
def known():
    """Three trials; the last one has left the language at the end."""
    exact = np.arange(24.0).reshape(3, 2, 4)
    exact[2, 1, 1:] = np.nan
    return run(exact, 100 + np.arange(18.0).reshape(3, 2, 3))


def test_samples_stand_in_where_exact_numbers_are_withheld(known):
    np.testing.assert_array_equal(frontiers.curve(known, "kl"), [[1, 5], [9, 13], [17, 115]])
    np.testing.assert_array_equal(frontiers.curve(known, "kl", "exact")[2], [17, np.nan])
    np.testing.assert_array_equal(frontiers.curve(known, "kl", "sampled"), [[100, 103], [106, 109], [112, 115]])
    np.testing.assert_array_equal(comparison.known_exactly(known), [[True, True], [True, True], [True, False]])


def test_what_is_known_in_one_way_only(known):
    np.testing.assert_array_equal(frontiers.last(known, "length"), [105, 111, 117])
    np.testing.assert_array_equal(frontiers.last(known, "leak"), [4, 12, 20])
    np.testing.assert_array_equal(frontiers.last(known, "top"), [7, 15, np.nan])


def test_path_of_two_quantities(known):
    seen = frontiers.path(known)
    assert seen.shape == (3, 2, 2)
    np.testing.assert_array_equal(seen[0], [[1, 2], [5, 6]])
    np.testing.assert_array_equal(seen[2, 1], [115, 116])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("joy",), "quantity = 'joy': allowed are leak, kl, reward, top, length"),
        (("length", "exact"), "quantity = 'length'"),
    ],
)
def test_what_is_not_there(known, arguments, message):
    with pytest.raises(ValueError, match=message):
        frontiers.curve(known, *arguments)


def test_withheld_numbers_have_no_mean(known):
    with pytest.raises(ValueError, match="finite"):
        frontiers.estimate(known, "kl", "exact")


def test_paired_difference_is_students_for_one_sample():
    draws = np.random.default_rng(0)
    common = draws.normal(0, 5, (6, 2, 4))  # what the trials share, and cancels
    first, second = (common + draws.normal(shift, 1, common.shape) for shift in (2, 0))
    ours = frontiers.paired(run(first, first[..., :3]), run(second, second[..., :3]), "reward")
    gaps = first[:, -1, 2].astype(np.float32) - second[:, -1, 2].astype(np.float32)
    theirs = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert ours.value == pytest.approx(gaps.mean(), rel=1e-6)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-5)


def test_paired_takes_the_trials_that_both_have_and_samples_of_both_where_one_has_left(known):
    other = run(np.zeros((3, 2, 4)), np.zeros((3, 2, 3)), trials=[2, 1, 7])
    found = frontiers.paired(known, other, "kl")  # trial 1: 13 exactly; trial 2: 115 from samples
    assert found.value == pytest.approx((13 + 115) / 2)
    assert frontiers.paired(known, other, "length").value == pytest.approx((111 + 117) / 2)
    with pytest.raises(ValueError, match="two or more"):
        frontiers.paired(known, other.sel(trial=[1, 7]), "kl")
    with pytest.raises(ValueError, match="quantity = 'joy'"):
        frontiers.paired(known, other, "joy")


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(ResultsError, match="language_none.nc does not exist"):
        frontiers.stored("none", folder=tmp_path)


def test_frontier_of_two_sentences_by_hand(monkeypatch, tmp_path):
    """From even odds and rewards 0 and 1, the optimum says the better one with chance 1 / (1 + exp(-1 / beta))."""
    grammar = Grammar(("so", "a", "b"), {START: {"so": (1.0, "rest")}, "rest": {"a": (0.5, END), "b": (0.5, END)}}, 3)
    toy = Language(grammar, "so", "sent", Scorer(grammar, {"a": 0.0, "b": 1.0}, (), "so"))
    monkeypatch.setattr(paths, "PRETRAINED", tmp_path)
    monkeypatch.setattr(runs.LanguageWorld, "make", lambda self, seed: toy)
    config = replace(runs.LanguageWorld.usual, trials=1, steps=2, batch=8)
    run = runs.Run(config, runs.LanguageWorld(), runs.PretrainedSettings("small", pretraining=5, masked=True))
    found = frontiers.possible(run, (2.0, 0.5, 1e-3))
    before = runs.evaluation(run)
    chance, worth = before.initial.sentences[0].exp(), before.known["reward"]
    top = int(worth.argmax())
    odds = chance[top] / (1 - chance[top]) * torch.exp((worth[top] - worth[1 - top]) / torch.tensor([2.0, 0.5, 1e-3]))
    better = (odds / (1 + odds)).nan_to_num(1.0)
    np.testing.assert_allclose(found["reward"], better * worth[top] + (1 - better) * worth[1 - top], atol=1e-5)
    optimum, _ = policy_on_tree.optimum(before.initial.sentences[0], worth, 0.5)
    assert found["kl"][1] == pytest.approx(policy_on_tree.divergence(optimum, before.initial.sentences[0]).item())


@pytest.mark.parametrize(("split", "nats_outside"), [((0.75, 0.25), 0.0), ((0.5, 0.5), 0.5 * np.log(4 / 3))])
def test_regret_with_the_leak_against_all_four_texts(split, nats_outside):
    """Two sentences worth .2 and 1, two texts outside worth nothing, which the initial policy says 3 to 1."""
    grammar = Grammar(("so", "a", "b"), {START: {"so": (1.0, "rest")}, "rest": {"a": (0.5, END), "b": (0.5, END)}}, 3)
    worth, inside, before = np.array([0.2, 1.0]), np.array([0.4, 0.6]), np.array([0.7, 0.3])
    leak, leaked, beta = 0.04, 0.01, 0.3
    edges = torch.tensor([[1.0, *before]], dtype=torch.float64).log()
    initial = TreePolicy(grow(grammar, "so"), edges, torch.tensor([leaked], dtype=torch.float64))
    nats = (inside * np.log(inside / before)).sum()
    numbers = np.tile([leak, nats, inside @ worth, 0.6], (2, 1, 1))
    found = frontiers.least_regret(run(numbers, np.zeros((2, 1, 3))), initial, torch.tensor(worth), beta)

    said = np.array([*(1 - leak) * inside, *leak * np.array(split)])
    first = np.array([*(1 - leaked) * before, *leaked * np.array([0.75, 0.25])])
    earned = np.array([*worth, 0, 0])
    best = beta * np.log(first @ np.exp(earned / beta))
    whole = best - (said @ earned - beta * (said * np.log(said / first)).sum())
    np.testing.assert_allclose(found, whole - beta * leak * nats_outside, atol=1e-6)


def test_effective_sentences_are_e_to_the_mean_entropy():
    # Of 2, 8 and 4 sentences: the geometric mean, 4. Logs 1, 3, 2 times ln 2 have the standard error ln 2 / sqrt 3.
    names = {"exact": np.log([2.0, 8.0, 4.0]), "sampled": np.zeros(3)}
    data = xr.Dataset(
        {kind: (("trial", "evaluated", f"{kind}_quantity"), x[:, None, None]) for kind, x in names.items()},
        {"trial": np.arange(3), "exact_quantity": ["entropy"], "sampled_quantity": ["entropy"]},
    )
    found = frontiers.effective_sentences(data)
    assert (found.value, found.error) == (pytest.approx(4), pytest.approx(4 * np.log(2) / 3**0.5))
    assert found.high / 4 == pytest.approx(4 / found.low)
    assert np.log(found.high / 4) == pytest.approx(stats.t.ppf(0.975, 2) * np.log(2) / 3**0.5)


def test_distance_from_a_frontier():
    line = {"kl": np.array([1.0, 0.0, 3.0]), "reward": np.array([0.5, 0.0, 0.9])}
    kl, reward = np.array([0.5, 2.0, 9.0]), np.array([0.25, 0.6, 0.8])
    np.testing.assert_allclose(frontiers.excess(line, kl, reward), [0, 0.5, 6.5], atol=1e-12)


FRONTIER = {"kl": np.array([2.0, 0.0]), "reward": np.array([0.8, 0.4])}  # from high to low, as a frontier may come


def at_the_end(kl, reward) -> xr.Dataset:
    ends = np.stack([np.zeros_like(kl), kl, reward, np.zeros_like(kl)], -1)[:, None]
    return run(ends, 100 + ends[..., 1:])


def test_beyond_a_frontier_by_hand():
    # At 1 nat the frontier has .6, at 3, past its end, .8; it has .7 at 1.5 nats.
    data = at_the_end(np.array([1.0, 3.0]), np.array([0.5, 0.9]))
    np.testing.assert_allclose(frontiers.beyond(data, FRONTIER, "reward"), [-0.1, 0.1], atol=1e-6)
    np.testing.assert_allclose(frontiers.beyond(data, FRONTIER, "kl", at="reward"), [0.5, 1], atol=1e-6)


def test_points_of_a_frontier_are_not_beyond_it():
    data = at_the_end(FRONTIER["kl"], FRONTIER["reward"])
    for quantity, at in (("reward", "kl"), ("kl", "reward")):
        np.testing.assert_allclose(frontiers.beyond(data, FRONTIER, quantity, at), 0, atol=1e-6)
