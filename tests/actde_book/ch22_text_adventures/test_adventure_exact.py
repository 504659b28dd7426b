"""Exact numbers of a recorded game, against numbers by hand, enumeration in plain Python, and sampled games."""

import math
import random

import numpy as np
import pytest
import torch
from actde_book.ch04_more_than_one_state.chains import optimal_values
from actde_book.ch22_text_adventures import exact
from scipy.optimize import brentq
from scipy.special import softmax

from actde_nb.checks import SettingError
from actde_nb.tables.mdp import MDP, evaluate, soft_optimal_values, softmax_policy
from actde_nb.worlds.adventure import GAMES, Adventure

MEASURES = ("score", "wins", "red", "blue", "invalid", "entropy", "commands")
SWAPPED = {"red": "blue", "blue": "red", "west": "east", "east": "west"}


def by_enumeration(world: Adventure, policy: np.ndarray, turns: int) -> dict[str, float]:
    """All sequences of commands, one by one; ``policy`` is [turn, state, command]."""
    record, said = world.record["states"], dict.fromkeys((*MEASURES, "inadmissible"), 0.0)

    def go_on(state: int, chance: float, score: float, turn: int, inadmissible: int, log_chance: float) -> None:
        if turn == turns or record[state]["won"]:
            said["score"] += chance * score
            said["commands"] += chance * turn
            said["inadmissible"] += chance * inadmissible
            said["entropy"] -= chance * log_chance
            return
        for number, share in enumerate(policy[turn, state]):
            command = world.commands[number] if number < len(world.commands) else "anything else"
            told = record[state]["commands"].get(command)
            to, gain = (told["to"], told["score"]) if told else (state, -world.fine)
            if share > 0:
                done = chance * share
                for measure in ("wins", *(coin for coin in ("red", "blue") if coin in command)):
                    said[measure] += done * (told is not None and record[to]["won"])
                go_on(to, done, score + gain, turn + 1, inadmissible + (told is None), log_chance + math.log(share))

    go_on(0, 1.0, 0.0, 0, 0, 0.0)
    said["invalid"] = said.pop("inadmissible") / said["commands"]
    return said


def random_policies(world: Adventure, rng: np.random.Generator, *stack: int) -> np.ndarray:
    """Sharp and even ones, most of whose commands are admissible."""
    admissible = world.tables.admissible.numpy()
    logits = rng.standard_normal((*stack, *admissible.shape)) * 2 + 4 * admissible
    return softmax(logits, axis=-1)


@pytest.mark.parametrize("game", GAMES)
def test_evaluation_agrees_with_enumeration(game: str):
    world, rng = Adventure(game, fine=0.3), np.random.default_rng(0)
    thinned = random_policies(world, rng, 2, 6)
    thinned[thinned < 0.04] = 0
    thinned /= thinned.sum(-1, keepdims=True)
    policies = np.concatenate([thinned, np.broadcast_to(exact.uniform(world), (1, *thinned.shape[1:]))])
    found = exact.clocked_study(world, policies)
    for trial, policy in enumerate(policies):
        expected = by_enumeration(world, policy, 6)
        for measure in MEASURES:
            np.testing.assert_allclose(getattr(found, measure)[trial], expected[measure], rtol=0, atol=1e-12)
    if game != "coins":  # six turns are enough to win
        assert found.wins.max() > 0.03


def test_one_route_by_hand():
    """Go west, take the red coin, back, north, and put it on the table; the first of these only every other time.

    Of the twelve turns, five or more: the game is won unless eight or more of the first commands fail, with the
    failures before the twelfth turn; it takes 5 + n commands with probability 2^-(n + 1)."""
    world = Adventure()
    policy = np.zeros(world.tables.states.shape)
    policy[:, -1] = 1
    state = 0
    for command in ("go west", "take red coin", "go east", "go north", "put red coin on table"):
        policy[state] = np.eye(len(world.commands) + 1)[world.commands.index(command)]
        state = world.record["states"][state]["commands"][command]["to"]
    policy[0, -1] = policy[0, world.commands.index("go west")] = 0.5
    found = exact.study(world, policy)
    late = 0.5**8
    commands = sum(0.5 ** (n + 1) * (5 + n) for n in range(8)) + late * 12
    failures = sum(0.5 ** (n + 1) * n for n in range(8)) + sum(0.5 ** (n + 1) * n for n in range(8, 12)) + 0.5**12 * 12
    tossed = sum(0.5 ** (n + 1) * (n + 1) for n in range(12)) + 0.5**12 * 12  # how often the first turn is taken
    assert found.wins == found.red == pytest.approx(1 - late, abs=1e-14)
    assert found.score == pytest.approx(4 * (1 - late), abs=1e-14)
    assert found.commands == pytest.approx(commands, abs=1e-13)
    assert found.invalid == pytest.approx(failures / commands, abs=1e-14)
    assert found.entropy == pytest.approx(tossed * math.log(2), abs=1e-13)
    assert (found.blue, found.rarer) == (0, 0)
    assert np.isnan(exact.study(world, policy, turns=4).rarer)


