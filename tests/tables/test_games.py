"""The example processes, against the post's own numbers and against play written out in loops."""

import itertools

import numpy as np
import pytest
import sympy as sp
from actde_book.ch04_more_than_one_state.chains import optimal_values, stationary
from actde_book.ch04_more_than_one_state.examples import ring, self_loops, stay_or_quit, two_action_prior
from hypothesis import given, settings
from hypothesis import strategies as st

from actde_nb.tables.games import (
    PAYOFFS,
    STRATEGIES,
    designed_payoffs,
    outcome_shares,
    prisoners_dilemma,
    softmax_return_lines,
    strategy_returns,
)
from actde_nb.tables.mdp import evaluate


def test_designed_payoffs_solve_their_two_requirements():
    a, b = sp.Rational(1, 2), sp.symbols("b", positive=True)
    root = sp.sqrt(2 * (b**2 - a**2))
    c, d = b - root, -a - 2 * b + root
    from_cooperation, from_defection = (b - a) / (b - c), (c - d) / (a - d)
    assert sp.simplify(a + b + c + d) == 0
    for value in (sp.Rational(7, 10), 1, sp.Rational(3, 2), 2, 5):
        exact = {"c": c.subs(b, value), "d": d.subs(b, value)}
        assert sp.simplify((from_cooperation + from_defection - 1).subs(b, value)) == 0
        expected = [[0.5, float(exact["d"])], [float(value), float(exact["c"])]]
        np.testing.assert_allclose(designed_payoffs(0.5, float(value)), expected, rtol=1e-13)


@settings(deadline=None)
@given(st.floats(-0.99, 0.99), st.floats(1.0, 10.0))
def test_equal_return_discounts(a, b):
    payoffs = designed_payoffs(a, b)
    assert abs(payoffs.sum()) < 1e-12 * b
    (a, d), (b, c) = payoffs
    # After cooperating: cooperating for ever is worth a/(1-g), defecting for ever b + g c/(1-g).
    discount = np.sqrt((b - a) / (2 * (a + b)))
    if discount < 0.999:
        assert a / (1 - discount) == pytest.approx(b + discount * c / (1 - discount), rel=1e-8, abs=1e-8)
        other = 1 - discount
        assert c / (1 - other) == pytest.approx(d + other * a / (1 - other), rel=1e-6, abs=1e-8 / other)


def test_the_published_matrices():
    # As printed: .5 for cc, 2 for cd, -.74 for dd, -1.76 for dc; rows are the move now.
    np.testing.assert_allclose(PAYOFFS["main"], [[0.5, -1.76], [2.0, -0.74]], atol=0.005)
    np.testing.assert_allclose(PAYOFFS["extreme"], 4 * np.array([[-0.0294, -0.2647], [0.5, -0.2059]]), atol=3e-4)
    np.testing.assert_allclose(PAYOFFS["extreme"], designed_payoffs(-2 / 17, 2.0), rtol=1e-14)
    np.testing.assert_allclose(PAYOFFS["b=3a"], designed_payoffs(0.5, 1.5), rtol=1e-14)
    np.testing.assert_allclose(PAYOFFS["b=1"], [[0.5, -1.2752551], [1.0, -0.2247449]], atol=1e-7)
    np.testing.assert_allclose(PAYOFFS["b=.7"], [[0.5, -1.2071797], [0.7, 0.0071797]], atol=1e-7)


def play(payoffs, strategy, first, discount=0.5, games=80):
    total, before = 0.0, first
    for game in range(games):
        now = int(STRATEGIES[strategy][before].argmax())
        total += discount**game * payoffs[now][before]
        before = now
    return total


@pytest.mark.parametrize("name", list(PAYOFFS))
def test_strategy_returns_agree_with_playing(name):
    expected = [[play(PAYOFFS[name], strategy, first) for first in (0, 1)] for strategy in STRATEGIES]
    np.testing.assert_allclose(strategy_returns(PAYOFFS[name]), expected, rtol=1e-12)


def test_strategy_returns_as_the_post_prints_them():
    cooperate, defect, alternate, repeat = strategy_returns(PAYOFFS["main"])
    np.testing.assert_allclose(cooperate, [1.000, -1.261], atol=5e-4)
    np.testing.assert_allclose(defect, [1.261, -1.477], atol=5e-4)
    np.testing.assert_allclose(alternate, [1.492, -1.015], atol=5e-4)
    assert repeat.tolist() == [cooperate[0], defect[1]]


