"""The map that ACTDE's fixed points solve, its derivative, and when theory says that there is only one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import softmax

from actde_nb.tables.fixed_points import Map, _value_slopes, invariant_interval, state_values
from actde_nb.tables.mdp import MDP, Tables, backup, log_anchor


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
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    return backup(mdp, state_values(q, anchor, temperature, bootstrap))


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
    anchor = log_anchor(mdp, temperature, prior, initial_q)
    slopes = {
        "expected": _value_slopes(q, anchor, temperature),
        "max": np.eye(q.shape[-1])[q.argmax(-1)],
        "soft": softmax(anchor + q / temperature, axis=-1),
    }[bootstrap]
    full = mdp.discount * mdp.transitions[..., None] * slopes[..., None, None, :, :]
    return full.reshape(*q.shape[:-2], mdp.rewards.size, mdp.rewards.size)


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
