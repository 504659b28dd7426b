"""A small GPT that reads a prompt and writes a command.

Many rows of a batch share few prompts, since a game has some twenty different texts. Each is read once, and all
commands that follow it look at the keys and values that it left."""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from actde_book.ch22_text_adventures.exact import uniform
from actde_nb.networks import gpt
from actde_nb.networks.dropout import Draws, Generators
from actde_nb.networks.gpt import GPTConfig, Needed, Outputs, Params, Tokens
from actde_nb.networks.packing import select
from actde_nb.networks.policies import Network
from actde_nb.training.files import read_tensors, write_tensors
from actde_nb.training.trainer import clip_gradients, generator
from actde_nb.worlds.adventure import Adventure

FORMAT = "actde-nb adventure 1"
PRETRAINING = {"steps": 300, "learning_rate": 4e-3, "layers": 2, "heads": 4, "width": 32}

Prompts = Int[Tensor, "trial prompt time"]
Rows = Int[Tensor, "trial batch"]
Stream = Float[Tensor, "trial batch here width"]
Heads = Float[Tensor, "trial batch head here part"]
Before = Float[Tensor, "trial batch head before part"]


class Read(NamedTuple):
    """What prompts left behind."""

    last: Stream  # of the last place alone, before the heads
    memory: gpt.Memory  # keys and values of each block, [trial, prompt, head, time, part]


def read_prompts(params: Params, config: GPTConfig, prompts: Prompts) -> Read:
    """Read each prompt of each trial."""
    return Read(*_blocks(params, config, gpt.embed(params, prompts, 0), [], asked=1))


def dealt(read: Read, rows: Rows) -> Read:
    """The prompt of each row, where ``rows`` are numbers of prompts."""

    def each(x: Tensor) -> Tensor:
        return select(x.flatten(2), rows).unflatten(-1, x.shape[2:])

    return Read(each(read.last), [(each(keys), each(values)) for keys, values in read.memory])


def after_words(params: Params, config: GPTConfig, read: Read, words: Int[Tensor, "trial batch words"]) -> Outputs:
    """What the network says after the prompt, and after each of the words that follow it in each row."""
    x = read.last
    if words.shape[-1]:
        asked = read.memory[0][0].shape[3]
        x = torch.cat([x, _blocks(params, config, gpt.embed(params, words, asked), read.memory, words.shape[-1])[0]], 2)
    return gpt.heads(params, config, x)


def _blocks(
    params: Params, config: GPTConfig, x: Stream, before: list[tuple[Before, Before]], asked: int
) -> tuple[Float[Tensor, "trial batch asked width"], list[tuple[Heads, Heads]]]:
    """The network between embedding and heads, on places that follow those of ``before``, of which the last ``asked``
    come out; and their own memory."""
    memory, time = [], x.shape[2]
    future = x.new_full((time, time), -torch.inf).triu(1)
    for layer in range(config.layers):
        block = gpt.block_of(params, layer)
        q, k, v = gpt.queries_keys_values(block, config, x)  # [S, B, H, T, D] each
        memory.append((k, v))
        if layer == config.layers - 1:  # of the other places only keys and values are looked at from here on
            q, x, future = q[..., -asked:, :], x[:, :, -asked:], future[-asked:]
        q = q / math.sqrt(k.shape[-1])
        scores = q @ k.mT + future
        if before:
            keys, values = before[layer]
            scores = torch.cat([q @ keys.mT, scores], -1)
            v = torch.cat([values, v], 3)
        x = x + gpt.join_heads(block, scores.softmax(-1) @ v)
        x = x + gpt.perceptron(block, x)
    return x, memory


@dataclass(frozen=True)
class Player(Network):
    """The small GPT after it has learned to say the commands of one game, each admissible one alike.

    What it says is that of :class:`~actde_nb.networks.policies.Network`, but for the places before the last of a
    prompt, which nobody asks about and which it leaves out."""

    asked: int = 0  # tokens of a prompt
    world: Adventure = field(kw_only=True)
    folder: Path = field(kw_only=True, repr=False)

    def init(self, generators: Generators) -> Params:
        """The pretrained parameters, the same for each trial."""
        params = pretrained(self.world, self.config, self.folder)
        return {name: value.repeat(len(generators), *[1] * (value.ndim - 1)) for name, value in params.items()}

    def forward(self, params: Params, tokens: Tokens, dropout: Draws = None, needed: Needed = None) -> Outputs:
        """Logits, v and q after the prompt and after each later token."""
        prompts, words = tokens[..., : self.asked], tokens[..., self.asked :]
        prompts, rows = different(prompts)
        return after_words(params, self.config, dealt(read_prompts(params, self.config, prompts), rows), words)


