"""The exact numbers of a recorded game: no game is sampled here.

A game is a finite decision process. Its actions are the commands that are admissible anywhere, and a last one that
stands for every other string of words, since all of those do the same: nothing. A policy over strings of words is
therefore known by its table ``[state, command]``, and so are its score and its wins; only the entropy of a game is that
of the table, with every inadmissible command counted as one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import entr, rel_entr, softmax

from actde_nb.checks import SettingError
from actde_nb.tables.fixed_points import FixedPoint, fixed_points, state_values
from actde_nb.tables.mdp import MDP, backup, log_anchor
from actde_nb.worlds.adventure import Adventure

NEVER = 1e-300  # stands for the probability zero where logarithms are taken

Policies = Float[np.ndarray, "*trial states commands"]
Clocked = Float[np.ndarray, "turns states commands"]
PerTrial = Float[np.ndarray, "*trial"]


def process(world: Adventure, discount: float = 1.0) -> MDP:
    """The game as a decision process, an episode of which ends when the game is won; ``discount`` is for each turn."""
    if world.reward != "score":
        raise SettingError(f"reward = {world.reward!r}: allowed is 'score', which the words of a command do not change")
    after, rewards, _ = world.tables
    transitions = np.eye(len(after))[after.numpy()]
    transitions[..., world.won.numpy()] = 0
    return MDP(rewards.numpy(), transitions, discount)


def uniform(world: Adventure) -> Float[np.ndarray, "states commands"]:
    """The policy that gives each admissible command alike; where the game is won, nothing but other strings."""
    admissible = world.tables.admissible.double().numpy()
    admissible[:, -1] = world.won.numpy()
    return admissible / admissible.sum(-1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Study:
    """Exact expectations over the games of one policy or of a stack of them."""

    score: PerTrial  # points of a game, with the fines and points for coins of the world
    wins: PerTrial  # probability that a game is won before its turns are over
    red: PerTrial  # probability that a game is won by putting the red coin on the table
    blue: PerTrial
    invalid: PerTrial  # expected number of inadmissible commands over that of all commands
    entropy: PerTrial  # of a game's commands, in nats
    commands: PerTrial  # expected number of commands

    @property
    def rarer(self) -> PerTrial:
        """Share of the rarer coin in the wins; NaN where no game is won."""
        both = np.stack([self.red, self.blue])
        return np.divide(both.min(0), both.sum(0), out=np.full_like(self.wins, np.nan), where=both.sum(0) > 0)


def study(world: Adventure, policy: Policies, turns: int | None = None) -> Study:
    """What happens in games of so many commands at most (the record's number if left out), for each policy."""
    turns = world.turns if turns is None else turns
    return clocked_study(world, np.repeat(policy[..., None, :, :], turns, axis=-3))


def clocked_study(world: Adventure, policy: Float[np.ndarray, "*trial turns states commands"]) -> Study:
    """The same for policies that know the turn; a game has as many turns as they do."""
    game = process(world)
    if policy.shape[-2:] != game.shape or not np.allclose(policy.sum(-1), 1, rtol=0, atol=1e-9) or (policy < 0).any():
        raise SettingError(f"policy has shape {policy.shape}: allowed are probabilities, (..., turns, *{game.shape})")
    there = np.zeros((*policy.shape[:-3], len(game.rewards)))  # probability of being in a state, with the game going on
    there[..., 0] = 1
    won_by, given = (np.zeros((*policy.shape[:-3], game.shape[1])) for _ in range(2))
    score, entropy, invalid = (np.zeros(policy.shape[:-3]) for _ in range(3))
    inadmissible = ~world.tables.admissible.numpy()
    for turn in range(policy.shape[-3]):
        now = policy[..., turn, :, :]
        flow = there[..., None] * now
        score += (flow * game.rewards).sum((-2, -1))
        entropy += (there * entr(now).sum(-1)).sum(-1)
        invalid += (flow * inadmissible).sum((-2, -1))
        won_by += (flow * game.ending).sum(-2)
        given += flow.sum(-2)
        there = np.einsum("...sa,sat->...t", flow, game.transitions)
    red, blue = (won_by[..., world.commands.index(f"put {coin} coin on table")] for coin in ("red", "blue"))
    commands = given.sum(-1)
    found = (score, won_by.sum(-1), red, blue, invalid / commands, entropy, commands)
    return Study(*map(np.asarray, found))


def divergence(world: Adventure, policy: Policies, prior: Float[np.ndarray, "states commands"]) -> PerTrial:
    """KL of a game's commands from those of ``prior``, in nats: summed over its turns, with every inadmissible command
    counted as one."""
    game = process(world)
    there = np.zeros((*policy.shape[:-2], len(game.rewards)))
    there[..., 0] = 1
    apart = rel_entr(policy, np.maximum(prior, NEVER)).sum(-1)
    total = np.zeros(policy.shape[:-2])
    for _ in range(world.turns):
        total += (there * apart).sum(-1)
        there = np.einsum("...s,...sa,sat->...t", there, policy, game.transitions)
    return total


def optimum(world: Adventure, turns: int | None = None) -> float:
    """Most points that a game of so many turns can bring."""
    game, values = process(world), np.zeros(len(world.won))
    for _ in range(world.turns if turns is None else turns):
        values = backup(game, values).max(-1)
    return float(values[0])


def soft_optimum(world: Adventure, price: float, prior: Policies, turns: int | None = None) -> Clocked:
    """The policy with the best score less ``price`` times its divergence from ``prior``, in nats; it knows the turn.

    Backwards from the last turn, as :func:`~actde_nb.tables.mdp.soft_optimal_values` has it where there is no clock:
    a state is worth :math:`\\tau \\log \\sum_a \\pi_0 e^{q/\\tau}`."""
    game, values, policy = process(world), np.zeros(len(world.won)), []
    anchor = log_anchor(game, price, np.maximum(prior, NEVER))
    for _ in range(world.turns if turns is None else turns):
        q = backup(game, values)
        policy.append(softmax(anchor + q / price, axis=-1))
        values = state_values(q, anchor, price, "soft")
    return np.stack(policy[::-1])


def actde_rest(
    world: Adventure, ratio: float, prior: Policies, discount: float, *, rng: np.random.Generator, starts: int = 5
) -> list[FixedPoint]:
    """Where ACTDE rests in this game, :math:`\\pi \\propto \\pi_0 e^{kq}` with q the policy's own; all that are found.

    ``ratio`` is k, the policy's step over the critic's. The policies do not know the turn, and their q has no clock."""
    return fixed_points(process(world, discount), 1 / ratio, prior=np.maximum(prior, NEVER), starts=starts, rng=rng)


def actde_rest_with_clock(
    world: Adventure, ratio: float, prior: Policies, discount: float, *, damping: float = 0.3, sweeps: int = 5_000
) -> Policies:
    """Where ACTDE rests if q follows the returns of whole games, which end with the last turn.

    A return is then smaller in a late turn, and q, which does not know the turn, is the mean of what its command brings
    in the turns in which it is given: :math:`q(s, a) = \\sum_t d_t(s) q_t(s, a) / \\sum_t d_t(s)`, where :math:`d_t(s)`
    is the probability of being in s in turn t. Found by damped iteration from the prior, to 1e-12 in the policy;
    SettingError if that takes more than ``sweeps``. There may be other points of rest."""
    game, policy = process(world, discount), prior
    for _ in range(sweeps):
        there, before = [np.eye(len(prior))[0]], np.zeros(len(prior))
        for _ in range(world.turns - 1):
            there.append(np.einsum("s,sa,sat->t", there[-1], policy, game.transitions))
        total = np.zeros(game.shape)
        for now in reversed(there):
            q = backup(game, before)
            total += now[:, None] * q
            before = (policy * q).sum(-1)
        q = total / np.maximum(sum(there), NEVER)[:, None]
        moved = softmax(np.log(np.maximum(prior, NEVER)) + ratio * q, axis=-1) - policy
        if np.abs(moved).max() < 1e-12:
            return policy
        policy = policy + damping * moved
    raise SettingError(f"sweeps = {sweeps}: allowed are more, or another damping than {damping}")


def loop_boundary(win: float, pay: float = 1.0) -> float:
    """The discount above which a repeatable reward of ``pay`` a turn is worth more than finishing for ``win``.

    Let a player who is one command away from winning be paid in every turn, the last one too. To finish now brings
    ``pay + win``. Never to finish brings :math:`\\text{pay} (1 + \\gamma + \\gamma^2 + \\dots) = \\text{pay} / (1 -
    \\gamma)`, which is more if, and only if, :math:`\\gamma > \\text{win} / (\\text{win} + \\text{pay})`. To finish
    n turns later brings a mixture of the two, with weights :math:`\\gamma^n` and :math:`1 - \\gamma^n`, so no other
    time to finish is better than both. What a player gets on the way to that last command is the same for both, so the
    boundary does not depend on how far away it is. For a reward of 1 it is where
    :math:`1 / (1 - \\gamma) = 1 + \\text{win}`."""
    return win / (win + pay)
