"""Policies as tables in a recorded game: policy gradient and ACTDE, many seeds at once.

A game's return from each turn on is discounted; after the last turn of the limit nothing follows. Logits are kept for
admissible commands only, and play begins with the uniform policy over them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import softmax

from actde_book.ch22_text_adventures.exact import NEVER, uniform
from actde_nb import checks
from actde_nb.worlds.adventure import Adventure

KINDS = ("policy gradient", "actde")
Tables = Float[np.ndarray, "trial states commands"]


@dataclass(frozen=True, eq=False)
class Games:
    """Games of several trials, a column for each turn; turns after a game's end are not played."""

    states: Int[np.ndarray, "trial games turns"]
    commands: Int[np.ndarray, "trial games turns"]
    rewards: Float[np.ndarray, "trial games turns"]
    played: Bool[np.ndarray, "trial games turns"]

    def returns(self, discount: float) -> Float[np.ndarray, "trial games turns"]:
        """Discounted sum of a game's rewards from each turn on."""
        total, found = np.zeros(self.rewards.shape[:-1]), []
        for rewards in np.moveaxis(self.rewards, -1, 0)[::-1]:
            total = rewards + discount * total
            found.append(total)
        return np.stack(found[::-1], -1)


@dataclass(frozen=True, eq=False)
class Learner:
    """What a policy gradient or ACTDE has learned; of the critics, the one uses v and the other q."""

    logits: Tables  # minus infinity for what is not admissible
    v: Float[np.ndarray, "trial states"]
    q: Tables

    @property
    def policy(self) -> Tables:
        """Probability of each command in each state."""
        return softmax(self.logits, axis=-1)


def begin(world: Adventure, trials: int) -> Learner:
    """Uniform play over the admissible commands; critics that know nothing."""
    prior = uniform(world)
    logits = np.where(prior > 0, np.log(np.maximum(prior, NEVER)), -np.inf)
    shape = (trials, *prior.shape)
    return Learner(np.broadcast_to(logits, shape).copy(), np.zeros(shape[:2]), np.zeros(shape))


def play(world: Adventure, policy: Tables, games: int, rngs: Sequence[np.random.Generator]) -> Games:
    """Games of every trial, each of which draws from a generator of its own."""
    after, rewards, _ = (table.numpy() for table in world.tables)
    cumulative, trial = policy.cumsum(-1)[..., :-1], np.arange(len(policy))[:, None]
    uniforms = np.stack([rng.random((games, world.turns)) for rng in rngs])
    states, commands = (np.zeros((*uniforms.shape[:2], world.turns + 1), dtype=np.int64) for _ in range(2))
    for turn in range(world.turns):
        now = states[..., turn]
        commands[..., turn] = (uniforms[..., turn, None] >= cumulative[trial, now]).sum(-1)
        states[..., turn + 1] = after[now, commands[..., turn]]
    states, commands = states[..., :-1], commands[..., :-1]
    return Games(states, commands, rewards[states, commands], ~world.won.numpy()[states])


def update(
    learner: Learner, games: Games, kind: str, *, step: float, ratio: float,
    discount: float,
) -> Learner:  # fmt: skip
    """One step of either algorithm; sums over turns, averaged over games.

    With G the return from a turn on, the policy gradient moves the logits of the turn's state by ``ratio * step * (G -
    v)`` times the gradient of the log-probability of its command, and v by ``step * (G - v)``. ACTDE moves the logit of
    the command by ``ratio * step * (G - q)``, and q by ``step * (G - q)``, so that the two stay in proportion."""
    checks.one_of("kind", kind, KINDS)
    trials, states, commands = learner.q.shape
    trial = np.arange(trials)[:, None, None]
    place = trial, games.states, games.commands
    critic = learner.q[place] if kind == "actde" else learner.v[trial, games.states]
    errors = np.where(games.played, games.returns(discount) - critic, 0) * step / games.states.shape[1]
    flat = np.ravel_multi_index(np.broadcast_arrays(*place), learner.q.shape).ravel()
    by_command = np.bincount(flat, errors.ravel(), learner.q.size).reshape(learner.q.shape)
    if kind == "actde":
        return replace(learner, logits=learner.logits + ratio * by_command, q=learner.q + by_command)
    by_state = by_command.sum(-1)
    gradient = by_command - by_state[..., None] * learner.policy
    return replace(learner, logits=learner.logits + ratio * gradient, v=learner.v + by_state)


def learn(
    world: Adventure, kind: str, *, trials: int = 20, games: int = 16,
    iterations: int = 400, step: float = 0.5, ratio: float = 1.0, discount: float = 0.9, seed: int = 0,
) -> Learner:  # fmt: skip
    """Learn by playing: in each iteration every trial plays some games and makes one step of what it saw."""
    rngs, learner = [np.random.default_rng((seed, trial)) for trial in range(trials)], begin(world, trials)
    for _ in range(iterations):
        seen = play(world, learner.policy, games, rngs)
        learner = update(learner, seen, kind, step=step, ratio=ratio, discount=discount)
    return learner
