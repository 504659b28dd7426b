"""Noise, decaying steps and whitening: every closed form against code that knows nothing of it."""

import math
import random

import numpy as np
import pytest
import sympy as sp
from actde_book.ch03_noise_and_whitening import algebra, noisy_logits, whitening
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit

from actde_nb.tables.bandit import Bandit, Rule, StepSize, actde, simulate

MANY_SIGMA = 4  # two-sided chance of 6e-5 for each statistical assertion


def mean_and_error(samples):
    samples = np.asarray(samples, dtype=float)
    return samples.mean(), samples.std(ddof=1) / np.sqrt(len(samples))


def assert_mean(samples, expected):
    mean, error = mean_and_error(samples)
    assert abs(mean - expected) < MANY_SIGMA * error, f"{mean} +- {error}, expected {expected}"


def play_actde(draw, rewards_of, policy_step, critic_step, episodes):
    """The post's loop in plain Python: ``rewards_of[a](draw)`` is a reward; returns the arms chosen and the logits."""
    logits, q, visits, chosen = [0.0] * len(rewards_of), [0.0] * len(rewards_of), [0] * len(rewards_of), []
    for _ in range(episodes):
        top = max(logits)
        weights = [math.exp(logit - top) for logit in logits]
        (arm,) = draw.choices(range(len(logits)), weights)
        visits[arm] += 1
        error = rewards_of[arm](draw) - q[arm]
        logits[arm] += policy_step * error
        q[arm] += critic_step(visits[arm]) * error
        chosen.append(arm)
    return chosen, logits


def race(draw, logits_after, rings):
    """The race of the lemma: ``logits_after[a](k)`` is arm a's logit after k plays; returns the order of the rings."""
    alarms = [draw.expovariate(math.exp(logit(0))) for logit in logits_after]
    plays, order = [0] * len(alarms), []
    for _ in range(rings):
        arm = min(range(len(alarms)), key=alarms.__getitem__)
        plays[arm] += 1
        order.append(arm)
        alarms[arm] += draw.expovariate(math.exp(logits_after[arm](plays[arm])))
    return order


class TestRace:
    def test_has_the_law_of_the_softmax_policy(self):
        # alpha = 1/2, eta = 1, no noise: after k plays theta_a = 2 R_a (1 - 2^-k). Count plays of arm 0 in 6 episodes.
        logits = [lambda k: 2 * 1.0 * (1 - 0.5**k), lambda k: 2 * 0.5 * (1 - 0.5**k)]
        draw = random.Random(1)
        by_race = [race(draw, logits, 6).count(0) for _ in range(20_000)]
        by_policy = [
            play_actde(draw, [lambda _: 1.0, lambda _: 0.5], 1.0, lambda _: 0.5, 6)[0].count(0) for _ in range(20_000)
        ]
        for count in range(7):
            share = [np.mean(np.array(plays) == count) for plays in (by_race, by_policy)]
            error = math.sqrt(2 * max(share[0], 1e-4) / 20_000)
            assert abs(share[0] - share[1]) < MANY_SIGMA * error

    def test_ring_times_by_hand(self):
        # Logits 0, log 2, log 4: the waits are the unit exponentials, a half of them, a quarter of them.
        waits = np.random.default_rng(2).exponential(size=3)
        rings = noisy_logits.ring_times(np.log([1.0, 2.0, 4.0]), np.random.default_rng(2))
        assert rings == pytest.approx(np.cumsum(waits / [1, 2, 4]), abs=1e-15)

    def test_order_of_ring_times_is_a_run(self):
        # Constant logits (log 3, 0): every episode plays the first arm with probability 3/4.
        rng = np.random.default_rng(3)
        firsts = []
        for _ in range(2_000):
            rings = [noisy_logits.ring_times(np.full(12, logit), rng) for logit in (math.log(3), 0.0)]
            order = np.argsort(np.concatenate(rings))[:6]  # beyond the shorter clock's end arms would be missing
            firsts.append((order < 12).mean())
        assert_mean(firsts, 0.75)


