"""Record small TextWorld games: every state that play can reach, with its texts; needs the extra ``games``.

TextWorld (Côté et al., 2018) writes a game's texts and runs it; who plays a record needs neither it nor a story file.
Commands are those that the engine lists as admissible, but for those that only look, and for dropping and inserting,
which would make ten times as many states."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actde_nb.checks import BookError

SEED = 1234  # of the texts
COINS = ("red coin", "blue coin")
LEFT_OUT = ("drop", "examine", "insert", "inventory", "look")
LICENCE = "texts by TextWorld (MIT licence) and the standard replies of Inform 7; game by actde-nb (MIT licence)"
ASKED = ("description", "inventory", "score", "won", "admissible_commands", "facts")


@dataclass(frozen=True)
class Design:
    """A game: coins in the kitchen (red) and in the garden (blue), west and east of a hall; a table north of it.

    Args:
        goals: points of each quest, and the coins any one of which on the table fulfils it.
        turns: how many commands a game may take.
        pays: points for every turn at whose end the box in the hall is open, by a quest without an end; 0 for none."""

    goals: tuple[tuple[int, tuple[str, ...]], ...]
    turns: int
    pays: int = 0

    def start(self, folder: str) -> tuple[Any, Any, Any]:
        """The game as a ``GameMaker``, the engine, and its first state; the story file is written to ``folder``."""
        try:
            from textworld import EnvInfos, GameMaker, GameOptions, start  # an extra, and slow to import
            from textworld.generator.game import Event, Quest
        except ModuleNotFoundError as error:
            raise BookError(f'record-games needs {error.name}: pip install "actde-nb[games]"') from None
        options = GameOptions()
        options.seeds = SEED
        maker = GameMaker(options)
        kitchen, hall, garden, study = map(maker.new_room, ("kitchen", "hall", "garden", "study"))
        for one, other in ((hall.west, kitchen.east), (hall.east, garden.west), (hall.north, study.south)):
            maker.connect(one, other)
        maker.set_player(hall)
        red, blue = (maker.new("o", name=coin) for coin in COINS)
        table, box = maker.new("s", name="table"), maker.new("c", name="box")
        box.add_property("closed")
        for room, thing in ((kitchen, red), (garden, blue), (study, table), (hall, box)):
            room.add(thing)
        on_table = {coin.name: Event(conditions=[maker.new_fact("on", coin, table)]) for coin in (red, blue)}
        maker.quests = [Quest([on_table[coin] for coin in coins], reward=points) for points, coins in self.goals]
        if self.pays:
            opened = Event(conditions=[maker.new_fact("open", box)])
            maker.quests.append(Quest([opened], reward=self.pays, optional=True, repeatable=True))
        env = start(maker.compile(f"{folder}/game.z8"), EnvInfos(**dict.fromkeys(ASKED, True)))
        return maker, env, env.reset()

    def write(self, path: Path) -> None:
        """Write all states, numbered as a walk in breadth finds them, to a JSON file, a line each."""
        numbers, ahead, lines = {}, [], []

        def number(env: Any, state: Any, done: frozenset) -> int:
            """Of a state: one are those with the same facts, quests fulfilled (each pays once) and texts."""
            facts, once = state["_game_progression"].state, [quest for quest in maker.quests if not quest.repeatable]
            done |= {quest for quest in once if quest.is_winning(facts)}
            key = (frozenset(map(str, state["facts"])), done, *_texts(state).values())
            if numbers.setdefault(key, len(numbers)) == len(ahead):
                ahead.append((env, state, done))
            return numbers[key]

        with TemporaryDirectory() as folder:
            maker, *first = self.start(folder)
            number(*first, frozenset())
            for env, state, done in ahead:  # grows as it is walked
                line = {**_texts(state), "won": bool(state["won"]), "commands": {}}
                for command in () if state["won"] else state["admissible_commands"]:
                    if command.split()[0] not in LEFT_OUT:
                        after = (copy := env.copy()).step(command)[0]
                        told = {"score": after["score"] - state["score"], "feedback": _feedback(after)}
                        line["commands"][command] = {"to": number(copy, after, done), **told}
                lines.append(json.dumps(line, separators=(",", ":")))
        import textworld.generator

        source = hashlib.sha256(textworld.generator.generate_inform7_source(maker.build()).encode()).hexdigest()
        head = {"textworld": textworld.__version__, "seed": SEED, "source": source, "licence": LICENCE}
        text = json.dumps({**head, "turns": self.turns, "states": []})[:-2] + "\n" + ",\n".join(lines) + "\n]}\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


DESIGNS = {"either": Design(((4, COINS),), 12), "eitherhack": Design(((4, COINS),), 16, pays=1)}
DESIGNS["coins"] = Design(((2, COINS[:1]), (2, COINS[1:])), 16)


def _texts(state: Any) -> dict[str, str]:
    """Room and inventory; what is carried in alphabetical order, for the engine's depends on what was taken first."""
    carried, colon, things = " ".join(state["inventory"].split()).partition(": ")
    things = " and ".join(sorted(re.split(" and |, ", things.rstrip(".")))) + "." if colon else ""
    return {"description": " ".join(state["description"].split()), "inventory": carried + colon + things}


def _feedback(state: Any) -> str:
    """The engine's answer, without the prompt for the next command and the closing words of a game."""
    return " ".join(re.split(r"\n>|\*\*\*", state["feedback"])[0].split())
