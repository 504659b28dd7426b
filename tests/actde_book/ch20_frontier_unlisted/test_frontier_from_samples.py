"""The frontier from samples of the initial policy, against distributions whose optimum is known."""

import numpy as np
import pytest
from actde_book.ch20_frontier_unlisted.frontier import optimum, resampled
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
    again = resampled(rewards[:2_000], 1.25, np.random.default_rng(1).integers(2_000, size=(200, 2_000)))
    assert again.std(0) == pytest.approx([0.035, 0.03], rel=0.7)


@given(arrays(float, 8, elements=st.floats(-3, 3)), st.floats(0.05, 20), st.floats(-5, 5))
def test_a_constant_in_the_reward_moves_the_reward_alone(rewards, coefficient, constant):
    one, other = optimum(rewards, coefficient), optimum(rewards + constant, coefficient)
    assert other.reward == pytest.approx(one.reward + constant, abs=1e-9)
    assert other.kl == pytest.approx(one.kl, abs=1e-6)
    assert other.effective == pytest.approx(one.effective, rel=1e-6)
    assert one.kl >= -1e-9
