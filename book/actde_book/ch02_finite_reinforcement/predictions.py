"""Where the updates of chapter 2 end, in closed form."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import softmax

from actde_nb import checks
from actde_nb.tables.bandit import Trajectory
from actde_nb.tables.boltzmann import boltzmann


def telescoped_logits(run: Trajectory, temperature: float) -> Float[np.ndarray, "records runs arms"]:
    """Logits that follow from the learned action values alone, by telescoping.

    Args:
        run: a recorded run whose first record is its start.
        temperature: critic step over policy step, in reward per nat.

    Returns:
        Initial logits plus what the action values have gained over the temperature, [record, run, arm].
    """
    gained = run.action_values - run.action_values[0]
    return run.logits[0] + gained / checks.positive("temperature", temperature)


def metropolis_law(rewards: ArrayLike, temperature: float, proposal: ArrayLike) -> Float[np.ndarray, "arms"]:
    """Stationary law of a Metropolis chain over arms, found from its transition matrix.

    From arm a the chain proposes b with probability ``proposal[b]`` and moves there with probability
    ``min(1, exp((R_b - R_a) / temperature))``.

    Args:
        rewards: mean reward of each arm, [arms].
        temperature: in reward per nat.
        proposal: probability of proposing each arm, [arms].

    Returns:
        Long-run share of each arm, [arms].
    """
    rewards = checks.finite("rewards", rewards)
    proposal = checks.shape("proposal", checks.probabilities("proposal", proposal), rewards.shape)
    rises = rewards - rewards[:, None]  # [from, to]
    moves = proposal * np.exp(np.minimum(0, rises / checks.positive("temperature", temperature)))
    np.fill_diagonal(moves, 0)
    flow = moves.T - np.diag(moves.sum(1))  # what each arm gains and loses in a step; the stationary law has none
    flow[-1] = 1  # one of these equations follows from the others: shares sum to one instead
    return np.linalg.solve(flow, np.r_[np.zeros(len(rewards) - 1), 1])


def softmax_gradient_limit(
    errors: ArrayLike,
    temperature: float,
    prior: ArrayLike | None = None,
    *,
    weight_policy: bool = False,
    weight_critic: bool = False,
) -> Float[np.ndarray, "arms"]:
    """Policy at which ACTDE stops when its errors follow grad log pi, on-policy, in the limit of small steps.

    Solves ``theta_a' = pi_a (e_a - sum_b pi_b e_b) / temperature, e_a' = -pi_a e_a`` to rest, time in
    episodes times critic step. No closed form is known.

    Args:
        errors: reward minus initial action value of each arm, [arms].
        temperature: critic step over policy step, in reward per nat.
        prior: initial policy, [arms]; uniform if left out.
        weight_policy: divide each move of the logits by the probability of the arm taken.
        weight_critic: divide each move of the critic by it.

    Returns:
        Probability of each arm, [arms].

    Raises:
        ValueError: a number that is not finite, a temperature of zero or less, a prior that is no
            distribution, shapes that disagree.
    """
    errors = checks.finite("errors", errors)
    arms = errors.size
    start = np.log(boltzmann(np.zeros(arms), checks.positive("temperature", temperature), prior))

    def flow(_, state):
        policy, left = softmax(state[:arms]), state[arms:]
        push = left if weight_policy else policy * left
        return np.r_[(push - policy * push.sum()) / temperature, -(left if weight_critic else policy * left)]

    def learned(_, state):
        return np.abs(state[arms:]).max() - 1e-13

    learned.terminal = True
    path = solve_ivp(flow, (0, 1e9), np.r_[start, errors], method="DOP853", rtol=1e-12, atol=1e-15, events=learned)
    return softmax(path.y[:arms, -1])
