"""A language model that plays a recorded game in the package's fine-tuning loop: it reads a text, and writes one.

The prompt of a state is an example of a turn from no game, then the state's room and inventory, the commands that the
engine lists there, as in the prompts of the code published with ACTDE, and ``>`` on a line of its own. No blank follows
it: this model's first token of a word begins with one. Of four prompts this one was followed by most admissible
commands before any learning. Without the example, with "Chosen command:" in place of ``>``, or as a chat, they were a
few in a hundred; with it, about four in ten. A rehearsal of two rollouts without the example had come before.

A command ends with the first token that has a line break in it, with one of the model's own ends, or after six tokens,
which the longest listed command takes with its line break. Its words are compared with those of the listed commands, in
lower case and without punctuation. Whatever is not one of them leaves the state as it is, and costs the world's
fine.

In a rollout some agents play one whole game each, from the first state on, until it is won or its turns are over. As
for the networks of this chapter, a row of the rollout is a command, inside which nothing is discounted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, pad
from torch.nn.utils.rnn import pad_sequence

from actde_nb.checks import SettingError
from actde_nb.finetune import texts
from actde_nb.finetune.loop import FineTuning, Work, distinct
from actde_nb.finetune.models import Cache, LanguageModel, Read
from actde_nb.finetune.sampling import Sampled, pad_left, positions, sample, uniforms
from actde_nb.finetune.settings import Settings
from actde_nb.networks.gpt import Outputs
from actde_nb.training.advantages import gae
from actde_nb.training.objective import prepare
from actde_nb.training.rollout import Rollout
from actde_nb.worlds.adventure import Adventure, Turn

DISCOUNT = 0.9  # from a command to the next
EXAMPLE = (
    "You are in a cellar. There is a lamp on the floor. You are carrying nothing.\n"
    "Possible commands: go up, take lamp.\n> take lamp\n\n"
)

Rows = Int[Tensor, "rows"]
Words = Float[Tensor, "rows words"]


@dataclass(frozen=True)
class Commands(Work):
    """What there is to learn from, and after which prompts it was said."""

    prompts: Int[Tensor, "trial batch"]  # their numbers


class Given(NamedTuple):
    """One turn of the games that go on."""

    agents: Rows  # numbers of these games
    states: Rows  # before it
    sampled: Sampled
    said: list[str]
    turn: Turn


class Writer(FineTuning):
    """A model that plays and learns. Prompts are read once for all by the blocks that stand still, and once for each
    policy by those that learn; commands look at the keys and values that this left."""

    def __init__(self, model: LanguageModel, world: Adventure, settings: Settings):
        rules = {"world": repr(world), "discount": DISCOUNT}
        every = [prompt(world, state) for state in range(len(world.won))]
        different = list(dict.fromkeys(every))
        asked = texts.read([{"prompt": text, **rules} for text in different], model, settings.steps)
        super().__init__(model, asked, world.play, settings)
        self.world, self.game = world, []  # the last rollout's turns
        self.numbers = torch.tensor([different.index(text) for text in every])  # which prompt is each state's
        self.tokens, self.seen = pad_left([each.ids for each in asked], model.padding)
        self.still = Cache(config=model.module.config)
        with torch.no_grad():
            self.trunk = self._read_prompts(slice(None), self.still).trunk
        # Any token with a line break ends a command.
        lines = [token for token in range(model.words) if "\n" in model.decode([token])]
        model.ends = tuple(dict.fromkeys([*model.ends, *lines]))

    def _read_prompts(self, prompts: Rows | slice, cache: Cache, **how: Any) -> Read:
        """Read prompts but for their last token, after which the first word comes."""
        seen = self.seen[prompts, :-1]
        return self.model.read(self.tokens[prompts, :-1], seen, positions(seen), 1, cache, **how)

    def says(
        self, prompts: Rows, tokens: Int[Tensor, "rows moves"], trunk: Float[Tensor, "rows words width"],
        reference: bool = False,
    ) -> Read:  # fmt: skip
        """What the network says before each word of commands, which stand in ``tokens`` after a prompt's last one."""
        (own, place), cache = prompts.unique(return_inverse=True), Cache(config=self.model.module.config)
        self._read_prompts(own, cache, reference=reference, trunk=self.trunk[own])
        steps, seen = trunk.shape[1], self.seen[prompts, :-1]
        before = torch.ones(steps, steps, dtype=torch.bool).tril().expand(len(seen), -1, -1)
        allowed = torch.cat([seen[:, None].expand(-1, steps, -1), before], -1)[:, None]
        scores = trunk.new_zeros(allowed.shape).masked_fill(~allowed, torch.finfo(trunk.dtype).min)
        places = seen.sum(-1, keepdim=True) + torch.arange(steps)
        return self.model.read(tokens[:, :-1], scores, places, steps, dealt(cache, place), reference, trunk)

    def outputs(self, work: Commands) -> Outputs:
        """As in the class above, of commands after prompts that are read once."""
        rollout = work.batch.rollout
        logits, states, _ = self.says(work.prompts[0], rollout.tokens[0], work.trunk[0])
        values, q_taken = self.critic(states, rollout.taken[0])
        return Outputs(logits[None], values[None], q_taken[None, ..., None].expand(-1, -1, -1, logits.shape[-1]))

    @torch.no_grad()
    def play(self) -> tuple[Commands, dict[str, float]]:
        """Play whole games, and work out what there is to learn from their commands; with what to record of them."""
        settings, world = self.settings, self.world
        number, agents = self.update // settings.updates_per_rollout, settings.batch // world.turns
        draws = uniforms(settings.seed, number, settings.batch, settings.steps).unflatten(0, (world.turns, agents))
        states, self.game = torch.zeros(agents, dtype=torch.long), []
        read = Cache(config=self.model.module.config)
        self._read_prompts(slice(None), read, trunk=self.trunk)
        read.layers = [
            new if new.is_initialized else old for new, old in zip(read.layers, self.still.layers, strict=True)
        ]
        for turn in draws:
            going = (~world.won[states]).nonzero()[:, 0]
            if not len(going):
                break
            now, asked = states[going], self.numbers[states[going]]
            sampled = sample(self.model, self.tokens[asked], self.seen[asked], turn[going], cache=dealt(read, asked))
            pairs = zip(sampled.tokens[:, -sampled.mask.shape[1] :], sampled.mask, strict=True)
            said = [self.model.decode(tokens[mask].tolist()).strip() for tokens, mask in pairs]
            self.game.append(Given(going, now, sampled, said, world.play(now, heard(world, said))))
            states = states.index_put((going,), self.game[-1].turn.states)
        work = self._work()
        return work, self._record(work.batch.rollout, states)

    def _work(self) -> Commands:
        """The game's commands, turn after turn, as rows of one rollout."""
        settings, drawn = self.settings, [given.sampled for given in self.game]
        tokens = _rows(each.tokens[:, -1 - each.mask.shape[1] :] for each in drawn)
        mask, log_probs, trunk, hidden = (
            _rows(getattr(each, name) for each in drawn) for name in ("mask", "log_probs", "trunk", "states")
        )
        values, q_taken = (said * mask for said in self.critic(hidden, tokens[:, 1:]))
        read = self.numbers[torch.cat([given.states for given in self.game])], tokens, trunk
        pieces = zip(*(each.split(settings.micro_batch) for each in read), strict=True)
        reference = torch.cat([self.says(*piece, reference=True).logits.log_softmax(-1) for piece in pieces])
        rollout = Rollout(
            tokens=tokens[None], rewards=torch.zeros_like(values)[None], log_probs=log_probs[None], values=values[None],
            next_value=values.new_zeros(1, len(values)), q_taken=q_taken[None], mask=mask[None],
            reference=reference[None],
        )  # fmt: skip
        paid = torch.cat([given.turn.rewards for given in self.game]).to(values)
        agents, costs = [given.agents for given in self.game], self.price * rollout.log_ratio[0]
        trace = settings.gae_lambda if self.row.takes("gae_lambda") else 1.0
        rollout = replace(rollout, rewards=credit(paid, values, costs, mask, agents, trace)[None])
        batch = prepare(rollout, settings, self.price if settings.kl_in_reward else None)
        return Commands(batch, pad(mask, (1, 0), value=True)[None], trunk[None], read[0][None])

    def _record(self, rollout: Rollout, ends: Rows) -> dict[str, float]:
        """Of a game: points, reward with its fines, whether it was won, whether with the red coin, commands. Of a
        command: whether it was admissible, tokens, nats. Of all commands: the share of different ones."""
        world, said, games = self.world, [text for given in self.game for text in given.said], len(ends)
        after, earned, admissible = (
            torch.cat(parts) for parts in zip(*(given.turn for given in self.game), strict=True)
        )
        red = sum(bool(won) and "red" in text.lower() for won, text in zip(world.won[after], said, strict=True))
        lengths = rollout.mask[0].sum(-1).tolist()
        every = [ids[:length] for ids, length in zip(rollout.taken[0].tolist(), lengths, strict=True)]
        return {
            "score": (earned + world.fine * ~admissible).sum().item() / games, "reward": earned.sum().item() / games,
            "wins": world.won[ends].double().mean().item(), "red": red / games, "commands": len(said) / games,
            "admissible": admissible.double().mean().item(), "length": sum(lengths) / len(said),
            "log_ratio": rollout.log_ratio[0].sum(-1).mean().item(), "price": self.price.item(),
            "different": len(set(said)) / len(said), "distinct_2": distinct(every, 2),
        }  # fmt: skip


