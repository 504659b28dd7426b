"""One state, a few actions: what an update rule does to a softmax policy, episode by episode.

An episode is one draw of an arm and its reward. A critic holds what was expected; the error
``reward - expected`` moves the logits and the critic. The rules differ in what "expected" means
(:attr:`Rule.baseline`) and in which logits an error moves (:attr:`Rule.gradient`); everything else
is shared. All runs advance together: arrays are ``[record, run, arm]``, numbers are float64.

Source of the two main rules: Turner and Einhorn (2023), sections on the advantage equation and on
the action-conditioned TD error."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import entr, softmax

from actde_nb import checks
from actde_nb.checks import SettingError

Records = Float[np.ndarray, "records runs arms"]


@dataclass(frozen=True)
class Bandit:
    """Mean reward of each arm, [arms], and standard deviation of its Gaussian noise, [arms] or one number for all."""

    rewards: ArrayLike
    noise: ArrayLike = 0.0

    def __post_init__(self):
        rewards = checks.finite("rewards", self.rewards)
        if rewards.ndim != 1 or len(rewards) < 2:
            raise SettingError(f"rewards has shape {rewards.shape}: allowed is (arms,) with two arms or more")
        noise = checks.shape("noise", checks.finite("noise", self.noise), rewards.shape)
        if (noise < 0).any():
            raise SettingError(f"noise = {noise.tolist()}: allowed are numbers of zero or more")
        object.__setattr__(self, "rewards", rewards)
        object.__setattr__(self, "noise", noise)


@dataclass(frozen=True)
class StepSize:
    """Step of the n-th update, ``scale * (n + offset) ** -power`` for n = 1, 2, ...

    ``StepSize(a)`` is constant; ``StepSize(1, power=1)`` makes a critic the running mean.
    ``clock`` says what n counts: updates of the arm in question (``"visits"``) or all episodes.
    A state value has no arms, so its n always counts episodes."""

    scale: float
    power: float = 0.0
    offset: float = 0.0
    clock: Literal["visits", "episodes"] = "visits"

    def __post_init__(self):
        checks.positive("step size scale", self.scale)
        checks.at_least_zero("step size power", self.power)
        if not self.offset > -1:
            raise SettingError(f"step size offset = {self.offset}: allowed are numbers above -1")
        checks.one_of("step size clock", self.clock, ("visits", "episodes"))

    def at(self, count: Int[np.ndarray, "..."] | int) -> Float[np.ndarray, "..."] | float:
        """Step for update number ``count`` (1 is the first)."""
        if self.power == 0:
            return self.scale
        return self.scale * (count + self.offset) ** -float(self.power)


@dataclass(frozen=True)
class Rule:
    """An update rule, as data.

    Args:
        baseline: what the reward is compared with: ``"value"``, a learned v (the ordinary TD
            error); ``"action_value"``, a learned q of the arm taken (ACTDE); ``"exact_value"``,
            the policy's true mean reward; ``"none"``, zero.
        policy_step: step of the logits, in logits per unit of reward.
        critic_step: step of v or q, dimensionless.
        gradient: ``"logit"`` adds the error to the logit of the arm taken; ``"softmax"`` follows
            the gradient of log pi, adding ``error * (onehot - pi)``.
        batch: episodes drawn from one policy before each update.
        whiten: rescale each batch's errors to mean 0, variance 1 before they reach the logits.
        whiten_epsilon: added to the batch variance, in reward squared.
        critic_reduction: how a batch's errors reach q: their ``"sum"``, their ``"mean"`` over the
            batch, or their ``"arm_mean"`` over the episodes that took the arm. The logits always
            move by the mean over the batch. With ``batch=1`` the three are the same."""

    baseline: Literal["value", "action_value", "exact_value", "none"]
    policy_step: StepSize = field(default_factory=lambda: StepSize(1.0))
    critic_step: StepSize = field(default_factory=lambda: StepSize(1.0))
    gradient: Literal["logit", "softmax"] = "logit"
    batch: int = 1
    whiten: bool = False
    whiten_epsilon: float = 1e-6
    critic_reduction: Literal["sum", "mean", "arm_mean"] = "mean"

    def __post_init__(self):
        checks.one_of("baseline", self.baseline, ("value", "action_value", "exact_value", "none"))
        checks.one_of("gradient", self.gradient, ("logit", "softmax"))
        checks.one_of("critic_reduction", self.critic_reduction, ("sum", "mean", "arm_mean"))
        if self.batch < 1:
            raise SettingError(f"batch = {self.batch}: allowed are whole numbers of one or more")
        if self.whiten and self.batch < 2:
            raise SettingError(f"whiten = True with batch = {self.batch}: allowed are batches of two or more")


def ppo_like(policy_step: float = 1.0, critic_step: float = 1.0) -> Rule:
    """The ordinary TD error with constant steps: the post's table for "PPO"."""
    return Rule("value", StepSize(policy_step), StepSize(critic_step))


