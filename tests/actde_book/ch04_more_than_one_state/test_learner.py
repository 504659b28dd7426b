"""Sampled ACTDE in several states: runs against plain loops, against the bound and against the flow."""

import math

import numpy as np
import pytest
from actde_book.ch04_more_than_one_state.examples import reinforcement_bound, self_loops, stay_or_quit
from actde_book.ch04_more_than_one_state.learner import simulate
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mdp_strategies import mdps
from scipy.integrate import solve_ivp
from scipy.special import softmax

from actde_nb.tables.bandit import StepSize
from actde_nb.tables.fixed_points import fixed_points, invariant_interval
from actde_nb.tables.games import PAYOFFS, prisoners_dilemma
from actde_nb.tables.mdp import MDP, soft_optimal_values, softmax_policy

MODES = ["expected", "sampled", "max", "soft", "value"]


def rng(seed=0):
    return np.random.default_rng(seed)


def play(mdp, runs, seed, steps, policy_step, critic_step, prior, initial_q, bootstrap, value_step=None, decay=(0, 0)):
    """The update rule in plain loops; draws come in the order in which the fast version takes them.

    ``decay``: share by which every logit and every action value shrinks towards zero in each step.
    """
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
            theta[i][s][a] += policy_step.at(count(policy_step.clock)) * error
            if value_step is not None:
                n = int(visits[i, s].sum()) if value_step.clock == "visits" else step
                v[i][s] += value_step.at(n) * (target - v[i][s])
            if any(decay):
                theta[i], q[i] = (
                    [[(1 - share) * x for x in row] for row in table]
                    for share, table in zip(decay, (theta[i], q[i]), strict=True)
                )
        state, action = following, then
    return np.array(theta), np.array(q), total


@pytest.mark.parametrize("bootstrap", MODES)
@pytest.mark.parametrize("clock", ["episodes", "visits"])
@pytest.mark.parametrize("world", ["noisy", "ending", "ring"])
def test_runs_agree_with_plain_loops(bootstrap, clock, world):
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
        "value_step": StepSize(0.7, power=0.3, clock=clock),
    }
    if bootstrap != "value":
        setup["value_step"] = None
    result = simulate(mdp, steps=60, runs=4, rng=rng(3), record_at=[60], **setup)
    theta, q, total = play(mdp, 4, 3, 60, **setup)
    np.testing.assert_allclose(result.logits[-1], theta, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(result.q[-1], q, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(result.sum_abs_errors[-1], total, rtol=1e-10, atol=1e-11)


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

    def flow(_, flat):
        # Every entry moves as often as the policy visits it.
        q = flat.reshape(2, 2)
        policy = softmax(q, axis=-1)
        visits = policy[[1, 0], [0, 1]][:, None] / (policy[0, 1] + policy[1, 0]) * policy
        return (visits * (mdp.rewards + 0.5 * (policy * q).sum(-1) - q)).ravel()

    ends = solve_ivp(flow, (0, 4), np.zeros(4), t_eval=[1, 4], rtol=1e-8).y.T.reshape(2, 2, 2)
    error = run.q.std(1, ddof=1) / np.sqrt(400)
    assert (np.abs(run.q.mean(1) - ends) < 4 * error + 3 * alpha).all()


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
        MDP(np.ones((11, 2)), transitions, 0.5),
        policy_step=StepSize(1.0),
        critic_step=StepSize(1.0),
        steps=3,
        rng=Largest(np.random.PCG64(0)),
        record_at=[3],
    )
    # From the last state, once, to the last but one, and again to itself.
    assert np.flatnonzero(run.sum_abs_errors[0, 0].sum(-1)).tolist() == [9, 10]


def test_without_discount_logits_run_away():
    step = StepSize(0.5)
    run = simulate(self_loops(), policy_step=step, critic_step=step, steps=1000, runs=20, rng=rng(), record_at=[1000])
    gap = np.ptp(run.logits[-1, :, 0], axis=-1)
    # The action that is taken nearly always gains alpha per step.
    assert ((gap > 450) & (gap <= 500)).all()


def test_decay_of_the_logits_alone_ends_at_the_even_policy():
    step, prior = StepSize(0.2), [[0.9, 0.1], [0.5, 0.5]]
    main = prisoners_dilemma(PAYOFFS["main"])
    logits, *_ = play(main, 2, 0, 4000, step, step, prior, np.zeros((2, 2)), "expected", decay=(0.005, 0))
    assert np.abs(np.diff(logits, axis=-1)).max() < 1e-6


@pytest.mark.parametrize("steps", [100, 300])
def test_equal_decay_forgets_the_prior_at_the_rate_of_the_decay(steps):
    main, prior, q = prisoners_dilemma(PAYOFFS["main"]), np.array([[0.9, 0.1], [0.2, 0.8]]), np.full((2, 2), 0.3)
    logits, learned, _ = play(main, 2, 0, steps, StepSize(0.4), StepSize(0.2), prior, q, "expected", decay=(0.01, 0.01))
    expected = np.broadcast_to(0.99**steps * (np.log(prior) - 0.6), learned.shape)
    np.testing.assert_allclose(logits - learned / 0.5, expected, atol=1e-12)


# ---- what is refused


def simulate_main(**change):
    fields = {"policy_step": StepSize(1.0), "critic_step": StepSize(1.0), "steps": 10, "rng": rng()}
    return simulate(prisoners_dilemma(PAYOFFS["main"]), **(fields | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps = 0: allowed are multiples of 1, one or more"),
        ({"record_at": [3, 3]}, r"record_at = \[3, 3\]: allowed are increasing multiples of 1 from 0 to 10"),
        ({"record_at": [11]}, r"record_at = \[11\]: allowed"),
        ({"bootstrap": "value"}, "value_step = None with bootstrap = 'value': allowed is"),
        ({"value_step": StepSize(1.0)}, "value_step = .* with bootstrap = 'expected': allowed is"),
        ({"bootstrap": "soft", "critic_step": StepSize(1.0, power=1)}, "bootstrap = 'soft' with StepSize"),
        ({"prior": [0.5, 0.6]}, r"prior = \[0.5, 0.6\]: allowed are"),
        ({"initial_q": math.inf}, "initial_q = inf: allowed are finite numbers"),
    ],
)
def test_simulations_that_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        simulate_main(**change)