class TestConstantSteps:
    def test_logit_variance_by_hand(self):
        def variance(*numbers):
            symbols = (algebra.sigma, algebra.eta, algebra.alpha)
            return algebra.stationary_logit_variance().subs(dict(zip(symbols, numbers, strict=True)))

        # alpha = 1/2, eta = sigma = 1: q is sum_k 2^-(k+1) r, variance sum 4^-(k+1) = 1/3; theta = 2 q: 4/3.
        half = sp.Rational(1, 2)
        assert variance(1, 1, half) == sp.Rational(4, 3)
        # alpha = 1: theta = eta r.
        assert variance(3, half, 1) == sp.Rational(9, 4)

    @given(st.floats(0.05, 1.95), st.floats(0.01, 3), st.floats(0, 3))
    @settings(deadline=None)
    def test_logit_variance_is_the_sum_over_past_rewards(self, alpha, eta, sigma):
        law = sp.lambdify((algebra.sigma, algebra.eta, algebra.alpha), algebra.stationary_logit_variance())
        weights = eta * (1 - alpha) ** np.arange(2_000)
        assert law(sigma, eta, alpha) == pytest.approx(sigma**2 * (weights**2).sum(), rel=1e-9)

    def test_error_variance_adds_new_noise(self):
        expected = algebra.sigma**2 * (1 + algebra.alpha / (2 - algebra.alpha))
        assert sp.simplify(algebra.stationary_error_variance() - expected) == 0

    def test_choice_weight_against_the_integral(self):
        # R = .7, tau = .5, sigma = .9, eta = .4, alpha = .2: integrate exp(-theta) over the stationary Gaussian.
        mean, deviation = 0.7 / 0.5, math.sqrt(0.16 * 0.81 / (0.2 * 1.8))

        def waited(theta):
            return math.exp(-theta - (theta - mean) ** 2 / 2 / deviation**2) / deviation / math.sqrt(2 * math.pi)

        log_weight = algebra.choice_log_weight().subs(
            {algebra.mean: 0.7, algebra.temperature: 0.5, algebra.sigma: 0.9, algebra.eta: 0.4, algebra.alpha: 0.2}
        )
        assert float(log_weight) == pytest.approx(-math.log(quad(waited, -12, 12)[0]), abs=1e-9)

    def test_shares_by_hand(self):
        # alpha = eta = 1, equal means, sigma = (0, 1): weights 1 and e^-1/2.
        shares = noisy_logits.choice_shares(Bandit([1.0, 1.0], [0.0, 1.0]), 1.0, 1.0)
        assert shares == pytest.approx([1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.5))], abs=1e-12)

    def test_small_steps_recover_boltzmann_with_prior(self):
        # tau = 1/2; prior (.2, .8): odds .25 e^{2 (1 - .5)} = .25 e.
        bandit = Bandit([1.0, 0.5], [1.0, 2.0])
        shares = noisy_logits.choice_shares(bandit, 2e-7, 1e-7, prior=[0.2, 0.8])
        assert shares[0] / shares[1] == pytest.approx(0.25 * math.e, rel=1e-5)

    @pytest.mark.parametrize(("eta", "alpha"), [(1.0, 1.0), (0.5, 0.5), (0.8, 1.4)])
    def test_simulated_shares(self, eta, alpha):
        bandit = Bandit([1.0, 0.8], [0.3, 1.0])
        rng = np.random.default_rng(2)
        run = simulate(bandit, actde(eta, alpha), rng=rng, runs=1_000, episodes=1_500, record_at=[300, 1_500])
        share = (run.visits[1] - run.visits[0])[:, 0] / 1_200
        assert_mean(share, noisy_logits.choice_shares(bandit, eta, alpha)[0])

    def test_coin_flip_rewards_in_plain_python(self):
        # The general law with a reward that is not Gaussian: alpha = eta = 1/2, a fair coin against a sure half.
        # theta = sum_k 2^-(k+1) r_k is uniform on [0, 1], so E[e^-theta] = 1 - 1/e; the sure arm has theta = 1/2.
        coin, sure = 1 / (1 - math.exp(-1)), math.exp(0.5)
        rewards = [lambda draw: float(draw.random() < 0.5), lambda _: 0.5]
        draw = random.Random(3)
        shares = [
            np.mean(np.equal(play_actde(draw, rewards, 0.5, lambda _: 0.5, 400)[0][100:], 0)) for _ in range(1_000)
        ]
        assert_mean(shares, coin / (coin + sure))

    def test_gap_law(self):
        bandit, alpha = Bandit([1.0, 0.5], [0.5, 1.0]), 0.5
        mean, deviation = noisy_logits.gap_moments(bandit, 1.0, alpha)
        # The density has these moments, and mass one.
        moments = [
            quad(
                lambda x, k=k: x**k * noisy_logits.gap_density(np.array([x]), bandit, 1.0, alpha)[0], -25, 25, limit=200
            )[0]
            for k in range(3)
        ]
        assert moments == pytest.approx([1, mean, deviation**2 + mean**2], abs=1e-7)
        rng = np.random.default_rng(4)
        run = simulate(bandit, actde(1.0, alpha), rng=rng, runs=8_000, episodes=300, record_at=[300])
        assert_mean(run.gap[0], mean)
        assert_mean((run.gap[0] - mean) ** 2, deviation**2)

    def test_time_average_of_the_policy_is_boltzmann_for_equal_noise(self):
        # gap 1 nat without noise; the mean of sigma(x) under the mixture must be sigma(1).
        bandit = Bandit([1.0, 0.5], 1.0)
        average = quad(
            lambda x: expit(x) * noisy_logits.gap_density(np.array([x]), bandit, 1.0, 0.5)[0], -40, 40, limit=400
        )
        assert average[0] == pytest.approx(expit(1.0), abs=1e-9)


