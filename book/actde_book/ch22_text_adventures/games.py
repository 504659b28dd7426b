"""Networks that learn a recorded game in the package's own loop: what is played, and how credit crosses commands.

A row of a rollout is one command: the prompt, and the words that were written. Within a command nothing is discounted.
Its last word earns what the game pays, and ``discount`` times what is expected from the next command on."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_book.ch22_text_adventures.exact import divergence, study, uniform
from actde_book.ch22_text_adventures.network import (
    Player,
    Read,
    after_words,
    dealt,
    different,
    policy_table,
    read_prompts,
)  # fmt: skip
from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.networks.gpt import Params
from actde_nb.training.advantages import gae
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config
from actde_nb.training.rollout import Rollout, part
from actde_nb.training.trainer import Trainer, Trials, generator
from actde_nb.worlds.adventure import Adventure

EXAMPLES = 8  # turns in a row that may be examples
SAID = 64  # commands that are drawn after each prompt when a run is over

Numbers = Int[Tensor, "trial agent"]
Rows = Int[Tensor, "trial batch"]
Values = Float[Tensor, "trial agent turn"]


@dataclass(frozen=True)
class Play:
    """How a game is played and paid. The last four are what the code published with ACTDE does; here they are off.

    Args:
        agents: Games side by side in each trial.
        turns: Commands that each gives in a rollout.
        discount: Discount from a command to the next; inside a command there is none.
        carried: Whether the trace goes on over the end of a command, so that its last word is followed by the
            lambda-return from the next command on, and not by v alone.
        last_only: Learn from the last row of each minibatch alone.
        zero_bootstrap: Treat the last command of a rollout as the end of its game.
        example_turns: Probability that in place of a turn a random admissible command is played, and not learned from.
    """

    agents: int = 16
    turns: int = 12
    discount: float = 0.9
    carried: bool = True
    last_only: bool = False
    zero_bootstrap: bool = False
    example_turns: float = 0.0

    def __post_init__(self):
        for name in ("agents", "turns"):
            checks.whole(name, getattr(self, name))
        checks.unit_interval("discount", self.discount)
        checks.unit_interval("example_turns", self.example_turns)


@dataclass(frozen=True)
class GameWorld:
    """What the loop asks of a world, of a game that is played as ``play`` says. It keeps each agent's state and the
    number of commands given in its game."""

    adventure: Adventure
    play: Play

    continues: ClassVar[bool] = False
    labels: ClassVar[dict[str, tuple[str, tuple[str, ...]]]] = {}

    @property
    def identity(self) -> str:
        """The game, how it is paid, and how it is played."""
        return f"GameWorld({self.adventure!r}, {self.play!r})"

    def __repr__(self) -> str:
        return self.identity

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return self.adventure.vocabulary

    def start(self, uniforms: Float[Tensor, "trial batch"]) -> Int[Tensor, "trial agent 2"]:
        """Every agent at the start of a game."""
        return torch.zeros(len(uniforms), self.play.agents, 2, dtype=torch.long, device=uniforms.device)

    def rewards(self, tokens: Int[Tensor, "trial batch moves"]) -> Float[Tensor, "trial batch time"]:
        """Zero: what a command earns depends on the state, which the texts do not tell; see :class:`GameTrainer`."""
        return torch.zeros(tokens[..., -self.adventure.words :].shape)

    def mask(self, tokens: Int[Tensor, "trial batch moves"]) -> Bool[Tensor, "trial batch time"]:
        """Which of the words after the prompt belong to the command."""
        return self.adventure.mask(tokens[..., -self.adventure.words :])

    def statistics(self, tokens: Tensor, logits: Tensor, q: Tensor) -> dict[str, Tensor]:
        """None: what a rollout earned is recorded where it is played."""
        return {}


def world_checks(world: GameWorld, config: Config) -> None:
    """Raise SettingError for a config that these games cannot be learned with."""
    rows, words = world.play.agents * world.play.turns, world.adventure.words
    for name, only in (("batch", rows), ("steps", words), ("discount", 1.0)):
        if getattr(config, name) != only:
            raise SettingError(f"{name} = {getattr(config, name)}: allowed is {only} in this game")
    row = ALGORITHMS[config.algorithm]
    if row.greedy_penalty or row.compares_groups or row.fits_texts:
        raise SettingError(
            f"algorithm = {config.algorithm!r}: allowed are those that learn word by word, from no group"
        )


class GameTrainer(Trainer):
    """The package's loop, in which a rollout is commands of many games."""

    def __init__(self, world: GameWorld, policy: Player, config: Config, trials: Trials = None):
        world_checks(world, config)
        super().__init__(world, policy, config, trials, _exact)
        self.seen: dict[str, Tensor] = {}

    @cached_property
    def prompts(self) -> tuple[Int[Tensor, "prompt time"], Int[Tensor, "state"]]:
        """The different prompts, and which of them is each state's."""
        [kinds], [number] = different(self.world.adventure.prompts[None])
        return kinds, number

    @cached_property
    def start_policy(self) -> Float[np.ndarray, "states commands"]:
        """Probability of each command before training."""
        fresh = self.policy.init(self.play_draws[:1])
        return policy_table(fresh, self.policy.config, self.world.adventure)[0].numpy()

    @torch.no_grad()
    def play(self) -> Rollout:
        """Play every agent's next commands, and work out what each command's last word is followed by."""
        play, adventure, config = self.world.play, self.world.adventure, self.config
        kinds, number = self.prompts
        read = read_prompts(self.parameters, self.policy.config, kinds.expand(len(self.trials), -1, -1))
        states, commands, paid, admissible, over = [], [], [], [], []
        for _ in range(play.turns):
            ended = self._examples()
            if over:
                over[-1] |= ended
            now = self.last[..., 0]
            uniforms = self._uniforms(play.agents, config.steps)
            strings = write(
                self.parameters, self.policy, dealt(read, number[now]), uniforms, config.sampling_temperature
            )
            turn = adventure.play(now, strings)
            for kept, new in ((states, now), (commands, strings), (paid, turn.rewards), (admissible, turn.admissible)):
                kept.append(new)
            over.append(self._advance(turn.states))
        after = self.last[..., 0]
        states, commands, paid, admissible, over = (
            torch.stack(x, 2) for x in (states, commands, paid, admissible, over)
        )
        rollout = self._rollout(states.flatten(1), commands.flatten(1, 2))
        v_after = after_words(self.parameters, self.policy.config, dealt(read, number[after]), commands[:, :, 0, :0])
        rewards = self._with_what_follows(rollout, paid.float(), over, v_after.values[..., 0])
        self.seen = {"earned": paid.mean((1, 2)), "admissible": admissible.double().mean((1, 2))}
        order = self._uniforms(config.batch).argsort(1)
        rollout = _reordered(replace(rollout, rewards=rewards), order)
        if not play.last_only:
            return rollout
        size = config.batch // config.minibatches
        return part(rollout, size - 1, size, config.minibatches)  # the last row of each minibatch, see ``part``

    def _rollout(self, states: Rows, commands: Int[Tensor, "trial batch words"]) -> Rollout:
        """What the network says of these commands; rewards are zero as yet."""
        tokens = torch.cat([self.world.adventure.prompts[states], commands], -1)
        mask = self.world.mask(tokens)
        said = self.policy.forward(self.parameters, tokens[..., :-1])
        log_probs = said.logits.log_softmax(-1).gather(-1, commands[..., None])[..., 0]
        reference = None
        if self.config.needs_reference:
            reference = self.policy.forward(self.reference, tokens[..., :-1]).logits.log_softmax(-1)
        return Rollout(
            tokens=tokens, rewards=torch.zeros_like(log_probs), log_probs=log_probs, values=said.values * mask,
            next_value=log_probs.new_zeros(log_probs.shape[:2]),
            q_taken=said.q.gather(-1, commands[..., None])[..., 0] * mask, mask=mask, reference=reference,
            q=said.q if ALGORITHMS[self.config.algorithm].corrected else None,
        )  # fmt: skip

    def _with_what_follows(
        self,
        rollout: Rollout,
        paid: Values,
        over: Bool[Tensor, "trial agent turn"],
        v_after: Float[Tensor, "trial agent"],
    ) -> Float[Tensor, "trial batch words"]:
        """Rewards of words: zero but for a command's last one, as the module says."""
        play, config, row = self.world.play, self.config, ALGORITHMS[self.config.algorithm]
        trace = config.gae_lambda if row.takes("gae_lambda") else 1.0
        costs = (
            self.price[:, None, None] * rollout.log_ratio if config.kl_in_reward else torch.zeros_like(rollout.rewards)
        )
        turns = (play.agents, play.turns)
        values, mask, costs = (x.unflatten(1, turns) for x in (rollout.values, rollout.mask, costs))
        last = torch.nn.functional.one_hot(mask.sum(-1) - 1, config.steps) * 1.0
        following = torch.zeros_like(v_after) if play.zero_bootstrap else v_after
        rewards = []
        for turn in reversed(range(play.turns)):
            end = paid[..., turn] + play.discount * torch.where(over[..., turn], 0.0, following)
            rewards.append(last[:, :, turn] * end[..., None])
            following = values[:, :, turn, 0]
            if play.carried:
                earned = rewards[-1] - costs[:, :, turn]
                ahead = gae(earned, values[:, :, turn], torch.zeros_like(following), 1.0, trace)[..., 0]
                following = following + trace * ahead
        return torch.stack(rewards[::-1], 2).flatten(1, 2)

    def _advance(self, states: Numbers) -> Bool[Tensor, "trial agent"]:
        """Go on from there; whose game is over, won or out of turns, begins a new one."""
        given = self.last[..., 1] + 1
        over = self.world.adventure.won[states] | (given >= self.world.adventure.turns)
        self.last = torch.stack([states, given], -1).masked_fill(over[..., None], 0)
        return over

    def _examples(self) -> Bool[Tensor, "trial agent"]:
        """Play the example turns that come now, in all games of a trial at once; whose game ended in them."""
        adventure, ended = self.world.adventure, torch.zeros(self.last.shape[:2], dtype=torch.bool)
        if not self.world.play.example_turns:
            return ended
        so_many = (self._uniforms(EXAMPLES) < self.world.play.example_turns).long().cumprod(1).sum(1)
        cumulative = torch.from_numpy(uniform(adventure)).cumsum(-1)[:, :-1]
        drawn = self._uniforms(EXAMPLES, self.world.play.agents)  # all, so that no trial's draws depend on another's
        for example in range(int(so_many.max())):
            command = (drawn[:, example, :, None] >= cumulative[self.last[..., 0]]).sum(-1)
            before, here = self.last, (so_many > example)[:, None]
            over = self._advance(adventure.tables.states[before[..., 0], command])
            self.last, ended = torch.where(here[..., None], self.last, before), ended | (over & here)
        return ended

    @torch.no_grad()
    def said(self) -> tuple[list[list[str]], Float[np.ndarray, "trial prompt"]]:
        """Of each trial and each different prompt, the string that came most often in some draws, and its share."""
        kinds, _ = self.prompts
        read = read_prompts(self.parameters, self.policy.config, kinds.expand(len(self.trials), -1, -1))
        rows = torch.arange(len(kinds)).repeat_interleave(SAID).expand(len(self.trials), -1)
        draws = [generator(self.config.seed, trial, "evaluation") for trial in self.trials]
        uniforms = torch.stack([torch.rand(rows.shape[1], self.config.steps, generator=draw) for draw in draws])
        strings = write(self.parameters, self.policy, dealt(read, rows), uniforms).unflatten(1, (len(kinds), SAID))
        adventure = self.world.adventure
        counts = [[Counter(map(adventure.decode, prompt)).most_common(1)[0] for prompt in trial] for trial in strings]
        return [[text for text, _ in trial] for trial in counts], np.array(
            [[n for _, n in trial] for trial in counts]
        ) / SAID

    def _describe(self, batch, outputs) -> dict[str, Tensor]:
        return {**super()._describe(batch, outputs), **self.seen}


