"""ACTDE in several states: fixed points against scalar root finding, runs against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mdp_strategies import mdps
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar

from actde_nb.tabular.bandit import StepSize
from actde_nb.tabular.examples import (
    PAYOFFS,
    outcome_shares,
    prisoners_dilemma,
    ring,
    self_loops,
    softmax_return_lines,
    stay_or_quit,
    two_action_prior,
)
from actde_nb.tabular.fixed_points import (
    Decay,
    fixed_points,
    invariant_interval,
    jacobian,
    mean_field,
    oscillation,
    reinforcement_bound,
    simulate,
    two_action_threshold,
    uniqueness_modulus,
    value_map,
)
from actde_nb.tabular.mdp import MDP, entropy_rate, evaluate, optimal_values, soft_optimal_values, softmax_policy

MODES = ["expected", "sampled", "max", "soft", "value"]


def rng(seed=0):
    return np.random.default_rng(seed)


def roots(function, low, high, points=40_001):
    """All sign changes of a scalar function on a fine grid, refined."""
    grid = np.linspace(low, high, points)
    values = np.array([function(x) for x in grid])
    return [brentq(function, grid[i], grid[i + 1], xtol=1e-14) for i in np.flatnonzero(values[:-1] * values[1:] < 0)]


def stay_residual(reward, discount, temperature=1.0, log_odds=0.0):
    """q(stay) must be the reward plus the discounted q(stay) times the probability of staying."""
    return lambda q: reward + discount * q / (1 + math.exp(-(log_odds + q / temperature))) - q


# ---- the map and its derivative


def test_value_map_by_hand():
    # One state, q = (1, 0), tau = 1/ln 3: policy (3/4, 1/4). Rewards (2, 5), gamma = 1/2, both return.
    mdp, temperature = MDP([[2.0, 5.0]], np.ones((1, 2, 1)), 0.5), 1 / math.log(3)
    q = np.array([[1.0, 0.0]])
    np.testing.assert_allclose(value_map(mdp, q, temperature), [[2.375, 5.375]], rtol=1e-14)
    np.testing.assert_allclose(value_map(mdp, q, temperature, bootstrap="max"), [[2.5, 5.5]], rtol=1e-14)
    soft = math.log(2) / math.log(3)  # log of (3 + 1)/2, times tau
    expected = [[2 + soft / 2, 5 + soft / 2]]
    np.testing.assert_allclose(value_map(mdp, q, temperature, bootstrap="soft"), expected, rtol=1e-14)
    # Where q starts at (1, 0) too, the policy is still even.
    np.testing.assert_allclose(value_map(mdp, q, temperature, initial_q=q), [[2.25, 5.25]], rtol=1e-14)


@settings(max_examples=25, deadline=None)
@given(mdps(most_states=3), st.floats(0.2, 5.0), st.sampled_from(["expected", "max", "soft"]), st.integers(0, 1000))
def test_jacobian_agrees_with_finite_differences(mdp, temperature, bootstrap, seed):
    q = rng(seed).normal(size=mdp.shape)
    prior = rng(seed + 1).dirichlet(np.ones(mdp.shape[1]), size=mdp.shape[0])
    anchor = prior, rng(seed + 2).normal(size=mdp.shape)
    columns = []
    for entry in range(q.size):
        push = np.zeros(q.size)
        push[entry] = 1e-5
        push = push.reshape(q.shape)
        up, down = (value_map(mdp, q + sign * push, temperature, *anchor, bootstrap) for sign in (1, -1))
        columns.append((up - down).ravel() / 2e-5)
    expected = np.stack(columns, axis=-1)
    np.testing.assert_allclose(jacobian(mdp, q, temperature, *anchor, bootstrap), expected, atol=1e-7)


# ---- fixed points


@pytest.mark.parametrize(
    ("reward", "discount", "log_odds", "expected"),
    [
        # (q of staying, probability of staying, stable)
        (0.2, 0.98, 0.0, [(0.5184788, 0.626792, True), (2.9914567, 0.952187, False), (9.9772959, 0.999954, True)]),
        (1.0, 0.9, -4.0, [(1.0467072, 0.049581, True), (6.9914706, 0.952187, False), (9.7119686, 0.996705, True)]),
        (1.0, 0.9, -5.0, [(1.0167310, 0.018284, True)]),
    ],
)
def test_stay_or_quit(reward, discount, log_odds, expected):
    mdp, prior = stay_or_quit(reward, discount), two_action_prior(log_odds)
    found = fixed_points(mdp, 1.0, prior=prior, rng=rng())
    residual = stay_residual(reward, discount, log_odds=log_odds)
    np.testing.assert_allclose([p.q[0, 0] for p in found], roots(residual, 0, reward / (1 - discount)), rtol=1e-10)
    assert [p.stable_flow for p in found] == [stable for *_, stable in expected]
    np.testing.assert_allclose([p.q[0, 0] for p in found], [q for q, *_ in expected], atol=1e-7)
    np.testing.assert_allclose([p.policy[0, 0] for p in found], [p for _, p, _ in expected], atol=1e-6)
    for point in found:
        q = point.q[0, 0]
        slope = (residual(q + 1e-6) - residual(q - 1e-6)) / 2e-6 + 1
        assert point.eigenvalues[0].real == pytest.approx(slope, abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 2.0), st.floats(0.5, 0.98), st.floats(-6.0, 3.0), st.floats(0.3, 3.0))
def test_every_root_of_stay_or_quit_is_found(reward, discount, log_odds, temperature):
    residual = stay_residual(reward, discount, temperature, log_odds)
    top = reward / (1 - discount)
    grid = np.linspace(0, top, 4001)
    expected = roots(residual, 0, top + 1e-9, points=4001)
    # Two roots about to merge may hide between the grid's points.
    slopes = np.gradient([residual(x) for x in grid], grid)
    turning = grid[:-1][slopes[:-1] * slopes[1:] < 0]
    assume(all(abs(residual(x)) > 1e-3 for x in turning))
    found = fixed_points(stay_or_quit(reward, discount), temperature, prior=two_action_prior(log_odds), rng=rng())
    np.testing.assert_allclose([p.q[0, 0] for p in found], expected, rtol=1e-8)


def test_independent_states_multiply_fixed_points():
    # Two copies of the three-point example side by side: nine fixed points, four stable, five not.
    mdp = MDP(np.tile([0.2, 0.0], (2, 1)), np.stack([np.eye(2), np.zeros((2, 2))], axis=1), 0.98)
    found = fixed_points(mdp, 1.0, rng=rng())
    one = [p.q[0, 0] for p in fixed_points(stay_or_quit(0.2, 0.98), 1.0, rng=rng())]
    pairs = sorted((a, b) for a in one for b in one)
    np.testing.assert_allclose(sorted(tuple(p.q[:, 0].round(9)) for p in found), pairs, atol=1e-8)
    assert sum(p.stable_flow for p in found) == 4


@settings(max_examples=30, deadline=None)
@given(mdps(), st.floats(0.1, 5.0), st.integers(0, 1000))
def test_fixed_points_are_their_own_target(mdp, temperature, seed):
    prior = rng(seed).dirichlet(np.full(mdp.shape[1], 2.0), size=mdp.shape[0])
    initial_q = rng(seed + 1).normal(size=mdp.shape)
    found = fixed_points(mdp, temperature, prior=prior, initial_q=initial_q, starts=40, rng=rng())
    assert found
    scale = 1 + np.abs(mdp.rewards).max() / (1 - mdp.discount)
    for point in found:
        # q is the policy's own value, and the policy is Boltzmann in q, relative to prior and start.
        np.testing.assert_allclose(point.q, evaluate(mdp, point.policy), atol=1e-9 * scale)
        weights = prior * np.exp(((point.q - initial_q) - (point.q - initial_q).max(-1, keepdims=True)) / temperature)
        np.testing.assert_allclose(point.policy, weights / weights.sum(-1, keepdims=True), atol=1e-9)
        np.testing.assert_allclose(value_map(mdp, point.q, temperature, prior, initial_q), point.q, atol=1e-9 * scale)
        eigenvalues = np.linalg.eigvals(jacobian(mdp, point.q, temperature, prior, initial_q))
        assert point.stable_map == (np.abs(eigenvalues).max() < 1)
        low, high = invariant_interval(mdp, initial_q)
        assert low - 1e-9 * scale <= point.q.min() <= point.q.max() <= high + 1e-9 * scale
    # The signs of det(1 - derivative) sum to one, whatever the number of fixed points.
    eye = np.eye(mdp.rewards.size)
    dets = [np.linalg.det(eye - jacobian(mdp, p.q, temperature, prior, initial_q)) for p in found]
    assert sum(np.sign(dets)) == 1


@settings(max_examples=20, deadline=None)
@given(mdps(discounts=(0.0, 0.9)), st.integers(0, 1000))
def test_at_a_huge_temperature_the_policy_is_the_prior(mdp, seed):
    prior = rng(seed).dirichlet(np.full(mdp.shape[1], 2.0), size=mdp.shape[0])
    (point,) = fixed_points(mdp, 1e9, prior=prior, starts=5, rng=rng())
    np.testing.assert_allclose(point.policy, prior, atol=1e-6)


@pytest.mark.parametrize("shift", [-3.0, 0.7])
def test_invariances(shift):
    mdp, prior = prisoners_dilemma(PAYOFFS["main"]), [[0.3, 0.7], [0.8, 0.2]]
    (point,) = fixed_points(mdp, 0.5, prior=prior, rng=rng())
    shifted = MDP(mdp.rewards + shift, mdp.transitions, 0.5)
    (same,) = fixed_points(shifted, 0.5, prior=prior, rng=rng())
    np.testing.assert_allclose(same.policy, point.policy, atol=1e-11)
    (same,) = fixed_points(mdp, 0.5, prior=prior, initial_q=[[shift], [2 * shift]], rng=rng())
    np.testing.assert_allclose(same.policy, point.policy, atol=1e-11)
    # Not so where an action ends the episode: there a shift pays for staying.
    (before,) = fixed_points(stay_or_quit(0.2, 0.9), 1.0, rng=rng())
    assert before.policy[0, 0] == pytest.approx(0.608839, abs=1e-6)
    paid = MDP([[1.2, 1.0]], [[[1.0], [0.0]]], 0.9)
    assert fixed_points(paid, 1.0, rng=rng())[-1].policy[0, 0] == pytest.approx(0.999983, abs=1e-6)


# Long-run shares of alternating, cooperating and defecting, and the entropy per game, at the only fixed point.
TABLE = {
    ("main", 0.05): (0.991517, 0.003615, 0.004868, 0.048815),
    ("main", 0.2): (0.767155, 0.111946, 0.120898, 0.542559),
    ("main", 1.0): (0.559359, 0.218077, 0.222564, 0.686071),
    ("main", 10.0): (0.505965, 0.246740, 0.247296, 0.693076),
    ("b=1", 0.1): (0.050541, 0.213384, 0.736074, None),
    ("b=1", 1.0): (0.431512, 0.275938, 0.292550, None),
    ("b=.7", 0.25): (0.079176, 0.112052, 0.808772, None),
    ("b=.7", 1.0): (0.373518, 0.269220, 0.357262, None),
    ("extreme", 0.5): (0.862804, 0.048769, 0.088427, None),
    ("extreme", 1.0): (0.716529, 0.118276, 0.165195, None),
}


@pytest.mark.parametrize(("name", "temperature"), list(TABLE))
def test_prisoners_dilemma_table(name, temperature):
    alternating, cooperate, defect, entropy = TABLE[name, temperature]
    mdp = prisoners_dilemma(PAYOFFS[name])
    (point,) = fixed_points(mdp, temperature, starts=20, rng=rng())
    # The table was made with payoffs rounded to five digits.
    np.testing.assert_allclose(outcome_shares(point.policy), [cooperate, defect, alternating], atol=2e-5)
    if entropy is not None:
        assert entropy_rate(mdp, point.policy) == pytest.approx(entropy, abs=3e-6)
    # Independently: damped backups of the two states' values, in plain numbers.
    (cc, cd), (dc, dd) = PAYOFFS[name]  # [move now][move before]
    value = [0.0, 0.0]
    for _ in range(4000):
        targets = []
        for after_cooperating, after_defecting in ((cc, dc), (cd, dd)):
            q = after_cooperating + 0.5 * value[0], after_defecting + 0.5 * value[1]
            share = 1 / (1 + math.exp((q[1] - q[0]) / temperature))
            targets.append(share * q[0] + (1 - share) * q[1])
        value = [0.9 * old + 0.1 * new for old, new in zip(value, targets, strict=True)]
    np.testing.assert_allclose((point.policy * point.q).sum(-1), value, atol=1e-10)


def alternation(name, temperature):
    (point,) = fixed_points(prisoners_dilemma(PAYOFFS[name]), temperature, starts=10, rng=rng())
    return outcome_shares(point.policy)[2]


def test_alternation_against_temperature():
    # The main matrix: falling from one to one half, so never at the line, which lies below one half.
    shares = [alternation("main", temperature) for temperature in np.geomspace(0.02, 50, 25)]
    assert (np.diff(shares) < 0).all()
    assert softmax_return_lines(PAYOFFS["main"])[2] < 0.5 < shares[-1] < shares[0] < 1
    # Where the others cross their lines.
    for name, temperature in {"b=1": 0.252575, "b=.7": 0.385436, "extreme": 1.344639}.items():
        assert alternation(name, temperature) == pytest.approx(softmax_return_lines(PAYOFFS[name])[2], abs=1e-5)


def test_soft_optimum_of_the_prisoners_dilemma():
    main = prisoners_dilemma(PAYOFFS["main"])
    shares = outcome_shares(softmax_policy(soft_optimal_values(main, 1.0), 1.0))
    assert shares[2] == pytest.approx(0.5593572, abs=1e-6)
    # Without a future there is nothing for the two to differ in.
    now = prisoners_dilemma(PAYOFFS["main"], 0.0)
    (point,) = fixed_points(now, 1.0, rng=rng())
    np.testing.assert_allclose(point.q, soft_optimal_values(now, 1.0), atol=1e-13)
    assert outcome_shares(point.policy)[2] == pytest.approx(0.399678, abs=1e-6)


def test_ring_has_one_unstable_fixed_point():
    (point,) = fixed_points(ring(), 1.0, prior=two_action_prior(14.0), rng=rng())
    np.testing.assert_allclose(point.q, np.tile([-14.0, 0.0], (3, 1)), atol=1e-10)
    # Three states in a circle, loop gain -2.85: eigenvalues -2.85 times the cube roots of one, and three zeros.
    expected = sorted(-2.85 * np.exp(2j * np.pi * np.arange(3) / 3), key=lambda z: (z.real, z.imag))
    found = sorted(point.eigenvalues[np.abs(point.eigenvalues) > 1e-6], key=lambda z: (round(z.real, 9), z.imag))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert not point.stable_flow
    assert not point.stable_map
    # A circle of one: the eigenvalue is -2.85 itself. Small steps settle, whole steps overshoot for ever.
    (alone,) = fixed_points(ring(1), 1.0, prior=two_action_prior(14.0), rng=rng())
    assert alone.stable_flow
    assert not alone.stable_map


def test_one_start_finds_no_half_of_a_fold():
    # Roots come and go in pairs, so the search never ends with two of the three, however few starts it has.
    counts = [len(fixed_points(stay_or_quit(0.2, 0.98), 1.0, starts=1, rng=rng(seed))) for seed in range(30)]
    assert set(counts) <= {1, 3}
    assert 3 in counts


def test_a_search_that_finds_nothing_says_so(monkeypatch):
    monkeypatch.setattr("actde_nb.tabular.fixed_points._newton", lambda mdp, v, *_: v[:0])
    with pytest.raises(RuntimeError, match="fixed points found have indices that sum to 0, not 1: raise starts"):
        fixed_points(ring(), 1.0, rng=rng())


@pytest.mark.parametrize(("reward", "count"), [(0.1317, 1), (0.1319, 3), (0.2993, 3), (0.2996, 1)])
def test_where_three_fixed_points_begin_and_end(reward, count):
    # Between two folds, at r / tau = .1317769 and .2994447.
    assert len(fixed_points(stay_or_quit(reward, 0.98), 1.0, rng=rng())) == count
    assert len(fixed_points(stay_or_quit(3 * reward, 0.98), 3.0, rng=rng())) == count


# ---- bounds and uniqueness


def test_invariant_interval_and_bound():
    main = prisoners_dilemma(PAYOFFS["main"])
    low, high = invariant_interval(main)
    # Rewards from -4 + sqrt 7.5 - .5 to 2, over 1 - gamma = 1/2.
    assert (low, high) == pytest.approx((2 * (-4.5 + math.sqrt(7.5)), 4.0), rel=1e-14)
    assert reinforcement_bound(main, 1.0) == pytest.approx(7.5227744, abs=1e-7)
    assert reinforcement_bound(main, 0.5) == pytest.approx(2 * reinforcement_bound(main, 1.0), rel=1e-14)
    assert reinforcement_bound(main, 1.0, [[0.0, 1.0], [0.0, 0.0]]) == pytest.approx(8.5227744, abs=1e-7)
    # Staying can be worth -1/(1-.9) = -10; quitting is worth -1, which is above all that staying needs.
    quits = MDP([[-1.0, -1.0]], [[[1.0], [0.0]]], 0.9)
    assert invariant_interval(quits, -10.0) == pytest.approx((-10.0, -1.0))
    # A bandit has no discount to speak of.
    assert invariant_interval(MDP([[1.0, 0.5]], np.zeros((1, 2, 1)), 1.0)) == (0.0, 1.0)


def steepest(d):
    """Largest l1 norm of the derivative of the policy's mean of (d, 0) over policies, at temperature one."""

    def negative(p):
        return -abs(p * (1 + d * (1 - p))) - abs((1 - p) * (1 - d * p))

    return -minimize_scalar(negative, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}).fun