class TestWalk:
    def test_covariance_by_hand(self):
        # Var(delta_3) = 1 + 1/2; Cov(delta_1, delta_3) = -1/2; Cov(delta_2, delta_3) = 0.
        covariance = algebra.recursive_residual_covariance(3)
        half = sp.Rational(1, 2)
        assert covariance == sp.Matrix([[1, -1, -half], [-1, 2, 0], [-half, 0, 3 * half]])

    @pytest.mark.parametrize("visits", range(1, 13))
    def test_covariances_add_up_to_the_variance_of_the_walk(self, visits):
        # n minus the harmonic number of n - 1.
        assert sum(algebra.recursive_residual_covariance(visits)) == visits - sp.harmonic(visits - 1)

    def test_variance_simulated_with_forced_visits(self):
        rule = Rule("action_value", StepSize(0.5), StepSize(1, power=1))
        run = simulate(
            Bandit([1.0, 0.0], 2.0), rule, rng=np.random.default_rng(5), runs=6_000, episodes=60, initial_q=-1.0,
            record_at=[60], actions=np.zeros((60, 6_000), dtype=int),
        )  # fmt: skip
        moved = run.logits[0, :, 0] - math.log(0.5)
        assert_mean(moved, 0.5 * 2.0)  # eta (R - q_0)
        # (eta sigma)^2 = 1
        assert_mean((moved - 1.0) ** 2, float(sum(algebra.recursive_residual_covariance(60))))

    def test_winner_shares_by_hand(self):
        # 1/sigma = (1, 4, 2): sevenths.
        assert noisy_logits.winner_shares([1.0, 0.25, 0.5]) == pytest.approx([1 / 7, 4 / 7, 2 / 7], abs=1e-15)

    def test_winner_when_the_higher_walk_moves(self):
        # The race at zero temperature, independent of the softmax: the higher of two Gaussian walks takes the next
        # step. Steps of 1 and 3: the quiet one should be ahead three times in four, up to 1/sqrt(t).
        draw, late, runs = np.random.default_rng(6), 5_000, 4_000
        walk, deviation = np.zeros((runs, 2)), np.array([1.0, 3.0])
        for _ in range(late):
            higher = walk.argmax(1)
            walk[np.arange(runs), higher] += deviation[higher] * draw.standard_normal(runs)
        share, error = mean_and_error(walk[:, 0] > walk[:, 1])
        assert abs(share - noisy_logits.winner_shares([1.0, 3.0])[0]) < MANY_SIGMA * error + 1 / np.sqrt(late)

    @pytest.mark.parametrize("noise", [[1.0, 1.0], [0.5, 1.0]])
    def test_winner_simulated(self, noise):
        # Equal means and exact initial q: what is left of the finite time is of order log t / sqrt t.
        rule, late = Rule("action_value", StepSize(1), StepSize(1, power=1)), 10_000
        run = simulate(
            Bandit([0.0, 0.0], noise), rule, rng=np.random.default_rng(7), runs=1_000, episodes=late, record_at=[late]
        )
        share, error = mean_and_error(run.gap[0] > 0)
        assert abs(share - noisy_logits.winner_shares(noise)[0]) < MANY_SIGMA * error + 0.03
        assert (run.policy[0].max(-1) > 0.99).mean() > 0.9

    def test_matched_steps_do_not_walk(self):
        rule = Rule("action_value", StepSize(2, power=1), StepSize(1, power=1))
        run = simulate(
            Bandit([1.0, 0.5], 1.0), rule, rng=np.random.default_rng(8), runs=1_000, episodes=3_000, record_at=[3_000]
        )
        assert_mean(run.gap[0], 1.0)  # (R_1 - R_2) / tau, tau = 1/2
        assert run.gap[0].std() < 0.15

    def test_a_clock_of_episodes_is_slow_but_gets_there(self):
        # q's mean error multiplies by 1 - pi_a / t in episode t, so it falls like t^-pi_a: from a thousand
        # episodes to ten thousand by 10^-pi_a, with pi close to Boltzmann, (.62, .38). No noise.
        slow = StepSize(1, power=1, clock="episodes")
        run = simulate(
            Bandit([1.0, 0.5]), Rule("action_value", slow, slow), rng=np.random.default_rng(15), runs=2_000,
            episodes=10_000, record_at=[1_000, 10_000],
        )  # fmt: skip
        left = ([1.0, 0.5] - run.action_values).mean(1)
        assert left[1] / left[0] == pytest.approx(10 ** -np.array([expit(0.5), expit(-0.5)]), rel=0.15)

    def test_softmax_form_follows_the_braked_walk(self):
        rule = Rule("action_value", StepSize(0.1), StepSize(1, power=1), gradient="softmax")
        run = simulate(
            Bandit([1.0, 0.5], 1.0), rule, rng=np.random.default_rng(9), runs=2_000, episodes=2_000,
            record_at=[2_000], initial_q=[1.0, 0.5],
        )  # fmt: skip
        assert_mean(whitening.walk_potential(run.gap[0]), 1 + 0.01 * 2_000)

    def test_potential_solves_its_equation(self):
        f = algebra.walk_potential()
        assert sp.simplify((f.diff(algebra.gap, 2) * sp.sech(algebra.gap / 2) ** 2 / 2 - 1).rewrite(sp.exp)) == 0
        assert f.subs(algebra.gap, 0) == 1


