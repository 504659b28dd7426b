"""Chapter 4's algebra, against numbers that do not come from it."""

import numpy as np
import pytest
import sympy as sp
from actde_book.ch04_more_than_one_state import algebra
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit, softmax

from actde_nb.tables import symbolic

POST = (0.5, 2.0, 2 - np.sqrt(7.5), np.sqrt(7.5) - 4.5)  # cc, dc, dd, cd


def boltzmann(q, prior, tau):
    weights = prior * np.exp((q - q.max()) / tau)
    return weights / weights.sum()


def response(q, prior, tau):
    """Derivative of sum(pi q) by central differences: knows nothing of the formula."""
    slopes = []
    for b in range(len(q)):
        step = np.zeros(len(q))
        step[b] = 1e-5
        up, down = q + step, q - step
        slopes.append((boltzmann(up, prior, tau) @ up - boltzmann(down, prior, tau) @ down) / 2e-5)
    return np.array(slopes)


# --- how a value answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("actions", [2, 3])
def test_value_response_is_the_derivative_for_every_action_and_prior(actions):
    value, q, prior = algebra.boltzmann_value(actions)
    printed = algebra.value_response().rhs
    for b in range(actions):
        pi = prior[b] * sp.exp(q[b] / symbolic.TEMPERATURE) / sp.denom(value)
        claim = printed.subs({sp.Symbol("pi_b"): pi, sp.Symbol("q_b"): q[b], sp.Symbol("v"): value})
        assert sp.simplify(sp.diff(value, q[b]) - claim) == 0


def test_value_response_by_hand():
    # q = (1, 0), even prior, tau = 1: pi = (.731059, .268941), v = .731059;
    # responses .731059 * (1 + .268941) = .927671 and .268941 * (1 - .731059) = .072329
    slopes = response(np.array([1.0, 0.0]), np.array([0.5, 0.5]), 1.0)
    printed = sp.lambdify((sp.Symbol("pi_b"), sp.Symbol("q_b"), sp.Symbol("v"), symbolic.TEMPERATURE),
                          algebra.value_response().rhs)  # fmt: skip
    np.testing.assert_allclose(slopes, [0.927671, 0.072329], atol=1e-6)
    assert printed(0.731059, 1.0, 0.731059, 1.0) == pytest.approx(0.927671, abs=1e-6)