def actde(policy_step: float = 1.0, critic_step: float = 1.0) -> Rule:
    """The action-conditioned TD error with constant steps: the post's second table."""
    return Rule("action_value", StepSize(policy_step), StepSize(critic_step))


def boltzmann(
    rewards: ArrayLike, temperature: float, prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0
) -> Float[np.ndarray, "arms"]:
    """Policy at which ACTDE stops, ``prior * exp((rewards - initial_q) / temperature)``, normalised.

    ``temperature`` is the critic's step over the policy's, in reward per nat; ``prior``, the initial policy, is uniform
    if left out; ``initial_q`` are the initial action values, [arms] or one number for all."""
    rewards = checks.finite("rewards", rewards)
    initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), rewards.shape)
    checks.positive("temperature", temperature)
    if prior is None:
        prior = np.full(rewards.shape, 1 / rewards.size)
    log_prior = np.log(checks.shape("prior", checks.probabilities("prior", prior), rewards.shape))
    return softmax(log_prior + (rewards - initial_q) / temperature)


@dataclass(frozen=True)
class Trajectory:
    """What a simulation recorded, after the episodes in :attr:`episodes` (0 is the start)."""

    episodes: Int[np.ndarray, "records"]
    logits: Records
    action_values: Records
    values: Float[np.ndarray, "records runs"]
    visits: Int[np.ndarray, "records runs arms"]
    advantages: Float[np.ndarray, "records runs"]  # of the last episode before the record; 0 at the start

    @property
    def policy(self) -> Records:
        """Probability of each arm."""
        return softmax(self.logits, axis=-1)

    @property
    def gap(self) -> Float[np.ndarray, "records runs"]:
        """Logit of the first arm minus logit of the second, in nats."""
        return self.logits[..., 0] - self.logits[..., 1]

    @property
    def entropy(self) -> Float[np.ndarray, "records runs"]:
        """Entropy of the policy, in nats."""
        return entr(self.policy).sum(-1)


def log_spaced(episodes: int, points: int = 100) -> Int[np.ndarray, "records"]:
    """Episodes to record: 0, then up to ``points`` whole numbers spread evenly in the logarithm."""
    return np.unique(np.r_[0, np.geomspace(1, episodes, points).round().astype(int)])


def simulate(
    bandit: Bandit, rule: Rule, *, episodes: int, rng: np.random.Generator, runs: int = 1,
    prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0, initial_v: float = 0.0,
    record_at: Sequence[int] | Int[np.ndarray, "records"] | None = None,
    actions: Int[np.ndarray, "episodes runs"] | None = None,
) -> Trajectory:  # fmt: skip
    """Train ``runs`` policies side by side.

    Args:
        bandit: the rewards.
        rule: the update rule.
        episodes: how many episodes each run plays; a multiple of ``rule.batch``.
        rng: source of every draw.
        runs: how many independent policies.
        prior: initial policy, [arms] or [runs, arms]; uniform if left out.
        initial_q: broadcast to [runs, arms].
        initial_v: a number.
        record_at: episodes after which to record, increasing, multiples of ``rule.batch``;
            :func:`log_spaced` by default.
        actions: arms to play instead of sampling them."""
    arms, batch = len(bandit.rewards), rule.batch
    record_at = _record_at("episodes", episodes, record_at, batch)
    if runs < 1:
        raise SettingError(f"runs = {runs}: allowed are whole numbers of one or more")
    if actions is not None:
        actions = checks.shape("actions", np.asarray(actions), (episodes, runs))
        if actions.min() < 0 or actions.max() >= arms:
            raise SettingError(f"actions go from {actions.min()} to {actions.max()}: allowed are 0 to {arms - 1}")
    prior = np.full(arms, 1 / arms) if prior is None else checks.probabilities("prior", prior)
    state = _State(
        # Arms lead inside the loop: every operation then runs along contiguous runs.
        logits=np.ascontiguousarray(checks.shape("prior", np.log(prior), (runs, arms)).T),
        q=np.ascontiguousarray(checks.shape("initial_q", checks.finite("initial_q", initial_q), (runs, arms)).T),
        v=np.full(runs, float(initial_v)),
        visits=np.zeros((arms, runs), dtype=np.int64),
        errors=np.zeros((batch, runs)),
    )
    advance = _episode if batch == 1 else _batch
    records = []
    for done in range(0, episodes + 1, batch):
        if done == record_at[len(records)]:
            records.append(deepcopy(state))
            if len(records) == len(record_at):
                break
        forced = None if actions is None else actions[done : done + batch]
        advance(state, bandit, rule, rng, done, forced)
    return Trajectory(
        episodes=record_at,
        logits=np.stack([r.logits.T for r in records]),
        action_values=np.stack([r.q.T for r in records]),
        values=np.stack([r.v for r in records]),
        visits=np.stack([r.visits.T for r in records]),
        advantages=np.stack([r.errors[-1] for r in records]),
    )


