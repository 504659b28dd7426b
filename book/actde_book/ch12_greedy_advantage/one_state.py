"""Greedy-advantage-aware RLHF (GAA) in one state: its coefficients, its expected update, and where that leads.

GAA adds to PPO's update a second one, for the *greedy* token: the most probable one, whether or not it was sampled.
Both are scaled, by a and b, functions of the greedy token's probability eta and of how many standard deviations its
advantage lies above that of the sampled token, sigma.

Source: S. Johnson, "Greedy Advantage Aware RLHF", README and code of ``sej2020/Greedy-Adv-Aware-RLHF``."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import softmax

TEXT_SIGMA = 0.5  # the text's formula has sigma / 2
Coefficients = Float[np.ndarray, "*shape"] | float
Policies = Float[np.ndarray, "*batch arms"]


def coefficients(
    eta: ArrayLike, sigma: ArrayLike, *, x_eta: float = 1.0, x_sigma: float = TEXT_SIGMA, cut: bool = True
) -> tuple[Coefficients, Coefficients]:
    """GAA's factors ``a`` of PPO's update and ``b`` of the greedy token's, at its probability ``eta``.

    With ``e = x_eta * eta``, ``s = x_sigma * sigma`` and sigma the greedy token's advantage minus the sampled one's,
    in standard deviations::

        a = (1 - e) (1 + s) + e (1 - s)^10
        b = -(1 - e) s + e ((1 - s)^10 - 1)

    The text has ``x_eta = 1`` and ``x_sigma = 1/2`` and does not cut. The code takes means of ``eta`` and ``sigma``
    over a minibatch and cuts e and s to [0, 1], where a is in [0, 2] and b in [-1, 0]; outside both explode. Its
    default is ``x_eta = x_sigma = 1``; its scripts have (x_sigma, x_eta) = (3, 2), (6, 1), (3, 1.25) and (1.5, 1). It
    uses b on the *sampled* token's ratio and a on PPO's whole objective (surrogate, value loss, KL penalty, entropy
    bonus); the text uses b on the greedy token's ratio and a on "the conventional update"."""
    share, gain = x_eta * np.asarray(eta, float), x_sigma * np.asarray(sigma, float)
    if cut:
        share, gain = share.clip(0, 1), gain.clip(0, 1)
    decay = (1 - gain) ** 10
    return (1 - share) * (1 + gain) + share * decay, -(1 - share) * gain + share * (decay - 1)


@dataclass(frozen=True)
class Update:
    """One version of the update.

    ``coefficients``: ``"token"``, a and b for each sampled token, as in the text; ``"batch"``, from the mean of sigma,
    as in the code; ``"none"``, a = 1 and b = 0, PPO. ``ratio``: whose probability b's term moves, the ``"greedy"``
    token's (text) or the ``"sampled"`` one's (code). ``temperature``: of sampling alone, as in the code."""

    coefficients: Literal["token", "batch", "none"]
    ratio: Literal["greedy", "sampled"] = "greedy"
    x_eta: float = 1.0
    x_sigma: float = TEXT_SIGMA
    cut: bool = True
    temperature: float = 1.0


PPO = Update("none")


def expected_update(
    policy: Policies, rewards: ArrayLike, update: Update, *, greedy: ArrayLike | None = None
) -> Policies:
    """Expected step of the logits, per unit of learning rate: the first step on a batch, before any ratio is clipped.
    Advantages are exact, ``(R - v)`` in standard deviations. ``greedy``: the arm that counts as such, if not the first
    of the most probable ones."""
    sampling = softmax(np.log(policy) / update.temperature, axis=-1)
    greedy = policy.argmax(-1) if greedy is None else np.broadcast_to(greedy, policy.shape[:-1])
    return _move(policy, sampling, normalised(sampling, rewards), greedy, update)


def normalised(policy: Policies, rewards: ArrayLike) -> Policies:
    """Advantages ``R - v`` in units of their standard deviation under the policy."""
    advantages = rewards - (policy * rewards).sum(-1, keepdims=True)
    return advantages / np.sqrt((policy * advantages**2).sum(-1, keepdims=True))


def _move(policy, shares, scaled, greedy, update: Update):
    """Step of the logits when the arms were sampled in these shares, with these advantages."""
    best = np.take_along_axis(scaled, greedy[..., None], -1)
    a, b = _factors(policy, shares, best - scaled, greedy, update)
    pull, push = shares * a * scaled, shares * b * best
    if update.ratio == "greedy":
        push = (np.arange(policy.shape[-1]) == greedy[..., None]) * push.sum(-1, keepdims=True)
    moved = pull + push
    return moved - policy * moved.sum(-1, keepdims=True)


def _factors(policy, shares, sigma, greedy, update: Update):
    """a and b of each sampled arm."""
    if update.coefficients == "none":
        return 1.0, 0.0
    eta = np.take_along_axis(policy, greedy[..., None], -1)
    if update.coefficients == "batch":
        sigma = (shares * sigma).sum(-1, keepdims=True)
    return coefficients(eta, sigma, x_eta=update.x_eta, x_sigma=update.x_sigma, cut=update.cut)


