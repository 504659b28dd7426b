"""Where ACTDE ends up when there is more than one state.

Telescoping ties the policy to the action values, ``pi = pi_0 exp((q - q_0) / tau)`` with
``tau`` the ratio of the critic's step to the policy's. What is left to study is one map on tables
of action values, :func:`value_map`, in four ways: its fixed points, conditions under which there is
only one, the differential equation it drives (:func:`mean_field`), and runs of the sampled update
itself (:func:`simulate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax

from actde_nb.tabular import bandit, checks
from actde_nb.tabular.bandit import StepSize, log_spaced
from actde_nb.tabular.mdp import (
    MDP,
    States,
    Tables,
    backup,
    chain_shares,
    evaluate,
    log_anchor,
    restarted_chain,
    start_distribution,
)

MAPS = ("expected", "max", "soft")
BOOTSTRAPS = ("expected", "sampled", "max", "soft", "value")
WEIGHTINGS = ("uniform", "on_policy")

Map = Literal["expected", "max", "soft"]


def value_map(
    mdp: MDP,
    q: Tables,
    temperature: float,
    prior: ArrayLike | None = None,
    initial_q: ArrayLike = 0.0,
    bootstrap: Map = "expected",
) -> Tables:
    """Expected target of ACTDE's critic, when the policy is tied to q.

    Args:
        mdp: the model.
        q: action values, [*batch, states, actions].
        temperature: critic step over policy step, in units of reward.
        prior: initial policy, broadcast to [states, actions]; uniform if left out.
        initial_q: initial action values, broadcast to [states, actions].
        bootstrap: value of the next state: ``"expected"``, the policy's mean of q; ``"max"``, the
            largest q; ``"soft"``, :math:`\\tau \\log \\sum_a \\pi_0 e^{q/\\tau}`, with the normalised
            :math:`\\pi_0 e^{-q_0/\\tau}` in place of the prior where ``initial_q`` is not constant.

    Returns:
        Targets, [*batch, states, actions]; a fixed point of the map is where no update is expected.
    """
    checks.one_of("bootstrap", bootstrap, MAPS)
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    return backup(mdp, _state_values(q, anchor, temperature, bootstrap))


def jacobian(
    mdp: MDP,
    q: Tables,
    temperature: float,
    prior: ArrayLike | None = None,
    initial_q: ArrayLike = 0.0,
    bootstrap: Map = "expected",
) -> Float[np.ndarray, "*batch entries entries"]:
    """Derivative of :func:`value_map`; rows and columns run over (state, action), actions fastest.

    Arguments are those of :func:`value_map`. At a tie ``"max"`` takes the first of the largest.
    """
    checks.one_of("bootstrap", bootstrap, MAPS)
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    return _derivative(mdp, q, anchor, temperature, bootstrap)


def _state_values(q: Tables, anchor, temperature: float, bootstrap: str = "expected") -> States:
    if bootstrap == "max":
        return q.max(-1)
    if bootstrap == "soft":
        return temperature * logsumexp(anchor + q / temperature, axis=-1)
    return (softmax(anchor + q / temperature, axis=-1) * q).sum(-1)


def _value_slopes(q: Tables, anchor, temperature: float, bootstrap: str = "expected") -> Tables:
    """Derivative of a state's value by its own action values; each row sums to one."""
    if bootstrap == "max":
        return np.eye(q.shape[-1])[q.argmax(-1)]
    policy = softmax(anchor + q / temperature, axis=-1)
    if bootstrap == "soft":
        return policy
    return policy * (1 + (q - (policy * q).sum(-1, keepdims=True)) / temperature)