@dataclass
class _State:
    logits: Float[np.ndarray, "arms runs"]
    q: Float[np.ndarray, "arms runs"]
    v: Float[np.ndarray, "runs"]
    visits: Int[np.ndarray, "arms runs"]
    errors: Float[np.ndarray, "batch runs"]


def _record_at(name: str, length: int, record_at, batch: int = 1) -> Int[np.ndarray, "records"]:
    if length < 1 or length % batch:
        raise SettingError(f"{name} = {length}: allowed are multiples of {batch}, one or more")
    if record_at is None:
        return np.unique(log_spaced(length) // batch * batch)
    record_at = np.asarray(record_at)
    bad = len(record_at) == 0 or record_at[0] < 0 or record_at[-1] > length or (np.diff(record_at) <= 0).any()
    if bad or (record_at % batch).any():
        allowed = f"increasing multiples of {batch} from 0 to {length}"
        raise SettingError(f"record_at = {record_at.tolist()}: allowed are {allowed}")
    return record_at


def _policy(logits: Float[np.ndarray, "arms runs"]) -> Float[np.ndarray, "arms runs"]:
    weights = logits - logits.max(0)
    np.exp(weights, out=weights)
    weights /= weights.sum(0)
    return weights


def _sample(policy: Float[np.ndarray, "arms runs"], uniforms: Float[np.ndarray, "*batch runs"]):
    """Inverse-CDF sampling; the last arm takes what rounding leaves over."""
    threshold = policy[0]
    actions = (uniforms >= threshold).astype(np.intp)
    for probability in policy[1:-1]:
        threshold = threshold + probability
        actions += uniforms >= threshold
    return actions


def _draw(state: _State, bandit: Bandit, rule: Rule, rng: np.random.Generator, shape, forced):
    """Policy (where it is needed), actions and rewards."""
    policy = None
    if forced is None or rule.gradient == "softmax" or rule.baseline == "exact_value":
        policy = _policy(state.logits)
    actions = _sample(policy, rng.random(shape)) if forced is None else forced.reshape(shape)
    rewards = bandit.rewards[actions]
    if bandit.noise.any():
        rewards = rewards + bandit.noise[actions] * rng.standard_normal(shape)
    return policy, actions, rewards


def _episode(state: _State, bandit: Bandit, rule: Rule, rng: np.random.Generator, done: int, forced):
    """One episode of every run: the error of the arm taken moves its logit and the critic."""
    runs = state.v.shape[0]
    policy, actions, rewards = _draw(state, bandit, rule, rng, (runs,), forced)
    taken = actions * runs + np.arange(runs)
    logits, q, visits = state.logits.ravel(), state.q.ravel(), state.visits.ravel()
    visits[taken] += 1
    if rule.baseline == "action_value":
        errors = rewards - q[taken]
        q[taken] += _step(rule.critic_step, visits, taken, done + 1) * errors
    elif rule.baseline == "value":
        errors = rewards - state.v
        state.v += rule.critic_step.at(done + 1) * errors
    else:
        errors = rewards - (bandit.rewards @ policy if rule.baseline == "exact_value" else 0.0)
    move = _step(rule.policy_step, visits, taken, done + 1) * errors
    logits[taken] += move
    if rule.gradient == "softmax":
        state.logits -= policy * move
    state.errors[0] = errors


def _batch(state: _State, bandit: Bandit, rule: Rule, rng: np.random.Generator, done: int, forced):
    """A batch of episodes from one policy, then one update."""
    batch, runs = state.errors.shape
    policy, actions, rewards = _draw(state, bandit, rule, rng, (batch, runs), forced)
    taken = actions == np.arange(len(bandit.rewards))[:, None, None]  # [arms, batch, runs]
    counts = taken.sum(1)
    state.visits += counts
    now = done + batch
    if rule.baseline == "action_value":
        errors = rewards - np.take_along_axis(state.q, actions, 0)
        total = (taken * errors).sum(1)
        share = {"sum": 1, "mean": batch, "arm_mean": np.maximum(counts, 1)}[rule.critic_reduction]
        state.q += _step(rule.critic_step, np.maximum(state.visits, 1), ..., now) * total / share
    elif rule.baseline == "value":
        errors = rewards - state.v
        state.v += rule.critic_step.at(now // batch) * errors.mean(0)
    else:
        errors = rewards - (bandit.rewards @ policy if rule.baseline == "exact_value" else 0.0)
    state.errors[:] = errors
    if rule.whiten:
        errors = (errors - errors.mean(0)) / np.sqrt(errors.var(0) + rule.whiten_epsilon)
    if rule.gradient == "softmax":
        taken = taken - policy[:, None]
    state.logits += _step(rule.policy_step, np.maximum(state.visits, 1), ..., now) * (taken * errors).mean(1)


def _step(step: StepSize, visits: np.ndarray, taken, episode: int):
    return step.at(visits[taken] if step.clock == "visits" else episode)
