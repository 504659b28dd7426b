"""What chapter 2 proves about the action-conditioned error, checked against loops that share no code with it."""

import copy
import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from actde_book.ch02_finite_reinforcement import algebra
from actde_book.ch02_finite_reinforcement.predictions import metropolis_law, softmax_gradient_limit, telescoped_logits
from actde_book.ch02_finite_reinforcement.visit_orders import interleavings, lateness, play
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.special import expit, logit

from actde_nb.tables import symbolic
from actde_nb.tables.bandit import Bandit, Rule, StepSize, actde, boltzmann, simulate

E_1, E_2 = algebra.FIRST_ERRORS
POST = {E_1: 1, E_2: sp.Rational(1, 2), symbolic.TAU: 1}
WEDDING_PARTY = Bandit(np.array([1.0, 0.5]))

rewards = st.lists(st.floats(-3, 3), min_size=2, max_size=5)
temperatures = st.floats(0.2, 5)


def distribution(weights):
    weights = np.asarray(weights)
    return weights / weights.sum()


def priors(arms):
    return st.lists(st.floats(0.05, 1), min_size=arms, max_size=arms).map(distribution)


def loop(actions, pay, eta, alpha, prior, q, gradient="logit"):
    """The rule with scalars only: one list of arms, their rewards looked up in ``pay``."""
    theta, q = [math.log(p) for p in prior], list(q)
    for a in actions:
        delta = pay[a] - q[a]
        if gradient == "softmax":
            total = sum(math.exp(t) for t in theta)
            policy = [math.exp(t) / total for t in theta]
            for b in range(len(theta)):
                theta[b] += eta * delta * ((1 if b == a else 0) - policy[b])
        else:
            theta[a] += eta * delta
        q[a] += alpha * delta
    return theta, q


class TestPostsTable:
    # Errors 1, .5, 0, 0; pi = e/(e+1) = .7311, then e/(e+e^.5) = 1/(1+e^-.5) = .6225, which rounds to .62.
    def test_rows(self):
        run = simulate(
            WEDDING_PARTY, actde(), episodes=4, rng=np.random.default_rng(0), record_at=range(5),
            actions=np.array([[0], [1], [1], [0]]),
        )  # fmt: skip
        np.testing.assert_allclose(run.advantages[1:, 0], [1, 0.5, 0, 0], atol=1e-15)
        np.testing.assert_allclose(run.policy[1:, 0, 0], [math.e / (math.e + 1)] + 3 * [1 / (1 + math.exp(-0.5))])
        np.testing.assert_array_equal(run.action_values[1:, 0], [[1, 0], [1, 0.5], [1, 0.5], [1, 0.5]])
        assert f"{run.policy[-1, 0, 0]:.2f}" == "0.62"

    @pytest.mark.parametrize("gradient", ["logit", "softmax"])
    def test_simulator_agrees_with_the_loop(self, gradient):
        rng = np.random.default_rng(1)
        pay, prior, q = rng.normal(size=4), rng.dirichlet(np.ones(4)), rng.normal(size=4)
        actions = rng.integers(4, size=(60, 1))
        rule = Rule("action_value", StepSize(0.7), StepSize(0.4), gradient=gradient)
        run = simulate(Bandit(pay), rule, episodes=60, rng=rng, actions=actions, prior=prior, initial_q=q)
        theta, learned = loop(actions[:, 0], pay, 0.7, 0.4, prior, q, gradient)
        np.testing.assert_allclose(run.logits[-1, 0], theta, atol=1e-12)
        np.testing.assert_allclose(run.action_values[-1, 0], learned, atol=1e-12)


