"""Temperatures are those that were put in."""

import numpy as np
import pytest
from actde_book.ch07_actde_wanders import thermometer

from actde_nb.tables.fixed_points import fixed_points
from actde_nb.tables.games import PAYOFFS, outcome_shares, prisoners_dilemma

TEMPERATURES = (0.1, 0.5, 1.0, 4.0)
INFORMATIVE = [name for name in PAYOFFS if name != "b=3a"]


def four_shares(policy: np.ndarray) -> np.ndarray:
    both_cooperate, both_defect, alternate = outcome_shares(policy)
    return np.array([both_cooperate, alternate / 2, alternate / 2, both_defect])


@pytest.mark.parametrize("name", INFORMATIVE)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_all_thermometers_agree_at_a_fixed_point(name, temperature):
    payoffs = PAYOFFS[name]
    [point] = fixed_points(prisoners_dilemma(payoffs), temperature, starts=3, rng=np.random.default_rng(0))
    shares = four_shares(point.policy)
    np.testing.assert_allclose(thermometer.from_shares(shares, payoffs), 1 / temperature, rtol=1e-6)
    gaps = thermometer.true_gaps(point.policy[:, 0], payoffs, 0.5)
    np.testing.assert_allclose(gaps, point.q[:, 0] - point.q[:, 1], atol=1e-9)
    logit = np.log(point.policy[:, 0] / point.policy[:, 1])
    np.testing.assert_allclose(logit / gaps, 1 / temperature, rtol=1e-6)


def test_a_coin_has_no_inverse_temperature_and_a_strategy_an_infinite_one():
    main = PAYOFFS["main"]
    shares = np.array([[0.25, 0.25, 0.25, 0.25], [0.0, 0.5, 0.5, 0.0]])
    # kappa < 0 for the main matrix, so that never repeating is infinitely cold.
    np.testing.assert_allclose(thermometer.from_shares(shares, main), [0, np.inf], atol=1e-12)


def test_share_law_by_hand():
    # kappa = .5 - .5 - 1.5 - (-2.5) = 1 and 4 * .4 * .2 / .4^2 = 2: inverse temperature ln 2.
    payoffs = np.array([[0.5, -2.5], [1.5, -0.5]])
    assert thermometer.balance(payoffs) == pytest.approx(1)
    assert thermometer.from_shares(np.array([0.4, 0.2, 0.2, 0.2]), payoffs) == pytest.approx(np.log(2))


def test_two_gaps_differ_by_the_balance_whatever_the_policy():
    main, rng = PAYOFFS["main"], np.random.default_rng(1)
    gaps = thermometer.true_gaps(rng.random((5, 3, 2)), main, 0.5)
    assert gaps.shape == (5, 3, 2)
    np.testing.assert_allclose(gaps[..., 0] - gaps[..., 1], thermometer.balance(main))


def test_single_precision_probabilities_are_taken():
    cooperation = np.random.default_rng(2).random((100, 2)).astype(np.float32)
    assert np.isfinite(thermometer.true_gaps(cooperation, PAYOFFS["main"], 0.5)).all()
