"""Weighted regression in one state: rounds of RWR, REPS, AWR and APA without sampling, and what repeats of them do.

A round has an old policy with its exact advantages ``A = R - E_old[R]``, a target policy made from them, and a
projection. Policies are tables, so RWR, REPS and AWR hit their targets; APA does not, since its target is not
normalised. Rewards and temperatures are in the same unit, losses and log-probabilities in nats.

Sources: Peters and Schaal (2007), Peters et al. (2010), Peng et al. (2019), Zhu et al. (2023)."""

from collections.abc import Callable
from itertools import accumulate

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import lambertw, log_expit, log_softmax, logsumexp, rel_entr, softmax, wrightomega

from actde_nb.tables.mdp import MDP, evaluate

Arms = Float[np.ndarray, "*batch arms"]
Single = Float[np.ndarray, "arms"]
Table = Float[np.ndarray, "states arms"]
Batch = Float[np.ndarray, "*batch"]
Broadcast = Float[np.ndarray, "... arms"]  # of any batch that fits the others
SEARCH = 48  # brackets of minima of the two-armed loss, between the zeros of its two residuals, and halvings of one


def advantages(policy: Arms, rewards: Broadcast) -> Arms:
    """Rewards minus the policy's mean reward."""
    return rewards - (policy * rewards).sum(-1, keepdims=True)


def from_gap(gap: ArrayLike) -> Float[np.ndarray, "*batch 2"]:
    """Policies of two arms with the given logit gaps."""
    gap = np.asarray(gap, float)
    return np.exp(np.stack([log_expit(gap), log_expit(-gap)], axis=-1))


