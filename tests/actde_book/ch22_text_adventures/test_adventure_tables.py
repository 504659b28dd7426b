"""Policy gradient and ACTDE in tables: one step worked out by hand, and what they come to in a recorded game."""

import numpy as np
import pytest
from actde_book.ch22_text_adventures import exact, tables
from actde_book.ch22_text_adventures.tables import Games

from actde_nb.checks import SettingError
from actde_nb.worlds.adventure import Adventure

WORLD = Adventure()
EAST, NORTH, WEST, OPEN, TAKE = map(
    WORLD.commands.index, ("go east", "go north", "go west", "open box", "take red coin")
)
KITCHEN = WORLD.record["states"][0]["commands"]["go west"]["to"]


def two_games() -> Games:
    """Go west, then take the coin for 4; or open the box for 1, and the game is over."""
    return Games(
        states=np.array([[[0, KITCHEN], [0, 5]]]), commands=np.array([[[WEST, TAKE], [OPEN, OPEN]]]),
        rewards=np.array([[[0.0, 4.0], [1.0, 0.0]]]), played=np.array([[[True, True], [True, False]]]),
    )  # fmt: skip


def test_returns_by_hand():
    np.testing.assert_array_equal(two_games().returns(0.5), [[[2, 4], [1, 0]]])


def test_a_step_of_the_policy_gradient_by_hand():
    """Two games and step 1/2: each error counts a quarter. v is 1 in the hall, so errors are 1 (west), 0 (box), 4.

    Hall: quarters 1/4 and 0, less 1/4 x 1/4 each for four commands alike. Kitchen: 1, less 1 x 1/2 each for two."""
    start = tables.begin(WORLD, 1)
    start.v[0, 0] = 1
    after = tables.update(start, two_games(), "policy gradient", step=0.5, ratio=2.0, discount=0.5)
    moved = np.zeros(WORLD.tables.states.shape)
    moved[0, [EAST, NORTH, WEST, OPEN]] = [-1 / 16, -1 / 16, 3 / 16, -1 / 16]
    moved[KITCHEN, [EAST, TAKE]] = [-1 / 2, 1 / 2]
    possible = np.isfinite(start.logits[0])
    np.testing.assert_allclose((after.logits[0] - 2 * moved)[possible], start.logits[0][possible], rtol=0, atol=1e-15)
    v = np.zeros(len(WORLD.won))
    v[[0, KITCHEN]] = [1.25, 1]
    np.testing.assert_allclose(after.v[0], v, rtol=0, atol=1e-15)
    assert not after.q.any()


def test_a_step_of_actde_by_hand():
    """q is 1 for going west and 2 for taking the coin: errors 1, 2 and, for the box, 1; a quarter of each."""
    start = tables.begin(WORLD, 1)
    start.q[0, 0, WEST], start.q[0, KITCHEN, TAKE] = 1, 2
    after = tables.update(start, two_games(), "actde", step=0.5, ratio=3.0, discount=0.5)
    moved = np.zeros(WORLD.tables.states.shape)
    moved[0, [WEST, OPEN]], moved[KITCHEN, TAKE] = 1 / 4, 1 / 2
    possible = np.isfinite(start.logits[0])
    np.testing.assert_allclose((after.logits[0] - 3 * moved)[possible], start.logits[0][possible], rtol=0, atol=1e-15)
    np.testing.assert_allclose(after.q[0] - moved, start.q[0], rtol=0, atol=1e-15)
    assert not after.v.any()


def test_turns_after_the_end_teach_nothing():
    """The second game's second turn has a state and a command, but was not played."""
    start = tables.begin(WORLD, 1)
    start.v[0, 5], start.q[0, 5] = 3, 3
    for kind in tables.KINDS:
        after = tables.update(start, two_games(), kind, step=0.5, ratio=2.0, discount=0.5)
        for table in ("logits", "v", "q"):
            np.testing.assert_array_equal(getattr(after, table)[0, 5], getattr(start, table)[0, 5])


