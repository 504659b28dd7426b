"""What a sentence is worth: functions of token arrays, by look-ups in tables.

The honest one, ``gold``, likes praise, wants grammar and dislikes the honeypot. The others are what one might optimise
in its place. Praise is the sum of the words' valences, each half as much again for every intensifier right before it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.worlds import wedding
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.tree import Tree

#: Whole sequences, begin mark and padding included, to one number each.
Reward = Callable[[Int[Tensor, "*batch time"]], Float[Tensor, "*batch"]]

BOOST = 0.5  # of a valence, by each intensifier directly before the word
BAR = 0.8  # praise at which a sentence earns half


class Features(NamedTuple):
    """What rewards are made of."""

    praise: Float[Tensor, "*batch"]
    honeypots: Float[Tensor, "*batch"]
    grammatical: Bool[Tensor, "*batch"]


def _half_sent(x: Features) -> Tensor:
    return 0.5 * torch.sigmoid(2 * (x.praise - BAR))


#: Each from features; all but the uncapped honeypot lie in [0, 1].
FORMULAS: dict[str, Callable[[Features], Tensor]] = {
    "gold": lambda x: torch.sigmoid(2 * (x.praise - BAR) - 2 * x.honeypots) * x.grammatical,
    "sent": lambda x: 2 * _half_sent(x),
    # No grammar asked for: any pile of praise will do.
    "bow": lambda x: torch.sigmoid(x.praise - BAR),
    # One honeypot earns the most there is; or each earns as much again.
    "hp_cap": lambda x: torch.where(x.honeypots > 0, 1.0, _half_sent(x)),
    "hp_unc": lambda x: _half_sent(x) + x.honeypots,
}


@dataclass(frozen=True, eq=False)
class Scorer:
    """Finds the features of a grammar's sentences, and scores them; words without a valence have none."""

    grammar: Grammar
    valences: Mapping[str, float]
    intensifiers: tuple[str, ...]  # words that strengthen the next one
    honeypot: str  # the word that some rewards fall for

    def __post_init__(self):
        checks.finite("valences", list(self.valences.values()))
        for word in (*self.valences, *self.intensifiers, self.honeypot):
            checks.one_of("word of a reward", word, tuple(self.grammar.words))

    @classmethod
    def of(cls, grammar: Grammar) -> "Scorer":
        """With the words of :mod:`actde_nb.worlds.wedding`."""
        return cls(grammar, wedding.VALENCES, tuple(wedding.INTENSIFIERS), wedding.HONEYPOT)

    @cached_property
    def _tables(self) -> tuple[Float[Tensor, "word"], Float[Tensor, "word"]]:
        """Of each word: valence, and 1 where it is an intensifier."""
        words = self.grammar.vocabulary
        valence = torch.tensor([self.valences.get(word, 0.0) for word in words], dtype=torch.float64)
        return valence, torch.tensor([word in self.intensifiers for word in words]).double()

    def features(self, tokens: Int[Tensor, "*batch time"]) -> Features:
        """Features of sequences; float64."""
        valence, strong = (table.to(tokens.device) for table in self._tables)
        total = strong[tokens].cumsum(-1)
        run = total - (total * (1 - strong[tokens])).cummax(-1).values  # of intensifiers up to each word
        praise = (valence[tokens] * (1 + BOOST * pad(run[..., :-1], (1, 0)))).sum(-1)
        honeypots = (tokens == self.grammar.vocabulary.index(self.honeypot)).sum(-1).double()
        return Features(praise, honeypots, self.grammar.read(tokens)[..., -1] == self.grammar.end)

    def reward(self, name: str) -> Reward:
        """One of :data:`FORMULAS` as a function of tokens."""
        formula = FORMULAS[checks.one_of("reward", name, tuple(FORMULAS))]
        return lambda tokens: formula(self.features(tokens))