def _derivative(mdp: MDP, q: Tables, anchor, temperature: float, bootstrap: str = "expected"):
    slopes = _value_slopes(q, anchor, temperature, bootstrap)
    full = mdp.discount * mdp.transitions[..., None] * slopes[..., None, None, :, :]
    return full.reshape(*q.shape[:-2], mdp.rewards.size, mdp.rewards.size)


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A table of action values that is its own target, and how it responds to a push."""

    q: Float[np.ndarray, "states actions"]
    policy: Float[np.ndarray, "states actions"]
    eigenvalues: np.ndarray  # of the map's derivative, largest real part first

    @property
    def stable_flow(self) -> bool:
        """Small steps return: every eigenvalue has real part below one."""
        return bool(self.eigenvalues.real.max() < 1)

    @property
    def stable_map(self) -> bool:
        """Replacing q by its target again and again returns: every eigenvalue lies inside the unit circle."""
        return bool(np.abs(self.eigenvalues).max() < 1)


def fixed_points(
    mdp: MDP,
    temperature: float,
    *,
    prior: ArrayLike | None = None,
    initial_q: ArrayLike = 0.0,
    starts: int = 200,
    rng: np.random.Generator,
) -> list[FixedPoint]:
    """Search for all fixed points of :func:`value_map` with the expected bootstrap.

    The unknowns are the state values v, since q = r + gamma P v: Newton's method runs from random v
    in the invariant box, from values of random policies, and from what damped iteration makes of
    both. The box is mapped into itself, so the signs of det(1 - derivative) over all fixed points
    sum to one; a list that fails this is incomplete and the search goes on with more starts. (One
    that passes may still lack a pair of opposite signs: the check is necessary, not sufficient.)

    Args:
        mdp: the model.
        temperature: critic step over policy step, in units of reward.
        prior: initial policy, broadcast to [states, actions]; uniform if left out.
        initial_q: initial action values, broadcast to [states, actions].
        starts: how many starts of either kind.
        rng: source of the starts.

    Returns:
        Fixed points, by increasing mean state value.

    Raises:
        ValueError: a discount of one without an end, which leaves no invariant box.
        RuntimeError: fixed points are still missing after the last search.
    """
    low, high = invariant_interval(mdp, initial_q)
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    if starts < 1:
        raise ValueError(f"starts = {starts}: allowed are whole numbers of one or more")
    found, index = np.empty((0, mdp.shape[0])), 0
    for _ in range(4):
        box = rng.uniform(low, high, (starts, mdp.shape[0]))
        logits = rng.standard_normal((starts, *mdp.shape)) * np.exp(rng.uniform(-2, 4, (starts, 1, 1)))
        policies = softmax(anchor + logits, axis=-1)
        v = np.concatenate([box, (policies * evaluate(mdp, policies)).sum(-1)])
        iterated = v
        for _ in range(60):
            iterated = (iterated + _state_values(backup(mdp, iterated), anchor, temperature)) / 2
        ends = _newton(mdp, np.concatenate([v, iterated]), anchor, temperature, (low, high))
        found = _distinct(np.concatenate([found, ends]), 1e-7 * (1 + high - low))
        signs = np.sign(np.linalg.det(np.eye(mdp.shape[0]) - _state_jacobian(mdp, found, anchor, temperature)))
        index = int(signs.sum())
        if index == 1:
            break
        starts *= 3
    else:
        raise RuntimeError(f"fixed points found have indices that sum to {index}, not 1: raise starts = {starts}")
    return [_fixed_point(mdp, backup(mdp, v), anchor, temperature) for v in found[found.mean(-1).argsort()]]


def _fixed_point(mdp: MDP, q, anchor, temperature: float) -> FixedPoint:
    eigenvalues = np.linalg.eigvals(_derivative(mdp, q, anchor, temperature)).astype(complex)
    order = np.lexsort((eigenvalues.imag, -eigenvalues.real))
    return FixedPoint(q, softmax(anchor + q / temperature, axis=-1), eigenvalues[order])


def _state_jacobian(mdp: MDP, v: States, anchor, temperature: float) -> Float[np.ndarray, "*batch states states"]:
    slopes = _value_slopes(backup(mdp, v), anchor, temperature)
    return mdp.discount * np.einsum("...sa,sat->...st", slopes, mdp.transitions)


def _newton(mdp: MDP, v, anchor, temperature: float, box: tuple[float, float]) -> Float[np.ndarray, "points states"]:
    """Newton's method with step halving from every start at once; only what converged comes back."""
    halves = 0.5 ** np.arange(8)[:, None, None]
    scale = 1 + max(abs(b) for b in box)

    def residual(v):
        return _state_values(backup(mdp, v), anchor, temperature) - v

    done = []
    for _ in range(80):
        here = residual(v)
        slope = np.eye(mdp.shape[0]) - _state_jacobian(mdp, v, anchor, temperature)
        try:
            step = np.linalg.solve(slope, here[..., None])[..., 0]
        except np.linalg.LinAlgError:  # a start sits exactly on a fold
            step = np.einsum("...st,...t->...s", np.linalg.pinv(slope), here)
        arrived = (np.abs(step).max(-1) <= 1e-13 * scale) & (np.abs(here).max(-1) <= 1e-12 * scale)
        done.append(v[arrived])
        v, here, step = v[~arrived], here[~arrived], step[~arrived]
        if not len(v):
            break
        trials = np.clip(v + halves * step, *box)
        sizes = np.abs(residual(trials)).max(-1)
        closer = sizes < np.abs(here).max(-1)
        v = trials[closer.argmax(0), np.arange(len(v))]
        # A start that no step brings closer sits on a hump of the residual, or on a root up to rounding.
        stuck = ~closer.any(0)
        done.append(v[stuck & (np.abs(here).max(-1) <= 1e-12 * scale)])
        v = v[~stuck]
    return np.concatenate(done)


