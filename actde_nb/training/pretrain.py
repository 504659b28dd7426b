"""Teach a network a grammar, from the grammar's own probabilities instead of samples of them.

At every position of sampled sentences the target is the whole distribution of the next word. What is minimised is then
the divergence itself, without the noise of which word happened to come: a few hundred steps bring it near zero."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot
from torch.optim.lr_scheduler import OneCycleLR

from actde_nb import checks
from actde_nb.checks import CheckpointError, Diverged, SettingError
from actde_nb.networks import gpt
from actde_nb.networks.policies import Generators, Network
from actde_nb.training.files import read_tensors, write_tensors
from actde_nb.training.trainer import clip_gradients, generator
from actde_nb.worlds.grammar import Grammar

FORMAT = "actde-nb pretrained 2"
#: Raised by hand when a change of the code makes other networks of the same arguments: other draws of sentences or
#: weights, another loss, schedule or forward pass. Files of an older version are then not found, and made anew.
VERSION = 1
#: Widths of the three sizes; with two layers about 27, 107 and 400 thousand parameters without the heads of v and q.
WIDTHS = {"small": 32, "medium": 64, "large": 128}

Words = Int[Tensor, "trial batch time"]


def network(grammar: Grammar, size: str = "medium") -> gpt.GPTConfig:
    """Size of a network for a grammar; ``size`` is one of :data:`WIDTHS`."""
    width = WIDTHS[checks.one_of("size", size, tuple(WIDTHS))]
    return gpt.GPTConfig(2, 4, width, block_size=grammar.longest + 1, vocabulary=len(grammar.vocabulary))


@dataclass(frozen=True)
class Pretraining:
    """How to pretrain; the learning rate rises to its highest over a tenth of the steps and falls like a cosine."""

    steps: int = 400  # of Adam
    batch: int = 64  # sentences in each
    learning_rate: float = 4e-3
    gradient_clip: float = 1.0  # largest norm of a network's gradient
    seed: int = 0

    def __post_init__(self):
        for name, least in (("steps", 1), ("batch", 1), ("seed", 0)):
            checks.whole(name, getattr(self, name), least)
        for name in ("learning_rate", "gradient_clip"):
            checks.positive(name, getattr(self, name))


def divergence(
    logits: Float[Tensor, "trial batch time token"], tokens: Words, grammar: Grammar, following: Words | None = None
) -> Float[Tensor, "trial"]:
    """Mean of KL(grammar || network) over the positions that ask for a word, in nats a token.

    ``tokens`` are beginnings of sentences, begin mark first, padding at the end. Where ``following`` words are
    given, these are the target, and the divergence is the cross-entropy."""
    states = grammar.read(tokens)
    target = grammar.chances[states] if following is None else one_hot(following, logits.shape[-1])
    target = target.to(logits)
    gap = (torch.xlogy(target, target) - target * logits.log_softmax(-1)).sum(-1)
    asked = (states < grammar.end).to(gap.dtype)
    return (gap * asked).sum((1, 2)) / asked.sum((1, 2))


def pretrain(
    grammar: Grammar, config: gpt.GPTConfig, settings: Pretraining = Pretraining(), trials: int = 1,
    targets: Literal["soft", "hard"] = "soft", watch: Callable[[Float[Tensor, "trial"]], None] = lambda _: None,
) -> gpt.Params:  # fmt: skip
    """Networks that speak the grammar, each from its own seed; their v and q are zero everywhere.

    The target is the grammar's probabilities of the next word, or, ``"hard"``, the word that came, of the same
    sentences. ``watch`` gets each step's divergence from the grammar in nats a word, on sentences not yet seen."""
    for size, least in (("vocabulary", len(grammar.vocabulary)), ("block_size", grammar.longest)):
        if getattr(config, size) < least:
            raise SettingError(f"{size} = {getattr(config, size)}: allowed are {least} or more for this grammar")
    params = gpt.init(config, trials, [generator(settings.seed, trial, "init") for trial in range(trials)])
    draws = [generator(settings.seed, trial, "play") for trial in range(trials)]
    critic = [name for name in params if name.startswith(("value.", "q."))]
    learned = {name: value.requires_grad_() for name, value in params.items() if name not in critic}
    optimiser = torch.optim.Adam(learned.values(), lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
    rate, steps = settings.learning_rate, settings.steps + 1
    schedule = OneCycleLR(optimiser, rate, steps, pct_start=0.1, cycle_momentum=False)
    for step in range(settings.steps):
        sentences = torch.stack([grammar.sample(settings.batch, draw) for draw in draws])
        tokens, following = sentences[..., :-1], sentences[..., 1:]
        logits = gpt.forward(params, config, tokens).logits
        away = divergence(logits, tokens, grammar)
        watch(away.detach())
        losses = away if targets == "soft" else divergence(logits, tokens, grammar, following)
        if not losses.isfinite().all():
            raise Diverged(f"pretraining step {step}: losses are {losses.tolist()}")
        losses.sum().backward()
        clip_gradients(list(learned.values()), settings.gradient_clip)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return {name: torch.zeros_like(value) if name in critic else value.detach() for name, value in params.items()}


def pretrained(
    grammar: Grammar, config: gpt.GPTConfig, settings: Pretraining, folder: Path, trials: int = 1
) -> gpt.Params:
    """What :func:`pretrain` returns, from a file in ``folder`` if it has been made before.

    The file's name is a hash of all that decides what is in it: the arguments and :data:`VERSION`."""
    said = [list(grammar.words), grammar.rules, grammar.longest, asdict(config), asdict(settings), trials]
    wanted = json.dumps([FORMAT, VERSION, *said])
    path = folder / f"{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        params = pretrain(grammar, config, settings, trials)
        write_tensors(path, params, {"format": FORMAT, "identity": wanted})
        return params
    try:
        params, header = read_tensors(path, FORMAT)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete it") from None
    if header["identity"] != wanted:
        raise CheckpointError(f"{path} does not hold what its name says; delete it")
    return {name: params[name] for name in gpt.shapes(config)}  # in the order of those just made


@dataclass(frozen=True, kw_only=True)
class PretrainedGPT(Network):
    """A small GPT that speaks a grammar to begin with; every trial starts from the same one."""

    grammar: Grammar
    settings: Pretraining = Pretraining()
    folder: Path = field(repr=False)  # of pretrained networks; the numbers do not depend on where they lie

    def init(self, generators: Generators) -> gpt.Params:
        """The pretrained parameters, the same for each trial."""
        # Which gradients reach the trunk does not matter for what it knows.
        taught = replace(self.config, detach_heads=False)
        params = pretrained(self.grammar, taught, self.settings, self.folder)
        return {name: value.repeat(len(generators), *[1] * (value.ndim - 1)) for name, value in params.items()}
