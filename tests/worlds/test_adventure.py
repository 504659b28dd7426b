"""Recorded text adventures: what commands do and earn, by hand and by walking the record in plain Python."""

import json
from collections import deque
from pathlib import Path

import pytest
import torch

from actde_nb.checks import SettingError
from actde_nb.worlds import adventure
from actde_nb.worlds.adventure import GAMES, Adventure

RED = ("go west", "take red coin", "go east", "go north", "put red coin on table")
SWAPPED = {"red": "blue", "blue": "red", "west": "east", "east": "west"}


def say(world: Adventure, text: str) -> torch.Tensor:
    """A command and its end, padded."""
    words = world.encode(text)
    return torch.nn.functional.pad(words, (0, world.words - len(words)))


def play(world: Adventure, *commands: str) -> tuple[int, list[float], list[bool]]:
    """Last state, rewards and which commands were admissible, in one game."""
    state, rewards, admissible = torch.tensor([0]), [], []
    for command in commands:
        turn = world.play(state, say(world, command)[None])
        state = turn.states
        rewards.append(turn.rewards.item())
        admissible.append(turn.admissible.item())
    return state.item(), rewards, admissible


def mirrored(text: str) -> str:
    return " ".join(SWAPPED.get(word, word) for word in text.split())


def distances(states: list[dict]) -> dict[int, int]:
    """Least number of commands to each state, by a walk through the file."""
    found, ahead = {0: 0}, deque([0])
    while ahead:
        now = ahead.popleft()
        for told in states[now]["commands"].values():
            if told["to"] not in found:
                found[told["to"]] = found[now] + 1
                ahead.append(told["to"])
    return found


@pytest.mark.parametrize("commands", [RED, tuple(map(mirrored, RED))])
def test_five_commands_win_four_points(commands: tuple[str, ...]):
    world = Adventure()
    state, rewards, admissible = play(world, *commands)
    assert rewards == [0, 0, 0, 0, 4]
    assert all(admissible)
    assert world.won[state]


@pytest.mark.parametrize(
    ("game", "states", "pairs", "least"), [("either", 40, 72, 5), ("eitherhack", 40, 72, 5), ("coins", 104, 216, 9)]
)
def test_size_and_the_shortest_win(game: str, states: int, pairs: int, least: int):
    """Both coins: west, take, east, east, take, west, north and two to put; or one by one, which takes longer."""
    world = Adventure(game)
    record = world.record["states"]
    assert len(record) == len(world.prompts) == states
    assert sum(len(state["commands"]) for state in record) == world.tables.admissible.sum() == pairs
    found = distances(record)
    assert len(found) == states  # each of them can be reached
    assert min(found[number] for number, state in enumerate(record) if state["won"]) == least
    assert world.won.sum() == 8


@pytest.mark.parametrize("game", GAMES)
def test_red_and_blue_are_mirror_images(game: str):
    """Swapping red and blue, west and east is one to one on states, and keeps every move, score and win."""
    states = Adventure(game).record["states"]
    image, ahead = {0: 0}, [0]
    for now in ahead:
        commands = states[image[now]]["commands"]
        assert {mirrored(command) for command in states[now]["commands"]} == set(commands)
        assert states[now]["won"] == states[image[now]]["won"]
        for command, told in states[now]["commands"].items():
            other = commands[mirrored(command)]
            assert other["score"] == told["score"]
            if told["to"] not in image:
                image[told["to"]] = other["to"]
                ahead.append(told["to"])
            assert image[told["to"]] == other["to"]
    assert sorted(image.values()) == list(range(len(states)))
    assert all(image[image[state]] == state for state in image)


def test_an_unknown_command_leaves_everything_as_it_is():
    world = Adventure()
    for text in ("", "go", "go west west", "red coin take", "take red coin", "close box", "the the the the the the"):
        state, rewards, admissible = play(world, text)
        assert (state, rewards, admissible) == (0, [0], [False]), text


def test_where_a_command_ends():
    world = Adventure()
    go, west, box = (world.encode(word).item() for word in ("go", "west", "box"))
    ended, whole, longer = [go, west, 0, box, 1, go], [go, west], [go, west, box, 0, 0, 0]
    number = world.commands.index("go west")
    assert world.numbers(torch.tensor(ended)) == world.numbers(torch.tensor(whole)) == number
    assert world.numbers(torch.tensor([*ended, 0, go, west])) == number
    for wrong in (longer, [0, go, west], [1, go, west, 0], [go, west, 1, 0], [go, west, *[box] * 7]):
        assert world.numbers(torch.tensor(wrong)) == len(world.commands), wrong
    assert world.mask(torch.tensor(ended)).tolist() == [True] * 3 + [False] * 3
    assert world.decode(torch.tensor(ended)) == "go west"
    assert world.decode(torch.tensor(whole)) == "go west"
    every = torch.stack([say(world, command) for command in world.commands])
    assert world.numbers(every[:, None]).tolist() == [[number] for number in range(len(world.commands))]
    assert [world.decode(string) for string in every] == list(world.commands)


def test_letters_are_paid_for_whatever_is_said():
    """One e in "take", "red", "blue" and "the" each; what follows the end of a command does not count."""
    world = Adventure(reward="letters")
    commands = ("take red coin", "go west", "take red coin", "the blue blue", "box")
    assert play(world, *commands)[1] == pytest.approx([0.2, 0.1, 0.2, 0.3, 0])
    the, go = world.encode("the go").tolist()
    assert world.play(torch.tensor(0), torch.tensor([go, 0, the, the])).rewards == 0