class TestTelescoping:
    @pytest.mark.parametrize("bootstrap", ["expected", "sampled", "greedy", "separate", "soft"])
    def test_in_a_decision_process_with_any_bootstrap(self, bootstrap):
        # Three states, two actions, random next states and noisy rewards; the behaviour is half random.
        rng = np.random.default_rng(2)
        mean, move = rng.normal(size=(3, 2)), rng.dirichlet(np.ones(3), size=(3, 2))
        theta, q, v = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), np.zeros(3)
        start_theta, start_q, eta, alpha, gamma = theta.copy(), q.copy(), 0.3, 0.12, 0.9
        tau, s = alpha / eta, 0
        for t in range(3_000):
            policy = np.exp(theta[s]) / np.exp(theta[s]).sum()
            a = rng.integers(2) if t % 2 else rng.choice(2, p=policy)
            then = rng.choice(3, p=move[s, a])
            next_policy = np.exp(theta[then]) / np.exp(theta[then]).sum()
            ahead = {
                "expected": next_policy @ q[then],
                "sampled": q[then, rng.choice(2, p=next_policy)],
                "greedy": q[then].max(),
                "separate": v[then],
                "soft": tau * np.log(np.exp(q[then] / tau).mean()),
            }[bootstrap]
            reward = mean[s, a] + rng.normal()
            delta = reward + gamma * ahead - q[s, a]
            shrink = (1 + t / 100) ** -0.6  # both steps may fade if their ratio stays
            theta[s, a] += shrink * eta * delta
            q[s, a] += shrink * alpha * delta
            v[s] += 0.1 * (reward + gamma * v[then] - v[s])
            s = then
        np.testing.assert_allclose(theta - start_theta, (q - start_q) / tau, atol=1e-10)

    @given(data=st.data(), eta=st.floats(0.05, 2), alpha=st.floats(0.05, 1.9), pay=rewards)
    @settings(max_examples=40, deadline=None)
    def test_any_order_of_visits(self, data, eta, alpha, pay):
        arms = len(pay)
        prior = data.draw(priors(arms))
        q = data.draw(st.lists(st.floats(-2, 2), min_size=arms, max_size=arms))
        actions = data.draw(st.lists(st.integers(0, arms - 1), max_size=40))
        theta, learned = loop(actions, pay, eta, alpha, prior, q)
        tau = alpha / eta
        np.testing.assert_allclose(theta - np.log(prior), (np.array(learned) - q) / tau, atol=1e-10)

    def test_predicted_logits(self):
        # q after wedding, party at alpha = 1/2: (1/2, 0), then (1/2, 1/4); over tau = 1/2, from even odds ln 1/2.
        run = play(WEDDING_PARTY, actde(1.0, 0.5), np.array([[0], [1]]))
        gained = np.array([[0, 0], [1, 0], [1, 0.5]])
        np.testing.assert_allclose(telescoped_logits(run, 0.5)[:, 0], gained + math.log(0.5), atol=1e-15)
        assert abs(telescoped_logits(run, 0.6) - run.logits).max() > 0.1

    def test_fails_when_the_ratio_of_the_steps_is_not_constant(self):
        # Critic step 1/(n+1): the n-th error is R/n, so the logit is R times a harmonic number while q < R.
        rule = Rule("action_value", StepSize(1.0), StepSize(1.0, power=1, offset=1))
        run = simulate(WEDDING_PARTY, rule, episodes=4, rng=np.random.default_rng(0), actions=np.zeros((4, 1), int))
        assert run.gap[-1, 0] == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 4)
        assert run.action_values[-1, 0, 0] == pytest.approx(1 - 1 / 5)

    def test_logit_after_visits(self):
        equation = algebra.after_visits()
        symbols = [algebra.VISITS, symbolic.ALPHA, symbolic.TAU, *sp.symbols("R q_0 theta_0", real=True)]
        law = sp.lambdify(symbols, equation.rhs)
        for alpha in (0.3, 1.0, 1.5):
            theta, _ = loop([0] * 6, [2.0, 0.0], 0.8, alpha, [0.3, 0.7], [0.5, 0.0])
            assert law(6, alpha, alpha / 0.8, 2.0, 0.5, math.log(0.3)) == pytest.approx(theta[0], abs=1e-12)

    @pytest.mark.parametrize(("alpha", "settles"), [(0.5, True), (1.9, True), (2.0, False), (2.1, False)])
    def test_range_of_the_critic_step(self, alpha, settles):
        _, q = loop([0] * 400, [1.0, 0.0], 1.0, alpha, [0.5, 0.5], [0.0, 0.0])
        assert (abs(q[0] - 1) < 1e-9) is settles