def flow(
    start: Policies, rewards: ArrayLike, update: Update, *, step: float, steps: int, every: int = 1
) -> Float[np.ndarray, "records *batch arms"]:
    """Policies along repeated expected updates; with small steps, the flow. Where two arms tie for greedy the steps
    alternate between the two sides; :func:`slide` is the limit of that."""
    logits = np.log(start)
    path = [softmax(logits, axis=-1)]
    policy = path[0]
    for k in range(1, steps + 1):
        logits = logits + step * expected_update(policy, rewards, update)
        policy = softmax(logits, axis=-1)
        if k % every == 0:
            path.append(policy)
    return np.stack(path)


def first_time(path: Float[np.ndarray, "records *batch"], above: float, interval: float) -> Float[np.ndarray, "*batch"]:
    """Time of the first record above a level, for records ``interval`` apart; NaN where there is none."""
    beyond = path > above
    return np.where(beyond.any(0), beyond.argmax(0) * interval, np.nan)


def tie_rates(
    policy: Policies, rewards: ArrayLike, update: Update, pair: tuple[int, int]
) -> tuple[Float[np.ndarray, "2 *batch arms"], Float[np.ndarray, "2 *batch"]]:
    """Both velocities at a tie of two arms, with the first and with the second greedy, and what each makes of their
    logit gap. The tie attracts where the first rate is negative and the second positive."""
    sides = np.stack([expected_update(policy, rewards, update, greedy=arm) for arm in pair])
    return sides, sides[..., pair[0]] - sides[..., pair[1]]


class Slide(NamedTuple):
    """Motion along a tie; ``left``: whether it ended because the tie stopped attracting."""

    times: Float[np.ndarray, "points"]
    policies: Float[np.ndarray, "points arms"]
    left: bool


def slide(
    policy: Float[np.ndarray, "arms"], rewards: ArrayLike, update: Update, pair: tuple[int, int], *, until: float
) -> Slide:
    """Follow a tie of two arms, the better one first, for as long as it attracts: the sliding mode (Filippov). The
    velocity is the mixture of those of the two sides that leaves the gap as it is."""

    def tied(logits):
        policy = softmax(logits)
        policy[list(pair)] = policy[list(pair)].mean()
        return policy

    def velocity(_, logits):
        (first, second), (down, up) = tie_rates(tied(logits), rewards, update, pair)
        return (up * first - down * second) / (up - down)

    def leaving(_, logits):
        return tie_rates(tied(logits), rewards, update, pair)[1][0]

    leaving.terminal = True
    start = np.log(policy)
    run = solve_ivp(velocity, (0, until), start, method="LSODA", rtol=1e-9, atol=1e-10, events=leaving)
    return Slide(run.t, np.stack([tied(logits) for logits in run.y.T]), run.status == 1)


def held_probability(arms: int, x_eta: float, temperature: float) -> float:
    """Probability at which the code's update holds one outstanding arm, if the others pay alike; saturated sigma. There
    ``a = 2 (1 - x_eta eta)`` and b = -1; at rest ``eta / mu = 1 - a``, mu the probability of *sampling* it."""

    def excess(eta: float) -> float:
        policy = np.array([eta, *np.full(arms - 1, (1 - eta) / (arms - 1))])
        sampled = softmax(np.log(policy) / temperature)[0]
        return 2 * (1 - min(x_eta * eta, 1.0)) - (1 - eta / sampled)

    return float(brentq(excess, 1 / arms + 1e-9, 1 - 1e-9, xtol=1e-14))


def sampled_term(policy: Policies, old: Policies, greedy_advantage: ArrayLike, b: ArrayLike, clip: float) -> Policies:
    """Expected gradient in the logits of the code's greedy term ``b * min(r A, clamp(r, 1 - clip, 1 + clip) A)`` on
    data from ``old``: the greedy token's advantage A, the *sampled* token's ratio ``r = policy / old``."""
    advantage, b = np.asarray(greedy_advantage, float)[..., None], np.asarray(b, float)[..., None]
    ratio = policy / old
    flat = np.where(advantage > 0, ratio > 1 + clip, ratio < 1 - clip)
    moved = np.where(flat, 0.0, policy) * b * advantage
    return moved - policy * moved.sum(-1, keepdims=True)


def sampled_runs(
    start: Float[np.ndarray, "arms"], rewards: ArrayLike, update: Update, *, step: float, batch: int, updates: int,
    every: int, runs: int, rng: np.random.Generator,
) -> Float[np.ndarray, "records runs arms"]:  # fmt: skip
    """On-policy runs from samples: one gradient step on each batch, with its own statistics, a and b, as in the
    code."""
    logits = np.tile(np.log(start), (runs, 1))
    policy = softmax(logits, axis=-1)
    path = [policy]
    for k in range(1, updates + 1):
        shares = rng.multinomial(batch, softmax(logits / update.temperature, axis=-1)) / batch
        centred = rewards - (shares * rewards).sum(-1, keepdims=True)
        scaled = centred / (np.sqrt((shares * centred**2).sum(-1, keepdims=True)) + 1e-5)
        logits = logits + step * _move(policy, shares, scaled, policy.argmax(-1), update)
        policy = softmax(logits, axis=-1)
        if k % every == 0:
            path.append(policy)
    return np.stack(path)