def test_soft_value_answers_with_the_policy():
    q, prior, tau = np.array([0.3, -1.0, 2.0]), np.array([0.2, 0.5, 0.3]), 0.7

    def soft(x):
        return tau * np.log(prior @ np.exp(x / tau))

    slopes = [(soft(q + e) - soft(q - e)) / 2e-5 for e in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(slopes, boltzmann(q, prior, tau), atol=1e-9)
    _, symbols, weights = algebra.boltzmann_value(3)
    printed = sp.lambdify((*symbols, *weights, symbolic.TEMPERATURE), algebra.soft_value(3))
    assert printed(*q, *prior, tau) == pytest.approx(soft(q), abs=1e-12)


# --- uniqueness -------------------------------------------------------------------------------------


def test_critical_gap_and_discount_of_two_even_actions():
    gap = algebra.critical_gap(0.5)
    assert gap * np.tanh(gap / 2) == pytest.approx(2, abs=1e-12)
    assert gap / 2 == pytest.approx(1.199679, abs=1e-6)
    assert algebra.critical_discount(0.5) == pytest.approx(0.833557, abs=1e-6)


@pytest.mark.parametrize(("actions", "largest"), [(2, 1.199679), (3, 1.327), (10, 1.749), (100, 2.688)])
def test_largest_response_is_attained_by_one_action_against_the_others(actions, largest):
    gap = algebra.critical_gap(1 / actions)
    slopes = response(np.r_[gap, np.zeros(actions - 1)], np.full(actions, 1 / actions), 1.0)
    assert np.abs(slopes).sum() == pytest.approx(gap / 2, abs=1e-6)
    assert gap / 2 == pytest.approx(largest, abs=6e-4)


@settings(max_examples=80, deadline=None)
@given(
    prior=st.lists(st.floats(0.02, 1), min_size=2, max_size=5),
    q=st.lists(st.floats(-9, 9), min_size=5, max_size=5),
    tau=st.floats(0.3, 5),
)
def test_no_response_exceeds_the_bound(prior, q, tau):
    prior = np.array(prior) / sum(prior)
    slopes = response(np.array(q[: len(prior)]), prior, tau)
    assert slopes.sum() == pytest.approx(1, abs=1e-4)
    assert np.abs(slopes).sum() <= algebra.critical_gap(min(prior)) / 2 + 1e-4


def test_search_for_a_larger_response_finds_the_bound_and_no_more():
    prior = np.array([0.1, 0.3, 0.6])
    rng = np.random.default_rng(0)
    best = max(
        -minimize(lambda q: -np.abs(response(q, prior, 1.0)).sum(), rng.normal(0, 4, 3), method="Nelder-Mead").fun
        for _ in range(12)
    )
    assert best == pytest.approx(algebra.critical_gap(0.1) / 2, abs=1e-4)


@pytest.mark.parametrize("least", [0.0, -0.1, 0.6, float("nan")])
def test_critical_gap_names_what_is_allowed(least):
    with pytest.raises(ValueError, match=r"least_prior = .*allowed are numbers above 0 and up to 1/2"):
        algebra.critical_gap(least)


# --- the worlds -------------------------------------------------------------------------------------


def test_runaway_drift_is_the_mean_of_both_actions_moves():
    drift = sp.lambdify(algebra.GAP, algebra.runaway_drift())
    for gap in (-3.0, -0.5, 0.0, 1.0, 6.0):
        q = np.array([gap, 0.0]) + 5.0
        pi = softmax(q)
        errors = 1 + pi @ q - q
        assert drift(gap) == pytest.approx(pi[0] * errors[0] - pi[1] * errors[1], abs=1e-12)


def test_stay_or_quit_fixed_points():
    arguments = (algebra.Q, algebra.REWARD, symbolic.DISCOUNT, symbolic.TEMPERATURE, algebra.LOG_ODDS)
    flow = sp.lambdify(arguments, algebra.stay_or_quit_flow())
    grid = np.linspace(-1, 12, 20_000)
    values = flow(grid, 0.2, 0.98, 1.0, 0.0)
    crossings = grid[:-1][np.sign(values[:-1]) != np.sign(values[1:])]
    np.testing.assert_allclose(crossings, [0.5184788, 2.9914567, 9.9772959], atol=1e-3)
    # by hand at q = 2: .2 + .98 * 2 * .880797 - 2 = -.073638
    assert flow(2.0, 0.2, 0.98, 1.0, 0.0) == pytest.approx(-0.073638, abs=1e-6)
    reward = sp.lambdify((algebra.Q, symbolic.DISCOUNT, symbolic.TEMPERATURE, algebra.LOG_ODDS),
                         algebra.stay_or_quit_reward())  # fmt: skip
    assert flow(3.3, reward(3.3, 0.9, 0.5, -1.0), 0.9, 0.5, -1.0) == pytest.approx(0, abs=1e-12)


def test_potential_falls_along_the_flow():
    q = np.linspace(-2, 3, 2001)
    # flow 1 - q comes from the height (q - 1)^2 / 2
    np.testing.assert_allclose(algebra.potential(q, 1 - q), (q - 1) ** 2 / 2, atol=1e-6)


def rooms_step(w, reward, discount, tau):
    """One sweep over the two rooms, entry by entry."""
    new = []
    for here, there in ((w[0], w[1]), (w[1], w[0])):
        stay, switch = reward + here, there
        odds = np.exp((stay - switch) / tau)
        new.append(discount * (odds * stay + switch) / (odds + 1))
    return np.array(new)


def test_rooms_flow_and_its_eigenvalues():
    flow = sp.lambdify((*algebra.ROOM, algebra.STAY, symbolic.DISCOUNT, symbolic.TEMPERATURE), algebra.rooms_flow())
    w = np.array([3.0, 1.5])
    np.testing.assert_allclose(flow(*w, 2.0, 0.9, 1.3), rooms_step(w, 2.0, 0.9, 1.3) - w, atol=1e-12)

    together, apart = (sp.lambdify((algebra.GAP, symbolic.DISCOUNT), value) for value in algebra.rooms_eigenvalues())
    tau, gap, discount = 1.3, 1.7, 0.9
    even = np.array([4.0, 4.0])
    jacobian = np.column_stack(
        [(rooms_step(even + e, gap * tau, discount, tau) - rooms_step(even - e, gap * tau, discount, tau)) / 2e-6
         for e in 1e-6 * np.eye(2)]
    ) - np.eye(2)  # fmt: skip
    np.testing.assert_allclose(jacobian @ [1, 1], np.full(2, together(gap, discount)), atol=1e-7)
    np.testing.assert_allclose(jacobian @ [1, -1], apart(gap, discount) * np.array([1, -1]), atol=1e-7)


def test_rooms_attain_the_uniqueness_bound():
    _, apart = algebra.rooms_eigenvalues()
    at_threshold = apart.subs(
        {algebra.GAP: algebra.critical_gap(0.5), symbolic.DISCOUNT: algebra.critical_discount(0.5)}
    )
    assert float(at_threshold) == pytest.approx(0, abs=1e-12)
    claim = symbolic.DISCOUNT * (1 + 2 * algebra.overshoot().subs(algebra.LOG_ODDS, 0)) - 1
    assert sp.simplify((apart - claim).rewrite(sp.exp)) == 0


@pytest.mark.parametrize(("discount", "ends"), [(0.83, 1), (0.85, 2)])
def test_rooms_split_beyond_the_threshold_and_not_before(discount, ends):
    found = set()
    for seed in range(6):
        w = np.random.default_rng(seed).uniform(0, 15, 2)
        for _ in range(6_000):
            w = rooms_step(w, 2.4, discount, 1.0)
        found.add(tuple(w.round(3)))
    assert len(found) == ends


@pytest.mark.parametrize("states", [3, 5, 7])
def test_ring_turns_where_it_says(states):
    threshold = float(algebra.ring_threshold(states))
    assert threshold == pytest.approx(1 / np.cos(np.pi / states))
    for gain in (0.98 * threshold, 1.02 * threshold):
        jacobian = -np.eye(states) - gain * np.roll(np.eye(states), 1, axis=1)
        values = np.linalg.eigvals(jacobian)
        printed = [complex(v.subs(sp.Symbol("k", positive=True), gain)) for v in algebra.ring_eigenvalues(states)]
        np.testing.assert_allclose(np.sort_complex(np.round(values, 9)), np.sort_complex(np.round(printed, 9)))
        assert (values.real.max() > 0) == (gain > threshold)


def test_ring_gain_is_minus_the_slope_of_the_value():
    # q = -14, prior log-odds 14: pi = 1/2, gain .95 * 1/2 * (14/2 - 1) = 2.85
    gain = algebra.ring_gain().subs(
        {symbolic.DISCOUNT: 0.95, symbolic.TEMPERATURE: 1, algebra.Q: -14, sp.Symbol("pi", positive=True): 0.5}
    )
    assert float(gain) == pytest.approx(2.85)
    q, c, tau, h = -3.0, 2.0, 0.8, 1e-5
    slope = ((q + h) * expit(c + (q + h) / tau) - (q - h) * expit(c + (q - h) / tau)) / (2 * h)
    gain = algebra.ring_gain().subs(
        {
            symbolic.DISCOUNT: 0.7,
            symbolic.TEMPERATURE: tau,
            algebra.Q: q,
            sp.Symbol("pi", positive=True): expit(c + q / tau),
        }
    )
    assert float(gain) == pytest.approx(-0.7 * slope, abs=1e-8)


# --- the prisoner's dilemma -------------------------------------------------------------------------


def played(tau, payoffs=POST, discount=0.5, sweeps=400):
    """Plain value sweeps with a Boltzmann policy; cooperation after c and after d, and their continuation."""
    cc, dc, dd, cd = payoffs
    v_c = v_d = 0.0
    for _ in range(sweeps):
        after_c = expit((cc - dc + discount * (v_c - v_d)) / tau)
        after_d = expit((cd - dd + discount * (v_c - v_d)) / tau)
        v_c, v_d = (
            after_c * (cc + discount * v_c) + (1 - after_c) * (dc + discount * v_d),
            after_d * (cd + discount * v_c) + (1 - after_d) * (dd + discount * v_d),
        )
    return after_c, after_d, discount * (v_c - v_d)


def counted(after_c, after_d):
    """Shares by the left eigenvector of the chain."""
    chain = np.array([[after_c, 1 - after_c], [after_d, 1 - after_d]])
    start = np.linalg.matrix_power(chain, 4096)[0]
    return start[0] * after_c, start[1] * (1 - after_d), start[0] * (1 - after_c) + start[1] * after_d


@pytest.mark.parametrize("tau", [0.2, 1.0, 4.0])
def test_prisoner_logits_and_shares(tau):
    after_c, after_d, w = played(tau)
    arguments = (*symbolic.PAYOFFS, algebra.CONTINUATION, symbolic.TEMPERATURE)
    logits = sp.lambdify(arguments, algebra.prisoner_logits())(*POST, w, tau)
    np.testing.assert_allclose(logits, logit([after_c, after_d]), atol=1e-9)
    shares = sp.lambdify(arguments, algebra.prisoner_shares())(*POST, w, tau)
    np.testing.assert_allclose(shares, counted(after_c, after_d), atol=1e-9)


def test_exact_payoffs_of_the_post():
    np.testing.assert_allclose([float(algebra.POST_PAYOFFS[m]) for m in symbolic.PAYOFFS], POST, rtol=1e-15)


def test_prisoner_shares_at_temperature_one():
    np.testing.assert_allclose(counted(*played(1.0)[:2]), [0.218077, 0.222564, 0.559359], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(w=st.floats(-3, 3), tau=st.floats(0.3, 5), payoffs=st.tuples(*[st.floats(-2, 2)] * 4))
def test_share_law_holds_whatever_the_values_are(w, tau, payoffs):
    cc, dc, dd, cd = payoffs
    f_cc, f_dd, f_alt = counted(expit((cc - dc + w) / tau), expit((cd - dd + w) / tau))
    law = algebra.share_law()
    shares = dict(zip(sp.symbols("f_cc f_dd f_alt", positive=True), (f_cc, f_dd, f_alt), strict=True))
    balance = algebra.payoff_balance().subs(dict(zip(symbolic.PAYOFFS, payoffs, strict=True)))
    wanted = float(law.rhs.subs({algebra.BALANCE: balance, symbolic.TEMPERATURE: tau}))
    assert float(law.lhs.subs(shares)) == pytest.approx(wanted, rel=1e-6)


def test_continuation_map_solves_the_bellman_equations():
    after_c, after_d, w = played(0.7)
    x, y = algebra.COOPERATION
    constants = algebra.POST_PAYOFFS | {symbolic.DISCOUNT: 0.5, x: after_c, y: after_d}
    assert float(algebra.continuation_map().subs(constants)) == pytest.approx(w, abs=1e-9)


@pytest.mark.parametrize("tau", [0.02, 0.1, 0.5, 3.0, 50.0])
def test_alternation_stays_above_one_half(tau):
    after_c, after_d, w = played(tau)
    assert 1.2045 < w < 1.3
    assert after_c < 0.5 < after_d


# --- several steps ----------------------------------------------------------------------------------


def test_gae_difference_against_a_backward_loop():
    rng = np.random.default_rng(3)
    r, v, q = rng.normal(size=(3, 5))
    discount, lam = 0.8, 0.6
    policy_error = critic_error = 0.0
    for k in reversed(range(5)):
        following = v[k + 1] if k < 4 else 0.0
        policy_error = r[k] + discount * following - q[k] + discount * lam * policy_error
        critic_error = r[k] + discount * following - v[k] + discount * lam * critic_error
    wanted = policy_error - (v[0] + critic_error - q[0])
    names = [sp.symbols(f"{name}_0:5", real=True) for name in "vq"]
    numbers = dict(zip((*names[0], *names[1]), (*v, *q), strict=True))
    printed = algebra.gae_difference(5).subs(numbers | {symbolic.DISCOUNT: discount, algebra.LAMBDA: lam})
    assert float(printed) == pytest.approx(wanted, abs=1e-12)
    assert algebra.gae_difference(5).subs(algebra.LAMBDA, 0) == 0


def test_gae_difference_on_sampled_paths_has_mean_zero_and_the_variance_claimed():
    # A player of the dilemma with frozen tables, from state c: the state after a move is that move.
    rng, decay, runs = np.random.default_rng(5), 0.5 * 0.95, 40_000
    policy, q = np.array([[0.3, 0.7], [0.6, 0.4]]), np.array([[1.0, -0.5], [0.2, 2.0]])
    value = (policy * q).sum(-1)
    spread = (policy * (q - value[:, None]) ** 2).sum(-1)  # the policy's variance of q in each state
    state, total, variance, share = np.zeros(runs, int), np.zeros(runs), 0.0, np.array([1.0, 0.0])
    for k in range(1, 25):
        action = (rng.random(runs) >= policy[state, 0]).astype(int)
        total += decay**k * (value[state] - q[state, action])
        variance += decay ** (2 * k) * share @ spread
        share = share @ policy
        state = action
    assert abs(total.mean()) < 4 * total.std() / np.sqrt(runs)
    error = ((total - total.mean()) ** 2).std() / np.sqrt(runs)
    assert total.var() == pytest.approx(variance, abs=4 * error)