@pytest.mark.parametrize("d", [0.3, 1.0, 1.5, 2.0, 4.0, 10.0])
def test_the_range_bound_is_attained(d):
    # One state, both actions return, rewards (d, 0) and no discount to speak of: the action range is d.
    mdp = MDP([[d, 0.0]], np.ones((1, 2, 1)), 0.5)
    bound = uniqueness_modulus(mdp, 1.0, prior=[0.4, 0.6])
    assert bound.action_range == pytest.approx(d)
    assert bound.lipschitz == pytest.approx(steepest(d), rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 6), st.floats(0.1, 20.0), st.integers(0, 10_000))
def test_the_range_bound_covers_any_number_of_actions(actions, d, seed):
    q = rng(seed).uniform(0, d, actions)
    q[:2] = 0, d
    policy = rng(seed + 1).dirichlet(np.full(actions, 0.5))
    slopes = policy * (1 + q - policy @ q)
    mdp = MDP(q[None], np.ones((1, actions, 1)), 0.5)
    assert np.abs(slopes).sum() <= uniqueness_modulus(mdp, 1.0).lipschitz * (1 + 1e-12) or actions == 2


def test_two_actions_and_an_even_prior():
    def negative(u):
        p = 1 / (1 + math.exp(-u))
        return -abs(p * (1 + u * (1 - p))) - abs((1 - p) * (1 - u * p))

    largest = -minimize_scalar(negative, bounds=(0, 10), method="bounded", options={"xatol": 1e-10}).fun
    assert largest == pytest.approx(1.199679, abs=1e-6)
    assert two_action_threshold() == pytest.approx(1 / largest, rel=1e-9)
    assert two_action_threshold() == pytest.approx(0.833557, abs=1e-6)
    main = prisoners_dilemma(PAYOFFS["main"])
    cold = uniqueness_modulus(main, 0.001)
    assert cold.by_two_actions
    assert not cold.by_range
    assert cold.modulus == pytest.approx(0.5 * largest, rel=1e-9)
    assert not uniqueness_modulus(main, 0.001, prior=[0.4, 0.6]).certain
    assert not uniqueness_modulus(stay_or_quit(0.2, 0.98), 1.0).certain
    assert uniqueness_modulus(stay_or_quit(0.2, 0.98), 10.0).narrow