def test_a_fine_for_what_is_not_admissible():
    """Go west; twice what cannot be done; take; back; north; the last wins."""
    commands = ("go west", "go west", "red", *RED[1:])
    assert play(Adventure(fine=0.5), *commands)[1] == [0, -0.5, -0.5, 0, 0, 0, 4]
    assert play(Adventure(fine=0.5, reward="letters"), "go west", "go west")[1] == pytest.approx([0.1, -0.4])
    assert play(Adventure(), *commands)[1] == [0, 0, 0, 0, 0, 0, 4]


def test_points_for_taking_a_coin_are_paid_once_for_each():
    world = Adventure("coins", coin_points=1.0)
    back = ("take red coin from table", "put red coin on table")
    assert play(world, *RED, *back)[1] == [0, 1, 0, 0, 2, 0, 0]
    assert play(Adventure(coin_points=1.0), *RED)[1] == [0, 1, 0, 0, 4]


def test_a_quest_once_fulfilled_stays_so():
    """The red coin is on the table, then back in hand; the blue one on the table wins all the same."""
    world = Adventure("coins")
    blue = ("go south", "go east", "take blue coin", "go west", "go north", "put blue coin on table")
    state, rewards, _ = play(world, *RED, "take red coin from table", *blue)
    assert rewards == [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert world.won[state]


def test_an_open_box_pays_every_admissible_turn():
    world = Adventure("eitherhack")
    commands = ("open box", "go west", "red", "take red coin", "go east", "close box", "go north", RED[-1])
    assert play(world, *commands)[1] == [1, 1, 0, 1, 1, 0, 0, 4]
    assert play(world, "open box", *RED)[1] == [1, 1, 1, 1, 1, 5]


def test_when_the_game_is_over_nothing_is_earned():
    for world in (Adventure(fine=0.5), Adventure(fine=0.5, reward="letters"), Adventure("eitherhack", coin_points=1.0)):
        over = play(world, *RED)[0]
        for text in ("go south", "take red coin", "the"):
            turn = world.play(torch.tensor(over), say(world, text))
            assert (turn.states, turn.rewards, turn.admissible) == (over, 0, False)


def test_what_is_read():
    world = Adventure()
    words = " ".join(world.tokens[token] for token in world.prompts[0].tolist() if token)
    assert words.startswith("<bos> hall you've entered a hall")
    assert words.endswith("you are carrying nothing")
    assert world.prompts.max() < world.vocabulary == len(set(world.tokens))
    going_on = world.prompts[~world.won]
    # Whether the box is open is seen in the hall only: 32 states, 20 texts.
    assert (len(going_on), len(going_on.unique(dim=0))) == (32, 20)
    assert (world.prompts[:, -1] > 1).all()
    assert ((world.prompts == 1).sum(1) == 1).all()
    spread = (world.prompts != 0).long()
    assert (spread.diff(dim=1) >= 0).all()  # all padding stands in front


def test_a_world_is_known_by_its_contents(tmp_path: Path):
    settings = ({"game": "coins"}, {"reward": "letters"}, {"fine": 0.5}, {"coin_points": 1.0})
    worlds = [Adventure(), *(Adventure(**changed) for changed in settings)]
    changed = json.loads(json.dumps(Adventure().record))
    changed["states"][0]["commands"]["open box"]["score"] = 1
    (tmp_path / "either.json").write_text(json.dumps(changed), encoding="utf-8")
    worlds.append(Adventure(tmp_path / "either.json"))
    assert len({world.identity for world in worlds}) == len(worlds)
    assert Adventure().identity == repr(Adventure())
    assert play(worlds[-1], "open box")[1] == [1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"game": "zork"}, "game = 'zork': allowed are either, eitherhack, coins"),
        ({"reward": "gold"}, "reward = 'gold': allowed are score, letters"),
        ({"fine": -1.0}, "fine = -1.0: allowed are finite numbers of zero or more"),
        ({"coin_points": float("nan")}, "coin_points = nan: allowed are "),
    ],
)
def test_what_is_not_allowed(settings: dict, message: str):
    with pytest.raises(SettingError, match=f"^{message}"):
        Adventure(**settings)


def test_words_that_no_text_has_are_refused():
    with pytest.raises(SettingError, match=r"text = 'open xyzzy' has the word 'xyzzy': allowed are a, against"):
        Adventure().encode("open xyzzy")


def test_a_file_that_is_no_record_is_refused(tmp_path: Path):
    path = tmp_path / "x.json"
    whole = Adventure().record
    for wrong in ("[", "{}", "[]", json.dumps({**whole, "turns": 0}), json.dumps({**whole, "states": []})):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(SettingError, match=r"turns = 0|x.json: allowed are files that actde-nb record-games"):
            Adventure(path)
    lost = json.loads(json.dumps(whole))
    lost["states"][0]["commands"]["open box"]["to"] = 40
    path.write_text(json.dumps(lost), encoding="utf-8")
    with pytest.raises(SettingError, match="'open box' leads from state 0 to no state"):
        Adventure(path)
    lost["states"][0]["commands"] = {}
    path.write_text(json.dumps(lost), encoding="utf-8")
    with pytest.raises(SettingError, match="state 0 is won and has commands, or neither"):
        Adventure(path)


def test_the_records_say_where_they_come_from():
    for game in GAMES:
        path = Path(adventure.__file__).with_name(f"adventure_{game}.json")
        assert path.stat().st_size < 120_000
        head = Adventure(game).record
        assert (head["textworld"], head["seed"], len(head["source"])) == ("1.7.0", 1234, 64)
        assert "MIT" in head["licence"]