class TestSharedFeatures:
    """The proposition, with autograd in a network of one trunk and two linear heads."""

    @staticmethod
    def train(loss_of_policy, trunk_learns, steps=300):
        """Return logits minus q over tau, at the start, at the end, and as the first heads read the last features."""
        torch.manual_seed(0)
        trunk, (policy, critic) = torch.nn.Linear(4, 5).double(), (torch.nn.Linear(5, 3).double() for _ in range(2))
        groups = [{"params": policy.parameters(), "lr": 0.02}, {"params": critic.parameters(), "lr": 0.05}]
        groups += [{"params": trunk.parameters(), "lr": 0.01 * trunk_learns}]
        descent, states = torch.optim.SGD(groups), torch.randn(6, 4).double()

        def tied(policy, critic):
            features = torch.tanh(trunk(states))
            return (policy(features) - critic(features) / 2.5).detach()

        first, heads = tied(policy, critic), (copy.deepcopy(policy), copy.deepcopy(critic))
        for _ in range(steps):
            features = torch.tanh(trunk(states[torch.randint(6, ())]))
            logits, q = policy(features), critic(features)
            a = torch.distributions.Categorical(logits=logits.detach()).sample()
            error = (torch.randn(()) + a - q[a]).detach()
            descent.zero_grad()
            (loss_of_policy(logits, a, error) - error * q[a]).backward()
            descent.step()
        return first, tied(policy, critic), tied(*heads)

    def test_logits_and_q_move_as_one_if_the_loss_takes_the_logit(self):
        first, last, _ = self.train(lambda logits, a, error: -error * logits[a], trunk_learns=False)
        torch.testing.assert_close(last, first, rtol=0, atol=1e-12)

    def test_a_trunk_that_learns_leaves_what_the_first_heads_read(self):
        first, last, as_first = self.train(lambda logits, a, error: -error * logits[a], trunk_learns=True)
        torch.testing.assert_close(last, as_first, rtol=0, atol=1e-12)
        assert (last - first).abs().max() > 0.01

    def test_they_part_under_a_policy_gradient(self):
        first, last, _ = self.train(lambda logits, a, error: -error * logits.log_softmax(-1)[a], trunk_learns=False)
        assert (last - first).abs().max() > 0.1

    def test_by_hand(self):
        # Features (1, 1) and (0, 1), eta = 1, alpha = .5, both heads zero. Action 1 pays 2, so the error is 2, and
        # w = (2, 2), u = (1, 1): logits (4, 2), q (2, 1). Action 2 pays 0, so the error is -1, and w = (2, 1),
        # u = (1, .5): logits (3, 1), q (1.5, .5).
        features, w, u = np.array([[1.0, 1.0], [0.0, 1.0]]), np.zeros(2), np.zeros(2)
        for a, pay in ((0, 2.0), (1, 0.0)):
            error = pay - features[a] @ u
            w, u = w + error * features[a], u + 0.5 * error * features[a]
        np.testing.assert_array_equal(features @ w, [3, 1])
        np.testing.assert_array_equal(features @ u, [1.5, 0.5])


