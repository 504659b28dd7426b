"""The design of the payoffs and who is best, against solutions by hand, value iteration and play written out."""

import itertools

import numpy as np
import pytest
import sympy as sp
from actde_book.ch04_more_than_one_state.chains import optimal_values
from actde_book.ch05_the_game import algebra, design
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actde_nb.tables.games import (
    PAYOFFS,
    STRATEGIES,
    designed_payoffs,
    outcome_shares,
    prisoners_dilemma,
    softmax_return_lines,
)
from actde_nb.tables.mdp import evaluate

NAMES = list(STRATEGIES)
CC, DC, DD, CD = algebra.PAYOFFS
HALF = {algebra.DISCOUNT: sp.Rational(1, 2)}


def play_out(payoffs, reply, first, discount, games=400):
    """Return of answering each last move with ``reply``, added up game by game."""
    total, last = 0.0, first
    for t in range(games):
        now = reply[last]
        total += discount**t * payoffs[now][last]
        last = now
    return total


# --- algebra ---------------------------------------------------------------------------------------


def test_the_posts_six_returns():
    # With s = sqrt(30)/2: dd pays 2 - s and cd pays s - 9/2. cooperate: c 1, d -9/2 + s + 1/2.
    # defect: c 2 + (2 - s) = 4 - s, d 2 (2 - s). alternate: c (2 + (s - 9/2)/2)/(3/4), d (s - 9/2 + 1)/(3/4).
    s = sp.sqrt(30) / 2
    expected = sp.Matrix([
        [1, s - 4], [4 - s, 4 - 2 * s], [(2 * s - 1) / 3, (4 * s - 14) / 3], [1, 4 - 2 * s],
    ])  # fmt: skip
    found = algebra.strategy_returns().subs(algebra.published("main") | HALF)
    assert sp.simplify(found - expected) == sp.zeros(4, 2)
    # As printed, to three decimals.
    printed = [[1.000, -1.261], [1.261, -1.477], [1.492, -1.015]]
    np.testing.assert_allclose(np.array(found.tolist()[:3], dtype=float), printed, atol=5e-4)


def test_returns_are_those_of_play():
    payoffs, discount = np.array([[0.3, -2.0], [1.7, -0.4]]), 0.8
    found = design.returns_over(payoffs, np.array([discount]))[..., 0] / (1 - discount)
    for number, reply in enumerate(algebra.STRATEGIES.values()):
        for first in (0, 1):
            assert found[number, first] == pytest.approx(play_out(payoffs, reply, first, discount), rel=1e-12)


def test_strategies_are_in_the_order_of_the_tables():
    assert list(algebra.STRATEGIES) == NAMES
    for reply, policy in zip(algebra.STRATEGIES.values(), STRATEGIES.values(), strict=True):
        assert tuple(policy.argmax(1)) == reply


def test_the_design_meets_its_requirements():
    payoffs = algebra.design()
    assert sp.simplify(sum(payoffs.values())) == 0
    assert sp.simplify(algebra.design_condition().subs(DD, payoffs[DD])) == 0
    for a, b in ((sp.Rational(1, 2), 2), (sp.Rational(-1, 5), 1), (1, 7)):
        exact = {m: x.subs({algebra.COOPERATION: a, algebra.TEMPTATION: b}) for m, x in payoffs.items()}
        after_c, after_d = (x.subs(exact) for x in algebra.equal_return_discounts())
        assert sp.simplify(after_c + after_d - 1) == 0
        assert sp.simplify(after_c - algebra.design_discount().subs(algebra.RATIO, sp.Rational(a) / b)) == 0
        # At these discounts, cooperating and defecting earn the same.
        for first, discount in enumerate((after_c, after_d)):
            cooperate, defect, *_ = algebra.strategy_returns()[:, first].subs(exact).subs(algebra.DISCOUNT, discount)
            assert sp.simplify(cooperate - defect) == 0


