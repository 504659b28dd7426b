"""Where the updates of chapter 2 end, in closed form."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import softmax

from actde_nb import checks
from actde_nb.tables.bandit import Trajectory


def telescoped_logits(run: Trajectory, temperature: float) -> Float[np.ndarray, "records runs arms"]:
    """Logits that follow from the learned action values alone: the initial ones plus what q gained over tau.

    The first record of ``run`` must be its start."""
    return run.logits[0] + (run.action_values - run.action_values[0]) / temperature


def metropolis_law(rewards: ArrayLike, temperature: float, proposal: ArrayLike) -> Float[np.ndarray, "arms"]:
    """Stationary law of a Metropolis chain over arms, found from its transition matrix.

    From arm a the chain proposes b with probability ``proposal[b]`` and moves there with probability
    ``min(1, exp((R_b - R_a) / temperature))``."""
    rewards, proposal = np.asarray(rewards, dtype=float), checks.probabilities("proposal", proposal)
    rises = rewards - rewards[:, None]  # [from, to]
    moves = proposal * np.exp(np.minimum(0, rises / temperature))
    np.fill_diagonal(moves, 0)
    flow = moves.T - np.diag(moves.sum(1))  # what each arm gains and loses in a step; the stationary law has none
    flow[-1] = 1  # one of these equations follows from the others: shares sum to one instead
    return np.linalg.solve(flow, np.r_[np.zeros(len(rewards) - 1), 1])


def softmax_gradient_limit(
    errors: ArrayLike, temperature: float, *, weight_policy: bool = False, weight_critic: bool = False
) -> Float[np.ndarray, "arms"]:
    """Policy at which ACTDE stops when its errors follow grad log pi, on-policy, in small steps, from even odds.

    Solves ``theta_a' = pi_a (e_a - sum_b pi_b e_b) / temperature, e_a' = -pi_a e_a`` to rest, time in
    episodes times critic step, from the first errors [arms]; no closed form is known. ``weight_policy`` and
    ``weight_critic`` divide each move of the logits or of the critic by the probability of the arm taken."""
    arms = len(errors)

    def flow(_, state):
        policy, left = softmax(state[:arms]), state[arms:]
        push = left if weight_policy else policy * left
        return np.r_[(push - policy * push.sum()) / temperature, -(left if weight_critic else policy * left)]

    def learned(_, state):
        return np.abs(state[arms:]).max() - 1e-13

    learned.terminal = True
    start = np.r_[np.full(arms, -np.log(arms)), errors]
    path = solve_ivp(flow, (0, 1e9), start, method="DOP853", rtol=1e-12, atol=1e-15, events=learned)
    return softmax(path.y[:arms, -1])
