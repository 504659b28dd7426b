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
from actde_nb.tables.bandit import StepSize
from actde_nb.tables.mdp import MDP, log_anchor

BOOTSTRAPS = ("expected", "sampled", "max", "soft", "value")


@dataclass(frozen=True, eq=False)
class Learning:
    """What a simulation recorded, after the steps in :attr:`steps` (0 is the start)."""

    steps: Int[np.ndarray, "records"]
    logits: Float[np.ndarray, "records runs states actions"]
    q: Float[np.ndarray, "records runs states actions"]
    sum_abs_errors: Float[np.ndarray, "records runs states actions"]  # in units of reward

    @property
    def policy(self) -> Float[np.ndarray, "records runs states actions"]:
        """Probability of each action in each state."""
        return softmax(self.logits, axis=-1)


def simulate(
    mdp: MDP, *, policy_step: StepSize, critic_step: StepSize, steps: int, rng: np.random.Generator, runs: int = 1,
    prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0,
    bootstrap: Literal["expected", "sampled", "max", "soft", "value"] = "expected", value_step: StepSize | None = None,
    record_at: Sequence[int] | Int[np.ndarray, "records"] | None = None,
) -> Learning:  # fmt: skip
    """Run sampled ACTDE: every step, the error of the action taken moves its logit and its q.

    Episodes begin in any state alike. The clock of ``policy_step`` (logits per unit of reward) and of
    ``critic_step`` counts visits of the (state, action) or, as ``"episodes"``, all steps. ``prior`` (uniform if left
    out) and ``initial_q`` are broadcast to [states, actions]. ``bootstrap`` is the value of the next state: those of
    :func:`~actde_nb.tables.fixed_points.state_values`, or ``"sampled"``, q of the action taken next (SARSA), or
    ``"value"``, a separate critic v that starts at zero and has its own TD error and ``value_step``, whose clock
    counts visits of the state. ``record_at`` is as in :func:`~actde_nb.tables.bandit.simulate`."""
    checks.one_of("bootstrap", bootstrap, BOOTSTRAPS)
    if (bootstrap == "value") != (value_step is not None):
        raise SettingError(f"value_step = {value_step} with bootstrap = {bootstrap!r}: allowed is one with 'value'")
    steady = policy_step.power == critic_step.power == 0 or replace(policy_step, scale=critic_step.scale) == critic_step
    if bootstrap == "soft" and not steady:  # the ratio is its temperature
        raise SettingError(f"bootstrap = 'soft' with {policy_step} and {critic_step}: allowed are steps in proportion")
    record_at = bandit._record_at("steps", steps, record_at)
    (states, actions), sampled = mdp.shape, bootstrap == "sampled"
    temperature = critic_step.scale / policy_step.scale
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    # Tables are flat [state, action, run], so that gathers run along runs.
    logits, q, anchor = (
        np.repeat(np.broadcast_to(np.asarray(table, dtype=float), mdp.shape).ravel(), runs)
        for table in (np.log(1 / actions if prior is None else prior), initial_q, anchor)
    )
    v, visits, abs_errors = np.zeros(states * runs), np.zeros(q.size, dtype=np.int64), np.zeros(q.size)
    run = np.arange(runs)
    offsets = (np.arange(actions) * runs)[:, None] + run
    rewards, (certain, thresholds), ending = mdp.rewards.ravel(), _transition_tables(mdp), (mdp.ending > 0).any()
    starts = np.cumsum(np.full(states, 1 / states))[:-1]

    def begin():
        return np.searchsorted(starts, rng.random(runs), side="right")

    def act(block):
        return bandit._sample(bandit._policy(logits[block]), rng.random(runs))

    def value(block, following):
        if bootstrap == "value":
            return v[following * runs + run]
        worth = q[block]
        if bootstrap == "max":
            return worth.max(0)
        if bootstrap == "soft":
            exponent = anchor[block] + worth / temperature
            top = exponent.max(0)
            return temperature * (top + np.log(np.exp(exponent - top).sum(0)))
        return (bandit._policy(logits[block]) * worth).sum(0)

    def record(table):
        return np.moveaxis(table.reshape(states, actions, runs), -1, 0).copy()

    position, chosen, records = begin(), None, []
    here = position * (actions * runs) + offsets  # where each run's entries of its state lie
    for done in range(steps + 1):
        if done == record_at[len(records)]:
            records.append((record(logits), record(q), record(abs_errors)))
            if len(records) == len(record_at):
                break
        chosen = chosen if sampled and chosen is not None else act(here)
        taken, pairs = here[0] + chosen * runs, position * actions + chosen
        following = certain[pairs] if thresholds is None else (rng.random(runs) >= thresholds[:, pairs]).sum(0)
        alive = following < states
        if ending:
            following = np.where(alive, following, begin())
        there = following * (actions * runs) + offsets
        if sampled:
            chosen = act(there)
            values = q[there[0] + chosen * runs]
        else:
            values = value(there, following)
        targets = rewards[pairs] + mdp.discount * values * alive
        errors = targets - q[taken]
        visits[taken] += 1
        abs_errors[taken] += np.abs(errors)
        q[taken] += bandit._step(critic_step, visits, taken, done + 1) * errors
        logits[taken] += bandit._step(policy_step, visits, taken, done + 1) * errors
        if value_step is not None:
            at, count = position * runs + run, visits[here].sum(0) if value_step.clock == "visits" else done + 1
            v[at] += value_step.at(count) * (targets - v[at])
        position, here = following, there
    return Learning(record_at, *(np.stack(column) for column in zip(*records, strict=True)))


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