def test_published_matrices_in_closed_form():
    root = sp.sqrt
    assert algebra.published("main")[DD] == 2 - root(30) / 2
    assert sp.simplify(algebra.published("b=1")[DD] - (1 - root(6) / 2)) == 0
    assert sp.simplify(algebra.published("b=.7")[DD] - (sp.Rational(7, 10) - 2 * root(3) / 5)) == 0
    assert [17 * x for x in algebra.published("extreme").values()] == [-2, 34, -14, -18]
    assert list(algebra.published("b=3a").values()) == [sp.Rational(n, 2) for n in (1, 3, -1, -3)]
    for name in algebra.CHOICES:
        exact = algebra.published(name)
        numbers = [[exact[CC], exact[CD]], [exact[DC], exact[DD]]]
        np.testing.assert_allclose(np.array(numbers, dtype=float), PAYOFFS[name], rtol=1e-12)


def test_the_threshold_of_the_wide_matrix():
    # (1 - r) / (2 (1 + r)) = 9/16 gives r = -1/17.
    assert sp.solve(algebra.design_discount() - sp.Rational(3, 4), algebra.RATIO) == [-sp.Rational(1, 17)]


def test_all_strategies_tie_where_the_regions_meet():
    returns = algebra.strategy_returns().subs(algebra.published("b=3a") | HALF)
    assert returns == sp.Matrix([[1, -1]] * 4)


def test_alternation_is_that_of_the_chain():
    share = sp.lambdify(sp.symbols("x y", positive=True), algebra.alternation())
    for x, y in itertools.product((0.1, 0.5, 0.8), (0.2, 0.9)):
        assert share(x, y) == pytest.approx(outcome_shares(np.array([[x, 1 - x], [y, 1 - y]]))[2], rel=1e-14)


# --- who is best -----------------------------------------------------------------------------------


def test_switches_of_the_posts_matrix():
    # 1.0227744 / 2.7386128 and 1.5 / 2.2613872.
    assert design.optimal_range("alternate", PAYOFFS["main"]) == pytest.approx((0.3734644, 0.6633097), abs=1e-7)
    assert design.optimal_range("defect", PAYOFFS["main"]) == pytest.approx((0, 0.3734644), abs=1e-7)
    assert design.optimal_range("cooperate", PAYOFFS["main"]) == pytest.approx((0.6633097, 1), abs=1e-7)
    low, high = design.optimal_range("repeat", PAYOFFS["main"])
    assert low > high
    assert design.optimal_range("alternate", PAYOFFS["extreme"]) == pytest.approx((1 / 12, 1))


dilemmas = st.tuples(st.floats(-3, 0), st.floats(0.1, 3), st.floats(0.1, 3), st.floats(0.1, 3), st.booleans()).map(
    lambda t: _dilemma(*t)
)


def _dilemma(least, first, second, third, cooperation_first):
    """Payoffs with [0][1] as the least and [1][0] as the largest."""
    lower, higher = least + first, least + first + second
    cc, dd = (higher, lower) if cooperation_first else (lower, higher)
    return np.array([[cc, least], [higher + third, dd]])


@settings(deadline=None, max_examples=200)
@given(dilemmas, st.floats(0.01, 0.97))
def test_best_strategy_is_that_of_value_iteration(payoffs, discount):
    mdp = prisoners_dilemma(payoffs, discount)
    best = optimal_values(mdp)
    assume(np.abs(best[:, 0] - best[:, 1]).min() > 1e-6)
    greedy = tuple(best.argmax(1))
    for name, reply in algebra.STRATEGIES.items():
        low, high = design.optimal_range(name, payoffs)
        assert (low <= discount <= high) == (reply == greedy), name


@settings(deadline=None, max_examples=60)
@given(st.floats(-0.9, 0.95), st.floats(0.01, 0.95))
def test_the_map_is_that_of_value_iteration(ratio, discount):
    q = optimal_values(prisoners_dilemma(designed_payoffs(ratio, 1.0), discount))
    assume(np.abs(q[:, 0] - q[:, 1]).min() > 1e-6)
    number = design.best_strategies(np.array([ratio]), np.array([discount]))[0, 0]
    assert list(algebra.STRATEGIES.values())[number] == tuple(q.argmax(1))


@settings(deadline=None, max_examples=30)
@given(st.floats(-1.5, 1.5), st.floats(1.6, 5), st.floats(0.1, 9), st.floats(0, 0.99))
def test_the_scale_of_payoffs_does_not_matter(a, b, scale, discount):
    returns = design.returns_over(designed_payoffs(a, b), np.array([discount]))
    scaled = design.returns_over(designed_payoffs(scale * a, scale * b), np.array([discount]))
    np.testing.assert_allclose(scaled, scale * returns, atol=1e-12 * scale)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", ["main", "b=1", "extreme"])
