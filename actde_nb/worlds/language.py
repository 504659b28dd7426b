"""Completing a prompt, as a world of the training loop: a reward at the end of each sentence."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb.worlds import Moves, Said, Statistics
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.rewards import FORMULAS, Reward, Scorer, scores
from actde_nb.worlds.tree import LIMIT, Tree, grow
from actde_nb.worlds.wedding import wedding

STRAYS = 1_000  # random strings of words, most of them no sentences, whose rewards are part of a world's identity
MEASURES = ("reward", "gold", "honeypots", "grammatical", "length", "distinct")


@dataclass(frozen=True, eq=False)
class Language:
    """The :class:`~actde_nb.worlds.World` of sentences that begin with a prompt, ``limit`` nodes of a tree at most.

    The reward is one of :data:`~actde_nb.worlds.rewards.FORMULAS`, with the scorer's valences and honeypot (by default
    those of the book's words), or a function of tokens."""

    grammar: Grammar = field(default_factory=wedding)
    prompt: str = "We had a"
    reward: str | Reward = "gold"
    scorer: Scorer | None = None
    limit: int = LIMIT

    continues = False
    labels = {"sentence": ("measure", MEASURES)}

    def __post_init__(self):
        if self.scorer is None:
            object.__setattr__(self, "scorer", Scorer.of(self.grammar))
        self.worth(self.tree.sentences)

    @cached_property
    def identity(self) -> str:
        """Prompt, and a hash of grammar, scorer and what is paid for every sentence and for some that are none."""
        strays = torch.randint(self.vocabulary, (STRAYS, self.words), generator=torch.Generator().manual_seed(0))
        strays = self.grammar.trim(torch.cat([self.tree.prompt.expand(STRAYS, -1), strays], 1))[0]
        paid = torch.cat([self.worth(self.tree.sentences), self._reward(strays).double()])
        grammar, scorer = self.grammar, self.scorer
        known = [
            list(grammar.words), grammar.rules, grammar.longest, self.prompt,
            dict(scorer.valences), scorer.intensifiers, scorer.honeypot,
        ]  # fmt: skip
        # Rounded, since the last digits of exp and sigmoid are not the same on every processor.
        told = hashlib.sha256(json.dumps(known).encode() + (paid.round(decimals=9) + 0.0).numpy().tobytes())
        return f"Language({self.prompt!r}, {told.hexdigest()[:16]})"

    def __repr__(self) -> str:
        return self.identity

    @property
    def _reward(self) -> Reward:
        return self.scorer.reward(self.reward) if isinstance(self.reward, str) else self.reward

    @cached_property
    def tree(self) -> Tree:
        """All sentences."""
        return grow(self.grammar, self.prompt, self.limit)

    @property
    def vocabulary(self) -> int:
        """Number of words, with the padding and the begin mark."""
        return len(self.grammar.vocabulary)

    @property
    def words(self) -> int:
        """Most words that complete a sentence; what a rollout should draw."""
        return len(self.tree.levels) - 1

    def worth(self, tokens: Int[Tensor, "*batch moves"]) -> Float[Tensor, "*batch"]:
        """Reward of each sequence, whose end must be padded; float64."""
        return scores(self._reward, tokens)

    def start(self, uniforms: Float[Tensor, "trial batch"]) -> Int[Tensor, "trial batch prompt"]:
        """The prompt, in every sequence."""
        return self.tree.prompt.to(uniforms.device).expand(*uniforms.shape, -1)

    def mask(self, tokens: Moves) -> Bool[Tensor, "trial batch time"]:
        """Whether each token after the prompt still belongs to the sentence."""
        return self.grammar.trim(tokens)[1][..., len(self.tree.prompt) :]

    def rewards(self, tokens: Moves) -> Float[Tensor, "trial batch time"]:
        """The sentence's worth at its last token, zero before and after; float64."""
        trimmed, asked = self.grammar.trim(tokens)
        last = (asked.long().cumsum(-1) == asked.sum(-1, keepdim=True)) & asked
        return (self.worth(trimmed)[..., None] * last)[..., len(self.tree.prompt) :]

    def legal(self, tokens: Int[Tensor, "*batch moves"]) -> Bool[Tensor, "*batch moves vocabulary"]:
        """Which tokens the grammar allows after each."""
        return (self.grammar.chances > 0).to(tokens.device)[self.grammar.read(tokens)]

    def statistics(self, tokens: Moves, logits: Said, q: Said) -> Statistics:
        """Means over sentences: reward, gold, honeypots, share grammatical, words after the prompt; share distinct."""
        trimmed, asked = self.grammar.trim(tokens)
        features = self.scorer.features(trimmed)
        measures = [
            self.worth(trimmed).mean(1), FORMULAS["gold"](features).mean(1), features.honeypots.mean(1),
            features.grammatical.double().mean(1), asked[..., len(self.tree.prompt) :].sum(-1).double().mean(1),
            torch.stack([torch.tensor(len(trial.unique(dim=0)) / len(trial)) for trial in trimmed]).to(features.praise),
        ]  # fmt: skip
        return {"sentence": torch.stack(measures, -1)}