def _distinct(points: Float[np.ndarray, "points states"], tolerance: float) -> Float[np.ndarray, "distinct states"]:
    kept = np.empty((0, points.shape[1]))
    for point in points:
        if not (np.abs(kept - point).max(-1) <= tolerance).any():
            kept = np.vstack([kept, point])
    return kept


def invariant_interval(mdp: MDP, initial_q: ArrayLike = 0.0) -> tuple[float, float]:
    """Interval that no action value leaves, on any path, while critic steps are at most one.

    An action after which the process may go on needs r / (1 - gamma) inside, one that may end the
    episode needs r itself; the start needs ``initial_q``. (A separate critic v, which
    :func:`simulate` starts at zero, must start inside too.)

    Args:
        mdp: the model.
        initial_q: initial action values, broadcast to [states, actions].

    Returns:
        Lower and upper end, in units of reward.

    Raises:
        ValueError: the discount is one and some action does not end the episode.
    """
    initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), mdp.shape)
    goes_on = mdp.transitions.sum(-1) > 0
    if mdp.discount == 1 and goes_on.any():
        raise ValueError("discount = 1 with actions that go on: allowed are discounts below one")
    needed = [initial_q.ravel(), mdp.rewards[mdp.ending > 0]]
    if goes_on.any():
        needed.append(mdp.rewards[goes_on] / (1 - mdp.discount))
    needed = np.concatenate(needed)
    return float(needed.min()), float(needed.max())


def reinforcement_bound(mdp: MDP, temperature: float, initial_q: ArrayLike = 0.0) -> float:
    """Largest move, ever and on any path, of the difference of two logits of one state, in nats.

    It is the length of :func:`invariant_interval` over the temperature; where ``initial_q`` differs
    between actions, their largest difference is added to the length.
    """
    checks.positive("temperature", temperature)
    low, high = invariant_interval(mdp, initial_q)
    initial_q = checks.shape("initial_q", checks.finite("initial_q", initial_q), mdp.shape)
    return (high - low + float(np.ptp(initial_q, axis=-1).max())) / temperature


