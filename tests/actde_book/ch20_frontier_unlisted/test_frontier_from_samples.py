"""The frontier from samples of the initial policy, against distributions whose optimum is known."""

import numpy as np
import pytest
from actde_book.ch20_frontier_unlisted.frontier import LEAST, Known, frontier, optimum, resampled
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def test_a_sample_is_its_own_policy():
    """Three outcomes, one of them twice: initial shares 1/4, 1/2, 1/4, and the optimum by enumeration."""
    rewards, coefficient = np.array([0.0, 1.0, 1.0, 3.0]), 0.5
    initial, values = np.array([0.25, 0.5, 0.25]), np.array([0.0, 1.0, 3.0])
    best = initial * np.exp(values / coefficient)
    best /= best.sum()
    found = optimum(rewards, coefficient)
    assert found.reward == pytest.approx(best @ values, abs=1e-12)
    assert found.kl == pytest.approx(best @ np.log(best / initial), abs=1e-12)
    weights = np.exp(rewards / coefficient)
    assert found.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-12)


def test_normal_rewards_have_a_known_frontier():
    """Rewards N(0, 1): the optimum is N(1/beta, 1), at a divergence of 1 / (2 beta squared)."""
    rewards = np.random.default_rng(0).normal(size=200_000)
    found = optimum(rewards, 1.25)
    assert found.reward == pytest.approx(1 / 1.25, abs=0.02)
    assert found.kl == pytest.approx(1 / (2 * 1.25**2), abs=0.02)


def test_a_bootstrap_sample_is_a_sample():
    """Counts stand for samples that are there so many times; without weights the mean varies as a mean does."""
    draw = np.random.default_rng(1)
    rewards = draw.normal(size=500)
    counts = draw.multinomial(500, np.full(500, 1 / 500), size=2_000)
    known = Known(np.array([5.0]), np.array([-4.0]))
    for beside in (None, known):
        found = resampled(rewards, np.array([1e9, 0.7]), counts, beside)
        one = optimum(np.repeat(rewards, counts[3]), 0.7, beside)
        assert found[3, 1] == pytest.approx([one.reward, one.kl], abs=1e-12)
    plain = resampled(rewards, np.array([1e9]), counts)[:, 0]
    assert plain[:, 0].std() == pytest.approx(rewards.std() / 500**0.5, rel=0.1)
    assert plain[:, 1] == pytest.approx(0, abs=1e-6)


def test_texts_that_are_known_count_with_their_probabilities():
    """Two common texts share what three rare ones leave, which are known and pay more: the optimum by enumeration."""
    known = Known(np.array([8.0, 7.0, 0.5]), np.log([0.001, 0.004, 0.002]))
    rare = np.exp(known.log_probabilities)
    initial = np.concatenate([np.full(2, (1 - rare.sum()) / 2), rare])
    values, coefficient = np.concatenate([[0.0, 1.0], known.rewards]), 0.9
    best = initial * np.exp(values / coefficient)
    best /= best.sum()
    found = optimum(np.array([0.0, 1.0]), coefficient, known)
    assert found.reward == pytest.approx(best @ values, rel=1e-2)  # a sample without them stands for all that is left
    assert found.kl == pytest.approx(best @ np.log(best / initial), rel=1e-2)
    assert known.reward(coefficient) == pytest.approx(best[2:] @ known.rewards / best[2:].sum())
    assert known.log_mass(coefficient) == pytest.approx(np.log(rare @ np.exp(known.rewards / coefficient)))


def test_the_frontier_begins_at_the_initial_policy_and_stops_where_the_sample_does():
    rewards = np.random.default_rng(0).normal(size=5_000)
    found = frontier(rewards, np.geomspace(5, 0.05, 40), draws=50, seed=0)
    assert (found.kl[0], found.reward[0]) == (0.0, rewards.mean())
    assert found.effective[-1] >= LEAST > optimum(rewards, found.coefficient[-1] * 0.88).effective
    assert (np.diff(found.kl) > 0).all()
    assert (np.diff(found.reward) > 0).all()
    low, high = found.interval
    assert (low <= found.reward + 1e-9).all()
    assert (found.reward <= high + 1e-9).all()
    value, low, high = found.best_at(0.5)
    assert value == pytest.approx(1, abs=0.05)  # N(0, 1) has sqrt(2 KL)
    assert low < value < high
    assert np.isnan(found.best_at(found.kl[-1] + 1)).all()


def test_no_policy_is_above_the_tangent():
    """Of N(0, 1) the frontier is sqrt(2 KL), which is concave: the tangent lies above it and touches it once."""
    rewards = np.random.default_rng(0).normal(size=100_000)
    found = frontier(rewards, np.array([2.0, 1.0]), draws=2, seed=0)
    kl = np.array([0.5, 2.0, 8.0])
    assert (found.tangent(kl) >= np.sqrt(2 * kl) - 0.02).all()
    assert found.tangent(found.kl[-1:]) == pytest.approx(found.reward[-1:])


@given(arrays(float, 8, elements=st.floats(-3, 3)), st.floats(0.05, 20), st.floats(-5, 5))
def test_a_constant_in_the_reward_moves_the_reward_alone(rewards, coefficient, constant):
    one, other = optimum(rewards, coefficient), optimum(rewards + constant, coefficient)
    assert other.reward == pytest.approx(one.reward + constant, abs=1e-9)
    assert other.kl == pytest.approx(one.kl, abs=1e-6)
    assert other.effective == pytest.approx(one.effective, rel=1e-6)
    assert one.kl >= -1e-9


def test_runs_that_say_one_text_tell_its_probability():
    """The word twelve times at a point each, and once with another word, in runs that say nothing else."""
    known = Known.told_by("ppo", "ppo_free")
    assert known.rewards == pytest.approx([12, 11.59], abs=0.01)
    assert known.log_probabilities == pytest.approx([-27.53, -25.17], abs=0.05)
