"""What chapter 9 says about weighted regression, checked by hand, by search and against general optimisers."""

import math

import numpy as np
import pytest
import sympy as sp
from actde_book.ch09_weighted_regression import algebra, one_state
from actde_book.ch09_weighted_regression.one_state import apa_minimiser, apa_round, from_gap, repeat, to_gap
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from actde_nb.tables import games, mdp, symbolic
from actde_nb.tables.bandit import Bandit, actde, boltzmann, simulate
from actde_nb.tables.fixed_points import fixed_points

OLD, GAINS = np.array([0.2, 0.5, 0.3]), np.array([1.0, -0.4, 0.0])
EVEN = np.full(2, 0.5)


def laws(arms):
    weights = st.lists(st.floats(0.02, 1), min_size=arms, max_size=arms)
    return weights.map(lambda w: np.array(w) / sum(w))


def loss(logits, weights, target):
    return float((weights * (logits - logsumexp(logits) - target) ** 2).sum())


def search(weights, target, rng, tries=12):
    """Best of several runs of a general optimiser from random starts."""
    runs = [minimize(loss, rng.normal(size=len(weights)) * 3, (weights, target), tol=1e-12) for _ in range(tries)]
    return min(runs, key=lambda run: run.fun)


class TestSurrogate:
    def test_identity_and_first_order(self):
        exact, slopes = algebra.first_order_mismatch()
        assert exact == 0
        assert slopes == [0, 0]

    def test_numbers_against_the_algebra(self):
        # The algebra's world: the state is the last action, play starts in the first state.
        gain, _, approximate, old, new = algebra.two_state_returns()
        rewards, x, z = np.array([[1.0, -0.3], [0.4, 0.2]]), np.array([0.3, 0.6]), np.array([0.5, 0.9])
        numbers = dict(zip(sp.symbols("r_:4", real=True), rewards.ravel(), strict=True))
        numbers |= dict(zip((*old, *new), (*x, *z), strict=True)) | {sp.Symbol("gamma", positive=True): 0.8}
        world = mdp.MDP(rewards, np.broadcast_to(np.eye(2), (2, 2, 2)), 0.8)
        error = one_state.surrogate_error(
            world, np.stack([x, 1 - x], -1), np.stack([z, 1 - z], -1), np.array([1.0, 0.0])
        )
        assert error == pytest.approx(float((approximate - gain).subs(numbers)), rel=1e-10)

    def test_error_is_of_second_order(self):
        rng = np.random.default_rng(0)
        world = mdp.MDP(rng.normal(size=(3, 2)), rng.dirichlet(np.ones(3), size=(3, 2)), 0.9)
        old, other = rng.dirichlet(np.ones(2), size=(2, 3))
        steps = np.array([1e-2, 1e-3])[:, None, None]
        error = one_state.surrogate_error(world, old, old + steps * (other - old), np.ones(3) / 3)
        assert error[0] / error[1] == pytest.approx(100, rel=0.05)


class TestDirection:
    @settings(max_examples=30, deadline=None)
    @given(old=laws(3), rival=laws(3), beta=st.floats(0.1, 3))
    def test_each_order_has_its_own_best_policy(self, old, rival, beta):
        gains = one_state.advantages(old, GAINS)

        def printed(policy):
            return policy @ gains - beta * one_state.divergence(old, policy)

        def turned(policy):
            return policy @ gains - beta * one_state.divergence(policy, old)

        assert printed(one_state.printed_order_step(old, GAINS, beta)) >= printed(rival) - 1e-10
        assert turned(boltzmann(GAINS, beta, old)) >= turned(rival) - 1e-10

    def test_printed_equation(self):
        policy = one_state.printed_order_step(OLD, GAINS, 0.5)
        equation = algebra.printed_direction()
        old, advantage, price = sp.Symbol(r"\pi_\text{old}", positive=True), sp.Symbol("A"), sp.Symbol("lambda")
        # One price for all arms: found from the first arm, it must give the others.
        (found,) = sp.solve(equation.rhs.subs({old: 0.2, advantage: 1, symbolic.BETA: 0.5}) - policy[0], price)
        for p, p_old, gain in zip(policy, OLD, GAINS, strict=True):
            numbers = {old: p_old, advantage: gain, symbolic.BETA: 0.5, price: found}
            assert float(equation.rhs.subs(numbers)) == pytest.approx(p, rel=1e-9)

    def test_two_equal_arms_by_hand(self):
        # A = +-1, old (1/2, 1/2), beta 1: 1/2 [1/(l - 1) + 1/(l + 1)] = 1, so l^2 - l - 1 = 0 and pi_1 = 1/(2l - 2).
        golden = (1 + math.sqrt(5)) / 2
        step = one_state.printed_order_step(EVEN, np.array([1.0, -1.0]), 1.0)
        np.testing.assert_allclose(step, [0.5 / (golden - 1), 0.5 / (golden + 1)], rtol=1e-12)