def to_gap(policy: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch"] | float:
    """Logit gaps of policies of two arms."""
    return np.log(policy[..., 0]) - np.log(policy[..., 1])


def log_partition(initial: Arms, policy: Arms, rewards: ArrayLike, temperature: ArrayLike) -> Batch | float:
    """Logarithm of APA's Z, which normalises ``initial * exp(A / temperature)``; A is that of ``policy``."""
    return logsumexp(apa_target(policy, rewards, temperature, initial), axis=-1)


def divergence(policy: Arms, reference: Broadcast) -> Batch | float:
    """KL divergence of ``policy`` from ``reference``, in nats."""
    return rel_entr(policy, reference).sum(-1)


def printed_order_step(old: Single, rewards: Single, temperature: float) -> Single:
    """Policy with the largest ``E[A] - temperature * KL(old || policy)``: the divergence the other way round. It is
    ``temperature * old / (price - A)``, with the price at which this sums to one."""
    gains = advantages(old, rewards)
    tilt = temperature * old
    # With the price at its lower end, the best arm alone has probability one; at the upper end all together have less.
    low = (gains + tilt).max()
    price = brentq(lambda x: (tilt / (x - gains)).sum() - 1, low, gains.max() + temperature, xtol=1e-15)
    return tilt / (price - gains)


def rwr_step(old: Arms, rewards: Single) -> Arms:
    """Reward-weighted regression: the old policy times the reward, normalised (one step of EM)."""
    return old * rewards / (old * rewards).sum(-1, keepdims=True)


def reps_step(old: Single, rewards: Single, bound: float) -> tuple[Single, float]:
    """Relative entropy policy search: the best mean reward within ``KL(policy || old) <= bound``, and the temperature
    that meets the bound; zero, and the best arm alone, once that lies within it."""
    best = old * (rewards == rewards.max())
    if bound >= -np.log(best.sum()):
        return best / best.sum(), 0.0

    def excess(log_temperature: float) -> float:
        return divergence(softmax(np.log(old) + rewards / np.exp(log_temperature)), old) - bound

    scale = np.log(np.ptp(rewards))
    temperature = float(np.exp(brentq(excess, scale - 8, scale + 20)))
    return softmax(np.log(old) + rewards / temperature), temperature


def shared_projection(targets: Table, weights: Float[np.ndarray, "states"]) -> Single:
    """The one policy for all states with the least weighted mean of ``KL(target || policy)``: the mean target. AWR's
    loss without its Z gives each state the weight of its visits times its Z."""
    return weights @ targets / weights.sum()


def apa_loss(policy: Broadcast, weights: Broadcast, target: Broadcast) -> Float[np.ndarray, "..."] | float:
    """Weighted squared loss ``sum_a w_a (log pi_a - y_a)^2``; the target y need not be normalised."""
    return (weights * (np.log(policy) - target) ** 2).sum(-1)


def apa_gradient(logits: Broadcast, weights: Broadcast, target: Broadcast) -> Broadcast:
    """Gradient of :func:`apa_loss` in the logits of the policy, ``2 (w d - pi sum(w d))`` with ``d = log pi - y``."""
    log_policy = log_softmax(logits, axis=-1)
    residual = weights * (log_policy - target)
    return 2 * (residual - np.exp(log_policy) * residual.sum(-1, keepdims=True))


def apa_minimiser(weights: ArrayLike, target: ArrayLike, downhill_from: Arms | None = None) -> Arms:
    """Policy with the least :func:`apa_loss`; for two arms, if given, the minimum that descent from a policy reaches.

    Stationary policies solve ``w (y - log pi) = mu pi`` with one mu for all arms. If ``Z = sum exp(y)`` is at least one
    there is a single one, ``pi = (w / mu) W(mu exp(y) / w)`` with Lambert's W; below one there can be several
    minima."""
    weights, target = np.broadcast_arrays(np.asarray(weights, float), np.asarray(target, float))
    if weights.shape[-1] == 2:
        return from_gap(_two_arms(weights, target, None if downhill_from is None else to_gap(downhill_from)))
    flat_weights, flat_target = (x.reshape(-1, x.shape[-1]) for x in (weights, target))
    outside = logsumexp(flat_target, axis=-1) > -1e-12
    policy = np.empty_like(flat_target)
    policy[outside] = _from_outside(flat_weights[outside], flat_target[outside])
    for k in np.flatnonzero(~outside):
        policy[k] = _from_inside(flat_weights[k], flat_target[k])
    return policy.reshape(target.shape)


def apa_round(
    policy: Arms, rewards: ArrayLike, temperature: ArrayLike, initial: Broadcast, *, downhill: bool = False
) -> Arms:
    """One exact round of APA: advantages of ``policy``, data from it, its loss minimised to the end. ``downhill`` takes
    the minimum that descent from the old policy ends in (two arms), not the best one."""
    target = apa_target(policy, rewards, temperature, initial)
    return apa_minimiser(policy, target, policy if downhill else None)


def apa_target(policy: Arms, rewards: ArrayLike, temperature: ArrayLike, initial: Broadcast):
    """The target of APA's loss with Z left out, ``log initial + A / temperature``."""
    tilt = advantages(policy, np.asarray(rewards, float)) / np.asarray(temperature, float)[..., None]
    return np.log(initial) + tilt


def apa_inner(
    policy: Arms, rewards: ArrayLike, temperature: ArrayLike, initial: Broadcast, *, step: ArrayLike, passes: int
) -> Arms:
    """One round of APA whose regression is stopped after ``passes`` gradient steps on the logits."""
    target, logits = apa_target(policy, rewards, temperature, initial), np.log(policy)
    step = np.asarray(step, float)[..., None]
    for _ in range(passes):
        logits = logits - step * apa_gradient(logits, policy, target)
    return softmax(logits, axis=-1)


def repeat(update: Callable[[Arms], Arms], start: Arms, rounds: int) -> Float[np.ndarray, "rounds *batch arms"]:
    """Policies along ``rounds`` repeats of an update, the start first."""
    return np.stack(list(accumulate(range(rounds), lambda policy, _: update(policy), initial=start)))


def lyapunov_exponent(
    update: Callable[[Arms], Arms], start: Float[np.ndarray, "runs 2"], rounds: int, nearby: float = 1e-7
) -> Float[np.ndarray, "runs"]:
    """Mean growth, in nats a round, of a small distance ``nearby`` (in logit gap) between two copies of a policy.
    Negative where copies meet; positive where each round forgets where it came from (deterministic chaos)."""
    policy, growth = start, 0.0
    for _ in range(rounds):
        copy = softmax(np.log(policy) + [nearby / 2, -nearby / 2], axis=-1)
        policy, copy = update(policy), update(copy)
        growth = growth + np.log(np.abs(to_gap(copy) - to_gap(policy)) / nearby)
    return growth / rounds


def sampled_apa(
    rewards: ArrayLike, temperature: float, initial: ArrayLike, *, step: float, batch: int, updates: int, runs: int,
    normalise: bool, rng: np.random.Generator,
) -> Float[np.ndarray, "records runs arms"]:  # fmt: skip
    """On-policy APA from samples: one gradient step on each batch of arms; ``normalise`` puts log Z into the target."""
    logits = np.tile(np.log(initial), (runs, 1))
    path = [softmax(logits, axis=-1)]
    for _ in range(updates):
        policy = path[-1]
        counts = rng.multinomial(batch, policy) / batch
        target = apa_target(policy, rewards, temperature, initial)
        if normalise:
            target = target - logsumexp(target, axis=-1, keepdims=True)
        logits = logits - step * apa_gradient(logits, counts, target)
        path.append(softmax(logits, axis=-1))
    return np.stack(path)


def apa_flow(
    mdp: MDP, temperature: float, initial: Table, *, start: Table | None = None, step: float = 0.1, updates: int = 4_000
) -> Table:
    """On-policy APA in several states: exact advantages, one small gradient step a round in each state."""
    policy = initial if start is None else start
    for _ in range(updates):
        target = apa_target(policy, evaluate(mdp, policy), temperature, initial)
        policy = softmax(np.log(policy) - step * apa_gradient(np.log(policy), policy, target), axis=-1)
    return policy


def surrogate_error(
    mdp: MDP, old: Table, new: Float[np.ndarray, "*batch states arms"], start: Float[np.ndarray, "states"]
) -> Batch | float:
    """Gain that equation (1) predicts from the old policy's advantages and visits, minus the true gain."""
    q = evaluate(mdp, old)
    visits = np.linalg.solve(np.eye(len(q)) - mdp.discount * np.einsum("sa,sat->ts", old, mdp.transitions), start)
    values = (old * q).sum(-1)
    predicted = ((new * (q - values[:, None])).sum(-1) * visits).sum(-1)
    return predicted - ((new * evaluate(mdp, new)).sum(-1) - values) @ start


def critical_gap(bound: float, initial: float = 0.5) -> float:
    """Reward difference over beta at which two arms' optimum is ``bound`` nats from the initial policy."""
    anchor = np.array([initial, 1 - initial])

    def excess(gap: float) -> float:
        return divergence(softmax(np.log(anchor) + [gap, 0.0]), anchor) - bound

    return float(brentq(excess, 1e-9, 700, xtol=1e-13))


def _two_arms(weights: Float[np.ndarray, "*batch 2"], target: Float[np.ndarray, "*batch 2"], start=None):
    """Logit gap of the best minimum, or of the one downhill from a gap. All lie between the zeros of the two residuals.
    Every rise of the derivative through zero is bracketed, one bracket is chosen, then halved."""
    (w1, w2), (y1, y2) = np.moveaxis(weights, -1, 0), np.moveaxis(target, -1, 0)

    def zero(y, cap):  # gap at which log sigma(gap) = y, or a gap at which the derivative has surely turned
        below = np.minimum(y, -1e-300)
        return np.minimum(np.where(y < 0, below - np.log(-np.expm1(below)), np.inf), cap)

    def cap(w, v, y, other):
        return np.maximum(0, -other) + 1 + np.log1p(4 * w * (1 + np.maximum(y, 0)) / v)

    ends = zero(y1, cap(w1, w2, y1, y2)), -zero(y2, cap(w2, w1, y2, y1))
    low, high = np.minimum(*ends), np.maximum(*ends)
    margin = 1e-9 * (1 + np.abs(low) + np.abs(high))
    low, high = low - margin, high + margin

    def slope(gap):  # half the derivative of the loss in the gap
        first = log_expit(gap)
        second = first - gap
        return w1 * (first - y1) * np.exp(second) - w2 * (second - y2) * np.exp(first)

    def loss(gap):
        first = log_expit(gap)
        return w1 * (first - y1) ** 2 + w2 * (first - gap - y2) ** 2

    shares = np.linspace(0, 1, SEARCH).reshape((-1,) + (1,) * low.ndim)
    gaps = low + (high - low) * shares
    rising = slope(gaps) > 0
    turns = ~rising[:-1] & rising[1:]
    if start is None:
        losses = loss(gaps)
        cost = np.minimum(losses[:-1], losses[1:])
    else:  # the first bracket to the left if the loss rises at the start, else to the right
        ahead = np.where(slope(start) > 0, start - gaps[:-1], gaps[1:] - start)
        cost = np.where(ahead >= 0, ahead, 1e9 - ahead)
    best = np.where(turns, cost, np.inf).argmin(0)[None]
    low, high = (np.take_along_axis(gaps, best + k, 0)[0] for k in (0, 1))
    for _ in range(SEARCH):
        middle = (low + high) / 2
        up = slope(middle) > 0
        low, high = np.where(up, low, middle), np.where(up, middle, high)
    return (low + high) / 2


def _from_outside(weights: Float[np.ndarray, "n arms"], target: Float[np.ndarray, "n arms"]):
    """The minimiser for Z of one or more: halve the logarithm of mu, on which the total probability falls."""
    total = logsumexp(target, axis=-1, keepdims=True)
    shift = np.log(weights) - target

    def reached(share):  # log mu at which W is `share`
        return share + np.log(share) + shift

    low = reached(np.maximum(total, 1e-300)).min(-1, keepdims=True)
    high = reached(np.maximum(target + np.log(target.shape[-1]), 1e-300)).max(-1, keepdims=True)
    for _ in range(100):
        middle = (low + high) / 2
        over = logsumexp(target - wrightomega(middle - shift), axis=-1, keepdims=True) > 0
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return softmax(target - wrightomega((low + high) / 2 - shift), axis=-1)


def _from_inside(weights: Single, target: Single) -> Single:
    """The best minimum for Z below one: mu is negative, and at most one arm is on the lower branch of W. That arm's
    excess ``r = log pi - y`` runs over a grid; it sets mu, mu sets the others, and the total must be one."""
    scale = np.log(weights) - target  # log of -mu is scale + log r - r

    def policy(r, arm):
        with np.errstate(invalid="ignore"):
            others = -lambertw(-np.exp(scale[arm] + np.log(r) - r - scale), 0)
        others = np.where(np.abs(others.imag) > 0, np.nan, others.real)
        others[arm] = r
        return np.exp(target + others)

    found = []
    for arm in range(len(target)):
        excesses = np.linspace(0, -target[arm], 400)[1:]
        total = np.array([policy(r, arm).sum() - 1 for r in excesses])
        for k in np.flatnonzero(total[:-1] * total[1:] <= 0):
            root = brentq(lambda r, arm=arm: policy(r, arm).sum() - 1, excesses[k], excesses[k + 1], xtol=1e-15)
            found.append(policy(root, arm))
    found = np.array(found)
    best = found[apa_loss(found, weights, target).argmin()]
    return best / best.sum()
