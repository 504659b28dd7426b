"""ACTDE in several states: fixed points against scalar root finding, and where there is only one."""

import math

import numpy as np
import pytest
from actde_book.ch04_more_than_one_state.chains import entropy_rate
from actde_book.ch04_more_than_one_state.examples import (
    reinforcement_bound,
    ring,
    self_loops,
    stay_or_quit,
    temperature_at,
    two_action_prior,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mdp_strategies import mdps
from scipy.optimize import brentq, minimize_scalar
from value_maps import jacobian, two_action_threshold, uniqueness_modulus, value_map

from actde_nb.tables.fixed_points import fixed_points, invariant_interval
from actde_nb.tables.games import PAYOFFS, outcome_shares, prisoners_dilemma, softmax_return_lines
from actde_nb.tables.mdp import MDP, evaluate, soft_optimal_values, softmax_policy


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
        assert point.eigenvalues[0].real == pytest.approx(eigenvalues.real.max(), abs=1e-6 * scale)
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
    # A circle of one: the eigenvalue is -2.85 itself. Small steps settle, whole steps overshoot for ever.
    (alone,) = fixed_points(ring(1), 1.0, prior=two_action_prior(14.0), rng=rng())
    assert alone.stable_flow
    assert np.abs(alone.eigenvalues).max() == pytest.approx(2.85)


def test_one_start_finds_no_half_of_a_fold():
    # Roots come and go in pairs, so the search never ends with two of the three, however few starts it has.
    counts = [len(fixed_points(stay_or_quit(0.2, 0.98), 1.0, starts=1, rng=rng(seed))) for seed in range(30)]
    assert set(counts) <= {1, 3}
    assert 3 in counts


def test_a_search_that_finds_nothing_says_so(monkeypatch):
    monkeypatch.setattr("actde_nb.tables.fixed_points._newton", lambda mdp, v, *_: v[:0])
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
    assert np.abs(point.eigenvalues).max() < 1
    # The map draws any two tables that are targets together by the modulus, in the largest difference.
    low, high = invariant_interval(mdp)
    tables = [value_map(mdp, rng(seed + i).uniform(low, high, mdp.shape), temperature, prior) for i in range(2)]
    images = [value_map(mdp, q, temperature, prior) for q in tables]
    apart = np.abs(tables[0] - tables[1]).max()
    assert np.abs(images[0] - images[1]).max() <= conditions.modulus * apart + 1e-9 * (1 + high - low)


# ---- reading a temperature off


def test_temperature_at_which_a_policy_was_made():
    mdp = prisoners_dilemma(PAYOFFS["b=.7"])
    (point,) = fixed_points(mdp, 0.8, rng=rng())
    found = temperature_at(mdp, lambda policy: policy[0, 0], point.policy[0, 0], (0.3, 3.0), rng=rng(1))
    assert found == pytest.approx(0.8, abs=1e-7)
    with pytest.raises(ValueError, match=r"between = \(2.0, 3.0\): allowed are temperatures on the two sides"):
        temperature_at(mdp, lambda policy: policy[0, 0], point.policy[0, 0], (2.0, 3.0), rng=rng(1))
    with pytest.raises(ValueError, match="mdp has 3 fixed points at temperature 1.0: allowed is one"):
        temperature_at(stay_or_quit(0.2, 0.98), lambda policy: policy[0, 0], 0.9, (1.0, 2.0), rng=rng(1))


# ---- what is refused


def test_other_arguments_that_are_refused():
    main = prisoners_dilemma(PAYOFFS["main"])
    with pytest.raises(ValueError, match="discount = 1 with actions that go on: allowed are discounts below one"):
        fixed_points(self_loops(), 1.0, rng=rng())
    with pytest.raises(ValueError, match="temperature = -1.0: allowed are finite numbers above zero"):
        fixed_points(main, -1.0, rng=rng())
    with pytest.raises(ValueError, match="starts = 0: allowed are whole numbers of one or more"):
        fixed_points(main, 1.0, starts=0, rng=rng())