class TestFamily:
    def test_rwr_by_hand(self):
        np.testing.assert_allclose(one_state.rwr_step(EVEN, np.array([1.0, 0.5])), [2 / 3, 1 / 3])

    def test_reps_meets_its_bound_and_ends(self):
        rewards = np.array([1.0, 0.5])
        policy, temperature = one_state.reps_step(EVEN, rewards, 0.05)
        assert one_state.divergence(policy, EVEN) == pytest.approx(0.05, rel=1e-9)
        np.testing.assert_allclose(policy, boltzmann(rewards, temperature))
        # Within log 2 nats lies the best arm alone.
        assert one_state.reps_step(EVEN, rewards, 0.7) == (pytest.approx([1, 0]), 0.0)

    def test_awr_projection_weights_states_by_their_normaliser(self):
        # Minimise -sum_s E_old[exp(A/b) log pi] over one policy for both states, by search.
        gains = np.array([[1.0, -1.0], [-0.4, 0.4]])
        normalisers = np.cosh(gains[:, 0] / 0.5)
        weights = (0.5 * np.exp(gains / 0.5)).sum(0)
        found = minimize(lambda t: -weights @ (np.array([t[0], 0]) - logsumexp([t[0], 0])), [0.0], tol=1e-12).x[0]
        shared = one_state.shared_projection(softmax(gains / 0.5, axis=-1), normalisers)
        assert to_gap(shared) == pytest.approx(found, abs=1e-5)


class TestPartition:
    def test_series(self):
        # Three arms, mean advantage zero: second and third moments by hand, the next term bounds the rest.
        moments = {sp.Symbol(rf"\mathrm{{E}}[A^{k}]"): float(OLD @ GAINS**k) for k in (2, 3)}
        series = float(algebra.partition_series().subs(moments).subs(symbolic.BETA, 10))
        exact = math.exp(one_state.log_partition(OLD, OLD, GAINS, 10))
        assert abs(series - exact) < 1e-4 / 24
        assert exact == pytest.approx(1.0014289, abs=1e-7)

    def test_identity(self):
        assert algebra.partition_identity(3) == 0

    @settings(deadline=None)
    @given(policy=laws(4), initial=laws(4), rewards=st.lists(st.floats(-2, 2), min_size=4, max_size=4))
    def test_identity_in_numbers(self, policy, initial, rewards):
        left = one_state.log_partition(initial, policy, rewards, 0.7)
        goal = boltzmann(rewards, 0.7, initial)
        right = one_state.divergence(policy, goal) - one_state.divergence(policy, initial)
        assert left == pytest.approx(right, abs=1e-10)

    @settings(deadline=None)
    @given(initial=laws(3), rewards=st.lists(st.floats(-2, 2), min_size=3, max_size=3), beta=st.floats(0.05, 5))
    def test_first_batch_is_never_below_one(self, initial, rewards, beta):
        assert one_state.log_partition(initial, initial, rewards, beta) >= -1e-12


