"""The shipped records against TextWorld itself: the same bytes again, and random games played on its engine."""

import random
import sys
from pathlib import Path

import pytest

from actde_nb.worlds import record
from actde_nb.worlds.adventure import GAMES, Adventure

GAMES_EACH = 17  # 51 in all


def test_every_game_has_a_design():
    assert tuple(record.DESIGNS) == GAMES
    assert {game: Adventure(game).turns for game in GAMES} == {n: d.turns for n, d in record.DESIGNS.items()}


def test_without_the_extra_the_command_says_what_is_missing(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "textworld", None)
    status, text = command("record-games", "--out", str(tmp_path / "games"))
    assert str(status).startswith("actde-nb: record-games needs textworld: pip install ")
    assert "Traceback" not in text
    assert not (tmp_path / "games").exists()


@pytest.mark.games
@pytest.mark.parametrize("game", GAMES)
def test_recording_again_gives_the_same_bytes(game: str, tmp_path: Path):
    pytest.importorskip("textworld", reason="needs the extra games")
    record.DESIGNS[game].write(again := tmp_path / "again.json")
    assert again.read_bytes() == Path(record.__file__).with_name(f"adventure_{game}.json").read_bytes()


@pytest.mark.games
@pytest.mark.parametrize("game", GAMES)
def test_random_games_go_the_same_way_on_the_engine(game: str, tmp_path: Path):
    """One command in six is no command at all. At every step: texts, points, answer, end and what is admissible."""
    pytest.importorskip("textworld", reason="needs the extra games")
    states, draw = Adventure(game).record["states"], random.Random(0)
    _, env, first = record.DESIGNS[game].start(str(tmp_path))
    finished = 0
    for _ in range(GAMES_EACH):
        now, engine = 0, env.reset()
        assert record._texts(engine) == record._texts(first)
        for _ in range(2 * Adventure(game).turns):
            score, here = engine["score"], states[now]
            if draw.random() < 1 / 6:
                words = draw.choices(("red", "coin", "box", "the", "kitchen", "you"), k=draw.randint(1, 5))
                engine = env.step(" ".join(words))[0]
                assert engine["score"] == score
            else:
                command = draw.choice(list(here["commands"]))
                engine, told = env.step(command)[0], here["commands"][command]
                assert (engine["score"] - score, record._feedback(engine)) == (told["score"], told["feedback"])
                now = told["to"]
            there = states[now]
            assert record._texts(engine) == {name: there[name] for name in ("description", "inventory")}
            assert engine["won"] == there["won"]
            if there["won"]:
                finished += 1
                break
            listed = {c for c in engine["admissible_commands"] if c.split()[0] not in record.LEFT_OUT}
            assert listed == set(there["commands"])
    assert finished > 0 or game == "coins"


@pytest.mark.games
def test_the_engine_pays_a_quest_once_whatever_is_taken_back(tmp_path: Path):
    """Both coins in hand and two points scored: what the red one pays now depends on which one has been paid before."""
    pytest.importorskip("textworld", reason="needs the extra games")
    states = Adventure("coins").record["states"]
    _, env, _ = record.DESIGNS["coins"].start(str(tmp_path))
    red = ["go west", "take red coin", "go east", "go north", "put red coin on table", "take red coin from table"]
    blue = ["go east", "take blue coin", "go west", "go north", "put blue coin on table", "take blue coin from table"]
    for first, paid in ((red, 0), (blue, 2)):
        other = (blue if first is red else red)[:3]
        engine, now = env.reset(), 0
        for command in (*first, "go south", *other, "go north", "put red coin on table"):
            before, told = engine["score"], states[now]["commands"][command]
            engine, now = env.step(command)[0], told["to"]
            assert engine["score"] - before == told["score"], command
        assert (engine["score"], told["score"], engine["won"]) == (2 + paid, paid, bool(paid))
