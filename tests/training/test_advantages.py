"""Advantages, by hand and against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actde_nb.checks import SettingError
from actde_nb.training import advantages
from actde_nb.training.advantages import action_conditioned, discounted_sums, gae, whiten


def steps(*numbers: float) -> torch.Tensor:
    return torch.tensor([[numbers]], dtype=torch.float64)


REWARDS, VALUES, Q, NEXT = steps(1, 0), steps(2, 4), steps(1, 5), torch.tensor([[6.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("gae_lambda", "expected"),
    [
        # Errors: 1 + .5 * 4 - 2 = 1, and at the end, where the next value is 6, 0 + .5 * 6 - 4 = -1.
        (0.0, (1, -1)),
        # The first takes in .5 * .95 of the second: 1 - .475.
        (0.95, (0.525, -1)),
        # With gae_lambda 1 it is the return minus v: 1 + .5 * 0 + .25 * 6 - 2 = .5.
        (1.0, (0.5, -1)),
    ],
)
def test_gae_by_hand(gae_lambda, expected):
    torch.testing.assert_close(gae(REWARDS, VALUES, NEXT, 0.5, gae_lambda), steps(*expected))


@pytest.mark.parametrize(
    ("gae_lambda", "expected"),
    [
        # Errors: 1 + .5 * 4 - 1 = 2 and 0 + .5 * 6 - 5 = -2. The first step's own v, 2, plays no part.
        (0.0, (2, -2)),
        # 2 - .475 * 2.
        (0.95, (1.05, -2)),
    ],
)
def test_action_conditioned_by_hand(gae_lambda, expected):
    torch.testing.assert_close(action_conditioned(REWARDS, VALUES, NEXT, Q, 0.5, gae_lambda), steps(*expected))


def test_a_world_that_ends_has_no_next_value():
    # 1 + .5 * 4 - 2 = 1 and 0 - 4 = -4; 1 - .475 * 4 = -.9.
    torch.testing.assert_close(gae(REWARDS, VALUES, 0 * NEXT, 0.5, 0.95), steps(-0.9, -4))


def random_rollout(seed: int, trials: int = 2, batch: int = 3, time: int = 7):
    draw = torch.Generator().manual_seed(seed)
    rewards, values, q = torch.randn(3, trials, batch, time, generator=draw, dtype=torch.float64)
    return rewards, values, torch.randn(trials, batch, generator=draw, dtype=torch.float64), q


@given(st.integers(0, 1000), st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_both_agree_with_a_loop_over_time(seed, discount, gae_lambda):
    rewards, values, end, q = random_rollout(seed)
    for baseline, ours in (
        (values, gae(rewards, values, end, discount, gae_lambda)),
        (q, action_conditioned(rewards, values, end, q, discount, gae_lambda)),
    ):
        expected, running, following = torch.zeros_like(rewards), torch.zeros_like(end), end
        for t in reversed(range(rewards.shape[-1])):
            running = rewards[..., t] + discount * following - baseline[..., t] + discount * gae_lambda * running
            expected[..., t], following = running, values[..., t]
        torch.testing.assert_close(ours, expected)


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_what_the_policy_learns_from_is_not_quite_the_error_of_q(seed, discount, gae_lambda):
    # A - (G - q) at t is the sum over later steps of (discount * lambda)^k (v - q), and so nothing when lambda = 0.
    rewards, values, end, q = random_rollout(seed)
    advantage = action_conditioned(rewards, values, end, q, discount, gae_lambda)
    error = gae(rewards, values, end, discount, gae_lambda) + values - q
    torch.testing.assert_close(advantage - error, discounted_sums(values - q, discount * gae_lambda) - (values - q))


def test_adding_values_gives_the_lambda_return():
    # With gae_lambda 0 the one-step target: 1 + .5 * 4 and 0 + .5 * 6.
    torch.testing.assert_close(gae(REWARDS, VALUES, NEXT, 0.5, 0.0) + VALUES, steps(3, 3))


def test_discounted_sums_with_no_factor_leave_the_errors():
    torch.testing.assert_close(discounted_sums(steps(3, 5, 7), 0.0), steps(3, 5, 7))
    torch.testing.assert_close(discounted_sums(steps(3, 5, 7), 1.0), steps(15, 12, 7))


def test_whitening_is_of_each_trial_by_itself():
    # Trial 0 has mean 2 and variance (1 + 0 + 1) / 2 = 1; trial 1 is ten times as large, plus 100.
    advantages = torch.tensor([[[1.0, 2.0, 3.0]], [[110.0, 120.0, 130.0]]], dtype=torch.float64)
    torch.testing.assert_close(whiten(advantages, 0.0), torch.tensor([[[-1.0, 0.0, 1.0]]] * 2, dtype=torch.float64))
    # The variance plus epsilon, under the root: 1 / sqrt(1 + 3).
    torch.testing.assert_close(whiten(advantages, 3.0)[0], torch.tensor([[-0.5, 0.0, 0.5]], dtype=torch.float64))


def test_whitening_blows_up_small_advantages_up_to_epsilon():
    small = torch.from_numpy(np.random.default_rng(0).normal(0, 0.01, (1, 8, 100)))
    assert whiten(small).std() == pytest.approx(1, abs=0.01)
    assert whiten(small * 1e-3).std() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("mask", [None, torch.tensor([[[True, False]], [[True, True]]])])
def test_one_advantage_cannot_be_whitened(mask):
    with pytest.raises(SettingError, match="a trial has one step that counts, .*: allowed are two or more, or whiten"):
        whiten(torch.zeros(2, 1, 1 if mask is None else 2), mask=mask)


def test_sequences_are_compared_with_the_others_of_their_group():
    # Totals 1, 3 and 4, 8, in groups of two: each less the other.
    rewards = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [2.0, 2.0], [8.0, 0.0]]], dtype=torch.float64)
    expected = torch.tensor([[[-2.0, -2.0], [2.0, 2.0], [-4.0, -4.0], [4.0, 4.0]]], dtype=torch.float64)
    torch.testing.assert_close(advantages.leave_one_out(rewards, 2), expected)
    # In one group of four: 1 - (3 + 4 + 8) / 3 = -4.
    assert advantages.leave_one_out(rewards, 4)[0, 0, 0] == -4


def test_sequences_are_measured_in_deviations_of_their_group():
    # Totals 1 and 3: mean 2, deviation sqrt(2) with n - 1; 4 and 8: mean 6, deviation sqrt(8).
    rewards = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [2.0, 2.0], [8.0, 0.0]]], dtype=torch.float64)
    half = 1 / 2**0.5
    expected = torch.tensor([-half, half, -half, half], dtype=torch.float64)[None, :, None].expand(1, 4, 2)
    torch.testing.assert_close(advantages.group_normalised(rewards, 2, epsilon=0.0), expected)
    assert (advantages.group_normalised(torch.ones(1, 4, 2), 2) == 0).all()


def test_sequences_are_compared_with_the_mean_of_their_group():
    # Totals 1 and 3 about 2, then 4 and 8 about 6; in one group of four, about 4.
    rewards = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [2.0, 2.0], [8.0, 0.0]]], dtype=torch.float64)
    expected = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [-2.0, -2.0], [2.0, 2.0]]], dtype=torch.float64)
    torch.testing.assert_close(advantages.group_centred(rewards, 2), expected)
    torch.testing.assert_close(advantages.group_centred(rewards, 4)[0, :, 0].tolist(), [-3.0, -1.0, 0.0, 4.0])


def test_whitening_leaves_out_what_is_masked():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    mask = torch.zeros(2, 3, 6, dtype=torch.bool)
    mask[..., :4] = True
    whitened = advantages.whiten(values, mask=mask)
    torch.testing.assert_close(whitened[..., :4], advantages.whiten(values[..., :4]))
    assert (whitened[..., 4:] == 0).all()


def test_whitening_is_of_all_processes_together():
    """A second process that holds the same again adds as much to each sum."""
    values = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.rand(2, 3, 6, generator=torch.Generator().manual_seed(1)) < 0.7
    found = advantages.whiten(values, mask=mask, total=lambda numbers: 2 * numbers)
    wanted = advantages.whiten(torch.cat([values, values], 1), mask=torch.cat([mask, mask], 1))
    torch.testing.assert_close(found, wanted[:, :3])
    assert not torch.allclose(found, advantages.whiten(values, mask=mask))