@dataclass(frozen=True)
class Uniqueness:
    """Sufficient conditions for a single fixed point; each makes :func:`value_map` a contraction in the largest error.

    Attributes:
        discount: discount times the largest probability that the process goes on.
        action_range: how far apart the action values of one state can be, in units of reward.
        lipschitz: bound on how much faster than the action values the state values can change.
        modulus: ``discount * lipschitz``; below one it is the map's contraction factor.
        narrow: the action range is at most the temperature, so that ``lipschitz`` is one.
        by_range: the bound that follows from the action range suffices.
        by_two_actions: two actions, an even prior and a discount below :func:`two_action_threshold`.
    """

    discount: float
    action_range: float
    lipschitz: float
    modulus: float
    narrow: bool
    by_range: bool
    by_two_actions: bool

    @property
    def certain(self) -> bool:
        """At least one of the conditions holds."""
        return self.narrow or self.by_range or self.by_two_actions


def two_action_threshold() -> float:
    """Discount below which two actions with an even prior have one fixed point at every temperature.

    Two over the root u of u tanh(u / 2) = 2.
    """
    return 2 / brentq(lambda u: u * np.tanh(u / 2) - 2, 1, 4, xtol=1e-15)


def uniqueness_modulus(
    mdp: MDP, temperature: float, *, prior: ArrayLike | None = None, initial_q: ArrayLike = 0.0
) -> Uniqueness:
    """Which sufficient conditions for a single fixed point hold.

    With D the range of a state's action values and d = D / tau, the policy's mean of q changes at
    most L = 1 + (d - 1)^2 / (2 d) times as fast as the largest change of q (L = 1 for d <= 1),
    whatever the prior. Two actions with an even prior never exceed L = 1.1997.

    Args:
        mdp: the model.
        temperature: critic step over policy step, in units of reward.
        prior: initial policy, broadcast to [states, actions]; uniform if left out.
        initial_q: initial action values, broadcast to [states, actions].

    Returns:
        The conditions, with the numbers that decide them.
    """
    low, high = invariant_interval(mdp, initial_q)
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    discount = mdp.discount * float(mdp.transitions.sum(-1).max())
    # Range of q = r + gamma P v over all v in the box, for each ordered pair of actions.
    gains = mdp.transitions[:, :, None] - mdp.transitions[:, None]
    spread = np.where(gains > 0, gains * high, gains * low).sum(-1)
    action_range = float((mdp.rewards[:, :, None] - mdp.rewards[:, None] + mdp.discount * spread).max())
    scaled = action_range / temperature
    lipschitz = 1.0 if scaled <= 1 else 1 + (scaled - 1) ** 2 / (2 * scaled)
    by_range = discount * lipschitz < 1
    even = mdp.shape[1] == 2 and bool(np.ptp(anchor, axis=-1).max() <= 1e-12)
    if even:
        lipschitz = min(lipschitz, 1 / two_action_threshold())
    return Uniqueness(
        discount=discount,
        action_range=action_range,
        lipschitz=lipschitz,
        modulus=discount * lipschitz,
        narrow=scaled <= 1 and discount < 1,
        by_range=by_range,
        by_two_actions=even and discount < two_action_threshold(),
    )


def mean_field(
    mdp: MDP,
    temperature: float,
    start: Tables,
    times: Float[np.ndarray, "times"],
    *,
    prior: ArrayLike | None = None,
    initial_q: ArrayLike = 0.0,
    weighting: Literal["uniform", "on_policy"] = "uniform",
    bootstrap: Map = "expected",
    restart: ArrayLike | None = None,
) -> Float[np.ndarray, "times *batch states actions"]:
    """The update in the limit of small steps, the flow q' = w (F(q) - q) with F = :func:`value_map`.

    Args:
        mdp: the model.
        temperature: critic step over policy step, in units of reward.
        start: action values at ``times[0]``, [*batch, states, actions].
        times: increasing; one unit is 1 / (critic step) updates of an entry (``"uniform"``) or of
            the whole table (``"on_policy"``).
        prior: initial policy, broadcast to [states, actions]; uniform if left out.
        initial_q: action values at which the policy is the prior, broadcast to [states, actions].
        weighting: ``"uniform"``, every entry at the same speed, or ``"on_policy"``, each as often as
            the policy visits it.
        bootstrap: see :func:`value_map`.
        restart: where episodes begin, [states], for ``"on_policy"``; uniform if left out.

    Returns:
        Action values at each time, [times, *batch, states, actions].
    """
    checks.one_of("weighting", weighting, WEIGHTINGS)
    checks.one_of("bootstrap", bootstrap, MAPS)
    if start.shape[-2:] != mdp.shape:
        raise ValueError(f"start has shape {start.shape}: allowed is (..., {mdp.shape[0]}, {mdp.shape[1]})")
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    restart = start_distribution("restart", restart, mdp)

    def flow(_, flat):
        q = flat.reshape(start.shape)
        pull = backup(mdp, _state_values(q, anchor, temperature, bootstrap)) - q
        if weighting == "on_policy":
            policy = softmax(anchor + q / temperature, axis=-1)
            pull *= chain_shares(restarted_chain(mdp, policy, restart))[..., None] * policy
        return pull.ravel()

    span = (times[0], times[-1])
    solved = solve_ivp(flow, span, start.ravel(), method="DOP853", t_eval=times, rtol=1e-9, atol=1e-10)
    return solved.y.T.reshape(len(times), *start.shape)