@settings(max_examples=40, deadline=None)
@given(mdps(), st.floats(0.05, 20.0), st.booleans(), st.integers(0, 1000))
def test_where_uniqueness_is_certain_there_is_one_fixed_point(mdp, temperature, even, seed):
    prior = None if even else rng(seed).dirichlet(np.full(mdp.shape[1], 2.0), size=mdp.shape[0])
    conditions = uniqueness_modulus(mdp, temperature, prior=prior)
    assume(conditions.certain)
    (point,) = fixed_points(mdp, temperature, prior=prior, starts=30, rng=rng())
    assert point.stable_flow
    assert point.stable_map
    # The map draws any two tables that are targets together by the modulus, in the largest difference.
    low, high = invariant_interval(mdp)
    tables = [value_map(mdp, rng(seed + i).uniform(low, high, mdp.shape), temperature, prior) for i in range(2)]
    images = [value_map(mdp, q, temperature, prior) for q in tables]
    apart = np.abs(tables[0] - tables[1]).max()
    assert np.abs(images[0] - images[1]).max() <= conditions.modulus * apart + 1e-9 * (1 + high - low)


# ---- the flow


def test_mean_field_agrees_with_small_steps():
    mdp, prior = prisoners_dilemma(PAYOFFS["b=1"]), np.array([[0.3, 0.7], [0.6, 0.4]])
    start = np.array([[0.0, 1.0], [-1.0, 0.5]])

    def slope(q, weighting):
        weights = prior * np.exp(q / 0.7)
        policy = weights / weights.sum(-1, keepdims=True)
        leave, back = policy[0, 1], policy[1, 0]
        visits = np.array([[back], [leave]]) / (leave + back) * policy if weighting == "on_policy" else 1.0
        return visits * (mdp.rewards + 0.5 * (policy * q).sum(-1)[None, :] - q)

    for weighting in ("uniform", "on_policy"):
        flow = mean_field(
            mdp, 0.7, np.stack([start, start]), np.array([0.0, 0.5, 3.0]), prior=prior, weighting=weighting
        )
        assert flow.shape == (3, 2, 2, 2)
        np.testing.assert_allclose(flow[0], [start, start])
        q, steps = start, 1000
        for _ in range(steps):  # midpoint rule
            q = q + 3 / steps * slope(q + 1.5 / steps * slope(q, weighting), weighting)
        np.testing.assert_allclose(flow[-1], [q, q], atol=1e-5)