def test_dotted_lines():
    # exp(-.130694), exp(-.107919), exp(.238613), normalised; with exp(-.238613) for repeating.
    returns = np.array([-0.130694, -0.107919, 0.238613, -0.238613])
    weights = np.exp(returns)
    np.testing.assert_allclose(softmax_return_lines(PAYOFFS["main"]), weights[:3] / weights[:3].sum(), atol=1e-6)
    np.testing.assert_allclose(softmax_return_lines(PAYOFFS["main"], repeat=True), weights / weights.sum(), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "best"), [("main", "alternate"), ("extreme", "alternate"), ("b=1", "repeat"), ("b=.7", "repeat")]
)
def test_which_strategy_is_best(name, best):
    q = optimal_values(prisoners_dilemma(PAYOFFS[name]))
    assert (q.argmax(-1) == STRATEGIES[best].argmax(-1)).all()
    values = {strategy: play(PAYOFFS[name], strategy, 0) + play(PAYOFFS[name], strategy, 1) for strategy in STRATEGIES}
    assert max(values, key=values.get) == best


def test_the_state_is_the_move_before():
    mdp = prisoners_dilemma(PAYOFFS["main"])
    for before, now in itertools.product(range(2), repeat=2):
        assert mdp.rewards[before, now] == PAYOFFS["main"][now, before]
        assert mdp.transitions[before, now].tolist() == np.eye(2)[now].tolist()


@settings(deadline=None)
@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 1 - 1e-6))
def test_outcome_shares_agree_with_the_stationary_chain(to_defect, to_cooperate):
    policy = np.array([[1 - to_defect, to_defect], [to_cooperate, 1 - to_cooperate]])
    cooperate, defect = stationary(prisoners_dilemma(PAYOFFS["main"]), policy)
    shares = outcome_shares(policy)
    expected = [cooperate * (1 - to_defect), defect * (1 - to_cooperate)]
    np.testing.assert_allclose(shares, [*expected, 1 - sum(expected)], atol=1e-12)


def test_outcome_shares_agree_with_long_games():
    policy = np.array([[0.3, 0.7], [0.6, 0.4]])
    rng, players, games = np.random.default_rng(0), 500, 400
    before, counts = np.zeros(players, dtype=int), np.zeros((players, 3))
    for game in range(games + 50):
        now = (rng.random(players) < policy[before, 1]).astype(int)
        if game >= 50:
            counts[np.arange(players), np.where(before != now, 2, now)] += 1 / games
        before = now
    error = counts.std(0, ddof=1) / np.sqrt(players)
    assert (np.abs(counts.mean(0) - outcome_shares(policy)) < 4 * error).all()


def test_outcome_shares_of_strategies():
    assert outcome_shares(STRATEGIES["cooperate"]).tolist() == [1, 0, 0]
    assert outcome_shares(STRATEGIES["defect"]).tolist() == [0, 1, 0]
    assert outcome_shares(STRATEGIES["alternate"]).tolist() == [0, 0, 1]
    assert outcome_shares(np.full((3, 2, 2), 0.5)).tolist() == [[0.25, 0.25, 0.5]] * 3
    with pytest.raises(ValueError, match="policy repeats every move for ever: allowed are"):
        outcome_shares(STRATEGIES["repeat"])


def test_small_processes():
    # Always staying is worth r/(1-gamma); going round the ring for ever likewise; both can also end for nothing.
    staying = evaluate(stay_or_quit(0.2, 0.98), np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(staying, [[10.0, 0.0]], rtol=1e-12)
    circle = ring(4, -1.0, 0.5)
    np.testing.assert_allclose(evaluate(circle, np.tile([1.0, 0.0], (4, 1))), np.tile([-2.0, 0.0], (4, 1)), rtol=1e-12)
    assert circle.transitions[:, 0].argmax(-1).tolist() == [1, 2, 3, 0]
    assert circle.ending[:, 1].all()
    assert self_loops().discount == 1
    assert not self_loops().ending.any()
    np.testing.assert_allclose(np.log(two_action_prior(14.0) / two_action_prior(14.0)[::-1]), [14, -14], rtol=1e-12)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"temptation = 0.5 with cooperation = -0.5: allowed are finite numbers above"):
        designed_payoffs(-0.5, 0.5)