@dataclass(frozen=True)
class Oscillation:
    """Lowest and highest point of a signal that goes round, and the time of one round."""

    low: float
    high: float
    period: float


def oscillation(times: Float[np.ndarray, "times"], signal: Float[np.ndarray, "times"]) -> Oscillation:
    """Extremes and period over the second half of a recorded signal.

    The period is the mean time between upward crossings of the middle of the range.

    Raises:
        ValueError: fewer than two upward crossings.
    """
    half = len(times) // 2
    times, signal = times[half:], signal[half:]
    low, high = float(signal.min()), float(signal.max())
    above = signal - (low + high) / 2
    up = np.flatnonzero((above[:-1] < 0) & (above[1:] >= 0))
    if len(up) < 2:
        raise ValueError(f"signal crosses its middle upwards {len(up)} times: allowed is twice or more")
    crossings = times[up] - above[up] * (times[up + 1] - times[up]) / (above[up + 1] - above[up])
    return Oscillation(low, high, float(np.diff(crossings).mean()))


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
        bootstrap: value of the next state: as in :func:`value_map`, or ``"sampled"``, q of the
            action taken next (SARSA), or ``"value"``, a separate critic v with its own TD error.
            ``"soft"`` needs two constant steps, whose ratio is its temperature.
        value_step: step of v, which starts at zero; its clock counts visits of the state.
        gradient: ``"logit"`` adds the error to the logit of the action taken; ``"softmax"`` follows
            the gradient of log pi, adding ``error * (onehot - pi)``.
        record_at: steps after which to record, increasing; :func:`~actde_nb.tabular.bandit.log_spaced` by default.
        decay: weight decay after every step; none if left out.

    Returns:
        The recorded :class:`Learning`.

    Raises:
        ValueError: a count below one, an unknown name, a ``value_step`` without ``"value"`` or the
            reverse, ``"soft"`` with steps that are not constant.
    """
    checks.one_of("bootstrap", bootstrap, BOOTSTRAPS)
    checks.one_of("gradient", gradient, bandit.GRADIENTS)
    if (bootstrap == "value") != (value_step is not None):
        raise ValueError(
            f"value_step = {value_step} with bootstrap = {bootstrap!r}: allowed is a step with 'value' only"
        )
    if bootstrap == "soft" and (policy_step.power or critic_step.power):
        raise ValueError("bootstrap = 'soft' with steps that change: allowed are constant policy and critic steps")
    if runs < 1:
        raise ValueError(f"runs = {runs}: allowed are whole numbers of one or more")
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
        raise ValueError(f"steps = {steps}: allowed are whole numbers of one or more")
    if record_at is None:
        return log_spaced(steps)
    record_at = np.asarray(record_at)
    if len(record_at) == 0 or record_at[0] < 0 or record_at[-1] > steps or (np.diff(record_at) <= 0).any():
        raise ValueError(f"record_at = {record_at.tolist()}: allowed are increasing whole numbers from 0 to {steps}")
    return record_at