def test_the_start_decides_between_two_fixed_points():
    mdp = stay_or_quit(0.2, 0.98)
    low, middle, high = (p.q for p in fixed_points(mdp, 1.0, rng=rng()))
    starts = np.stack([np.zeros((1, 2)), middle - 0.1, middle + 0.1, [[30.0, 0.0]]])
    ends = mean_field(mdp, 1.0, starts, np.array([0.0, 3000.0]))[-1]
    np.testing.assert_allclose(ends, [low, low, high, high], atol=1e-6)


def test_the_flow_takes_its_time_from_an_integral():
    # One unknown: the time from q = 1 to q = 5 above the unstable point is the integral of dq / (F(q) - q).
    residual = stay_residual(1.0, 0.9)
    time, _ = quad(lambda q: 1 / residual(q), 1.5, 5.0)
    end = mean_field(stay_or_quit(1.0, 0.9), 1.0, np.array([[1.5, 0.0]]), np.array([0.0, time]))[-1]
    assert end[0, 0] == pytest.approx(5.0, abs=1e-7)


@pytest.mark.parametrize("bootstrap", ["max", "soft"])
def test_two_bootstraps_with_one_end(bootstrap):
    mdp, prior = stay_or_quit(0.2, 0.98), [0.5, 0.5]
    expected = optimal_values(mdp) if bootstrap == "max" else soft_optimal_values(mdp, 1.0, prior)
    starts = np.stack([np.zeros((1, 2)), [[30.0, 0.0]]])
    ends = mean_field(mdp, 1.0, starts, np.array([0.0, 3000.0]), bootstrap=bootstrap)[-1]
    np.testing.assert_allclose(ends, [expected, expected], atol=1e-6)
    if bootstrap == "soft":
        assert expected[0, 0] == pytest.approx(0.437840, abs=1e-6)
        assert softmax_policy(expected, 1.0)[0, 0] == pytest.approx(0.607744, abs=1e-6)