class TestMinimiser:
    def test_gradient(self):
        rng = np.random.default_rng(1)
        logits, weights, target = rng.normal(size=3), rng.dirichlet(np.ones(3)), rng.normal(size=3)
        gradient = one_state.apa_gradient(logits, weights, target)
        for k, direction in enumerate(np.eye(3) * 1e-6):
            slope = (loss(logits + direction, weights, target) - loss(logits - direction, weights, target)) / 2e-6
            assert gradient[k] == pytest.approx(slope, abs=1e-8)

    @pytest.mark.parametrize("lift", [-2.0, -0.3, 0.0, 0.4, 3.0])
    @pytest.mark.parametrize("arms", [2, 3, 5])
    def test_no_search_does_better(self, arms, lift):
        rng = np.random.default_rng(arms)
        weights, target = rng.dirichlet(np.ones(arms)), np.log(rng.dirichlet(np.ones(arms))) + lift
        policy = apa_minimiser(weights, target)
        assert policy.sum() == pytest.approx(1, abs=1e-12)
        best = search(weights, target, rng)
        assert one_state.apa_loss(policy, weights, target) <= best.fun + 1e-9
        gradient = one_state.apa_gradient(np.log(policy), weights, target)
        np.testing.assert_allclose(gradient, 0, atol=1e-8)

    @settings(max_examples=20, deadline=None)
    @given(weights=laws(2), target=st.lists(st.floats(-4, 1.5), min_size=2, max_size=2))
    def test_two_solvers_agree(self, weights, target):
        # The general ones, by Lambert's W, and the one for two arms share no step.
        target = np.array(target)
        general = one_state._from_outside if logsumexp(target) > 0 else None
        policy = apa_minimiser(weights, target)
        if general is not None:
            np.testing.assert_allclose(general(weights[None], target[None])[0], policy, atol=1e-9)
        else:
            other = one_state._from_inside(weights, target)
            losses = [one_state.apa_loss(p, weights, target) for p in (other, policy)]
            assert losses[0] == pytest.approx(losses[1], abs=1e-10)

    def test_printed_equation(self):
        # mu from the first arm; Lambert's formula must then give all arms.
        target = np.log(OLD) + GAINS / 0.5
        policy = apa_minimiser(OLD, target)
        multiplier = OLD[0] * (target[0] - math.log(policy[0])) / policy[0]
        assert multiplier > 0
        law = sp.lambdify((algebra.WEIGHT, algebra.TARGET, algebra.MULTIPLIER), algebra.minimiser().rhs, "scipy")
        np.testing.assert_allclose(law(OLD, target, multiplier).real, policy, rtol=1e-9)

    @settings(max_examples=30, deadline=None)
    @given(target=st.lists(st.floats(-3, 1), min_size=3, max_size=3))
    def test_data_from_the_goal_or_a_normalised_target(self, target):
        goal = softmax(target)
        np.testing.assert_allclose(one_state.apa_gradient(np.log(goal), goal, np.array(target)), 0, atol=1e-12)
        if logsumexp(target) >= 0:
            np.testing.assert_allclose(apa_minimiser(goal, target), goal, atol=1e-8)
        np.testing.assert_allclose(apa_minimiser(OLD, np.log(goal)), goal, atol=1e-8)

    def test_downhill_is_where_small_steps_end(self):
        # At gap 5.05 descent falls back towards even odds, at 4.95 it stays near the optimum 5.
        for gap in (4.95, 5.05, -1.0, 2.0):
            old = from_gap(gap)
            target = one_state.apa_target(old, [5.0, 0.0], 1.0, EVEN)
            first, second = (float(x) for x in np.log(old))
            for _ in range(60_000):  # scalars only
                p = 1 / (1 + math.exp(second - first))
                d = [old[0] * (math.log(p) - target[0]), old[1] * (math.log(1 - p) - target[1])]
                push = 0.4 * (d[0] - p * sum(d))
                first, second = first - push, second + push
            end = to_gap(apa_round(old, [5.0, 0.0], 1.0, EVEN, downhill=True))
            assert end == pytest.approx(first - second, abs=1e-3)

    def test_batches(self):
        rng = np.random.default_rng(2)
        for arms in (2, 4):
            weights, target = rng.dirichlet(np.ones(arms), size=(2, 3)), rng.normal(size=(2, 3, arms)) - 1
            whole = apa_minimiser(weights, target)
            assert whole.shape == (2, 3, arms)
            np.testing.assert_allclose(whole[1, 2], apa_minimiser(weights[1, 2], target[1, 2]), atol=1e-12)