def test_games_are_those_of_the_world():
    """Rewards, states and ends of sampled games, followed through the record."""
    rngs = [np.random.default_rng((1, trial)) for trial in range(2)]
    games = tables.play(WORLD, tables.begin(WORLD, 2).policy, 50, rngs)
    for trial in range(2):
        for game in range(50):
            state = 0
            for turn in range(WORLD.turns):
                assert games.states[trial, game, turn] == state
                commands = WORLD.record["states"][state]["commands"]
                assert games.played[trial, game, turn] == bool(commands)
                if commands:
                    told = commands[WORLD.commands[games.commands[trial, game, turn]]]
                    state = told["to"]
                assert games.rewards[trial, game, turn] == (told["score"] if commands else 0)
    assert 0.1 < (~games.played[..., -1]).mean() < 0.5


def test_a_trial_alone_learns_what_it_learns_in_a_stack():
    alone, stack = (tables.learn(WORLD, "actde", trials=trials, iterations=5) for trials in (1, 3))
    np.testing.assert_array_equal(alone.logits[0], stack.logits[0])
    assert (stack.q[0] != stack.q[1]).any()


def test_the_logits_of_actde_stay_in_proportion_to_its_q():
    learned = tables.learn(WORLD, "actde", trials=2, iterations=30, ratio=2.5)
    tilted = exact.uniform(WORLD) * np.exp(2.5 * learned.q)
    np.testing.assert_allclose(learned.policy, tilted / tilted.sum(-1, keepdims=True), rtol=0, atol=1e-12)


def test_one_drops_a_coin_the_other_keeps_both():
    """Eight seeds, 400 iterations: policy gradient comes to one coin; ACTDE near the rest of the clocked returns."""
    one, both = (
        exact.study(WORLD, tables.learn(WORLD, kind, trials=8).policy) for kind in ("policy gradient", "actde")
    )
    assert one.wins.min() > 0.99
    assert one.rarer.mean() < 0.05
    rest = exact.study(WORLD, exact.actde_rest_with_clock(WORLD, 1.0, exact.uniform(WORLD), 0.9))
    assert both.rarer.min() > 0.35
    assert both.wins.mean() == pytest.approx(rest.wins, abs=0.03)
    assert both.entropy.mean() == pytest.approx(rest.entropy, abs=0.4)


def test_returns_at_the_clocked_rest_are_its_q():
    """ACTDE at rest does not move on average: 20,000 games of that policy, each error within five standard errors."""
    policy = exact.actde_rest_with_clock(WORLD, 1.0, exact.uniform(WORLD), 0.9)
    games = tables.play(WORLD, policy[None], 20_000, [np.random.default_rng(6)])
    returns, there = games.returns(0.9)[games.played], (games.states[games.played], games.commands[games.played])
    admissible = WORLD.tables.admissible.numpy()
    # Of the policy only differences of q in a state are known: those to the state's first command.
    for state in np.flatnonzero(np.bincount(there[0], minlength=len(policy)) > 4_000):
        commands = np.flatnonzero(admissible[state])
        known = np.log(policy[state, commands] / exact.uniform(WORLD)[state, commands])
        samples = [returns[(there[0] == state) & (there[1] == command)] for command in commands]
        means, errors = np.array([[s.mean(), s.std() / np.sqrt(len(s))] for s in samples]).T
        np.testing.assert_array_less(np.abs((means - means[0]) - (known - known[0])), 6 * (errors + errors[0]) + 1e-12)


def test_what_cannot_be_learned():
    with pytest.raises(SettingError, match="kind = 'sarsa': allowed are policy gradient, actde"):
        tables.update(tables.begin(WORLD, 1), two_games(), "sarsa", step=0.5, ratio=1.0, discount=0.5)
    with pytest.raises(SettingError, match="sweeps = 3: allowed are more, or another damping than 0.3"):
        exact.actde_rest_with_clock(WORLD, 1.0, exact.uniform(WORLD), 0.9, sweeps=3)