class TestUnequalDecay:
    def test_by_hand(self):
        # c = n_0 = 1: alpha = 1/2, 1/3, ...: what is left is 1, 1/2, 1/3, ...: harmonic numbers.
        assert noisy_logits.decaying_logit(4, 1, 1) == pytest.approx([1, 1.5, 11 / 6, 25 / 12], abs=1e-14)
        # The running mean removes all at the first play.
        assert noisy_logits.decaying_logit(3, 1, 0) == pytest.approx([1, 1, 1], abs=1e-14)

    @pytest.mark.parametrize(("decay", "offset"), [(2, 1), (3, 4), (2.5, 2)])
    def test_total(self, decay, offset):
        total = algebra.decaying_total().subs({algebra.decay: decay, algebra.offset: offset})
        assert noisy_logits.decaying_logit(300_000, decay, offset)[-1] == pytest.approx(float(total), rel=1e-4)

    def test_simulator_collects_the_same(self):
        rule = Rule("action_value", StepSize(0.3), StepSize(0.5, power=1, offset=1))
        run = simulate(
            Bandit([2.0, 0.0]), rule, rng=np.random.default_rng(0), episodes=50, record_at=[50],
            actions=np.zeros((50, 1), dtype=int),
        )  # fmt: skip
        expected = 2.0 * noisy_logits.decaying_logit(50, 0.5, 1, policy_step=0.3)[-1]
        assert run.logits[0, 0, 0] - math.log(0.5) == pytest.approx(expected, abs=1e-12)

    def test_lock_in_agrees_with_the_race(self):
        # Two arms, R = (1, .5), c = 1/2, n_0 = 1: who wins is who explodes first, a sum of exponential waits.
        draw = np.random.default_rng(10)
        grown = noisy_logits.decaying_logit(400, 0.5, 1)
        waits = [np.exp(-reward * np.r_[0.0, grown]) for reward in (1.0, 0.5)]
        times = [draw.exponential(size=(20_000, 401)) @ wait for wait in waits]
        predicted, predicted_error = mean_and_error(times[1] < times[0])
        rule = Rule("action_value", StepSize(1), StepSize(0.5, power=1, offset=1))
        run = simulate(Bandit([1.0, 0.5]), rule, rng=draw, runs=4_000, episodes=1_000, record_at=[500, 1_000])
        locked, error = mean_and_error(run.gap[-1] < 0)
        assert abs(locked - predicted) < MANY_SIGMA * math.hypot(error, predicted_error)
        assert (run.visits[1] - run.visits[0]).min(-1).max() == 0

    def test_no_lock_in_below_the_threshold(self):
        # c = 1, n_0 = 1: explosive iff eta (R - q_0) > 1. With eta = .8 both arms are played again and again.
        rule = Rule("action_value", StepSize(0.8), StepSize(1, power=1, offset=1))
        run = simulate(
            Bandit([1.0, 0.9]), rule, rng=np.random.default_rng(11), runs=200, episodes=6_000, record_at=[600, 6_000]
        )
        assert ((run.visits[1] - run.visits[0]).min(-1) > 0).mean() > 0.99

    def test_optimism_shares_the_plays(self):
        # q_0 above all rewards, c = 1/2: plays go like (q_0 - R)^-2, here 1 to 4/9.
        rule = Rule("action_value", StepSize(1), StepSize(0.5, power=1, offset=1))
        run = simulate(
            Bandit([1.0, 0.5]), rule, rng=np.random.default_rng(12), runs=200, episodes=4_000, initial_q=2.0,
            record_at=[4_000],
        )  # fmt: skip
        assert run.visits[0, :, 0].mean() / 4_000 == pytest.approx(9 / 13, abs=0.01)


