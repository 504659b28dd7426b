"""Chapter 1's algebra, against calculations by hand, the simulator and an independent plain-Python learner."""

import math
import random

import numpy as np
import pytest
import sympy as sp
from actde_book.ch01_one_reward_for_ever import algebra
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from actde_nb.tables import symbolic
from actde_nb.tables.bandit import Bandit, Rule, StepSize, ppo_like, simulate

ETA, DELTA, TIME, GAP = symbolic.STEP, symbolic.DIFFERENCE, symbolic.TIME, symbolic.GAP


def plain_python_learner(rewards, steps, critic, value, episodes, generator):
    """Two logits, a value and a loop: yields the gap after every episode."""
    logits, total = [0.0, 0.0], 0.0
    for n in range(1, episodes + 1):
        p = 1 / (1 + math.exp(logits[1] - logits[0]))
        arm = 0 if generator.random() < p else 1
        total += rewards[arm]
        error = rewards[arm] - value
        logits[arm] += steps(n) * error
        value = total / n if critic == "mean" else value + critic * error
        yield logits[0] - logits[1]


class TestUnits:
    def test_nats_and_bits(self):
        # From even odds one nat gives odds e : 1, one bit odds 2 : 1.
        assert sp.simplify(algebra.reinforced(1) - sp.E / (1 + sp.E)) == 0
        assert algebra.reinforced(1, base=2) == sp.Rational(2, 3)


class TestIncrements:
    def test_sum_does_not_depend_on_the_baseline(self):
        total = sp.expand(sum(symbolic.gap_increments()))
        assert symbolic.BASELINE not in total.free_symbols
        assert sp.expand(total - ETA * (symbolic.BETTER - symbolic.WORSE)) == 0

    def test_drift_is_the_gradient_of_the_mean_reward(self):
        # d/dtheta_1 of E R = pi (1 - pi) Delta and d/dtheta_2 is its negative: the gap gets twice that.
        p = symbolic.PROBABILITY
        assert sp.expand(symbolic.drift() - 2 * ETA * DELTA * p * (1 - p)) == 0

    def test_simulator_moves_by_them(self):
        for arm, increment in enumerate(symbolic.gap_increments()):
            numbers = {ETA: 0.3, symbolic.BETTER: 2, symbolic.WORSE: -1, symbolic.BASELINE: 0.4}
            run = simulate(
                Bandit([2.0, -1.0]), ppo_like(0.3), episodes=1, rng=np.random.default_rng(0), initial_v=0.4,
                actions=np.array([[arm]]), record_at=[1],
            )  # fmt: skip
            assert run.gap[0, 0] == pytest.approx(float(increment.subs(numbers)), abs=1e-15)

    @settings(max_examples=25, deadline=None)
    @given(
        low=st.floats(-3, 3), difference=st.floats(0.01, 3), start=st.floats(0, 1), step=st.floats(0.01, 2),
        power=st.floats(0, 2), seed=st.integers(0, 10**6),
    )  # fmt: skip
    def test_gap_never_falls_if_the_value_starts_between_the_rewards(self, low, difference, start, step, power, seed):
        rule = Rule("value", policy_step=StepSize(step), critic_step=StepSize(1.0, power=power))
        run = simulate(
            Bandit([low + difference, low]), rule, episodes=60, rng=np.random.default_rng(seed), runs=4,
            initial_v=low + start * difference, record_at=range(61),
        )  # fmt: skip
        assert np.diff(run.gap, axis=0).min() >= -1e-12


class TestRoundTrip:
    def test_both_halves_add_the_same(self):
        assert algebra.round_trip() == (ETA * DELTA, ETA * DELTA)

    def test_wait_from_even_odds(self):
        # x = 0, eta Delta = 1/2: 2 episodes to leave, 1 + e^-1/2 to come back.
        assert algebra.mean_wait(np.zeros(1), step=1.0, difference=0.5)[0] == pytest.approx(
            2 + 1 + math.exp(-0.5), abs=1e-14
        )

    def test_slowdown(self):
        assert algebra.round_trip_slowdown() == sp.exp(2 * ETA * DELTA)

    def test_wait_of_an_independent_learner(self):
        generator, times = random.Random(1), []
        for _ in range(2000):
            learner = plain_python_learner((1, 0.5), lambda n: 1, 1.0, 1.0, 10_000, generator)
            times.append(next(n for n, gap in enumerate(learner, start=1) if gap >= 3))
        predicted = algebra.mean_wait(np.arange(3.0), step=1.0, difference=0.5).sum()
        assert abs(np.mean(times) - predicted) < 4 * np.std(times) / math.sqrt(len(times))