def dealt(cache: Cache, rows: Rows) -> Cache:
    """Keys and values of these rows, of the blocks that have any."""
    found = Cache()
    for number, layer in enumerate(cache.layers):
        if layer.is_initialized:
            found.update(layer.keys[rows], layer.values[rows], number)
    return found


def prompt(world: Adventure, state: int) -> str:
    """What is read in a state."""
    told = world.record["states"][state]
    listed = ", ".join(told["commands"])
    return f"{EXAMPLE}{told['description']} {told['inventory']}\nPossible commands: {listed}.\n>"


def heard(world: Adventure, said: Sequence[str]) -> Int[Tensor, "games words"]:
    """Texts as the game's words; a text with a word that the game does not know is as good as none."""
    found = []
    for text in said:
        try:
            found.append(world.encode(text))
        except SettingError:
            found.append(torch.zeros(0, dtype=torch.long))
    return _rows([words] for words in found)


def credit(
    paid: Float[Tensor, "rows"], values: Words, costs: Words, mask: Bool[Tensor, "rows words"],
    agents: Sequence[Int[Tensor, "_"]], trace: float,
) -> Words:  # fmt: skip
    """Rewards of words, zero but for a command's last one. That earns what the command was ``paid``, and the discount
    times what came of the game's next command: (1 - trace) v + trace G, where v is the value before that command's
    first word, and G its lambda-return, with ``costs`` of each word paid. Rows are commands, turn after turn, each
    turn's being those of ``agents``; nothing follows a game's last command."""
    last = one_hot(mask.sum(-1) - 1, mask.shape[1]).to(values)
    rewards, following = torch.zeros_like(values), values.new_zeros(1 + max(int(now.max()) for now in agents))
    turns = torch.arange(len(paid)).split([len(now) for now in agents])
    for now, rows in zip(agents[::-1], turns[::-1], strict=True):
        rewards[rows] = last[rows] * (paid[rows] + DISCOUNT * following[now])[:, None]
        ahead = gae((rewards - costs)[None, rows], values[None, rows], values.new_zeros(1, len(rows)), 1.0, trace)
        following[now] = values[rows, 0] + trace * ahead[0, :, 0]
    return rewards


def _rows(parts: Iterable[Iterable[Tensor]]) -> Tensor:
    """All rows of all parts, with zeros after those that are shorter than the longest."""
    return pad_sequence([row for part in parts for row in part], batch_first=True)