class TestEndPoint:
    def test_examples_of_the_post(self):
        # 1/(1+e) = .268941 for pizza; log-odds ln 99 + 90 for the wire.
        assert boltzmann([10, 11], 1)[0] == pytest.approx(1 / (1 + math.e), rel=1e-12)
        assert boltzmann([10, 100], 1, [0.01, 0.99])[0] == pytest.approx(math.exp(-90) / 99, rel=1e-12)

    def test_printed_equation_is_the_function(self):
        # The sum over arms, written out for three of them.
        expression = algebra.fixed_point().rhs
        arm, count = sp.Symbol("a", integer=True, positive=True), sp.Symbol("K", integer=True, positive=True)
        pay, prior, q, tau = [1.0, 0.3, -0.4], [0.2, 0.5, 0.3], [0.1, -0.2, 0.4], 0.7
        written = expression.subs(count, 3).doit()
        for value in range(1, 4):
            number = written.subs(arm, value)
            for b in range(1, 4):
                for name, table in (("R", pay), ("pi_0", prior), ("q_0", q)):
                    number = number.subs(sp.Function(name)(b), table[b - 1])
            expected = boltzmann(pay, tau, prior, q)[value - 1]
            assert float(number.subs(symbolic.TAU, tau)) == pytest.approx(expected, rel=1e-12)

    @given(data=st.data(), pay=rewards, tau=temperatures)
    @settings(max_examples=25, deadline=None)
    def test_loop_ends_there(self, data, pay, tau):
        prior = data.draw(priors(len(pay)))
        q = data.draw(st.lists(st.floats(-2, 2), min_size=len(pay), max_size=len(pay)))
        order = data.draw(st.permutations(list(range(len(pay))) * 60))
        theta, _ = loop(order, pay, 0.5 / tau, 0.5, prior, q)
        np.testing.assert_allclose(
            np.exp(theta) / np.exp(theta).sum(), boltzmann(pay, tau, prior, q), atol=1e-10
        )  # fmt: skip

    def test_it_is_the_regularised_optimum(self):
        policy = algebra.regularised_optimum(arms=3)
        prior, pay = sp.symbols("p_1:4", positive=True), sp.symbols("R_1:4", real=True)
        objective_gap = [sp.log(p / p0) - r / symbolic.BETA for p, p0, r in zip(policy, prior, pay, strict=True)]
        # Proportional to prior * exp(R / beta): these logs differ by nothing that depends on the arm.
        for other in objective_gap[1:]:
            assert sp.simplify(sp.expand_log(objective_gap[0] - other, force=True)) == 0

    @given(data=st.data(), pay=rewards, tau=temperatures)
    def test_no_policy_has_a_better_regularised_reward(self, data, pay, tau):
        prior = data.draw(priors(len(pay)))
        rival = data.draw(priors(len(pay)))

        def objective(policy):
            return policy @ pay - tau * (policy * np.log(policy / prior)).sum()

        assert objective(boltzmann(pay, tau, prior)) >= objective(rival) - 1e-12

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([1, 2], 0.0), "temperature = 0.0: allowed are finite numbers above zero"),
            (([1, np.nan], 1.0), r"rewards = \[1.0, nan\]: allowed are finite numbers"),
            (([1, 2], 1.0, [0.5, 0.6]), r"prior = \[0.5, 0.6\]: allowed are positive numbers that sum to one"),
            (([1, 2], 1.0, [0.2, 0.3, 0.5]), r"prior has shape \(3,\): allowed is \(2,\)"),
            (([1, 2], 1.0, None, [0, 0, 0]), r"initial_q has shape \(3,\): allowed is \(2,\)"),
        ],
    )
    def test_errors_name_the_field(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            boltzmann(*arguments)


class TestMetropolis:
    def test_hand_computed(self):
        # Rewards ln 2 and 0 at temperature 1, proposals 1/2: up always, down with probability 1/2, so shares 2 : 1.
        np.testing.assert_allclose(metropolis_law([math.log(2), 0], 1, [0.5, 0.5]), [2 / 3, 1 / 3], rtol=1e-12)

    @given(data=st.data(), pay=rewards, tau=temperatures)
    def test_it_samples_the_end_policy(self, data, pay, tau):
        proposal = data.draw(priors(len(pay)))
        np.testing.assert_allclose(
            metropolis_law(pay, tau, proposal), boltzmann(pay, tau, proposal), rtol=1e-6, atol=1e-9
        )  # fmt: skip

    def test_errors_name_the_field(self):
        with pytest.raises(ValueError, match=r"proposal = \[0.5, 0.6\]: allowed are positive numbers that sum to one"):
            metropolis_law([1, 2], 1.0, [0.5, 0.6])


class TestInvariances:
    @given(data=st.data(), pay=rewards, tau=temperatures, shift=st.floats(-10, 10))
    def test_reward_shift(self, data, pay, tau, shift):
        prior = data.draw(priors(len(pay)))
        np.testing.assert_allclose(boltzmann(np.array(pay) + shift, tau, prior), boltzmann(pay, tau, prior), atol=1e-12)

    @given(data=st.data(), pay=rewards, tau=temperatures, shift=st.floats(-10, 10))
    def test_shift_of_initial_q(self, data, pay, tau, shift):
        prior = data.draw(priors(len(pay)))
        np.testing.assert_allclose(boltzmann(pay, tau, prior, shift), boltzmann(pay, tau, prior), atol=1e-12)

    def test_uneven_initial_q_matters(self):
        # Gap .5 - .3 = .2 instead of .5.
        assert boltzmann([1, 0.5], 1, initial_q=[0.3, 0])[0] == pytest.approx(expit(0.2), rel=1e-12)

    @given(pay=rewards, tau=temperatures, c=st.floats(0.2, 4))
    def test_power_rule_with_a_uniform_prior(self, pay, tau, c):
        np.testing.assert_allclose(
            boltzmann(c * np.array(pay), tau), distribution(boltzmann(pay, tau) ** c), atol=1e-12
        )  # fmt: skip

    @given(data=st.data(), pay=rewards, tau=temperatures, c=st.floats(1.5, 4))
    def test_power_rule_fails_with_any_other_prior(self, data, pay, tau, c):
        prior = data.draw(priors(len(pay)))
        assume(np.ptp(np.log(prior)) > 0.1)
        once, scaled = boltzmann(pay, tau, prior), boltzmann(c * np.array(pay), tau, prior)
        wrong = np.log(distribution(once**c)) - np.log(scaled)
        assert np.ptp(wrong) > 0.04  # (c - 1) times the spread of the log prior
        np.testing.assert_allclose(distribution(prior * (once / prior) ** c), scaled, atol=1e-10)

    def test_printed_error_of_the_power_rule(self):
        # Prior odds 1/4, c = 3: (3 - 1) ln(1/4).
        once, scaled = boltzmann([1, 0.5], 1, [0.2, 0.8]), boltzmann([3, 1.5], 1, [0.2, 0.8])
        law = algebra.power_rule_error().subs({algebra.SCALE: 3, algebra.PRIOR_ODDS: sp.Rational(1, 4)})
        assert 3 * logit(once[0]) - logit(scaled[0]) == pytest.approx(float(law), rel=1e-12)
        assert float(law) == pytest.approx(2 * math.log(0.25))


class TestOrders:
    def test_all_of_them_once(self):
        orders = interleavings(2, 3)
        assert {tuple(order) for order in orders.T} == set(itertools.permutations((0, 0, 1, 1, 1)))
        assert orders.shape == (5, 10)

    def test_lateness(self):
        # Mean episodes of arm 0 are 1/2 (first), 5/2 (middle) and 7/2 (last) of 0..4, less 1/2, over 3.
        orders = np.array([[0, 0, 1, 1, 1], [1, 0, 1, 1, 0], [1, 1, 1, 0, 0]]).T
        np.testing.assert_allclose(lateness(orders), [0, 2 / 3, 1], atol=1e-15)

    @pytest.mark.parametrize("gradient", ["logit", "softmax"])
    def test_play_agrees_with_the_loop(self, gradient):
        rule = Rule("action_value", StepSize(0.7), StepSize(0.4), gradient=gradient)
        orders = interleavings(3, 2)
        run = play(WEDDING_PARTY, rule, orders)
        for k, order in enumerate(orders.T):
            theta, learned = loop(order, [1.0, 0.5], 0.7, 0.4, [0.5, 0.5], [0.0, 0.0], gradient)
            np.testing.assert_allclose(run.logits[-1, k], theta, atol=1e-12)
            np.testing.assert_allclose(run.action_values[-1, k], learned, atol=1e-12)
        np.testing.assert_array_equal(run.episodes, range(6))

    def test_noise_is_refused(self):
        with pytest.raises(ValueError, match=r"noise = \[0.5, 0.5\]: allowed are rewards without noise"):
            play(Bandit([1.0, 0.5], noise=0.5), actde(), interleavings(1, 1))

    def test_long_equations_get_lines(self):
        x, y = sp.symbols("x y")
        lines = algebra.in_lines(x, y, -(y**2), y**3)
        assert lines == r"\begin{aligned} x &= y \\[6pt] &\quad - y^{2} \\[6pt] &\quad + y^{3} \end{aligned}"


class TestWaiting:
    def test_hand_computed(self):
        # From even odds: 1 + [(1 + e^1) + (1 + e^.5)] / 2 = 4.183502.
        law = algebra.mean_wait().subs(POST).subs(symbolic.simplex(2)[0], sp.Rational(1, 2))
        assert float(law) == pytest.approx(2 + (math.e + math.exp(0.5)) / 2, rel=1e-12)

    def test_sampled_with_a_skewed_prior(self):
        run = simulate(
            WEDDING_PARTY, actde(), prior=[0.3, 0.7], episodes=200, record_at=range(201), runs=4_000,
            rng=np.random.default_rng(3),
        )  # fmt: skip
        waits = (run.visits.min(-1) == 0).sum(0)
        law = float(algebra.mean_wait().subs(POST).subs(symbolic.simplex(2)[0], 0.3))
        assert abs(waits.mean() - law) < 4 * waits.std() / math.sqrt(len(waits))


class TestSoftmaxGradient:
    def test_two_orders_by_hand(self):
        # Wedding first: 0 + 2*1*.5 = 1, then 1 - sigma(1) = .268941. Party first: -.5, then -.5 + 2 sigma(.5).
        run = play(WEDDING_PARTY, Rule("action_value", gradient="softmax"), np.array([[0, 1], [1, 0]]))
        np.testing.assert_allclose(run.gap[-1], [1 - expit(1), -0.5 + 2 * expit(0.5)], rtol=1e-12)

    def test_remainder_along_a_path(self):
        # Sum of (dq - pi dQ) / tau over a random path, with policies taken before each step.
        rng, pay, eta, alpha = np.random.default_rng(4), np.array([1.0, -0.5, 0.3]), 0.6, 0.3
        actions, predicted = rng.integers(3, size=50), np.zeros(3)
        for t, a in enumerate(actions):
            before, q = loop(actions[:t], pay, eta, alpha, [1 / 3] * 3, [0] * 3, "softmax")
            learned = alpha * (pay[a] - q[a])
            predicted += (learned * (np.arange(3) == a) - distribution(np.exp(before)) * learned) / (alpha / eta)
        theta, _ = loop(actions, pay, eta, alpha, [1 / 3] * 3, [0] * 3, "softmax")
        np.testing.assert_allclose(theta - np.log(1 / 3), predicted, atol=1e-12)

    def test_curvature_by_a_small_loop(self):
        # Learn a little of arm 1 then arm 2, and the other way round: the ends differ by curvature times area.
        law = sp.lambdify([sp.Symbol("pi_1", positive=True), symbolic.TAU], algebra.curvature())
        start, tau, side = 0.4, 0.7, 1e-4

        def first(x):
            return x + 2 * side * (1 - expit(x)) / tau

        def second(x):
            return x - 2 * side * expit(x) / tau

        measured = (second(first(start)) - first(second(start))) / side**2
        assert measured == pytest.approx(law(expit(start), tau), rel=1e-3)

    def test_last_counts_most_over_all_orders(self):
        ends = {}
        for early in itertools.combinations(range(8), 3):
            order = [0 if t in early else 1 for t in range(8)]
            theta, _ = loop(order, [1.0, 0.7], 1.2, 0.4, [0.3, 0.7], [0.0, 0.1], "softmax")
            ends[early] = theta[0] - theta[1]
        assert min(ends, key=ends.get) == (0, 1, 2)
        assert max(ends, key=ends.get) == (5, 6, 7)

    def test_extremes_by_many_small_steps(self):
        fine = StepSize(0.002)
        rule = Rule("action_value", fine, fine, gradient="softmax")
        for law, arms in zip(algebra.extreme_gaps(), ((0, 1), (1, 0)), strict=True):
            actions = np.repeat(arms, 6_000)[:, None]
            run = simulate(WEDDING_PARTY, rule, episodes=12_000, actions=actions, rng=np.random.default_rng(0))
            assert run.gap[-1, 0] == pytest.approx(float(law.subs(POST)), abs=1e-3)

    def test_limit_against_another_form_of_the_flow(self):
        # In s = exp(-t/2): x from 0 and w = half the log error ratio, relative to the start, s from 1 to 0.
        def flow(s, state):
            gap, tilt = state
            return [-(0.5 * math.cosh(tilt) + 1.5 * math.sinh(tilt)) / math.cosh(gap / 2) ** 2, math.tanh(gap / 2) / s]

        path = solve_ivp(flow, (1, 1e-9), [0, 0], method="LSODA", rtol=1e-11, atol=1e-13)
        limit = softmax_gradient_limit([1, 0.5], 1)
        assert logit(limit[0]) == pytest.approx(path.y[0, -1], abs=1e-7)
        assert logit(limit[0]) == pytest.approx(0.337470, abs=5e-7)

    def test_limit_with_one_arm_known_is_a_lambert_function(self):
        law = algebra.extreme_gaps()[0].subs({E_2: 0, E_1: 1.3, symbolic.TAU: 0.6})
        assert logit(softmax_gradient_limit([1.3, 0.0], 0.6)[0]) == pytest.approx(float(law), abs=1e-9)

    def test_series(self):
        # At tau = 100 the first term left out, of order 1e-8, is far below the tolerance. An arm whose error is zero
        # has x + e^x = 1 + 2y: x = y - y^2/4 + y^3/24.
        series = algebra.on_policy_series(order=3)
        numbers = {algebra.DIFFERENCE: 0.5, algebra.TOTAL: 1.5}
        limit = logit(softmax_gradient_limit([1, 0.5], 100)[0])
        assert float(series.subs(numbers).subs(symbolic.TAU, 100)) == pytest.approx(limit, abs=1e-9)
        y = sp.Symbol("y")
        known = series.subs({algebra.DIFFERENCE: y, algebra.TOTAL: y, symbolic.TAU: 1})
        assert sp.expand(known - (y - y**2 / 4 + y**3 / 24)) == 0

    def test_sampled_runs_reach_the_limit(self):
        # Steps h bias the mean by O(h): extrapolate from h = .04 and .02.
        means, errors = [], []
        for h, episodes in ((0.04, 1_200), (0.02, 2_400)):
            rule = Rule("action_value", StepSize(h), StepSize(h), gradient="softmax")
            run = simulate(WEDDING_PARTY, rule, episodes=episodes, runs=1_500, rng=np.random.default_rng(5))
            means.append(run.gap[-1].mean())
            errors.append(run.gap[-1].std() / math.sqrt(1_500))
        extrapolated, spread = 2 * means[1] - means[0], math.hypot(2 * errors[1], errors[0])
        assert abs(extrapolated - logit(softmax_gradient_limit([1, 0.5], 1)[0])) < 4 * spread

    @pytest.mark.parametrize("weights", list(itertools.product([False, True], repeat=2)))
    def test_importance_weights_do_not_restore_the_end(self, weights):
        end = softmax_gradient_limit([1, 0.5], 1, weight_policy=weights[0], weight_critic=weights[1])
        assert logit(end[0]) < 0.4  # the raw update ends at .5

    def test_weighted_flow_by_euler_steps(self):
        # Both weighted: theta' = e - pi sum(e), e' = -e.
        theta, error = np.zeros(2), np.array([1.0, 0.5])
        for _ in range(40_000):
            move = error - expit([theta[0] - theta[1], theta[1] - theta[0]]) * error.sum()
            theta, error = theta + 5e-4 * move, error * (1 - 5e-4)
        end = softmax_gradient_limit([1, 0.5], 1, weight_policy=True, weight_critic=True)
        assert theta[0] - theta[1] == pytest.approx(logit(end[0]), abs=5e-4)

    def test_natural_step_is_one_logit(self):
        p = symbolic.simplex(3)
        assert sp.simplify(algebra.natural_step() - sp.Matrix([1 - p[0], -p[1], -p[2]])) == sp.zeros(3, 1)

    def test_right_critic_has_no_gradient_and_the_correction_restores_it(self):
        pay = sp.symbols("R_1:4", real=True)
        assert algebra.expected_gradient(lambda a: pay[a] - pay[a]) == [0, 0, 0]
        correction = algebra.expected_gradient(lambda a: pay[a])
        assert [sp.simplify(c - g) for c, g in zip(correction, symbolic.exact_gradient(3), strict=True)] == [0, 0, 0]


class TestRegret:
    def test_law_of_the_ordinary_error(self):
        # x + 1 - e^-x over two.
        x = algebra.GAP
        assert sp.simplify(algebra.mean_field_regret() - (x + 1 - sp.exp(-x)) / 2) == 0

    def test_law_against_runs(self):
        eta, episodes = 0.05, 4_000
        run = simulate(
            WEDDING_PARTY, Rule("exact_value", StepSize(eta)), episodes=episodes, runs=400, rng=np.random.default_rng(6)
        )
        regret = 0.5 * run.visits[-1, :, 1]
        gap = symbolic.gap_at(np.array([eta * 0.5 * episodes]))[0]
        law = float(algebra.mean_field_regret().subs(algebra.GAP, gap)) / eta
        # Small-step law: allow its O(1) correction (about one reward difference) beside four standard errors.
        assert abs(regret.mean() - law) < 4 * regret.std() / 20 + 0.5

    def test_fixed_temperature_pays_for_ever(self):
        run = simulate(WEDDING_PARTY, actde(), episodes=2_000, runs=300, rng=np.random.default_rng(7))
        share = run.visits[-1, :, 1] / 2_000
        worse = boltzmann([1, 0.5], 1)[1]
        # The wait before both arms were tried costs or saves a few episodes of the 2,000.
        assert abs(share.mean() - worse) < 4 * share.std() / math.sqrt(300) + 5 / 2_000