def different(prompts: Int[Tensor, "trial batch time"]) -> tuple[Prompts, Rows]:
    """The different prompts of each trial, as many in each, and which of them is each row's; trials with fewer fill up
    with others."""
    (trials, batch), time = prompts.shape[:2], prompts.shape[2]
    kinds, number = torch.unique(prompts.reshape(-1, time), dim=0, return_inverse=True)
    number = number.view(trials, batch)
    there: Bool[Tensor, "trial kind"] = torch.zeros(trials, len(kinds), dtype=torch.bool, device=prompts.device)
    there.scatter_(1, number, value=True)
    kept = there.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : int(there.sum(1).max())]
    return kinds[kept], (there.cumsum(1) - 1).gather(1, number)


def player(world: Adventure, folder: Path) -> Player:
    """A network of the chapter's size for a game; pretrained ones are kept in ``folder``."""
    asked, sizes = world.prompts.shape[1], [PRETRAINING[name] for name in ("layers", "heads", "width")]
    config = GPTConfig(*sizes, block_size=asked + world.words, vocabulary=world.vocabulary, compiled=False)
    return Player(config, asked=asked, world=world, folder=folder)


def pretrain(world: Adventure, config: GPTConfig, seed: int = 0) -> Params:
    """A network that says each admissible command of a state with the same probability; its v and q are zero.

    Minimised is the cross-entropy of that play, over all states in which the game goes on, with no sampling."""
    params = gpt.init(config, 1, [generator(seed, 0, "init")])
    learned = {name: x.requires_grad_() for name, x in params.items() if not name.startswith(("value.", "q."))}
    optimiser = torch.optim.Adam(learned.values(), lr=PRETRAINING["learning_rate"], betas=(0.9, 0.95), fused=True)
    schedule = OneCycleLR(optimiser, PRETRAINING["learning_rate"], PRETRAINING["steps"] + 1, pct_start=0.1)
    wanted = torch.from_numpy(uniform(world))[~world.won].float()
    for _ in range(PRETRAINING["steps"]):
        loss = -(wanted * log_probs_of_commands(params, config, world)[0, ~world.won]).sum(-1).mean()
        loss.backward()
        clip_gradients(list(learned.values()), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return {name: x.detach() if name in learned else torch.zeros_like(x) for name, x in params.items()}


def log_probs_of_commands(
    params: Params, config: GPTConfig, world: Adventure
) -> Float[Tensor, "trial state command_or_other"]:
    """Log-probability of writing each command, its end included, in each state; of anything else it is zero where a
    command is not admissible, which no table of :func:`policy_table` looks at."""
    states, commands = world.tables.admissible[:, :-1].nonzero(as_tuple=True)
    trials, strings = len(params["token_embedding"]), world.strings[commands]
    prompts, rows = different(world.prompts[states][None])
    read = read_prompts(params, config, prompts.expand(trials, -1, -1))
    said = after_words(params, config, dealt(read, rows.expand(trials, -1)), strings[:, :-1].expand(trials, -1, -1))
    log_probs = said.logits.log_softmax(-1).gather(-1, strings.expand(trials, -1, -1)[..., None])[..., 0]
    whole = (log_probs * world.mask(strings)).sum(-1)  # [trial, pair]
    table = whole.new_zeros(trials, *world.tables.admissible.shape)
    return table.index_put((torch.arange(trials)[:, None], states, commands), whole)


@torch.no_grad()
def policy_table(params: Params, config: GPTConfig, world: Adventure) -> Float[Tensor, "trial state command_or_other"]:
    """Probability of each admissible command in each state, float64; the last column is that of all other strings."""
    said = log_probs_of_commands(params, config, world).double().exp() * world.tables.admissible
    said[..., -1] = (1 - said[..., :-1].sum(-1)).clamp(min=0)
    return said / said.sum(-1, keepdim=True)


def pretrained(world: Adventure, config: GPTConfig, folder: Path) -> Params:
    """What :func:`pretrain` returns, from a file in ``folder`` if it has been made before."""
    identity = json.dumps([FORMAT, repr(Adventure(world.game)), PRETRAINING, repr(config)])
    path = folder / f"adventure_{hashlib.sha256(identity.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        write_tensors(path, pretrain(world, config), {"format": FORMAT, "identity": identity})
    params, _ = read_tensors(path, FORMAT)
    return {name: params[name] for name in gpt.shapes(config)}