class TestRounds:
    def test_linear_response(self):
        p, q = sp.symbols("p q", positive=True)
        by_new, by_old = algebra.round_jacobian([p, q, 1 - p - q], algebra.KL)
        factor = algebra.round_response().rhs / algebra.DISTURBANCE
        assert sp.simplify(by_new * factor + by_old) == sp.zeros(3, 3)
        policy = sp.Matrix([p, q, 1 - p - q])
        fisher = sp.diag(*policy) - policy * policy.T
        assert sp.simplify(by_new - 2 * (1 - algebra.KL) * fisher) == sp.zeros(3, 3)

    @pytest.mark.parametrize("beta", [2.0, 1.0, 0.5])
    def test_measured_response_in_every_direction(self, beta):
        goal = boltzmann(GAINS, beta, OLD)
        kl = one_state.divergence(goal, OLD)
        for direction in ([1, -1, 0], [0, 1, -1]):
            nudge = 1e-5 * np.array(direction) / goal
            after = apa_round(goal * (1 + nudge), GAINS, beta, OLD) / goal - 1
            np.testing.assert_allclose(after, -kl / (1 - kl) * nudge, rtol=0.01, atol=1e-7)

    def test_local_maximum_beyond_one_nat(self):
        # R = (0, 1, 5), beta = 1/2, uniform: K = 1.095; the loss at the fixed point is K^2 and curves downwards.
        rewards, initial = np.array([0.0, 1.0, 5.0]), np.full(3, 1 / 3)
        goal = boltzmann(rewards, 0.5)
        kl = one_state.divergence(goal, initial)
        target = one_state.apa_target(goal, rewards, 0.5, initial)
        assert kl == pytest.approx(1.0950950, abs=1e-6)
        assert one_state.apa_loss(goal, goal, target) == pytest.approx(kl**2, rel=1e-12)
        for direction in np.eye(3):
            beside = softmax(np.log(goal) + 1e-2 * direction)
            assert one_state.apa_loss(beside, goal, target) < kl**2
        assert one_state.apa_loss(apa_minimiser(goal, target), goal, target) < 0.006

    def test_half_a_nat_decides(self):
        threshold = one_state.critical_gap(0.5)
        assert one_state.divergence(from_gap(threshold), EVEN) == pytest.approx(0.5, abs=1e-12)
        for gap, settles in ((threshold - 0.1, True), (threshold + 0.1, False)):
            path = repeat(lambda p, g=gap: apa_round(p, [g, 0.0], 1.0, EVEN, downhill=True), from_gap(gap + 1e-3), 200)
            assert (abs(to_gap(path[-1]) - gap) < 1e-3) == settles

    def test_repeats_keep_the_start_and_every_round(self):
        np.testing.assert_array_equal(repeat(lambda p: 2 * p, np.array([1.0, 3.0]), 2), [[1, 3], [2, 6], [4, 12]])

    def test_cycle_of_three(self):
        path = repeat(lambda p: apa_round(p, [1.0, 0.5], 0.1, EVEN, downhill=True), EVEN, 300)
        np.testing.assert_allclose(path[-3:], path[-6:-3], atol=1e-9)
        np.testing.assert_allclose(np.sort(path[-3:, 0]), [0.522681, 0.965737, 0.995744], atol=1e-6)

    def test_missing_mass_goes_where_nobody_looks(self):
        rewards, initial = np.array([1.0, 0.5, 0.0]), np.array([0.5, 0.5 - 1e-6, 1e-6])
        goal = boltzmann(rewards, 1, initial)
        kl = one_state.divergence(goal, initial)
        found = apa_round(goal, rewards, 1.0, initial)
        target = one_state.apa_target(goal, rewards, 1.0, initial)
        assert one_state.apa_loss(found, goal, target) < 0.1 * kl**2
        assert found[2] == pytest.approx(1 - math.exp(-kl), rel=0.02)
        best = search(goal, target, np.random.default_rng(0), tries=30)
        assert one_state.apa_loss(found, goal, target) <= best.fun + 1e-9

    def test_lyapunov_exponent_of_known_maps(self):
        # Doubling gaps: ln 2. Settled rounds: the logarithm of K / (1 - K).
        double = one_state.lyapunov_exponent(lambda p: from_gap(2 * to_gap(p)), from_gap([0.01, -0.02]), 8)
        np.testing.assert_allclose(double, math.log(2), rtol=1e-5)
        kl = one_state.divergence(from_gap(2.5), EVEN)
        rate = one_state.lyapunov_exponent(lambda p: apa_round(p, [2.5, 0.0], 1.0, EVEN), from_gap([2.5]), 10)
        assert rate[0] == pytest.approx(math.log(kl / (1 - kl)), abs=1e-3)


