"""The bandit simulator, against the post's tables, values worked out by hand and a plain-Python reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actde_nb.tables.bandit import Bandit, Rule, StepSize, actde, log_spaced, ppo_like, simulate

WEDDING_PARTY = Bandit([1.0, 0.5])
FORCED = np.array([[0], [1], [1], [0]])


def forced(rule, actions=FORCED, bandit=WEDDING_PARTY, **settings):
    return simulate(
        bandit, rule, episodes=len(actions), rng=np.random.default_rng(0), actions=actions,
        record_at=range(0, len(actions) + 1, rule.batch), **settings,
    )  # fmt: skip


def step_at(step, visits, episode):
    count = visits if step.clock == "visits" else episode
    return step.scale * (count + step.offset) ** -step.power


def reference(rewards, noise, rule, episodes, rng, runs, prior, initial_q, initial_v):
    """The documented rules as loops over runs, episodes and arms; draws in the simulator's order.

    Returns logits, q, v and visits after the last episode, lists with one entry a run.
    """
    arms = range(len(rewards))
    logits = [[math.log(prior[a]) for a in arms] for _ in range(runs)]
    q = [[initial_q[a] for a in arms] for _ in range(runs)]
    v = [initial_v] * runs
    visits = [[0 for _ in arms] for _ in range(runs)]
    for done in range(0, episodes, rule.batch):
        uniforms = rng.random((rule.batch, runs))
        normals = rng.standard_normal((rule.batch, runs)) if any(noise) else np.zeros((rule.batch, runs))
        for run in range(runs):
            weights = [math.exp(logit) for logit in logits[run]]
            policy = [w / sum(weights) for w in weights]
            actions, errors, payouts = [], [], []
            for i in range(rule.batch):
                arm, cumulative = 0, policy[0]
                while arm < len(rewards) - 1 and uniforms[i, run] >= cumulative:
                    arm += 1
                    cumulative += policy[arm]
                actions.append(arm)
                payouts.append(rewards[arm] + noise[arm] * normals[i, run])
                visits[run][arm] += 1
            expected = {
                "value": lambda a, run=run: v[run],
                "action_value": lambda a, run=run: q[run][a],
                "exact_value": lambda a, policy=policy: sum(p * r for p, r in zip(policy, rewards, strict=True)),
                "none": lambda a: 0.0,
            }[rule.baseline]
            errors = [r - expected(a) for a, r in zip(actions, payouts, strict=True)]
            now = done + rule.batch
            if rule.baseline == "value":
                v[run] += step_at(rule.critic_step, now // rule.batch, now // rule.batch) * sum(errors) / rule.batch
            if rule.baseline == "action_value":
                for a in arms:
                    own = [e for e, taken in zip(errors, actions, strict=True) if taken == a]
                    if own:
                        share = {"sum": 1, "mean": rule.batch, "arm_mean": len(own)}[rule.critic_reduction]
                        q[run][a] += step_at(rule.critic_step, visits[run][a], now) * sum(own) / share
            if rule.whiten:
                mean = sum(errors) / rule.batch
                variance = sum((e - mean) ** 2 for e in errors) / rule.batch
                errors = [(e - mean) / math.sqrt(variance + rule.whiten_epsilon) for e in errors]
            move = [0.0 for _ in arms]
            for e, taken in zip(errors, actions, strict=True):
                for a in arms:
                    toward = float(a == taken) - (policy[a] if rule.gradient == "softmax" else 0.0)
                    # A single episode has one step, that of the arm taken; a batch has each arm's own.
                    whose = taken if rule.batch == 1 else a
                    move[a] += step_at(rule.policy_step, max(visits[run][whose], 1), now) * e * toward / rule.batch
            for a in arms:
                logits[run][a] += move[a]
    return logits, q, v, visits


STEPS = {
    "constant": StepSize(0.3),
    "by visits": StepSize(0.8, power=0.6, offset=1.0),
    "by episodes": StepSize(0.9, power=0.5, clock="episodes"),
}


class TestTheTables:
    def test_ordinary_rule(self):
        # v: 0, 1, .5, .5, 1; errors 1, -.5, 0, .5; the gap is 1, 1 + .5, 1.5, 2; policy 1 / (1 + e^-gap).
        run = forced(ppo_like())
        assert run.advantages[:, 0].tolist() == [0, 1, -0.5, 0, 0.5]
        assert run.values[:, 0].tolist() == [0, 1, 0.5, 0.5, 1]
        np.testing.assert_allclose(run.gap[:, 0], [0, 1, 1.5, 1.5, 2], atol=1e-15)
        np.testing.assert_allclose(run.policy[:, 0, 0], [0.5, 0.731059, 0.817574, 0.817574, 0.880797], atol=5e-7)

    def test_action_conditioned_rule(self):
        # Errors 1, .5, 0, 0: each arm is surprised once. Gap 1, .5, .5, .5.
        run = forced(actde())
        assert run.advantages[:, 0].tolist() == [0, 1, 0.5, 0, 0]
        np.testing.assert_allclose(run.policy[1:, 0, 0], [0.731059] + 3 * [0.622459], atol=5e-7)
        assert run.action_values[-1, 0].tolist() == [1, 0.5]
        assert run.visits[-1, 0].tolist() == [2, 2]

    def test_softmax_gradient(self):
        # Even odds, r = 1, no baseline: theta moves by (1/2, -1/2). Then pi = sigma(1) and r = .5 for party.
        run = forced(Rule("none", gradient="softmax"), FORCED[:2])
        p = 1 / (1 + math.exp(-1))
        np.testing.assert_allclose(run.gap[:, 0], [0, 1, 1 - 2 * 0.5 * p], atol=1e-15)

    def test_exact_value(self):
        # Even odds: v = .75, so wedding gets .25; then v = (1 + sigma(.25)) / 2, so party gets -sigma(.25) / 2.
        run = forced(Rule("exact_value"), FORCED[:2])
        p = 1 / (1 + math.exp(-0.25))
        np.testing.assert_allclose(run.advantages[:, 0], [0, 0.25, -p / 2], atol=1e-15)
        assert run.values[:, 0].tolist() == [0, 0, 0]

    def test_running_mean(self):
        run = forced(Rule("value", critic_step=StepSize(1.0, power=1.0)), initial_v=7.0)
        np.testing.assert_allclose(run.values[1:, 0], [1, 1.5 / 2, 2 / 3, 3 / 4], atol=1e-15)

    def test_whitened_batch(self):
        # Errors of the batch wedding, party at v = 0: 1, .5 -> +1, -1 (epsilon aside); each logit moves by the mean.
        rule = Rule("value", batch=2, whiten=True, whiten_epsilon=0.0)
        run = forced(rule, FORCED[:2])
        np.testing.assert_allclose(run.logits[1, 0] - run.logits[0, 0], [0.5, -0.5], atol=1e-15)
        assert run.values[1, 0] == 0.75

    @pytest.mark.parametrize(("reduction", "expected"), [("sum", 0.9), ("mean", 0.3), ("arm_mean", 0.45)])
    def test_critic_reductions(self, reduction, expected):
        # Wedding twice, party once from q = 0: wedding's errors add up to 2, times .45 / {1, 3, 2}.
        rule = Rule("action_value", critic_step=StepSize(0.45), batch=3, critic_reduction=reduction)
        run = forced(rule, np.array([[0], [1], [0]]))
        assert run.action_values[1, 0, 0] == pytest.approx(expected, abs=1e-15)


class TestAgainstPlainPython:
    def compare(self, rule, seed=0, rewards=None, noise=0.0, runs=3, episodes=24):
        rewards, noise = (rewards, 3 * [noise]) if rewards else ([1.0, 0.2, -0.5], [0.0, 0.3, 0.1])
        prior, initial_q = [0.5, 0.3, 0.2], [0.1, 0.0, -0.2]
        run = simulate(
            Bandit(rewards, noise), rule, episodes=episodes, rng=np.random.default_rng(seed), runs=runs,
            prior=np.array(prior), initial_q=np.array(initial_q), initial_v=0.3, record_at=[episodes],
        )  # fmt: skip
        logits, q, v, visits = reference(
            rewards, noise, rule, episodes, np.random.default_rng(seed), runs, prior, initial_q, 0.3
        )
        assert run.visits[0].tolist() == visits
        np.testing.assert_allclose(run.logits[0], logits, rtol=0, atol=1e-12)
        np.testing.assert_allclose(run.action_values[0], q, rtol=0, atol=1e-12)
        np.testing.assert_allclose(run.values[0], v, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("steps", STEPS)
    @pytest.mark.parametrize("gradient", ["logit", "softmax"])
    @pytest.mark.parametrize("baseline", ["value", "action_value", "exact_value", "none"])
    def test_single_episodes(self, baseline, gradient, steps):
        self.compare(Rule(baseline, STEPS[steps], STEPS["by visits"], gradient))

    @pytest.mark.parametrize("steps", STEPS)
    @pytest.mark.parametrize("gradient", ["logit", "softmax"])
    @pytest.mark.parametrize("baseline", ["value", "action_value", "exact_value", "none"])
    def test_batches(self, baseline, gradient, steps):
        self.compare(Rule(baseline, STEPS[steps], STEPS["by visits"], gradient, batch=4))

    @pytest.mark.parametrize("reduction", ["sum", "mean", "arm_mean"])
    def test_whitened_batches(self, reduction):
        rule = Rule("action_value", StepSize(0.2), StepSize(0.1), batch=6, whiten=True, critic_reduction=reduction)
        self.compare(rule)

    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        rewards=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
        step=st.floats(0.01, 2),
        batch=st.sampled_from([1, 2, 3]),
        baseline=st.sampled_from(["value", "action_value"]),
    )
    def test_any_rewards(self, seed, rewards, step, batch, baseline):
        rule = Rule(baseline, StepSize(step), StepSize(0.5), batch=batch)
        self.compare(rule, seed, rewards, noise=0.0, runs=2, episodes=12)


class TestSampling:
    def test_frequencies_are_the_policy(self):
        # Rewards of zero leave the policy at the prior; counts are binomial.
        prior, runs = np.array([0.1, 0.2, 0.3, 0.4]), 100_000
        run = simulate(
            Bandit(np.zeros(4)), Rule("none"), episodes=1, rng=np.random.default_rng(3), runs=runs, prior=prior,
            record_at=[1],
        )  # fmt: skip
        z = (run.visits[0].sum(0) - runs * prior) / np.sqrt(runs * prior * (1 - prior))
        assert np.abs(z).max() < 4

    def test_noise_has_its_mean_and_deviation(self):
        runs = 100_000
        run = simulate(
            Bandit([2.0, 2.0], noise=0.5), Rule("none"), episodes=1, rng=np.random.default_rng(4), runs=runs,
            record_at=[1],
        )  # fmt: skip
        assert abs(run.advantages[0].mean() - 2) < 4 * 0.5 / math.sqrt(runs)
        assert abs(run.advantages[0].std() - 0.5) < 4 * 0.5 / math.sqrt(2 * runs)

    def test_probability_zero_by_rounding_is_never_an_index_error(self):
        run = simulate(WEDDING_PARTY, Rule("none", StepSize(500.0)), episodes=50, rng=np.random.default_rng(0), runs=20)
        assert np.isfinite(run.policy).all()
        np.testing.assert_allclose(run.policy.sum(-1), 1, atol=1e-12)

    def test_same_seed_same_runs(self):
        first, second = (
            simulate(WEDDING_PARTY, ppo_like(), episodes=50, rng=np.random.default_rng(9), runs=5) for _ in range(2)
        )
        assert (first.logits == second.logits).all()


class TestRecords:
    def test_default_records_go_from_start_to_end(self):
        run = simulate(WEDDING_PARTY, actde(), episodes=1000, rng=np.random.default_rng(0), runs=2)
        assert (run.episodes == log_spaced(1000)).all()
        assert run.episodes[[0, -1]].tolist() == [0, 1000]
        assert (run.visits.sum(-1) == run.episodes[:, None]).all()

    def test_entropy_in_nats(self):
        run = forced(actde(), FORCED[:1])
        assert run.entropy[0, 0] == pytest.approx(math.log(2), abs=1e-15)

    def test_recording_changes_nothing(self):
        sparse, dense = (
            simulate(WEDDING_PARTY, ppo_like(), episodes=40, rng=np.random.default_rng(1), runs=3, record_at=at)
            for at in ([40], list(range(41)))
        )
        assert (sparse.logits[-1] == dense.logits[-1]).all()

    def test_one_prior_for_each_run(self):
        prior = np.array([[0.9, 0.1], [0.2, 0.8]])
        run = simulate(WEDDING_PARTY, actde(), episodes=1, rng=np.random.default_rng(0), runs=2, prior=prior)
        np.testing.assert_allclose(run.policy[0], prior, atol=1e-15)


class TestSteps:
    def test_values(self):
        # .5 (n + 1)^-2 at n = 3 is .5 / 16.
        assert StepSize(0.5, power=2.0, offset=1.0).at(3) == pytest.approx(0.03125)
        np.testing.assert_allclose(StepSize(1.0, power=1.0).at(np.array([1, 2, 4])), [1, 0.5, 0.25])


RNG = np.random.default_rng(0)


class TestErrors:
    """Each message names the field, the value and what is allowed."""

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: Bandit([1.0]), r"rewards has shape \(1,\): allowed is \(arms,\) with two arms or more"),
            (lambda: Bandit([1.0, math.nan]), r"rewards = \[1.0, nan\]: allowed are finite numbers"),
            (lambda: Bandit([1.0, 0.5], noise=-0.1), r"noise = \[-0.1, -0.1\]: allowed are numbers of zero or more"),
            (lambda: Bandit([1.0, 0.5], noise=[0.1, 0.1, 0.1]), r"noise has shape \(3,\): allowed is \(2,\)"),
            (lambda: StepSize(0.0), r"step size scale = 0.0: allowed are finite numbers above zero"),
            (lambda: StepSize(1.0, power=-1.0), r"step size power = -1.0: allowed are finite numbers of zero or more"),
            (lambda: StepSize(1.0, offset=-1.0), r"step size offset = -1.0: allowed are numbers above -1"),
            (lambda: Rule("value", batch=0), r"batch = 0: allowed are whole numbers of one or more"),
            (lambda: Rule("value", whiten=True), r"whiten = True with batch = 1: allowed are batches of two or more"),
        ],
    )
    def test_descriptions(self, build, message):
        with pytest.raises(ValueError, match=message):
            build()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"episodes": 0}, r"episodes = 0: allowed are multiples of 1, one or more"),
            ({"runs": 0}, r"runs = 0: allowed are whole numbers of one or more"),
            ({"prior": np.array([0.5, 0.4])}, r"prior = \[0.5, 0.4\]: allowed are positive numbers that sum to one"),
            ({"prior": np.array([1.0, 0.0])}, r"prior = \[1.0, 0.0\]: allowed are positive numbers"),
            ({"prior": np.full(3, 1 / 3)}, r"prior has shape \(3,\): allowed is \(1, 2\)"),
            ({"initial_q": np.zeros(3)}, r"initial_q has shape \(3,\): allowed is \(1, 2\)"),
            ({"record_at": [2, 1]}, r"record_at = \[2, 1\]: allowed are increasing multiples of 1 from 0 to 4"),
            ({"record_at": [5]}, r"record_at = \[5\]: allowed are increasing multiples"),
            ({"actions": np.array([[0], [2], [0], [0]])}, r"actions go from 0 to 2: allowed are 0 to 1"),
        ],
    )
    def test_simulations(self, settings, message):
        with pytest.raises(ValueError, match=message):
            simulate(WEDDING_PARTY, ppo_like(), **({"episodes": 4, "rng": RNG} | settings))

    def test_episodes_fill_whole_batches(self):
        with pytest.raises(ValueError, match="episodes = 5: allowed are multiples of 2, one or more"):
            simulate(WEDDING_PARTY, Rule("value", batch=2), episodes=5, rng=RNG)