@pytest.mark.parametrize(("game", "score", "wins"), [("either", 1.10346, 0.275865), ("eitherhack", 7.298182, 0.438725)])
def test_uniform_play_earns_what_sampled_games_say(game: str, score: float, wins: float):
    """30,000 games in plain Python, five standard errors."""
    world, draw = Adventure(game), random.Random(1)
    scores, won = [], []
    for _ in range(30_000):
        state, total = world.record["states"][0], 0
        for _ in range(world.turns):
            if state["won"]:
                break
            told = draw.choice(list(state["commands"].values()))
            total += told["score"]
            state = world.record["states"][told["to"]]
        scores.append(total)
        won.append(state["won"])
    found = exact.study(world, exact.uniform(world))
    for sample, value, known in ((scores, found.score, score), (won, found.wins, wins)):
        assert value == pytest.approx(known, abs=1e-6)
        assert abs(np.mean(sample) - value) < 5 * np.std(sample) / math.sqrt(len(sample))
    assert found.invalid == 0


@pytest.mark.parametrize("game", GAMES)
def test_sampled_games_of_a_policy_over_words(game: str):
    """A policy that draws each word by the state and the word's place, any word; 6,000 games, five standard errors."""
    world, games = Adventure(game, fine=0.25), 6_000
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(len(world.won), world.words, world.vocabulary, generator=generator, dtype=torch.float64)
    sentences = [[*world.encode(command).tolist(), 0] for command in world.commands]
    for state, number in world.tables.admissible.nonzero().tolist():
        for place, token in enumerate(sentences[number]):
            logits[state, place, token] += 8
    chances = logits.softmax(-1)
    policy = np.zeros(world.tables.states.shape)
    for number, sentence in enumerate(sentences):
        policy[:, number] = chances[:, torch.arange(len(sentence)), sentence].prod(-1).numpy()
    policy[:, -1] = 1 - policy.sum(-1)
    found = exact.study(world, policy)
    assert 0.1 < found.invalid < 0.9

    states, score = torch.zeros(games, dtype=torch.long), torch.zeros(games, dtype=torch.float64)
    surprise, given, inadmissible = torch.zeros_like(score), torch.zeros_like(score), torch.zeros_like(score)
    log_policy, cumulative = torch.tensor(np.log(policy)), chances.cumsum(-1)[..., :-1]
    for _ in range(world.turns):
        uniforms = torch.rand(games, world.words, 1, generator=generator, dtype=torch.float64)
        drawn = (uniforms >= cumulative[states]).sum(-1)
        going_on = ~world.won[states]
        turn = world.play(states, drawn)
        surprise -= torch.where(going_on, log_policy[states, world.numbers(drawn)], 0)
        given += going_on
        inadmissible += going_on & ~turn.admissible
        score, states = score + turn.rewards, turn.states
    ratio = inadmissible - float(found.invalid) * given  # zero on average
    for sample, value in ((score, found.score), (surprise, found.entropy), (given, found.commands), (ratio, 0.0)):
        assert abs(sample.mean().item() - value) < 5 * sample.std().item() / math.sqrt(games)
    won = world.won[states].double().mean().item()  # rare in one game, hence the error that the exact number implies
    assert abs(won - found.wins) < 5 * math.sqrt(found.wins * (1 - found.wins) / games)


def mirror(world: Adventure) -> tuple[list[int], list[int]]:
    """Images of states and of commands when red and blue, west and east change places."""
    commands = [" ".join(SWAPPED.get(word, word) for word in command.split()) for command in world.commands]
    columns, image, ahead = [world.commands.index(command) for command in commands], {0: 0}, [0]
    after = world.tables.states.tolist()
    for now in ahead:
        for number, column in enumerate(columns):
            if after[now][number] not in image:
                image[after[now][number]] = after[image[now]][column]
                ahead.append(after[now][number])
    return [image[state] for state in range(len(image))], [*columns, len(columns)]


@pytest.mark.parametrize("game", GAMES)
def test_a_mirrored_policy_plays_mirrored_games(game: str):
    world = Adventure(game)
    states, commands = mirror(world)
    policy = random_policies(world, np.random.default_rng(3), 4)
    there, here = exact.study(world, policy), exact.study(world, policy[:, states][:, :, commands])
    for one, other in (("score", "score"), ("wins", "wins"), ("red", "blue"), ("blue", "red"), ("entropy", "entropy")):
        np.testing.assert_allclose(getattr(there, one), getattr(here, other), rtol=0, atol=1e-13)
    assert (np.abs(there.red - there.blue) > 1e-3).any()