class TestSmallSteps:
    def test_gradient_is_that_of_the_penalised_return(self):
        by_loss, by_objective = algebra.on_policy_gradient(3)
        for one, other in zip(by_loss, by_objective, strict=True):
            assert sp.simplify(sp.expand_log(one - other, force=True)) == 0

    def test_numbers(self):
        rng = np.random.default_rng(3)
        logits, rewards = rng.normal(size=3), rng.normal(size=3)

        def objective(logits):
            policy = softmax(logits)
            return policy @ rewards / 0.3 - one_state.divergence(policy, OLD)

        policy = softmax(logits)
        gradient = one_state.apa_gradient(logits, policy, one_state.apa_target(policy, rewards, 0.3, OLD))
        for k, direction in enumerate(np.eye(3) * 1e-6):
            slope = (objective(logits + direction) - objective(logits - direction)) / 2e-6
            assert gradient[k] == pytest.approx(-2 * slope, abs=1e-7)

    def test_inner_time_law(self):
        law = sp.lambdify((algebra.KL, algebra.INNER_TIME), algebra.inner_multiplier())
        critical = sp.lambdify(algebra.KL, algebra.critical_time())
        initial = np.array([0.05, 0.95])
        for kl in (0.3, 0.7, 1.8):
            gap = one_state.critical_gap(kl, 0.05)
            goal = boltzmann([gap, 0.0], 1, initial)
            for time in (0.5, 3.0):
                passes, nudge = 2_000, 1e-5
                after = one_state.apa_inner(
                    from_gap(to_gap(goal) + nudge), [gap, 0.0], 1.0, initial,
                    step=time / (2 * passes * 2 * goal.prod()), passes=passes,
                )  # fmt: skip
                assert (to_gap(after) - to_gap(goal)) / nudge == pytest.approx(law(kl, time), rel=0.01)
            if kl > 0.5:
                assert law(kl, critical(kl)) == pytest.approx(-1, rel=1e-12)
        assert float(sp.limit(algebra.critical_time(), algebra.KL, 1)) == 2

    def test_noise(self):
        trace, closed = algebra.gradient_noise(3)
        assert sp.expand(trace - closed) == 0
        rewards, goal = np.array([1.0, 0.5]), boltzmann([1.0, 0.5], 0.5)
        kl, spread, rng = one_state.divergence(goal, EVEN), goal.prod(), np.random.default_rng(4)
        ends = {
            kept: to_gap(
                one_state.sampled_apa(
                    rewards, 0.5, EVEN, step=0.02, batch=16, updates=600, runs=400, normalise=kept, rng=rng
                )[-1]
            )
            for kept in (False, True)
        }
        law = math.sqrt(0.02**2 * kl**2 * spread / (1 - (1 - 0.08 * spread) ** 2))
        assert ends[False].std() == pytest.approx(law, rel=4 / math.sqrt(800) + 0.02)
        assert abs(ends[False].mean() - 1) < 4 * law / 20 + 1e-4
        assert ends[True].std() < 1e-4


class TestBridge:
    def test_one_state(self):
        rewards = np.array([1.0, 0.5, 0.0])
        goal = boltzmann(rewards, 0.5, OLD)
        run = simulate(
            Bandit(rewards), actde(0.2, 0.1), prior=OLD, episodes=4_000, runs=3, rng=np.random.default_rng(5)
        )
        np.testing.assert_allclose(run.policy[-1], np.broadcast_to(goal, (3, 3)), atol=1e-9)
        small = repeat(
            lambda p: one_state.apa_inner(p, rewards, 0.5, OLD, step=0.05, passes=1), np.full(3, 1 / 3), 3_000
        )
        np.testing.assert_allclose(small[-1], goal, atol=1e-9)
        np.testing.assert_allclose(apa_round(goal, rewards, 0.5, OLD), goal, atol=1e-12)

    def test_several_states(self):
        world = games.prisoners_dilemma(games.PAYOFFS["extreme"])
        initial = np.array([[0.6, 0.4], [0.3, 0.7]])
        (point,) = fixed_points(world, 0.8, prior=initial, rng=np.random.default_rng(6))
        reached = one_state.apa_flow(world, 0.8, initial, step=0.5, updates=500)
        np.testing.assert_allclose(reached, point.policy, atol=1e-8)
        again = mdp.softmax_policy(mdp.evaluate(world, reached), 0.8, initial)
        np.testing.assert_allclose(again, reached, atol=1e-8)
        soft = mdp.softmax_policy(mdp.soft_optimal_values(world, 0.8, initial), 0.8, initial)
        assert np.abs(reached - soft).max() > 1e-3
