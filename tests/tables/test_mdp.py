"""Exact values of finite decision processes, against loops, enumeration and numbers worked out by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from actde_book.ch04_more_than_one_state.chains import entropy_rate, optimal_values, stationary
from hypothesis import given, settings
from hypothesis import strategies as st
from mdp_strategies import mdps, mdps_and_policies

from actde_nb.tables.mdp import MDP, backup, evaluate, soft_optimal_values, softmax_policy


def sweeps(mdp: MDP, value_of_row, count: int = 2000):
    """Backups in plain loops; ``value_of_row(state, row of q)`` is what a state is worth."""
    states, actions = mdp.shape
    q = [[0.0] * actions for _ in range(states)]
    for _ in range(count):
        v = [value_of_row(s, q[s]) for s in range(states)]
        q = [
            [
                mdp.rewards[s, a] + mdp.discount * sum(mdp.transitions[s, a, t] * v[t] for t in range(states))
                for a in range(actions)
            ]
            for s in range(states)
        ]
    return np.array(q)


def test_two_states_by_hand():
    # State 0: go to 1 for 2, or end for 1. State 1: back to 0 for -1, or stay for .5. gamma = .5, even policy.
    # v0 = (2 + v1/2 + 1)/2, v1 = (-1 + v0/2 + .5 + v1/2)/2  =>  v0 = 3/2 + v1/4, 3 v1/4 = v0/4 - 1/4  =>  v1 = 2/11.
    mdp = MDP([[2.0, 1.0], [-1.0, 0.5]], [[[0, 1], [0, 0]], [[1, 0], [0, 1]]], 0.5)
    q = evaluate(mdp, np.full((2, 2), 0.5))
    np.testing.assert_allclose(q, [[2 + 1 / 11, 1], [-1 + 17 / 22, 0.5 + 1 / 11]], rtol=1e-14)
    np.testing.assert_allclose(backup(mdp, np.array([17 / 11, 2 / 11])), q, rtol=1e-14)
    assert (mdp.ending == [[0, 1], [0, 0]]).all()


@settings(max_examples=20, deadline=None)
@given(mdps_and_policies(discounts=(0.0, 0.9)))
def test_evaluation_agrees_with_sweeps(case):
    mdp, policies = case
    for policy, q in zip(policies, evaluate(mdp, policies), strict=True):
        expected = sweeps(mdp, lambda s, row, p=policy: sum(x * y for x, y in zip(p[s], row, strict=True)), count=300)
        np.testing.assert_allclose(q, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(mdps())
def test_optimal_values_agree_with_enumeration(mdp):
    states, actions = mdp.shape
    policies = np.stack([np.eye(actions)[list(choice)] for choice in itertools.product(range(actions), repeat=states)])
    # The value of a state is the largest over all deterministic policies, and one policy attains all of them.
    values = (policies * evaluate(mdp, policies)).sum(-1)
    best = values.max(0)
    assert (np.abs(values - best).max(-1) < 1e-9 * (1 + np.abs(best).max())).any()
    np.testing.assert_allclose(optimal_values(mdp), backup(mdp, best), rtol=1e-9, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(mdps(discounts=(0.0, 0.9)), st.floats(0.05, 5.0), st.integers(0, 1000))
def test_soft_values_agree_with_sweeps(mdp, temperature, seed):
    prior = np.random.default_rng(seed).dirichlet(np.ones(mdp.shape[1]), size=mdp.shape[0])

    def soft(s, row):
        top = max(row)
        weights = sum(p * math.exp((x - top) / temperature) for p, x in zip(prior[s], row, strict=True))
        return top + temperature * math.log(weights)

    q = soft_optimal_values(mdp, temperature, prior)
    np.testing.assert_allclose(q, sweeps(mdp, soft, count=300), rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(mdps(), st.floats(0.05, 5.0), st.integers(0, 1000))
def test_no_policy_beats_the_soft_optimum(mdp, temperature, seed):
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.ones(mdp.shape[1]), size=mdp.shape[0])
    best = softmax_policy(soft_optimal_values(mdp, temperature, prior), temperature, prior)

    def charged_values(policy):
        charge = temperature * np.where(policy > 0, policy * np.log(np.maximum(policy, 1e-300) / prior), 0).sum(-1)
        charged = MDP(mdp.rewards - charge[:, None], mdp.transitions, mdp.discount)
        return (policy * evaluate(charged, policy)).sum(-1)

    top = charged_values(best)
    for other in [prior, *rng.dirichlet(np.ones(mdp.shape[1]), size=(5, mdp.shape[0])), 0.99 * best + 0.01 * prior]:
        assert (charged_values(other) <= top + 1e-9 * (1 + np.abs(top).max())).all()


def test_soft_values_approach_the_optimum_and_the_prior():
    rng = np.random.default_rng(5)
    mdp = MDP(rng.normal(size=(3, 2)), rng.dirichlet(np.ones(3), size=(3, 2)), 0.9)
    prior = rng.dirichlet(np.ones(2), size=3)
    # The soft maximum lies within tau |log pi_0| of the maximum, so the values lie within that over 1 - gamma.
    slack = 1e-4 * -np.log(prior.min()) / 0.1
    np.testing.assert_allclose(soft_optimal_values(mdp, 1e-4, prior), optimal_values(mdp), atol=slack)
    # At temperature T the gain over the prior is of order Var(q) / T.
    np.testing.assert_allclose(soft_optimal_values(mdp, 1e7, prior), evaluate(mdp, prior), atol=1e-5)


def test_softmax_policy_by_hand():
    # Odds of the first action: (1/3) e^{(1 - .2)/.5} = e^{1.6}/3.
    policy = softmax_policy(np.array([[1.0, 0.0]]), 0.5, [0.25, 0.75], [[0.2, 0.0]])
    assert policy[0, 0] / policy[0, 1] == pytest.approx(math.exp(1.6) / 3, rel=1e-14)


@settings(max_examples=25, deadline=None)
@given(mdps_and_policies(most_states=5, continuing=True))
def test_stationary_shares_are_left_alone_by_the_chain(case):
    mdp, policies = case
    for policy in policies:
        share = stationary(mdp, policy)
        chain = np.einsum("sa,sat->st", policy, mdp.transitions)
        np.testing.assert_allclose(share.sum(), 1, rtol=1e-14)
        np.testing.assert_allclose(share @ chain, share, atol=1e-13)


def test_stationary_shares_agree_with_a_long_walk():
    rng = np.random.default_rng(2)
    mdp, policy = MDP(np.zeros((3, 2)), rng.dirichlet(np.ones(3), size=(3, 2)), 0.5), rng.dirichlet(np.ones(2), size=3)
    walkers, steps, state = 400, 500, np.zeros(400, dtype=int)
    seen = np.zeros((walkers, 3))
    for step in range(steps + 20):
        action = (rng.random(walkers) > policy[state, 0]).astype(int)
        cumulative = mdp.transitions[state, action].cumsum(-1)[:, :-1]
        state = (rng.random(walkers)[:, None] > cumulative).sum(-1)
        if step >= 20:
            seen[np.arange(walkers), state] += 1 / steps
    error = seen.std(0, ddof=1) / np.sqrt(walkers)
    assert (np.abs(seen.mean(0) - stationary(mdp, policy)) < 4 * error).all()


def test_stationary_shares_keep_their_digits_when_states_are_hardly_ever_left():
    # Leave state 0 with probability 3e-14, state 1 with 1e-14: shares 1/4 and 3/4. Solving a linear system loses both.
    mdp = MDP(np.zeros((2, 2)), np.broadcast_to(np.eye(2), (2, 2, 2)), 0.5)
    policy = np.array([[1 - 3e-14, 3e-14], [1e-14, 1 - 1e-14]])
    np.testing.assert_allclose(stationary(mdp, policy), [0.25, 0.75], rtol=1e-13)


def test_stationary_shares_of_a_walk_in_exact_fractions():
    # Birth and death on 0..3, up with 1/3 and down with 2/3 (held at the ends): shares halve from state to state.
    up = np.clip(np.arange(4) + 1, 0, 3)
    down = np.clip(np.arange(4) - 1, 0, 3)
    mdp = MDP(np.zeros((4, 2)), np.stack([np.eye(4)[up], np.eye(4)[down]], axis=1), 0.5)
    policy = np.tile([1 / 3, 2 / 3], (4, 1))
    expected = [Fraction(8, 15), Fraction(4, 15), Fraction(2, 15), Fraction(1, 15)]
    np.testing.assert_allclose(stationary(mdp, policy), [float(x) for x in expected], rtol=1e-13)
    entropy = math.log(3) - 2 / 3 * math.log(2)
    assert entropy_rate(mdp, policy) == pytest.approx(entropy, rel=1e-14)


def test_without_discount_an_episode_that_ends_has_a_value():
    # Stay with probability p for reward 1: p/(1-p) rewards on average, so q(stay) = 1/(1-p).
    mdp = MDP([[1.0, 0.0]], [[[1.0], [0.0]]], 1.0)
    np.testing.assert_allclose(evaluate(mdp, np.array([[0.75, 0.25]])), [[4.0, 0.0]], rtol=1e-14)


def test_without_discount_an_end_that_lies_far_ahead_is_an_end():
    along = np.eye(5, k=1)[:, None].repeat(2, 1)  # from each state to the next; the last one ends
    values = evaluate(MDP(np.ones((5, 2)), along, 1.0), np.full((5, 2), 0.5))
    np.testing.assert_allclose(values[:, 0], [5, 4, 3, 2, 1], rtol=1e-14)


def test_without_discount_an_endless_episode_is_refused():
    mdp = MDP([[1.0, 0.0], [1.0, 0.0]], [[[0, 1], [0, 0]], [[0, 1], [0, 1]]], 1.0)
    with pytest.raises(ValueError, match=r"discount = 1 and the episode never ends from states \[1\]: allowed are"):
        evaluate(mdp, np.full((2, 2), 0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": [0.0, 1.0]}, r"rewards has shape \(2,\): allowed is \(states, actions\), two"),
        ({"rewards": [[0.0]]}, r"rewards has shape \(1, 1\): allowed is"),
        ({"rewards": [[0.0, math.nan]]}, "rewards = .*nan.*: allowed are finite"),
        ({"transitions": [[1.0, 1.0]]}, r"transitions has shape \(1, 2\): allowed is \(1, 2, 1\)"),
        ({"transitions": [[[1.0], [-0.5]]]}, "transitions has the entry -0.5: allowed are numbers of zero or more"),
        ({"transitions": [[[1.0], [1.5]]]}, "transitions has a row that sums to 1.5: allowed is up to one"),
        ({"discount": 1.5}, r"discount = 1.5: allowed are numbers in \[0, 1\]"),
        ({"discount": math.nan}, "discount = nan: allowed"),
    ],
)
def test_models_that_are_refused(change, message):
    fields = {"rewards": [[1.0, 0.0]], "transitions": [[[1.0], [0.0]]], "discount": 0.5} | change
    with pytest.raises(ValueError, match=message):
        MDP(**fields)


def test_policies_that_are_refused():
    mdp = MDP(np.zeros((2, 2)), np.broadcast_to(np.eye(2), (2, 2, 2)), 0.5)
    with pytest.raises(ValueError, match=r"policy has shape \(1, 2\): allowed is \(..., 2, 2\)"):
        evaluate(mdp, np.array([[0.5, 0.5]]))
    with pytest.raises(ValueError, match="policy = .*: allowed are numbers of zero or more that sum to one"):
        evaluate(mdp, np.array([[0.5, 0.6], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="temperature = 0.0: allowed are finite numbers above zero"):
        soft_optimal_values(mdp, 0.0)
