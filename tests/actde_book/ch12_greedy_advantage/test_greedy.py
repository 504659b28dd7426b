"""What chapter 12 says about greedy-advantage-aware RLHF, by hand, by enumeration and against simulations."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch
from actde_book.ch12_greedy_advantage import algebra, one_state
from actde_book.ch12_greedy_advantage.one_state import PPO, Update
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

REWARDS = np.array([0.5, 0.6, 5.0])
TEXT, BATCH = Update("token"), Update("batch")
CODE = Update("batch", "sampled", x_eta=2, x_sigma=3)
TEMPERED = Update("batch", "sampled", x_eta=2, x_sigma=3, temperature=0.6)
VERSIONS = [PPO, TEXT, BATCH, CODE, TEMPERED, Update("token", "sampled"), Update("token", cut=False)]
policies = st.lists(st.floats(0.02, 1), min_size=2, max_size=6).map(lambda w: np.array(w) / sum(w))


def objective(logits, old, sampling, rewards, update):
    """The surrogate of one batch, written down token by token in torch, with everything but the ratios constant."""
    mean = sum(m * r for m, r in zip(sampling, rewards, strict=True))
    deviation = sum(m * (r - mean) ** 2 for m, r in zip(sampling, rewards, strict=True)) ** 0.5
    gains = [(r - mean) / deviation for r in rewards]
    star = int(np.argmax(old))
    ratio = torch.softmax(logits, -1) / torch.tensor(old)
    average = sum(m * (gains[star] - g) for m, g in zip(sampling, gains, strict=True))
    total = 0
    for x in range(len(old)):
        sigma = average if update.coefficients == "batch" else gains[star] - gains[x]
        a, b = one_state.coefficients(
            float(old[star]), float(sigma), x_eta=update.x_eta, x_sigma=update.x_sigma, cut=update.cut
        )
        if update.coefficients == "none":
            a, b = 1.0, 0.0
        chosen = star if update.ratio == "greedy" else x
        total = total + sampling[x] * (a * gains[x] * ratio[x] + b * gains[star] * ratio[chosen])
    return total


class TestCoefficients:
    @pytest.mark.parametrize(
        ("sigma", "eta", "a", "b"), [(0, 0, 1, 0), (0, 1, 1, 0), (2, 0, 2, -1), (2, 1, 0, -1)]
    )  # the four cases of the text
    def test_corners(self, sigma, eta, a, b):
        assert one_state.coefficients(eta, sigma) == (a, b)

    def test_by_hand(self):
        # Half way: a = 1/2 * 3/2 + 1/2 * 2^-10, b = -1/2 * 1/2 + 1/2 (2^-10 - 1).
        a, b = one_state.coefficients(0.5, 1.0)
        assert a == 0.75 + 2**-11
        assert b == -0.75 + 2**-11

    def test_published_cuts(self):
        # Scripts' (x_sigma, x_eta) = (3, 2): at eta >= 1/2 and sigma >= 1/3 only the greedy term is left.
        a, b = one_state.coefficients([0.5, 0.9, 0.25], [1 / 3, 4.0, 1 / 3], x_eta=2, x_sigma=3)
        np.testing.assert_allclose(a, [0, 0, 1], atol=1e-12)
        np.testing.assert_allclose(b, [-1, -1, -1], atol=1e-12)
        assert one_state.coefficients(0.4, -1.0) == (1, 0)

    def test_outside_its_range(self):
        # (1 + 1/2)^10 = 57.665 and (1 - 5/2)^10 is the same number.
        power = 1.5**10
        for eta, sigma in ((0.5, -1.0), (1.0, 5.0)):
            a, b = one_state.coefficients(eta, sigma, cut=False)
            assert a == pytest.approx((1 - eta) * (1 + sigma / 2) + eta * power)
            assert b == pytest.approx(-(1 - eta) * sigma / 2 + eta * (power - 1))

    def test_range(self):
        a, b = one_state.coefficients(np.linspace(0, 1, 41)[:, None], np.linspace(0, 2, 41))
        assert (a.min(), a.max(), b.min(), b.max()) == (0, 2, -1, 0)


class TestAlgebra:
    def test_the_four_cases(self):
        assert [case[2:] for case in algebra.corners()] == [(1, 0), (1, 0), (2, -1), (0, -1)]
        a, b = algebra.coefficients()
        numbers = {algebra.ETA: 0.3, algebra.SIGMA: 1.4}
        np.testing.assert_allclose(
            [float(f.subs(numbers)) for f in (a, b)], one_state.coefficients(0.3, 1.4), rtol=1e-14
        )

    def test_sum_difference_slopes(self):
        total, difference, half = algebra.sum_and_difference()
        assert (total, difference) == (0, 0)
        assert sp.expand(half - (1 - algebra.SCALED) ** 10) == 0
        first, second = algebra.slopes()
        assert sp.expand(first - (1 - 11 * algebra.ETA) / 2) == 0
        assert sp.expand(second + (1 + 9 * algebra.ETA) / 2) == 0

    def test_the_codes_term_has_mean_zero_and_the_texts_has_not(self):
        assert algebra.greedy_term("sampled", 4) == [0] * 4
        assert algebra.greedy_term("sampled", 3, on_policy=False) == [0] * 3
        first, second = sp.symbols("pi_1:3", positive=True)
        push = algebra.B * algebra.GREEDY_ADVANTAGE
        expected = [push * (1 - first), -push * second, -push * (1 - first - second)]
        found = algebra.greedy_term("greedy", 3)
        assert all(sp.expand(one - other) == 0 for one, other in zip(found, expected, strict=True))
        # b = -1, A* = .21, pi* = .6: -.084 on the greedy logit.
        numbers = {algebra.B: -1, algebra.GREEDY_ADVANTAGE: 0.21, first: 0.6}
        assert float(found[0].subs(numbers)) == pytest.approx(-0.084)

    def test_two_tokens(self):
        eta = algebra.ETA
        assert sp.expand(algebra.two_tokens("token") - (1 - eta) * (2 * eta**2 + 2 * eta - 1)) == 0
        speeds = {
            version: sp.lambdify((eta, algebra.SCALED), algebra.two_tokens(version)) for version in ("batch", "token")
        }
        for share in (0.5, 0.7, 0.93):
            policy = np.array([share, 1 - share])
            best = one_state.normalised(policy, [1.0, 0.0])[0]
            for version, speed in speeds.items():
                velocity = one_state.expected_update(policy, [1.0, 0.0], Update(version))
                expected = 2 * best * speed(share, min(best / 2, 1))
                assert velocity[0] - velocity[1] == pytest.approx(expected, rel=1e-10)

    def test_even_odds(self):
        # a and b at eta = 1/2, sigma = 1 add up to 2^-10.
        assert algebra.two_tokens("batch").subs(
            {algebra.ETA: sp.Rational(1, 2), algebra.SCALED: sp.Rational(1, 2)}
        ) == (sp.Rational(1, 2**11))

    def test_held(self):
        factor = sp.Symbol("x_eta", positive=True)
        assert algebra.held_among_many().subs(factor, 2) == sp.Rational(1, 3)


class TestExpectedUpdate:
    def test_by_hand(self):
        # Even odds, rewards 1 and -1: advantages 1 and -1, sigma (batch) 1, a = .75 + 2^-11, b = -.75 + 2^-11.
        policy, half = np.array([0.5, 0.5]), 2.0**-11
        np.testing.assert_allclose(one_state.expected_update(policy, [1, -1], PPO), [0.5, -0.5])
        a, b = 0.75 + half, -0.75 + half
        np.testing.assert_allclose(
            one_state.expected_update(policy, [1, -1], BATCH), [a / 2 + b / 2, -a / 2 - b / 2], rtol=1e-12
        )

    @pytest.mark.parametrize("update", VERSIONS)
    def test_against_autograd(self, update):
        rng = np.random.default_rng(1)
        for arms, _ in itertools.product((2, 3, 5), range(3)):
            old, rewards = rng.dirichlet(np.ones(arms)), rng.normal(size=arms)
            sampling = softmax(np.log(old) / update.temperature)
            logits = torch.tensor(np.log(old), requires_grad=True)
            objective(logits, old, sampling, rewards, update).backward()
            found = one_state.expected_update(old, rewards, update)
            np.testing.assert_allclose(found, logits.grad.numpy(), atol=1e-12, rtol=1e-9)

    @pytest.mark.parametrize("update", VERSIONS[:4])
    def test_without_a_lead_it_is_ppo(self, update):
        policy, rewards = np.array([0.2, 0.3, 0.5]), np.array([3.0, 2.0, 1.0])  # greedy token the worst: sigma <= 0
        np.testing.assert_array_equal(
            one_state.expected_update(policy, rewards, update), one_state.expected_update(policy, rewards, PPO)
        )

    @settings(max_examples=50, deadline=None)
    @given(policies, st.integers(0, 100))
    def test_the_code_is_ppo_with_another_step(self, policy, seed):
        rewards = np.random.default_rng(seed).normal(size=policy.size)
        best = one_state.normalised(policy, rewards)[policy.argmax()]
        a, _ = one_state.coefficients(policy.max(), best, x_eta=2, x_sigma=3)
        np.testing.assert_allclose(
            one_state.expected_update(policy, rewards, CODE),
            a * one_state.expected_update(policy, rewards, PPO),
            atol=1e-12,
        )

    @settings(max_examples=100, deadline=None)
    @given(policies, st.integers(0, 100))
    def test_mean_sigma_is_bounded(self, policy, seed):
        rewards = np.random.default_rng(seed).standard_cauchy(size=policy.size)
        best, eta = one_state.normalised(policy, rewards)[policy.argmax()], policy.max()
        bound = np.sqrt((1 - eta) / eta)
        assert best <= bound + 1e-9
        alike = one_state.normalised(policy, (np.arange(policy.size) == policy.argmax()) * 1.0)
        assert alike[policy.argmax()] == pytest.approx(bound)

    @settings(max_examples=100, deadline=None)
    @given(policies, st.integers(0, 100))
    def test_above_one_half_the_best_arm_is_reinforced(self, others, seed):
        # Every other arm below the mean, as near the vertex: theorem of the chapter.
        rng = np.random.default_rng(seed)
        eta = rng.uniform(0.5001, 0.999)
        policy = np.array([eta, *(1 - eta) * others])
        rewards = np.array([1.0, *rng.uniform(-0.1, 0.1, size=others.size)])
        velocity = one_state.expected_update(policy, rewards, TEXT)
        assert (velocity[0] > velocity[1:]).all()
        a, b = one_state.coefficients(eta, one_state.normalised(policy, rewards)[0])
        if a * eta + (1 - eta + policy[1:].max()) * b > 0:
            velocity = one_state.expected_update(policy, rewards, BATCH)
            assert (velocity[0] > velocity[1:]).all()


class TestClippedTerm:
    def test_against_autograd(self):
        rng = np.random.default_rng(2)
        for advantage in (0.7, -0.7):
            old, now = rng.dirichlet(np.ones(5), size=2)
            logits = torch.tensor(np.log(now), requires_grad=True)
            ratio = torch.softmax(logits, -1) / torch.tensor(old)
            clipped = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            (-0.6 * (torch.tensor(old) * clipped).sum()).backward()
            found = one_state.sampled_term(now, old, advantage, -0.6, 0.2)
            np.testing.assert_allclose(found, logits.grad.numpy(), atol=1e-14)

    def test_raises_what_has_risen(self):
        old, now = np.array([0.4, 0.3, 0.3]), np.array([0.6, 0.2, 0.2])
        push = one_state.sampled_term(now, old, 1.0, -0.5, 0.2)
        np.testing.assert_allclose(push, [0.5 * 0.6 * 0.4, -0.5 * 0.6 * 0.2, -0.5 * 0.6 * 0.2])
        np.testing.assert_allclose(one_state.sampled_term(now, old, 1.0, -0.5, 0.6), np.zeros(3), atol=1e-15)


class TestTies:
    def test_motion_and_exit(self):
        start = np.full(3, 1 / 3)
        held = one_state.slide(start, REWARDS, BATCH, (2, 1), until=2e4)
        assert held.left
        assert held.times[-1] == pytest.approx(1.095e4, rel=1e-3)
        assert held.policies[-1, 0] == pytest.approx(0.001787, abs=1e-6)
        forever = one_state.slide(start, REWARDS, Update("batch", x_sigma=1), (2, 1), until=2e4)
        assert not forever.left

    def test_small_steps_tend_to_it(self):
        start = np.array([0.3, 0.35, 0.35])
        exact = one_state.slide(start, REWARDS, BATCH, (2, 1), until=20.0).policies[-1]
        gaps = [
            np.abs(one_state.flow(start, REWARDS, BATCH, step=20 / n, steps=n, every=n)[-1] - exact).max()
            for n in (1_000, 10_000)
        ]
        assert gaps[1] < 1e-3
        assert gaps[1] < gaps[0]

    def test_lower_side_always_pushes_up(self):
        rng = np.random.default_rng(3)
        for _ in range(100):
            share = rng.uniform(0.34, 0.49)
            policy = np.array([1 - 2 * share, share, share])
            rewards = np.sort(rng.normal(size=3))
            _, (_, up) = one_state.tie_rates(policy, rewards, BATCH, (2, 1))
            assert up > 0


class TestTemperedCode:
    def test_held_probability_is_where_it_rests(self):
        eta = one_state.held_probability(8, 2, 0.6)
        rewards = np.array([10.0, *np.zeros(7)])
        policy = np.array([eta, *np.full(7, (1 - eta) / 7)])
        np.testing.assert_allclose(one_state.expected_update(policy, rewards, TEMPERED), np.zeros(8), atol=1e-12)
        for share in (0.2, 0.8):
            start = np.array([share, *np.full(7, (1 - share) / 7)])
            end = one_state.flow(start, rewards, TEMPERED, step=0.1, steps=3_000, every=3_000)[-1]
            assert end[0] == pytest.approx(eta, abs=1e-6)
        untempered = one_state.flow(np.full(8, 1 / 8), rewards, CODE, step=0.1, steps=3_000, every=3_000)[-1]
        assert untempered[0] == pytest.approx(0.5, abs=1e-6)

    def test_among_many_tokens(self):
        assert one_state.held_probability(10**6, 2, 0.6) == pytest.approx(1 / 3, abs=1e-4)


class TestSamples:
    @pytest.mark.parametrize("update", [PPO, TEXT, BATCH, TEMPERED])
    def test_large_batches_follow_the_expectation(self, update):
        start, step = np.array([0.25, 0.3, 0.45]), 0.1
        runs = one_state.sampled_runs(
            start, REWARDS, update, step=step, batch=20_000, updates=1, every=1, runs=400, rng=np.random.default_rng(4)
        )
        moved = np.log(runs[1]) - np.log(runs[1]).mean(-1, keepdims=True)
        expected = np.log(start) + step * one_state.expected_update(start, REWARDS, update)
        expected = expected - expected.mean()
        error = moved.std(0) / 20
        assert (np.abs(moved.mean(0) - expected) < 4 * error + 1e-4).all()

    def test_where_the_code_should_rest_it_drifts_with_one_over_the_batch(self):
        start, rewards = np.array([*np.full(7, 0.4 / 7), 0.6]), np.array([*np.linspace(0, 1, 7), 3.0])
        drift, error = [], []
        for batch in (16, 64):
            runs = one_state.sampled_runs(
                start, rewards, CODE, step=0.01, batch=batch, updates=200, every=200, runs=2_000,
                rng=np.random.default_rng(batch),
            )[-1, :, -1]  # fmt: skip
            moved = np.log(runs / (1 - runs)) - np.log(0.6 / 0.4)
            drift.append(moved.mean())
            error.append(moved.std() / np.sqrt(2_000))
        assert drift[1] > 4 * error[1]
        assert abs(drift[0] - 4 * drift[1]) < 4 * np.hypot(error[0], 4 * error[1]) + 0.1 * drift[0]

    def test_first_time(self):
        path = np.array([[0.1, 0.1], [0.5, 0.2], [0.9, 0.3]])
        np.testing.assert_array_equal(one_state.first_time(path, 0.4, 10.0), [10.0, np.nan])