@pytest.mark.parametrize(("game", "most"), [("either", 4), ("eitherhack", 20), ("coins", 4)])
def test_the_best_score(game: str, most: int):
    """The hack: open the box in the first turn, win in the last, 16 + 4."""
    assert exact.optimum(Adventure(game)) == most
    assert exact.optimum(Adventure("either"), 4) == 0
    assert exact.optimum(Adventure("either"), 5) == 4
    assert exact.optimum(Adventure("eitherhack"), 5) == 5  # the box alone; four points without it
    assert exact.optimum(Adventure("eitherhack"), 6) == 10


@pytest.mark.parametrize(
    ("game", "price", "score"),
    [("either", 0.1, 4.0), ("either", 1, 3.81651), ("eitherhack", 0.3, 19.927527), ("eitherhack", 1, 18.331147)],
)
def test_the_soft_optimum_takes_either_coin_alike(game: str, price: float, score: float):
    world = Adventure(game)
    found = exact.clocked_study(world, exact.soft_optimum(world, price, exact.uniform(world)))
    assert found.score == pytest.approx(score, abs=1e-5)
    assert found.red == pytest.approx(found.blue, rel=1e-12)
    assert found.wins == pytest.approx(found.red + found.blue, abs=1e-14)
    assert found.invalid < 1e-200


@pytest.mark.parametrize("price", [0.2, 1.0])
def test_the_soft_optimum_is_that_of_a_process_whose_states_know_the_turn(price: float):
    world, turns = Adventure(fine=0.1), 6
    game, rng = exact.process(world), np.random.default_rng(4)
    prior = random_policies(world, rng)
    unrolled = np.zeros((turns, *game.shape, turns, game.shape[0]))
    for turn in range(turns - 1):
        unrolled[turn, :, :, turn + 1] = game.transitions
    size = turns * game.shape[0]
    long = MDP(np.tile(game.rewards, (turns, 1)), unrolled.reshape(size, game.shape[1], size), 1.0)
    q = soft_optimal_values(long, price, np.tile(prior, (turns, 1)))
    expected = softmax_policy(q, price, np.tile(prior, (turns, 1))).reshape(turns, *game.shape)
    np.testing.assert_allclose(exact.soft_optimum(world, price, prior, turns), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("game", "ratio", "discount", "wins"),
    [
        ("either", 1, 0.9, 0.752176),
        ("either", 10, 0.9, 1.0),
        ("either", 2.5, 0.6, 0.978641),
        ("eitherhack", 1, 0.9, 0.014969),
    ],
)
def test_where_actde_rests(game: str, ratio: float, discount: float, wins: float):
    """Its policy is prior x exp(k q) of its own q, keeps both coins alike, and differs from the soft optimum."""
    world, rng = Adventure(game), np.random.default_rng(5)
    prior = exact.uniform(world)
    [point] = exact.actde_rest(world, ratio, prior, discount, rng=rng)
    q = evaluate(exact.process(world, discount), point.policy)
    tilted = prior * np.exp(ratio * (q - q.max(-1, keepdims=True)))
    np.testing.assert_allclose(point.policy, tilted / tilted.sum(-1, keepdims=True), rtol=0, atol=1e-10)
    found = exact.study(world, point.policy)
    assert found.wins == pytest.approx(wins, abs=1e-6)
    assert found.red == pytest.approx(found.blue, rel=1e-8)


def test_without_discount_actde_rests_where_it_starts():
    """Uniform play wins in the end, so every action that goes on is worth the same four points."""
    world = Adventure()
    prior = np.maximum(exact.uniform(world), exact.NEVER)
    q = evaluate(exact.process(world), prior)
    going_on = ~world.won.numpy()
    np.testing.assert_allclose(q[going_on], 4, rtol=0, atol=1e-10)
    assert (q[~going_on] == 0).all()


def test_the_loop_beats_finishing_above_four_fifths():
    """The discount at which, one command from winning, winning and going on are worth the same, by policy iteration."""
    world, state = Adventure("eitherhack"), 0
    for command in ("open box", "go west", "take red coin", "go east", "go north"):
        state = world.record["states"][state]["commands"][command]["to"]
    finish = world.commands.index("put red coin on table")

    def gained(discount: float) -> float:
        q = optimal_values(exact.process(world, discount))[state]
        return q[finish] - np.delete(q, finish).max()

    assert brentq(gained, 0.5, 0.95, xtol=1e-12) == pytest.approx(exact.loop_boundary(4), abs=1e-9)
    assert exact.loop_boundary(4) == 0.8
    for discount in (0.79, 0.81):
        never, now = 1 / (1 - discount), 1 + 4
        assert (never > now) == (gained(discount) < 0) == (discount > 0.8)


def test_what_cannot_be_studied():
    world = Adventure(reward="letters")
    with pytest.raises(SettingError, match="reward = 'letters': allowed is 'score'"):
        exact.process(world)
    for wrong in (np.ones((40, 11)), np.ones((2, 40, 10)) / 10):
        with pytest.raises(SettingError, match="allowed are probabilities"):
            exact.study(Adventure(), wrong)
