"""A recorded text adventure as a finite world: what is read, what any command does, and what it earns.

A turn shows a text, the room's and the inventory's, and takes a command, written word by word. No word is forbidden:
whatever is not one of the commands that the engine listed in the present state leaves the state as it is, and scores
nothing. (So does the engine with what its parser does not understand. It understands more than it lists: ``west`` moves
like ``go west``, and what it understands but cannot do takes a turn, in which an open box pays. Records lack that.)
The games that come with the package were recorded from TextWorld by :mod:`actde_nb.worlds.record`."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.worlds.grammar import BEGIN, PAD

GAMES = ("either", "eitherhack", "coins")
REWARDS = ("score", "letters")
LETTER = 0.1  # for each e or E in a command: the reward in the code published with ACTDE (LetterReward)

States = Int[Tensor, "*batch"]
Strings = Int[Tensor, "*batch words"]


class Turn(NamedTuple):
    """What commands did."""

    states: States  # after them
    rewards: Float[Tensor, "*batch"]  # float64
    admissible: Bool[Tensor, "*batch"]  # whether the engine had listed them


@dataclass(frozen=True, eq=False)
class Adventure:
    """A recorded game and its reward; states are 0, 1, ..., and every game starts in state 0.

    Args:
        game: one of :data:`GAMES`, or the file of another record.
        reward: "score", the points that the game's score rises by; or "letters", :data:`LETTER` for each letter e.
        fine: taken off for a command that is not admissible; the published code's unused reward has 0.5.
        coin_points: paid for picking a coin up where it lay at first."""

    game: str | Path = "either"
    reward: str = "score"
    fine: float = 0.0
    coin_points: float = 0.0

    def __post_init__(self):
        checks.one_of("reward", self.reward, REWARDS)
        checks.at_least_zero("fine", self.fine)
        checks.at_least_zero("coin_points", self.coin_points)
        if isinstance(self.game, str):
            checks.one_of("game", self.game, GAMES)
        for number, state in enumerate(states := self.record["states"]):
            if state["won"] != (not state["commands"]):
                raise SettingError(f"game = {self.game}: state {number} is won and has commands, or neither")
            for command, told in state["commands"].items():
                if not 0 <= told["to"] < len(states):
                    raise SettingError(f"game = {self.game}: {command!r} leads from state {number} to no state")

    @cached_property
    def record(self) -> dict[str, Any]:
        """What is in the file: where it comes from, the limit on turns, and the states with their texts."""
        path = self.game if isinstance(self.game, Path) else Path(__file__).with_name(f"adventure_{self.game}.json")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            checks.whole("turns", record["turns"])
            asked = ("description", "inventory", "won", "commands")
            complete = record["states"] and all(name in state for state in record["states"] for name in asked)
        except (ValueError, KeyError, TypeError):
            complete = False
        if not complete:
            raise SettingError(f"game = {path}: allowed are files that actde-nb record-games wrote")
        return record

    @cached_property
    def identity(self) -> str:
        """The game's name, its reward, and a hash of the whole record."""
        told = hashlib.sha256(json.dumps(self.record, sort_keys=True).encode()).hexdigest()[:16]
        name = self.game if isinstance(self.game, str) else self.game.stem
        return f"Adventure({name!r}, {self.reward!r}, {self.fine}, {self.coin_points}, {told})"

    def __repr__(self) -> str:
        return self.identity

    @property
    def turns(self) -> int:
        """How many commands a game may take."""
        return self.record["turns"]

    @cached_property
    def commands(self) -> tuple[str, ...]:
        """All commands that are admissible in some state, in alphabetical order; their number means any other one."""
        return tuple(sorted({command for state in self.record["states"] for command in state["commands"]}))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Words by their token, after two marks: the padding, which also ends a command, and the begin mark."""
        return (PAD, BEGIN, *sorted({word for text in (*self._texts, *self.commands) for word in _words(text)}))

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @cached_property
    def words(self) -> int:
        """Tokens that the longest command takes, with its end; how many a rollout should draw."""
        return 1 + max(len(_words(command)) for command in self.commands)

    @property
    def _texts(self) -> list[str]:
        return [f"{state['description']} {state['inventory']}" for state in self.record["states"]]

    @cached_property
    def prompts(self) -> Int[Tensor, "state time"]:
        """Text of every state after the begin mark, in lower case, without punctuation.

        Padding stands in front, so that a command follows directly; its place is the state's, never the batch's, so a
        word has one position whenever it is read."""
        rows = [torch.cat([torch.ones(1, dtype=torch.long), self.encode(text)]) for text in self._texts]
        longest = max(map(len, rows))
        return torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0)) for row in rows])

    def encode(self, text: str) -> Int[Tensor, "words"]:
        """Tokens of the words of a text."""
        number = {word: token for token, word in enumerate(self.tokens)}
        for word in (words := _words(text)):
            if word not in number:
                raise SettingError(f"text = {text!r} has the word {word!r}: allowed are {', '.join(self.tokens[2:])}")
        return torch.tensor([number[word] for word in words], dtype=torch.long)

    def decode(self, string: Int[Tensor, "words"]) -> str:
        """The words of a command, up to its end."""
        said = string[self.mask(string)].tolist()
        return " ".join(self.tokens[token] for token in said if token)

    def mask(self, strings: Strings) -> Bool[Tensor, "*batch words"]:
        """Which tokens belong to a command: those up to the first padding, and that one, which says that it ends."""
        return ((strings == 0).long().cumsum(-1) - (strings == 0).long()) == 0

    @cached_property
    def strings(self) -> Int[Tensor, "command words"]:
        """Tokens of each command, its end and padding after it."""
        rows = [self.encode(command) for command in self.commands]
        return torch.stack([torch.nn.functional.pad(row, (0, self.words - len(row))) for row in rows])

    def numbers(self, strings: Strings) -> States:
        """Which of :attr:`commands` each string is, or their number if none; a string without an end is whole."""
        said, known = strings * self.mask(strings), self.strings.to(strings.device)
        beyond = said.shape[-1] - self.words
        pads = [torch.nn.functional.pad(rows, (0, max(0, more))) for rows, more in ((said, -beyond), (known, beyond))]
        same = (pads[0][..., None, :] == pads[1]).all(-1)
        return torch.where(same.any(-1), same.long().argmax(-1), len(known))

    @cached_property
    def tables(self) -> Turn:
        """What each command does in each state, [state, command], the last command being any other; by the score."""
        shape = (len(self.record["states"]), len(self.commands) + 1)
        after = torch.arange(shape[0])[:, None].repeat(1, shape[1])
        earned = torch.full(shape, -self.fine, dtype=torch.float64)
        admissible = torch.zeros(shape, dtype=torch.bool)
        for number, state in enumerate(self.record["states"]):
            for command, told in state["commands"].items():
                place = number, self.commands.index(command)
                after[place], admissible[place] = told["to"], True
                picks_up = re.fullmatch(r"take \w+ coin", command) is not None
                earned[place] = told["score"] + self.coin_points * picks_up
        earned[self.won] = 0
        return Turn(after, earned, admissible)

    @cached_property
    def won(self) -> Bool[Tensor, "state"]:
        """In which states the game is over."""
        return torch.tensor([state["won"] for state in self.record["states"]])

    def play(self, states: States, strings: Strings) -> Turn:
        """What strings of tokens do; where the game is over, nothing, and they earn nothing."""
        numbers = self.numbers(strings)
        after, earned, admissible = (table.to(states.device)[states, numbers] for table in self.tables)
        if self.reward == "letters":
            e = torch.tensor([word.count("e") for word in self.tokens], device=strings.device)
            letters = LETTER * (e[strings] * self.mask(strings)).sum(-1).double()
            earned = torch.where(self.won.to(states.device)[states], 0.0, letters - self.fine * ~admissible)
        return Turn(after, earned, admissible)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace('"', " "))