class TestGrowthLaws:
    def test_law_solves_its_equation_of_motion(self):
        law = symbolic.growth_law()
        rate = symbolic.drift().subs(symbolic.PROBABILITY, symbolic.PROBABILITY_OF_GAP)
        # d/dt of the left side along the motion must be d/dt of the right side.
        assert sp.simplify((law.lhs.diff(GAP) * rate - law.rhs.diff(TIME)).rewrite(sp.exp)) == 0
        assert law.lhs.subs(GAP, 0) == 0

    def test_law_is_inverted(self):
        clock = np.array([0.0, 1e-3, 1.0, 50.0, 1e6])
        gap = symbolic.gap_at(clock)
        np.testing.assert_allclose(gap + np.sinh(gap), clock, rtol=1e-9, atol=1e-12)

    def test_running_mean_law_leaves_nothing(self):
        assert algebra.running_mean_residuals() == (0, 0)
        assert sp.limit(algebra.running_mean_pulls(), TIME, sp.oo) == 2 / (ETA * DELTA)

    def test_running_mean_law_against_numerical_integration(self):
        # From the definition: F' = P(worse), x' = eta [P(better) (R1 - v) + P(worse) (v - R2)], v the past mean.
        eta, better, worse = 0.1, 1.0, 0.5

        def move(t, state):
            gap, wasted = state
            p, share = 1 / (1 + math.exp(-gap)), wasted / t
            v = better + share * (worse - better)
            return [eta * (p * (better - v) + (1 - p) * (v - worse)), 1 - p]

        start = 1e-3
        path = solve_ivp(move, (start, 2000), [eta * 0.5 * start / 2, start / 2], rtol=1e-10, atol=1e-12)
        predicted = algebra.running_mean_gap_at(eta * 0.5 * path.t[-1:])[0]
        assert path.y[0, -1] == pytest.approx(predicted, abs=1e-5)

    @pytest.mark.parametrize(
        ("critic", "law"), [(1.0, symbolic.gap_at), (0.2, symbolic.gap_at), ("mean", algebra.running_mean_gap_at)]
    )
    def test_an_independent_learner_follows_them(self, critic, law):
        # The laws hold as the step vanishes: at eta = .02 what is left is of order eta, next to the sampling error.
        generator = random.Random(2)
        ends = [
            list(plain_python_learner((1, 0.5), lambda n: 0.02, critic, 0.75, 3_000, generator))[-1] for _ in range(200)
        ]
        predicted = law(np.array([0.02 * 0.5 * 3_000]))[0]
        assert abs(np.mean(ends) - predicted) < 4 * np.std(ends) / math.sqrt(200) + 0.02

    def test_decaying_policy_steps_follow_the_summed_clock(self):
        generator = random.Random(3)
        ends = [
            list(plain_python_learner((1, 0.5), lambda n: n**-0.8, 0.5, 0.75, 2_000, generator))[-1] for _ in range(300)
        ]
        clock = 0.5 * sum(n**-0.8 for n in range(1, 2_001))
        assert abs(np.mean(ends) - symbolic.gap_at(np.array([clock]))[0]) < 4 * np.std(ends) / math.sqrt(300) + 0.1

    def test_summable_policy_steps_are_bounded(self):
        generator, bound = random.Random(4), 0.5 * float(sp.zeta(1.5))
        for _ in range(50):
            gaps = list(plain_python_learner((1, 0.5), lambda n: n**-1.5, 1.0, 0.75, 1_000, generator))
            assert max(map(abs, gaps)) <= bound


class TestExpectedUpdates:
    @pytest.mark.parametrize(
        ("gradient", "baseline"), [("logit", "exact_value"), ("softmax", "exact_value"), ("softmax", "none")]
    )
    def test_three_of_four_are_the_gradient(self, gradient, baseline):
        pairs = zip(algebra.expected_updates(gradient, baseline), symbolic.exact_gradient(), strict=True)
        assert all(sp.simplify(update - exact) == 0 for update, exact in pairs)

    def test_the_fourth_is_probability_times_reward(self):
        rewards = sp.symbols("R_1:4", real=True)
        pairs = zip(algebra.expected_updates("logit", "none"), symbolic.simplex(3), rewards, strict=True)
        assert all(sp.expand(update - p * r) == 0 for update, p, r in pairs)

    def test_two_arms_by_hand(self):
        # pi = (1/2, 1/2), R = (1, 1/2): the gradient is pi_1 (R_1 - 3/4) = 1/8 and its negative.
        numbers = {"pi_1": sp.Rational(1, 2), "R_1": 1, "R_2": sp.Rational(1, 2)}
        found = [
            e.subs({symbol: numbers[symbol.name] for symbol in e.free_symbols}) for e in symbolic.exact_gradient(2)
        ]
        assert found == [sp.Rational(1, 8), -sp.Rational(1, 8)]


class TestWithoutTheAssumptions:
    def test_a_baseline_below_both_rewards_can_lock_in_the_worse_arm(self):
        # Chance of never leaving arm 2 from even odds: the product of sigma(k / 2), k = 0, 1, 2, ... is positive.
        stuck = math.prod(1 / (1 + math.exp(-k / 2)) for k in range(200))
        run = simulate(
            Bandit([1.0, 0.5]), Rule("none"), episodes=400, rng=np.random.default_rng(5), runs=20_000, record_at=[400]
        )
        never = (run.visits[-1, :, 0] == 0).mean()
        assert stuck > 0.05
        assert abs(never - stuck) < 4 * math.sqrt(stuck * (1 - stuck) / 20_000)