def write(
    params: Params, policy: Player, read: Read, uniforms: Float[Tensor, "trial agent words"], temperature: float = 1.0
) -> Int[Tensor, "trial agent words"]:
    """A command for each row of ``read``, word by word; any word may come. After its end there is padding.

    A word is the first whose cumulative probability is above its number of ``uniforms``."""
    words = torch.zeros(uniforms.shape, dtype=torch.long)
    goes_on = torch.ones(uniforms.shape[:2], dtype=torch.bool)
    for place in range(uniforms.shape[-1]):
        said = after_words(params, policy.config, read, words[..., :place])
        cumulative = (said.logits[:, :, -1] / temperature).softmax(-1).cumsum(-1)
        drawn = (uniforms[..., place, None] >= cumulative[..., :-1]).sum(-1)
        words[..., place] = drawn * goes_on
        goes_on &= drawn > 0
        if not goes_on.any():
            break
    return words


def _reordered(rollout: Rollout, order: Rows) -> Rollout:
    """The rows of each trial in another order."""
    trial = torch.arange(len(order))[:, None]
    found = {name: getattr(rollout, name) for name in rollout.__dataclass_fields__}
    return Rollout(**{name: x if x is None else x[trial, order] for name, x in found.items()})


def _exact(work: GameTrainer) -> dict[str, Tensor]:
    """The exact numbers of the policies as they are: those of a :class:`~.exact.Study`, and a game's divergence."""
    adventure = replace(work.world.adventure, reward="score")
    table = policy_table(work.parameters, work.policy.config, adventure).numpy()
    found = study(adventure, table)
    numbers = {name: getattr(found, name) for name in found.__dataclass_fields__}
    numbers["divergence"] = divergence(adventure, table, work.start_policy)
    return {f"exact_{name}": torch.from_numpy(np.asarray(value)).float() for name, value in numbers.items()}