class TestWhitening:
    def test_errors_by_hand(self):
        # p = .8 (odds 4): errors 1/2 and -2 have mean .8/2 - .2*2 = 0 and variance .8/4 + .2*4 = 1.
        assert [float(e.subs(algebra.odds, 4)) for e in algebra.whitened_errors()] == [0.5, -2]

    def test_speed_against_numbers(self):
        # Whiten a population of errors numerically at x = 1.3.
        p, errors = expit(1.3), np.array([0.7, 0.2])
        policy = np.array([p, 1 - p])
        mean = policy @ errors
        z = (errors - mean) / math.sqrt(policy @ (errors - mean) ** 2)
        speed = algebra.whitened_speed().subs({algebra.gap: 1.3, algebra.eta: 0.1})
        assert float(speed) == pytest.approx(0.1 * (p * z[0] - (1 - p) * z[1]), abs=1e-14)

    def test_gap_solves_the_equation(self):
        x = algebra.whitened_gap()
        speed = algebra.whitened_speed().subs(algebra.gap, x)
        assert sp.simplify(x.diff(algebra.time) - speed.subs(sp.cosh(x / 2), sp.sqrt(1 + sp.sinh(x / 2) ** 2))) == 0
        assert x.subs(algebra.time, 0) == 0

    def test_energy_is_conserved(self):
        energy = algebra.orbit_energy()
        rho = sp.Symbol("rho", positive=True)
        above = energy.subs(algebra.log_ratio, rho)
        ratio_speed = -algebra.alpha * sp.tanh(algebra.gap / 2)
        rate = above.diff(algebra.gap) * algebra.whitened_speed() + above.diff(rho) * ratio_speed
        assert sp.simplify(rate.rewrite(sp.exp)) == 0

    def test_flow_without_epsilon_is_the_closed_form(self):
        flow = whitening.whitened_flow(
            [1.0, 0.5], policy_step=0.2, critic_step=0.01, learning="together", epsilon=1e-30, updates=100
        )
        assert flow.gap == pytest.approx(whitening.whitened_gap(0.2, flow.updates), abs=1e-6)
        assert flow.errors == pytest.approx(np.exp(-0.01 * flow.updates)[:, None] * [1.0, 0.5], rel=1e-6)

    @given(st.floats(0.3, 4), st.floats(1.2, 5))
    @settings(deadline=None, max_examples=20)
    def test_flow_per_visit_stays_on_its_orbit(self, ratio, odds):
        flow = whitening.whitened_flow(
            [odds, 1.0], policy_step=ratio, critic_step=1.0, learning="per_visit", epsilon=1e-40, updates=20
        )
        rho = np.log(flow.errors[:, 0] / flow.errors[:, 1])
        energy = whitening.orbit_energy(rho, flow.gap, ratio, 1.0)
        assert energy == pytest.approx(energy[0], abs=2e-3)

    def test_period(self):
        # (8/eta) sinh(x_max/2), cosh(x_max/2) = 1 + ln(2)/2: back at the start after one period.
        x_max = 2 * math.acosh(1 + math.log(2) / 2)
        flow = whitening.whitened_flow(
            [1.0, 0.5], policy_step=1.0, critic_step=1.0, learning="per_visit", epsilon=1e-40,
            updates=8 * math.sinh(x_max / 2), points=2_001,
        )  # fmt: skip
        assert flow.gap[-1] == pytest.approx(0, abs=5e-3)
        assert flow.gap.max() == pytest.approx(x_max, abs=2e-3)
        assert flow.gap.min() == pytest.approx(-x_max, abs=2e-3)
        assert np.log(flow.errors[-1, 0] / flow.errors[-1, 1]) == pytest.approx(math.log(2), abs=5e-3)

    def test_orbit_turns_where_rho_vanishes(self):
        # eta = 2, alpha = 1/2, rho = 1: cosh(x/2) = 1 + 2 / (2/2) = 3.
        turn = whitening.orbit_turn(1.0, 2.0, 0.5)
        assert turn == pytest.approx(2 * math.acosh(3), abs=1e-12)
        assert whitening.orbit_energy(0.0, turn, 2.0, 0.5) == pytest.approx(whitening.orbit_energy(1.0, 0.0, 2.0, 0.5))
        # (8/eta) sinh(acosh(3)) = 4 sqrt(8)
        assert whitening.orbit_period(turn, 2.0) == pytest.approx(4 * math.sqrt(8), abs=1e-12)

    def test_log_error_ratio_by_hand(self):
        # One play of each arm with alpha = 1/2 halves both errors, (2, 1): the ratio is still 2; before, after one: 1.
        run = simulate(
            Bandit([2.0, 1.0]), actde(1.0, 0.5), rng=np.random.default_rng(0), episodes=2, record_at=[0, 1, 2],
            actions=np.array([[0], [1]]),
        )  # fmt: skip
        ratio = whitening.log_error_ratio(Bandit([2.0, 1.0]), run)[:, 0]
        assert ratio == pytest.approx([math.log(2), 0, math.log(2)], abs=1e-15)

    def test_simulator_stops_where_whole_steps_of_the_mean_field_do(self):
        gap, errors = 0.0, np.array([1.0, 0.5])
        for _ in range(150):
            policy = expit([gap, -gap])
            mean = policy @ errors
            gap += 0.1 * (policy * [1, -1]) @ (errors - mean) / math.sqrt(policy @ (errors - mean) ** 2 + 1e-6)
            errors = 0.9 * errors
        rule = Rule("action_value", StepSize(0.1), StepSize(0.1), batch=4_096, whiten=True, critic_reduction="arm_mean")
        run = simulate(
            Bandit([1.0, 0.5]), rule, rng=np.random.default_rng(16), runs=10, episodes=4_096 * 150,
            record_at=[4_096 * 150],
        )  # fmt: skip
        assert_mean(run.gap[0], gap)

    def test_flow_against_plain_euler(self):
        # An explicit Euler loop with tiny steps, epsilon large enough to matter.
        gap, errors, dt = 0.0, [1.0, 0.5], 1e-3
        for _ in range(20_000):
            p = 1 / (1 + math.exp(-gap))
            mean = p * errors[0] + (1 - p) * errors[1]
            deviation = math.sqrt(p * (errors[0] - mean) ** 2 + (1 - p) * (errors[1] - mean) ** 2 + 1e-2)
            gap += dt * 0.5 * (p * (errors[0] - mean) - (1 - p) * (errors[1] - mean)) / deviation
            errors = [errors[0] * (1 - dt * 0.5 * p), errors[1] * (1 - dt * 0.5 * (1 - p))]
        flow = whitening.whitened_flow(
            [1.0, 0.5], policy_step=0.5, critic_step=0.5, learning="per_visit", epsilon=1e-2, updates=20
        )
        assert flow.gap[-1] == pytest.approx(gap, abs=2e-3)

    def test_forms_of_the_gradient_agree_exactly(self):
        runs = [
            simulate(
                Bandit([1.0, 0.5], 0.3),
                Rule("action_value", StepSize(0.3), StepSize(0.2), gradient=gradient, batch=8, whiten=True),
                rng=np.random.default_rng(13), runs=5, episodes=400, record_at=[400],
            )
            for gradient in ("logit", "softmax")
        ]  # fmt: skip
        assert runs[0].gap == pytest.approx(runs[1].gap, abs=1e-9)

    @pytest.mark.parametrize("noise", [0.1, 10.0])
    def test_noisy_walk_ignores_the_noise_level(self, noise):
        rule = Rule(
            "action_value", StepSize(0.1), StepSize(1, power=1), batch=16, whiten=True, whiten_epsilon=1e-12,
            critic_reduction="sum",
        )  # fmt: skip
        run = simulate(
            Bandit([1.0, 0.5], noise), rule, rng=np.random.default_rng(14), runs=500, episodes=16 * 1_000,
            record_at=[16 * 1_000], initial_q=[1.0, 0.5],
        )  # fmt: skip
        assert_mean(whitening.walk_potential(run.gap[0]), 1 + 0.1**2 / 16 * 1_000)