def test_the_ring_goes_round():
    times, prior = np.linspace(0, 120, 6001), two_action_prior(14.0)
    flow = mean_field(ring(), 1.0, np.array([[-14.0, 0], [-13.9, 0], [-14.2, 0]]), times, prior=prior)
    for state in range(3):
        cycle = oscillation(times, flow[:, state, 0])
        assert (cycle.low, cycle.high) == pytest.approx((-16.0016, -11.3950), abs=1e-3)
        assert cycle.period == pytest.approx(3.61386, abs=1e-4)
    policy = softmax_policy(flow[3000:], 1.0, prior)[..., 0]
    assert (policy.min(), policy.max()) == pytest.approx((0.119, 0.931), abs=1e-3)


def test_oscillation_of_a_sine():
    times = np.linspace(0, 100, 20_001)
    cycle = oscillation(times, 3 + 2 * np.sin(1.7 * times))
    assert (cycle.low, cycle.high, cycle.period) == pytest.approx((1, 5, 2 * np.pi / 1.7), abs=1e-4)
    with pytest.raises(ValueError, match="signal crosses its middle upwards 0 times: allowed is twice or more"):
        oscillation(times, np.exp(-times))


# ---- runs


def play(mdp, runs, seed, steps, policy_step, critic_step, prior, initial_q, bootstrap, value_step, gradient, decay):
    """The update rule in plain loops; draws come in the order in which the fast version takes them."""
    draws, (states, actions) = rng(seed), mdp.shape
    tau = critic_step.scale / policy_step.scale
    theta = [[[math.log(p) for p in row] for row in prior] for _ in range(runs)]
    q = [[list(row) for row in initial_q] for _ in range(runs)]
    v = [[0.0] * states for _ in range(runs)]
    visits = np.zeros((runs, states, actions), dtype=int)
    total = np.zeros((runs, states, actions))

    def softmax(row):
        top = max(row)
        weights = [math.exp(x - top) for x in row]
        return [w / sum(weights) for w in weights]

    def pick(probabilities, u):
        for index, p in enumerate(probabilities):
            u -= p
            if u < 0:
                return index
        return len(probabilities)

    def choose(position):
        uniforms = draws.random(runs)
        return [min(pick(softmax(theta[i][position[i]]), uniforms[i]), actions - 1) for i in range(runs)]

    def start():
        return [int(u * states) for u in draws.random(runs)]

    def soft(i, s):
        base = [prior[s][b] * math.exp(-initial_q[s][b] / tau) for b in range(actions)]
        return tau * math.log(sum(w / sum(base) * math.exp(q[i][s][b] / tau) for b, w in enumerate(base)))

    certain = ((mdp.transitions == 0) | (mdp.transitions == 1)).all()
    state, action = start(), None
    for step in range(1, steps + 1):
        if action is None or bootstrap != "sampled":
            action = choose(state)
        if certain:
            following = [pick(mdp.transitions[s, a], 0.5) for s, a in zip(state, action, strict=True)]
        else:
            uniforms = draws.random(runs)
            following = [pick(mdp.transitions[state[i], action[i]], uniforms[i]) for i in range(runs)]
        alive = [t < states for t in following]
        if (mdp.transitions.sum(-1) < 1 - 1e-12).any():
            fresh = start()
            following = [t if on else new for t, on, new in zip(following, alive, fresh, strict=True)]
        then = choose(following) if bootstrap == "sampled" else None
        for i in range(runs):
            s, a, t = state[i], action[i], following[i]
            worth = {
                "expected": lambda i=i, t=t: sum(p * x for p, x in zip(softmax(theta[i][t]), q[i][t], strict=True)),
                "sampled": lambda i=i, t=t, then=then: q[i][t][then[i]],
                "max": lambda i=i, t=t: max(q[i][t]),
                "soft": lambda i=i, t=t: soft(i, t),
                "value": lambda i=i, t=t: v[i][t],
            }[bootstrap]()
            target = mdp.rewards[s, a] + mdp.discount * worth * alive[i]
            error = target - q[i][s][a]
            visits[i, s, a] += 1
            total[i, s, a] += abs(error)

            def count(clock, i=i, s=s, a=a, step=step):
                return int(visits[i, s, a]) if clock == "visits" else step

            q[i][s][a] += critic_step.at(count(critic_step.clock)) * error
            move = policy_step.at(count(policy_step.clock)) * error
            before = softmax(theta[i][s])
            theta[i][s][a] += move
            if gradient == "softmax":
                theta[i][s] = [x - p * move for x, p in zip(theta[i][s], before, strict=True)]
            if value_step is not None:
                n = int(visits[i, s].sum()) if value_step.clock == "visits" else step
                v[i][s] += value_step.at(n) * (target - v[i][s])
            if decay is not None:
                theta[i] = [[(1 - decay.logits) * x for x in row] for row in theta[i]]
                q[i] = [[(1 - decay.critic) * x for x in row] for row in q[i]]
        state, action = following, then
    return np.array(theta), np.array(q), np.array(v), np.array(state), visits, total