def test_no_sequence_beats_the_best_strategy(name, first):
    # What comes after n moves is worth at most gamma^n times the largest payoff over 1 - gamma.
    moves, discount = 12, 0.5
    play, earned = design.best_plays(PAYOFFS[name], first, moves, discount)
    best = design.returns_over(PAYOFFS[name], np.array([discount]))[:, first, 0].max() / (1 - discount)
    assert abs(earned - best) <= discount**moves * np.abs(PAYOFFS[name]).max() / (1 - discount)
    last, total = first, 0.0
    for t, now in enumerate(play):
        total += discount**t * PAYOFFS[name][now, last]
        last = now
    assert total == pytest.approx(earned, rel=1e-12)


def test_every_play_is_tried():
    # Three moves from d: dd pays .5, c after d pays 1, the rest -1.
    payoffs = np.array([[-1.0, 1.0], [-1.0, 0.5]])
    play, earned = design.best_plays(payoffs, 1, 3, 0.9)
    # c, d, c earns 1 - .9 + .81 = .91; d, d, c earns .5 + .45 + .81 = 1.76, the most.
    assert play.tolist() == [1, 1, 0]
    assert earned == pytest.approx(0.5 + 0.45 + 0.81)


# --- shares ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_policies_and_shares_are_one_to_one(x, y):
    policy = np.array([[x, 1 - x], [y, 1 - y]])
    np.testing.assert_allclose(design.policy_of_shares(outcome_shares(policy)), policy, rtol=1e-9)


def test_the_dotted_lines_as_a_player():
    player = design.policy_of_shares(softmax_return_lines(PAYOFFS["main"]))
    # cc / (cc + alt/2) = .288204 / .496681 and (alt/2) / (dd + alt/2) = .208477 / .503319.
    np.testing.assert_allclose(player[:, 0], [0.580260, 0.414203], atol=1e-6)


def test_mixture_of_strategies_is_counted_over_sequences():
    probabilities, rng = np.array([0.4, 0.3, 0.2, 0.1]), np.random.default_rng(0)
    counts, sequences = np.zeros(3), 20_000
    for number in rng.choice(4, size=sequences, p=probabilities):
        reply = list(algebra.STRATEGIES.values())[number]
        last = reply[int(rng.integers(2))]  # after the first game
        for _ in range(2):
            now = reply[last]
            counts[2 if now != last else last] += 1
            last = now
    np.testing.assert_allclose(counts / counts.sum(), design.shares_of_mixture(probabilities), atol=4 * 0.5 / 141)
    np.testing.assert_allclose(design.shares_of_mixture([0.5, 0.3, 0.2]), [0.5, 0.3, 0.2])


def test_sampled_moves_have_the_policys_shares():
    policy = np.array([[0.3, 0.7], [0.6, 0.4]])
    moves = design.sample_moves(policy, 400, 500, np.random.default_rng(1))
    before, now = moves[:, :-1].ravel(), moves[:, 1:].ravel()
    for last in (0, 1):
        visits = (before == last).sum()
        share = (now[before == last] == 0).mean()
        p = policy[last, 0]
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / visits)
    assert abs(moves[:, 0].mean() - 0.5) < 4 * 0.5 / 20


def test_fixed_strategies_are_sampled_for_certain():
    moves = design.sample_moves(STRATEGIES["alternate"], 5, 20, np.random.default_rng(2))
    assert (np.diff(moves, axis=1) != 0).all()


def test_every_policy_is_at_rest_when_q_is_exact():
    dilemma = prisoners_dilemma(PAYOFFS["main"])
    policies = np.random.default_rng(3).dirichlet([1, 1], size=(50, 2))
    q = evaluate(dilemma, policies)
    target = dilemma.rewards + 0.5 * (policies * q).sum(-1)[:, None, :]
    np.testing.assert_allclose(target, q, atol=1e-13)


def test_payoffs_that_are_no_dilemma_are_refused():
    with pytest.raises(ValueError, match=r"payoffs = .*as the largest"):
        design.optimal_range("defect", np.eye(2))
