"""The sampled update in several states: tables of logits and action values that learn step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import softmax

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.tables import bandit
from actde_nb.tables.bandit import StepSize, log_spaced
from actde_nb.tables.mdp import MDP, log_anchor, start_distribution

BOOTSTRAPS = ("expected", "sampled", "max", "soft", "value")


@dataclass(frozen=True)
class Decay:
    """Share by which every logit and every action value shrinks towards zero in each step."""

    logits: float = 0.0
    critic: float = 0.0

    def __post_init__(self):
        checks.unit_interval("decay of the logits", self.logits)
        checks.unit_interval("decay of the critic", self.critic)


@dataclass(frozen=True, eq=False)
class Learning:
    """What a simulation recorded, after the steps in :attr:`steps` (0 is the start)."""

    steps: Int[np.ndarray, "records"]
    logits: Float[np.ndarray, "records runs states actions"]
    q: Float[np.ndarray, "records runs states actions"]
    values: Float[np.ndarray, "records runs states"]  # the separate critic of bootstrap "value"; zero otherwise
    states: Int[np.ndarray, "records runs"]  # where the next action will be taken
    visits: Int[np.ndarray, "records runs states actions"]
    sum_abs_errors: Float[np.ndarray, "records runs states actions"]  # in units of reward

    @property
    def policy(self) -> Float[np.ndarray, "records runs states actions"]:
        """Probability of each action in each state."""
        return softmax(self.logits, axis=-1)


def simulate(
    mdp: MDP,
    *,
    policy_step: StepSize,
    critic_step: StepSize,
    steps: int,
    rng: np.random.Generator,
    runs: int = 1,
    start_states: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    initial_q: ArrayLike = 0.0,
    bootstrap: Literal["expected", "sampled", "max", "soft", "value"] = "expected",
    value_step: StepSize | None = None,
    gradient: Literal["logit", "softmax"] = "logit",
    record_at: Sequence[int] | Int[np.ndarray, "records"] | None = None,
    decay: Decay | None = None,
) -> Learning:
    """Run sampled ACTDE: every step, the error of the action taken moves its logit and its q.

    Args:
        mdp: the model.
        policy_step: step of the logits, per unit of reward; its clock counts visits of the (state,
            action) or, as ``"episodes"``, all steps.
        critic_step: step of q, dimensionless, same clocks.
        steps: how many actions each run takes.
        rng: source of every draw.
        runs: how many independent runs.
        start_states: distribution of an episode's first state, [states]; uniform if left out.
        prior: initial policy, broadcast to [states, actions]; uniform if left out.
        initial_q: initial q, broadcast to [states, actions].
        bootstrap: value of the next state: as in
            :func:`~actde_nb.tables.fixed_points.value_map`, or ``"sampled"``, q of the
            action taken next (SARSA), or ``"value"``, a separate critic v with its own TD error.
            ``"soft"`` needs two steps with a constant ratio, which is its temperature.
        value_step: step of v, which starts at zero; its clock counts visits of the state.
        gradient: ``"logit"`` adds the error to the logit of the action taken; ``"softmax"`` follows
            the gradient of log pi, adding ``error * (onehot - pi)``.
        record_at: steps after which to record, increasing; :func:`~actde_nb.tables.bandit.log_spaced` by default.
        decay: weight decay after every step; none if left out.

    Returns:
        The recorded :class:`Learning`.

    Raises:
        SettingError: a count below one, an unknown name, a ``value_step`` without ``"value"`` or the
            reverse, ``"soft"`` with steps whose ratio changes.
    """
    checks.one_of("bootstrap", bootstrap, BOOTSTRAPS)
    checks.one_of("gradient", gradient, bandit.GRADIENTS)
    if (bootstrap == "value") != (value_step is not None):
        raise SettingError(
            f"value_step = {value_step} with bootstrap = {bootstrap!r}: allowed is a step with 'value' only"
        )
    if bootstrap == "soft" and not _constant_ratio(policy_step, critic_step):
        raise SettingError(
            f"bootstrap = 'soft' with policy_step = {policy_step} and critic_step = {critic_step}: "
            "allowed are steps with a constant ratio"
        )
    if runs < 1:
        raise SettingError(f"runs = {runs}: allowed are whole numbers of one or more")
    record_at = _record_at(record_at, steps)
    temperature = critic_step.scale / policy_step.scale
    walk = _Walk(mdp, runs, rng, start_states, prior, initial_q, temperature)
    sampled = bootstrap == "sampled"
    here, policy, actions = walk.block(walk.states), None, None
    records = []
    for done in range(steps + 1):
        if done == record_at[len(records)]:
            records.append(walk.record())
            if len(records) == len(record_at):
                break
        if not sampled or actions is None:
            policy, actions = walk.act(here)
        taken = here[0] + actions * runs
        rewards, following, alive = walk.move(actions)
        there = walk.block(following)
        if sampled:
            _, next_actions = walk.act(there)
            values = walk.q[there[0] + next_actions * runs]
        else:
            values = walk.values_at(there, following, bootstrap)
        targets = rewards + (mdp.discount * values if alive is None else mdp.discount * values * alive)
        errors = targets - walk.q[taken]
        walk.visits[taken] += 1
        walk.abs_errors[taken] += np.abs(errors)
        walk.q[taken] += bandit._step(critic_step, walk.visits, taken, done + 1) * errors
        if sampled and gradient == "softmax":
            policy = bandit._policy(walk.logits[here])  # it may have moved since the action was drawn
        move = bandit._step(policy_step, walk.visits, taken, done + 1) * errors
        walk.logits[taken] += move
        if gradient == "softmax":
            walk.logits[here] -= policy * move
        if value_step is not None:
            at = walk.states * runs + walk.run
            count = walk.visits[here].sum(0) if value_step.clock == "visits" else done + 1
            walk.v[at] += value_step.at(count) * (targets - walk.v[at])
        if decay is not None:
            walk.logits *= 1 - decay.logits
            walk.q *= 1 - decay.critic
        walk.states, here = following, there
        if sampled:
            actions = next_actions
    return Learning(record_at, *(np.stack(column) for column in zip(*records, strict=True)))


def _constant_ratio(first: StepSize, second: StepSize) -> bool:
    return not (first.power or second.power) or replace(first, scale=1.0) == replace(second, scale=1.0)


class _Walk:
    """All runs' tables and positions; tables are flat [state, action, run], so gathers run along runs."""

    def __init__(self, mdp: MDP, runs: int, rng, start_states, prior, initial_q, temperature: float):
        states, actions = mdp.shape
        self.shape, self.rng, self.temperature = (states, actions, runs), rng, temperature
        self.run = np.arange(runs)
        self.offsets = (np.arange(actions) * runs)[:, None] + self.run
        prior = np.full(mdp.shape, 1 / actions) if prior is None else checks.probabilities("prior", prior)
        prior = checks.shape("prior", prior, mdp.shape)
        initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), mdp.shape)
        self.logits = np.repeat(np.log(prior).ravel(), runs)
        self.q = np.repeat(initial_q.ravel(), runs)
        self.anchor = np.repeat(log_anchor(mdp, temperature, prior, initial_q).ravel(), runs)
        self.v = np.zeros(states * runs)
        self.visits = np.zeros(states * actions * runs, dtype=np.int64)
        self.abs_errors = np.zeros(states * actions * runs)
        self.rewards = mdp.rewards.ravel()
        self.next, self.thresholds = _transition_tables(mdp)
        self.ending = bool((mdp.ending > 0).any())
        self.start = np.cumsum(start_distribution("start_states", start_states, mdp))[:-1]
        self.states = self.begin()

    def begin(self) -> Int[np.ndarray, "runs"]:
        return np.searchsorted(self.start, self.rng.random(self.shape[-1]), side="right")

    def block(self, states: Int[np.ndarray, "runs"]) -> Int[np.ndarray, "actions runs"]:
        """Where each run's entries of its state lie."""
        return states * (self.shape[1] * self.shape[2]) + self.offsets

    def act(self, block):
        policy = bandit._policy(self.logits[block])
        return policy, bandit._sample(policy, self.rng.random(self.shape[-1]))

    def move(self, actions):
        """Rewards, the states that follow, and 0 where the episode ended before them (None: nowhere)."""
        states = self.shape[0]
        pairs = self.states * self.shape[1] + actions
        if self.next is not None:
            following = self.next[pairs]
        else:
            following = (self.rng.random(self.shape[-1]) >= self.thresholds[:, pairs]).sum(0)
        if not self.ending:
            return self.rewards[pairs], following, None
        alive = following < states
        return self.rewards[pairs], np.where(alive, following, self.begin()), alive

    def values_at(self, block, states, bootstrap: str):
        if bootstrap == "value":
            return self.v[states * self.shape[2] + self.run]
        q = self.q[block]
        if bootstrap == "max":
            return q.max(0)
        if bootstrap == "soft":
            exponent = self.anchor[block] + q / self.temperature
            top = exponent.max(0)
            return self.temperature * (top + np.log(np.exp(exponent - top).sum(0)))
        return (bandit._policy(self.logits[block]) * q).sum(0)

    def record(self):
        def lead(table):
            return np.moveaxis(table.reshape(self.shape), -1, 0).copy()

        v = self.v.reshape(self.shape[0], -1).T.copy()
        return lead(self.logits), lead(self.q), v, self.states.copy(), lead(self.visits), lead(self.abs_errors)


def _transition_tables(mdp: MDP):
    """Next state of each (state, action) if that is certain, else cumulative probabilities; ``states`` is the end."""
    states = mdp.shape[0]
    full = np.concatenate([mdp.transitions, mdp.ending[..., None]], axis=-1).reshape(-1, states + 1)
    if (full.max(-1) >= 1 - 1e-12).all():
        return full.argmax(-1), None
    thresholds = np.cumsum(full, axis=-1)[:, :-1]
    last = states - (full > 0)[:, ::-1].argmax(-1)
    thresholds[np.arange(states) >= last[:, None]] = np.inf  # rounding reaches no state of probability zero
    return None, np.ascontiguousarray(thresholds.T)


def _record_at(record_at, steps: int) -> Int[np.ndarray, "records"]:
    if steps < 1:
        raise SettingError(f"steps = {steps}: allowed are whole numbers of one or more")
    if record_at is None:
        return log_spaced(steps)
    record_at = np.asarray(record_at)
    if len(record_at) == 0 or record_at[0] < 0 or record_at[-1] > steps or (np.diff(record_at) <= 0).any():
        raise SettingError(f"record_at = {record_at.tolist()}: allowed are increasing whole numbers from 0 to {steps}")
    return record_at