@pytest.mark.parametrize("bootstrap", MODES)
@pytest.mark.parametrize("gradient", ["logit", "softmax"])
@pytest.mark.parametrize("world", ["noisy", "ending", "ring"])
def test_runs_agree_with_plain_loops(bootstrap, gradient, world):
    source = rng(11)
    transitions = {
        "noisy": source.dirichlet(np.ones(3), size=(3, 3)),
        "ending": source.dirichlet(np.ones(4), size=(3, 3))[..., :3],
        "ring": np.stack([np.roll(np.eye(3), 1, axis=1), np.eye(3), np.zeros((3, 3))], axis=1),
    }[world]
    mdp = MDP(source.normal(size=(3, 3)), transitions, 0.8)
    prior, initial_q = source.dirichlet(np.ones(3), size=3), source.normal(size=(3, 3))
    steady = bootstrap == "soft"
    setup = {
        "policy_step": StepSize(0.5, power=0 if steady else 0.6, clock="episodes"),
        "critic_step": StepSize(0.3, power=0 if steady else 0.5, offset=0.5),
        "prior": prior,
        "initial_q": initial_q,
        "bootstrap": bootstrap,
        "value_step": StepSize(0.7, power=0.3, clock="episodes" if gradient == "logit" else "visits"),
        "gradient": gradient,
        "decay": Decay(0.01, 0.02) if world == "noisy" else None,
    }
    if bootstrap != "value":
        setup["value_step"] = None
    result = simulate(mdp, steps=60, runs=4, rng=rng(3), record_at=[60], **setup)
    theta, q, v, state, visits, total = play(mdp, 4, 3, 60, **setup)
    np.testing.assert_allclose(result.logits[-1], theta, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(result.q[-1], q, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(result.values[-1], v, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(result.sum_abs_errors[-1], total, rtol=1e-10, atol=1e-11)
    assert (result.states[-1] == state).all()
    assert (result.visits[-1] == visits).all()


@settings(max_examples=40, deadline=None)
@given(
    mdps(),
    st.sampled_from(MODES),
    st.floats(0.02, 1.0),
    st.floats(0.2, 5.0),
    st.sampled_from([(0.0, "visits"), (0.7, "visits"), (1.0, "episodes")]),
    st.integers(0, 1000),
)
def test_telescoping_and_its_bound_hold_on_every_path(mdp, bootstrap, step, temperature, schedule, seed):
    power, clock = schedule if bootstrap != "soft" else (0.0, "visits")
    prior = rng(seed).dirichlet(np.full(mdp.shape[1], 2.0), size=mdp.shape[0])
    initial_q = rng(seed + 1).normal(size=mdp.shape)
    run = simulate(
        mdp,
        policy_step=StepSize(step / temperature, power=power, clock=clock),
        critic_step=StepSize(step, power=power, clock=clock),
        steps=60,
        runs=5,
        rng=rng(seed + 2),
        prior=prior,
        initial_q=initial_q,
        bootstrap=bootstrap,
        value_step=StepSize(0.5) if bootstrap == "value" else None,
        record_at=range(61),
    )
    moved = run.logits - run.logits[0]
    scale = 1 + np.abs(run.q).max() / temperature
    np.testing.assert_allclose(moved, (run.q - initial_q) / temperature, atol=1e-11 * scale)
    np.testing.assert_allclose(run.policy, softmax_policy(run.q, temperature, prior, initial_q), atol=1e-9)
    # A separate v starts at zero, so zero must lie in the interval for that one.
    low, high = invariant_interval(mdp, initial_q)
    assume(bootstrap != "value" or low <= 0 <= high)
    slack = 1e-9 * (1 + high - low)
    assert low - slack <= run.q.min() <= run.q.max() <= high + slack
    bound = reinforcement_bound(mdp, temperature, initial_q)
    differences = moved[..., :, None] - moved[..., None, :]
    assert np.abs(differences).max() <= bound + 1e-9 * (1 + bound)


@pytest.mark.parametrize("bootstrap", ["expected", "soft"])
def test_runs_end_at_the_fixed_point(bootstrap):
    # Rewards and moves are certain, so steps need not shrink.
    mdp = prisoners_dilemma(PAYOFFS["main"])
    constant = StepSize(0.5)
    run = simulate(
        mdp,
        policy_step=constant,
        critic_step=constant,
        steps=4000,
        runs=20,
        rng=rng(),
        bootstrap=bootstrap,
        record_at=[4000],
    )
    (point,) = fixed_points(mdp, 1.0, rng=rng())
    expected = point.q if bootstrap == "expected" else soft_optimal_values(mdp, 1.0)
    np.testing.assert_allclose(run.q[-1], np.broadcast_to(expected, (20, 2, 2)), atol=1e-10)


def test_sampled_bootstrap_hovers_around_the_fixed_point():
    mdp, temperature = prisoners_dilemma(PAYOFFS["main"]), 1.0
    step = StepSize(0.02)
    run = simulate(
        mdp,
        policy_step=step,
        critic_step=step,
        steps=4000,
        runs=1000,
        rng=rng(1),
        bootstrap="sampled",
        record_at=[4000],
    )
    (point,) = fixed_points(mdp, temperature, rng=rng())
    q = run.q[-1]
    error = q.std(0, ddof=1) / np.sqrt(1000)
    # Constant steps leave a bias of the order of the step times the curvature, here below half a percent.
    assert (np.abs(q.mean(0) - point.q) < 4 * error + 0.005).all()


def test_runs_follow_the_mean_field():
    mdp, alpha = prisoners_dilemma(PAYOFFS["main"]), 0.002
    step = StepSize(alpha)
    run = simulate(mdp, policy_step=step, critic_step=step, steps=2000, runs=400, rng=rng(4), record_at=[500, 2000])
    flow = mean_field(mdp, 1.0, np.zeros((2, 2)), np.array([0.0, 1.0, 4.0]), weighting="on_policy")
    error = run.q.std(1, ddof=1) / np.sqrt(400)
    assert (np.abs(run.q.mean(1) - flow[1:]) < 4 * error + 3 * alpha).all()


def test_the_seed_decides_between_two_fixed_points():
    mdp = stay_or_quit(0.2, 0.98)
    low, middle, high = fixed_points(mdp, 1.0, rng=rng())
    step = StepSize(30.0, power=1, offset=300)
    fields = {"policy_step": step, "critic_step": step, "steps": 4000, "runs": 200, "record_at": [4000]}
    torn = simulate(mdp, **fields, rng=rng(), bootstrap="sampled", prior=middle.policy, initial_q=middle.q)
    ends_low = torn.q[-1, :, 0, 0] < middle.q[0, 0]
    assert 0.2 < ends_low.mean() < 0.8
    settled = simulate(mdp, **fields, rng=rng(), bootstrap="sampled")
    assert (settled.q[-1, :, 0, 0] < middle.q[0, 0]).all()
    error = settled.q[-1, :, 0, 0].std(ddof=1) / np.sqrt(200)
    assert settled.q[-1, :, 0, 0].mean() == pytest.approx(low.q[0, 0], abs=4 * error + 0.005)


class Largest(np.random.Generator):
    """Draws the largest number below one, every time."""

    def random(self, size=None):
        return np.full(size, np.nextafter(1.0, 0.0))


def test_rounding_leads_to_no_state_of_probability_zero():
    # Ten times a tenth sums to less than the largest draw; the eleventh state must still not come up, nor an end.
    transitions = np.zeros((11, 2, 11))
    transitions[..., :10] = 0.1
    run = simulate(
        MDP(np.zeros((11, 2)), transitions, 0.5),
        policy_step=StepSize(1.0),
        critic_step=StepSize(1.0),
        steps=3,
        rng=Largest(np.random.PCG64(0)),
        record_at=[1, 2, 3],
    )
    assert (run.states == 9).all()


def test_without_discount_logits_run_away():
    step = StepSize(0.5)
    run = simulate(self_loops(), policy_step=step, critic_step=step, steps=1000, runs=20, rng=rng(), record_at=[1000])
    gap = np.ptp(run.logits[-1, :, 0], axis=-1)
    # The action that is taken nearly always gains alpha per step.
    assert ((gap > 450) & (gap <= 500)).all()


def test_decay_of_the_logits_alone_ends_at_the_even_policy():
    step = StepSize(0.2)
    run = simulate(
        prisoners_dilemma(PAYOFFS["main"]),
        policy_step=step,
        critic_step=step,
        steps=4000,
        runs=20,
        rng=rng(),
        prior=[[0.9, 0.1], [0.5, 0.5]],
        decay=Decay(logits=0.005),
        record_at=[4000],
    )
    assert np.abs(np.diff(run.logits[-1], axis=-1)).max() < 1e-6


def test_equal_decay_forgets_the_prior_at_the_rate_of_the_decay():
    step, prior = StepSize(0.2), np.array([[0.9, 0.1], [0.2, 0.8]])
    run = simulate(
        prisoners_dilemma(PAYOFFS["main"]),
        policy_step=StepSize(0.4),
        critic_step=step,
        steps=300,
        runs=5,
        rng=rng(),
        prior=prior,
        initial_q=0.3,
        decay=Decay(0.01, 0.01),
        record_at=[100, 300],
    )
    kept = np.array([0.99**100, 0.99**300])[:, None, None, None]
    expected = np.broadcast_to(kept * (np.log(prior) - 0.6), run.q.shape)
    np.testing.assert_allclose(run.logits - run.q / 0.5, expected, atol=1e-12)


# ---- what is refused


def simulate_main(**change):
    fields = {"policy_step": StepSize(1.0), "critic_step": StepSize(1.0), "steps": 10, "rng": rng()}
    return simulate(prisoners_dilemma(PAYOFFS["main"]), **(fields | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps = 0: allowed are whole numbers of one or more"),
        ({"runs": 0}, "runs = 0: allowed are whole numbers of one or more"),
        ({"record_at": [3, 3]}, r"record_at = \[3, 3\]: allowed are increasing whole numbers from 0 to 10"),
        ({"record_at": [11]}, r"record_at = \[11\]: allowed"),
        ({"bootstrap": "value"}, "value_step = None with bootstrap = 'value': allowed is"),
        ({"value_step": StepSize(1.0)}, "value_step = .* with bootstrap = 'expected': allowed is"),
        ({"bootstrap": "soft", "critic_step": StepSize(1.0, power=1)}, "bootstrap = 'soft' with steps that change"),
        ({"start_states": [0.5, 0.6]}, r"start_states = \[0.5, 0.6\]: allowed are"),
        ({"prior": [0.5, 0.6]}, r"prior = \[0.5, 0.6\]: allowed are"),
        ({"initial_q": math.inf}, "initial_q = inf: allowed are finite numbers"),
    ],
)
def test_simulations_that_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        simulate_main(**change)


def test_other_arguments_that_are_refused():
    main = prisoners_dilemma(PAYOFFS["main"])
    with pytest.raises(ValueError, match="discount = 1 with actions that go on: allowed are discounts below one"):
        fixed_points(self_loops(), 1.0, rng=rng())
    with pytest.raises(ValueError, match="temperature = -1.0: allowed are finite numbers above zero"):
        fixed_points(main, -1.0, rng=rng())
    with pytest.raises(ValueError, match="starts = 0: allowed are whole numbers of one or more"):
        fixed_points(main, 1.0, starts=0, rng=rng())
    with pytest.raises(ValueError, match=r"decay of the logits = 2: allowed are numbers in \[0, 1\]"):
        Decay(logits=2)
    with pytest.raises(ValueError, match=r"start has shape \(1, 2\): allowed is \(..., 2, 2\)"):
        mean_field(main, 1.0, np.zeros((1, 2)), np.array([0.0, 1.0]))