class TestCorrection:
    bandit = Bandit([1.0, 0.5, -0.3], [0.4, 1.0, 0.2])
    policy = np.array([0.5, 0.3, 0.2])
    action_values = np.array([0.6, 0.8, 0.1])

    def test_unnormalised_sum_is_the_policy_gradient_for_any_baseline(self):
        advantage = self.bandit.rewards - self.policy @ self.bandit.rewards
        gradient = whitening.corrected_gradient(self.policy, self.bandit, self.action_values, "nothing")
        assert gradient == pytest.approx(self.policy * advantage, abs=1e-15)

    def test_two_arms_by_hand(self):
        # pi = (1/2, 1/2), R = (1, .5), q = (.5, 1), sigma = 2: errors +-.5, s^2 = 4 + .25, so
        # x' / (2 pi_1 pi_2) = (.5 - -.5)/s + -.5 = 1/s - 1/2.
        bandit, q = Bandit([1.0, 0.5], 2.0), np.array([0.5, 1.0])
        gradient = whitening.corrected_gradient(np.array([0.5, 0.5]), bandit, q, "error")
        assert gradient[0] - gradient[1] == pytest.approx(0.5 * (1 / math.sqrt(4.25) - 0.5), abs=1e-14)

    @pytest.mark.parametrize("normalised", whitening.NORMALISED)
    @pytest.mark.parametrize("correction", [True, False])
    def test_against_a_large_sample(self, normalised, correction):
        rng, size = np.random.default_rng(15), 400_000
        arms = rng.choice(3, size, p=self.policy)
        rewards = self.bandit.rewards[arms] + self.bandit.noise[arms] * rng.standard_normal(size)
        errors = rewards - self.action_values[arms]
        deviation = errors.std()
        score = np.eye(3)[arms] - self.policy
        terms = errors[:, None] * score / (1 if normalised == "nothing" else deviation)
        if correction:
            pull = self.policy * (self.action_values - self.policy @ self.action_values)
            terms = terms + pull / (deviation if normalised == "both" else 1)
        expected = whitening.corrected_gradient(self.policy, self.bandit, self.action_values, normalised, correction)
        for arm in range(3):
            assert_mean(terms[:, arm], expected[arm])

    def test_actde_stays_and_the_slip_collapses(self):
        shared = {"policy_step": 0.1, "critic_step": 0.1, "normalised": "error", "updates": 3_000}
        alone = whitening.corrected_flow(Bandit([1.0, 0.5], 1.0), correction=False, **shared)
        slip = whitening.corrected_flow(Bandit([1.0, 0.5], 1.0), **shared)
        assert abs(alone.gap[-1]) < 1
        assert slip.gap[-1] > 5

    def test_noise_takes_the_place_of_epsilon(self):
        # Dividing by sqrt(var + sigma^2) is whitening with epsilon = sigma^2; centring drops out of the softmax form.
        noisy = whitening.corrected_flow(
            Bandit([1.0, 0.5], 0.1), policy_step=0.2, critic_step=0.1, normalised="error", correction=False, updates=80
        )
        whitened = whitening.whitened_flow(
            [1.0, 0.5], policy_step=0.2, critic_step=0.1, learning="per_visit", epsilon=0.01, updates=80
        )
        assert noisy.gap == pytest.approx(whitened.gap, abs=1e-5)

    def test_slip_follows_a_wrong_critic(self):
        # s > 1 + Delta / d = 2 turns it round; s is just above the noise.
        for noise, sign in ((1.5, 1), (2.5, -1)):
            flow = whitening.corrected_flow(
                Bandit([1.0, 0.5], noise), policy_step=0.1, critic_step=0, normalised="error",
                initial_q=[0.5, 1.0], updates=1_000,
            )  # fmt: skip
            assert np.sign(flow.gap[-1]) == sign


class TestErrors:
    def test_say_what_is_allowed(self):
        with pytest.raises(ValueError, match="critic_step = 2.5: allowed are numbers between 0 and 2"):
            noisy_logits.choice_shares(Bandit([1.0, 0.5]), 1.0, 2.5)
        with pytest.raises(ValueError, match="noise = .* allowed are numbers above zero"):
            noisy_logits.winner_shares([1.0, 0.0])