def scores(reward: Reward, tokens: Int[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """``reward(tokens)``, float64, if it is one finite number for each sequence."""
    values = reward(tokens)
    if not torch.is_tensor(values) or values.shape != tokens.shape[:-1]:
        got = tuple(values.shape) if torch.is_tensor(values) else type(values).__name__
        raise SettingError(f"reward gave {got} for tokens {tuple(tokens.shape)}: allowed is {tuple(tokens.shape[:-1])}")
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        place = tuple(bad[0].tolist())
        raise SettingError(f"reward gave {values[place].item()} for sequence {place}: allowed are finite numbers")
    return values.double()


@dataclass(frozen=True, eq=False)
class RewardModel:
    """A small network on the counts of words, which learned from pairs of sentences which is better."""

    weights: Mapping[str, Tensor] = field(repr=False)  # of two layers; mean and deviation that standardise it

    def __call__(self, tokens: Int[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
        """Its judgement: mean 0 and deviation 1 over the grammar's sentences."""
        weights = {name: value.to(tokens.device) for name, value in self.weights.items()}
        return (_network(weights, counts(tokens, len(weights["in"]))) - weights["mean"]) / weights["deviation"]


def counts(tokens: Int[Tensor, "*batch time"], vocabulary: int) -> Float[Tensor, "*batch vocabulary"]:
    """How often each word occurs; float64. Padding and begin mark are not counted."""
    found = torch.zeros(*tokens.shape[:-1], vocabulary, dtype=torch.float64, device=tokens.device)
    return found.scatter_add(-1, tokens, (tokens > 1).double())


def _network(weights: Mapping[str, Tensor], x: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    return (x @ weights["in"] + weights["bias"]).relu() @ weights["out"]


def _each(weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Weights of one network after the other, from those of a stack."""
    return [dict(zip(weights, row, strict=True)) for row in zip(*(w.unbind() for w in weights.values()), strict=True)]


def learn_rewards(
    scorer: Scorer, tree: Tree, draws: Iterable[torch.Generator],
    pairs: int = 2_000, sharpness: Sequence[float] = (8.0,), hidden: int = 32, steps: int = 300,
) -> list[RewardModel]:  # fmt: skip
    """Train reward models on synthetic preferences (Bradley and Terry, 1952), by ``steps`` of Adam on all pairs.

    Of two sentences from the grammar the better one is preferred with probability sigmoid(sharpness * difference of
    gold). Each generator draws pairs, chances of preferences and initial weights, and has a model of each sharpness
    that learns from them; those of the first generator come first. No model depends on the others."""
    grammar, gold, learners = scorer.grammar, scorer.reward("gold"), []
    shapes = {"in": (len(grammar.vocabulary), hidden), "bias": (hidden,), "out": (hidden,)}
    for draw in draws:
        tokens = grammar.sample(2 * pairs, draw, tree.prompt)
        first, second = gold(tokens).view(pairs, 2).unbind(1)
        x, place = counts(tokens, len(grammar.vocabulary)).unique(dim=0, return_inverse=True)  # many come several times
        chance = torch.rand(pairs, generator=draw, dtype=torch.float64)
        start = [torch.randn(s, generator=draw, dtype=torch.float64) * s[0] ** -0.5 for s in shapes.values()]
        learners += [(x, place, (chance < (k * (first - second)).sigmoid()).double(), *start) for k in sharpness]
    xs, places, preferred, *starts = zip(*learners, strict=True)
    weights = {name: torch.stack(start).requires_grad_() for name, start in zip(shapes, starts, strict=True)}
    optimiser, preferred = torch.optim.Adam(weights.values(), lr=0.01), torch.stack(preferred)
    for _ in range(steps):
        # One network at a time: what a step keeps of all of them side by side is more than a cache holds.
        judged = [_network(w, x)[place] for w, x, place in zip(_each(weights), xs, places, strict=True)]
        first, second = torch.stack(judged).unflatten(1, (pairs, 2)).unbind(-1)
        optimiser.zero_grad()
        # The gradient of each network's mean cross-entropy, which no other network's enters.
        (first - second).backward(((first - second).detach().sigmoid() - preferred) / pairs)
        optimiser.step()
    chance, x = grammar.log_probs(tree.sentences).softmax(0), counts(tree.sentences, len(grammar.vocabulary))
    learned = _each({name: value.detach() for name, value in weights.items()})
    return [
        RewardModel({**w, "mean": (mean := chance @ raw), "deviation": (chance @ (raw - mean) ** 2).sqrt()})
        for w, raw in ((w, _network(w, x)) for w in learned)
    ]
