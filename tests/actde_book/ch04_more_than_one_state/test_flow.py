"""The flow against small steps, an integral and known ends."""

import numpy as np
import pytest
from actde_book.ch04_more_than_one_state.chains import optimal_values
from actde_book.ch04_more_than_one_state.examples import ring, stay_or_quit, two_action_prior
from actde_book.ch04_more_than_one_state.flow import mean_field, period
from scipy.integrate import quad
from scipy.special import expit

from actde_nb.tables.fixed_points import fixed_points
from actde_nb.tables.games import PAYOFFS, prisoners_dilemma
from actde_nb.tables.mdp import soft_optimal_values, softmax_policy


def rng(seed=0):
    return np.random.default_rng(seed)


def test_mean_field_agrees_with_small_steps():
    mdp, prior = prisoners_dilemma(PAYOFFS["b=1"]), np.array([[0.3, 0.7], [0.6, 0.4]])
    start = np.array([[0.0, 1.0], [-1.0, 0.5]])

    def slope(q):
        weights = prior * np.exp(q / 0.7)
        policy = weights / weights.sum(-1, keepdims=True)
        return mdp.rewards + 0.5 * (policy * q).sum(-1)[None, :] - q

    flow = mean_field(mdp, 0.7, np.stack([start, start]), np.array([0.0, 0.5, 3.0]), prior=prior)
    assert flow.shape == (3, 2, 2, 2)
    np.testing.assert_allclose(flow[0], [start, start])
    q, steps = start, 1000
    for _ in range(steps):  # midpoint rule
        q = q + 3 / steps * slope(q + 1.5 / steps * slope(q))
    np.testing.assert_allclose(flow[-1], [q, q], atol=1e-5)


def test_the_start_decides_between_two_fixed_points():
    mdp = stay_or_quit(0.2, 0.98)
    low, middle, high = (p.q for p in fixed_points(mdp, 1.0, rng=rng()))
    starts = np.stack([np.zeros((1, 2)), middle - 0.1, middle + 0.1, [[30.0, 0.0]]])
    ends = mean_field(mdp, 1.0, starts, np.array([0.0, 3000.0]))[-1]
    np.testing.assert_allclose(ends, [low, low, high, high], atol=1e-6)


def test_the_flow_takes_its_time_from_an_integral():
    # One unknown: the time from q = 1 to q = 5 above the unstable point is the integral of dq / (F(q) - q).
    time, _ = quad(lambda q: 1 / (1 + 0.9 * q * expit(q) - q), 1.5, 5.0)
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
        signal = flow[:, state, 0]
        assert (signal[3000:].min(), signal[3000:].max()) == pytest.approx((-16.0016, -11.3950), abs=1e-3)
        assert period(times, signal) == pytest.approx(3.61386, abs=1e-4)
    policy = softmax_policy(flow[3000:], 1.0, prior)[..., 0]
    assert (policy.min(), policy.max()) == pytest.approx((0.119, 0.931), abs=1e-3)


def test_period_of_a_sine():
    times = np.linspace(0, 100, 20_001)
    assert period(times, 3 + 2 * np.sin(1.7 * times)) == pytest.approx(2 * np.pi / 1.7, abs=1e-4)
    with pytest.raises(ValueError, match="signal crosses its middle upwards 0 times: allowed is twice or more"):
        period(times, np.exp(-times))
