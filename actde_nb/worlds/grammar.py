"""A finite-state probabilistic grammar: a language whose every number can be known.

A word leads from a state to one state only, so that a sentence's words determine its states and its probability is a
product. States are memory: what the start of a sentence does to its end is remembered in the state in between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from actde_nb import checks
from actde_nb.checks import SettingError

START, END = "start", "end"
PerState = Float[Tensor, "state"]
Sequences = Int[Tensor, "*batch time"]

#: Fills up sequences after the end of a sentence; begins every sequence.
PAD, BEGIN = "<pad>", "<bos>"


@dataclass(frozen=True, eq=False)
class Grammar:
    """Words and rules, checked, and as tables ``[state, token]``.

    Tokens are positions in ``vocabulary``, which is the padding, the begin mark, then ``words``. Two states are added
    to those of the rules: :data:`END`, after a whole sentence, where only padding follows, and one more, the last, for
    sequences that are not the start of any sentence.

    ``rules`` has for each state, for each word that may follow, its probability and the next state. Sentences begin in
    the state ``"start"`` and are whole in the state ``"end"``, which has no rule, after ``longest`` words at most."""

    words: Sequence[str]
    rules: Mapping[str, Mapping[str, tuple[float, str]]]
    longest: int = 15

    def __post_init__(self):
        checks.whole("longest", self.longest)
        for word in self.words:
            if not word or word.split() != [word] or word in (PAD, BEGIN) or list(self.words).count(word) > 1:
                raise SettingError(
                    f"words has {word!r}: allowed are words without spaces, each once, none {PAD} or {BEGIN}"
                )
        if START not in self.rules or END in self.rules:
            found = ", ".join(self.rules)
            raise SettingError(f"rules has states {found}: allowed are sets with {START!r}, without {END!r}")
        for state, follow in self.rules.items():
            checks.probabilities(f"rules[{state!r}]", [chance for chance, _ in follow.values()])
            for word, (_, following) in follow.items():
                checks.one_of(f"word in rules[{state!r}]", word, tuple(self.words))
                checks.one_of(f"state after rules[{state!r}][{word!r}]", following, (*self.rules, END))
        linked = self._links > 0
        reached = torch.eye(len(linked), dtype=torch.bool)
        for _ in self.rules:  # every path visits each state once at most before it repeats itself
            reached |= (reached.double() @ linked.double()) > 0
        for number, state in enumerate(self.rules):
            problem = f"rules has {state!r}, "
            if not reached[self.states.index(START), number]:
                raise SettingError(f"{problem}which no sentence reaches: allowed are states after {START!r}")
            if not reached[number, self.end]:
                raise SettingError(f"{problem}from which no sentence ends: allowed are states before {END!r}")
        now = torch.arange(len(linked)) == self.states.index(START)
        for _ in range(self.longest):
            now = (now.double() @ linked.double() > 0) & (torch.arange(len(linked)) < self.end)
        if now.any():
            raise SettingError(
                f"rules allow sentences that are still in {self.states[int(now.nonzero()[0])]!r} after longest = "
                f"{self.longest} words: allowed are sentences that have ended by then"
            )

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        return (PAD, BEGIN, *self.words)

    @cached_property
    def states(self) -> tuple[str, ...]:
        """Names of the states, those of the rules first, then the end, then what is not in the language."""
        return (*self.rules, END, "nowhere")

    @property
    def end(self) -> int:
        """Number of the state after a whole sentence."""
        return len(self.states) - 2

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        chances = torch.zeros(len(self.states), len(self.vocabulary), dtype=torch.float64)
        successors = torch.full(chances.shape, len(self.states) - 1)
        number = {state: i for i, state in enumerate(self.states)}
        for state, follow in self.rules.items():
            for word, (chance, following) in follow.items():
                chances[number[state], self.vocabulary.index(word)] = chance
                successors[number[state], self.vocabulary.index(word)] = number[following]
        chances[self.end :, 0], successors[self.end, 0] = 1.0, self.end
        return chances, successors

    @property
    def chances(self) -> Float[Tensor, "state token"]:
        """Probability of each next token; float64."""
        return self._tables[0]

    @property
    def successors(self) -> Int[Tensor, "state token"]:
        """State after each next token."""
        return self._tables[1]

    @cached_property
    def _links(self) -> Float[Tensor, "state state"]:
        """Number of words from each state to each other, padding aside."""
        links = torch.zeros(len(self.states), len(self.states), dtype=torch.float64)
        rows, tokens = (self.chances[: self.end] > 0).nonzero(as_tuple=True)
        return links.index_put((rows, self.successors[rows, tokens]), torch.ones((), dtype=torch.float64), True)

    def _recursion(self, local: PerState, weights: Float[Tensor, "state token"]) -> PerState:
        """Solve ``x[s] = local[s] + sum over tokens of weights[s, a] x[next(s, a)]``, with ``x`` zero at the end."""
        end, links = self.end, torch.zeros(self.end, len(self.states), dtype=torch.float64)
        links.scatter_add_(1, self.successors[:end], weights[:end])
        solved = torch.linalg.solve(torch.eye(end, dtype=torch.float64) - links[:, :end], local[:end])
        return torch.cat([solved, torch.zeros(2, dtype=torch.float64)])

    @cached_property
    def entropy(self) -> PerState:
        """Entropy in nats of what completes a sentence, from each state on."""
        return self._recursion(-torch.xlogy(self.chances, self.chances).sum(1), self.chances)

    @cached_property
    def mean_length(self) -> PerState:
        """Expected number of words that complete a sentence, from each state on."""
        return self._recursion(torch.ones(len(self.states), dtype=torch.float64), self.chances)

    @cached_property
    def completions(self) -> PerState:
        """Number of ways to complete a sentence, from each state on."""
        return self._recursion(self._links[:, self.end], (self.chances > 0).double())

    @cached_property
    def beginnings(self) -> PerState:
        """Number of unfinished beginnings of those completions, the empty one among them."""
        return self._recursion(torch.ones(len(self.states), dtype=torch.float64), (self.chances > 0).double())

    def encode(self, text: str, field: str = "text") -> Int[Tensor, "time"]:
        """Tokens of a text, after the begin mark; full stops may touch the word before. Errors call it ``field``."""
        words = text.replace(".", " . ").split()
        for word in words:
            if word not in self.words:
                raise SettingError(f"{field} = {text!r} has the word {word!r}: allowed are {', '.join(self.words)}")
        return torch.tensor([self.vocabulary.index(word) for word in (BEGIN, *words)])

    def decode(self, tokens: Int[Tensor, "time"]) -> str:
        """The words, without begin mark and padding."""
        return " ".join(self.vocabulary[token] for token in tokens.tolist() if token > 1).replace(" .", ".")

    def read(self, tokens: Sequences) -> Sequences:
        """State after each token of sequences that begin with the begin mark."""
        successors = self.successors.to(tokens.device)
        start = torch.tensor([len(self.states) - 1, self.states.index(START)], device=tokens.device)
        states = [start[(tokens[..., 0] == 1).long()]]
        for token in tokens.unbind(-1)[1:]:
            states.append(successors[states[-1], token])
        return torch.stack(states, -1)

    def trim(self, tokens: Sequences) -> tuple[Sequences, Bool[Tensor, "*batch time"]]:
        """Sequences of any words, padded after their end; and whether a word was still asked for at each place.

        A sequence ends where its sentence is whole. One that has left the language ends with the next word that ends
        sentences, or with padding."""
        endings = self._endings.to(tokens.device)
        states = [self.read(tokens[..., :1])[..., 0]]
        for token in tokens.unbind(-1)[1:]:
            states.append(endings[states[-1], token])
        over = pad(torch.stack(states[:-1], -1) == self.end, (1, 0)) if len(states) > 1 else tokens != tokens
        return torch.where(over, 0, tokens), ~over

    @cached_property
    def _endings(self) -> Int[Tensor, "state token"]:
        """State after each next token, for sequences that end once and for all, be it outside the language."""
        closing = (self.successors[: self.end] == self.end).any(0).index_fill(0, torch.tensor([0]), True)
        endings = torch.where((self.successors > self.end) & closing, self.end, self.successors)
        endings[self.end] = self.end
        return endings

    def log_probs(self, tokens: Sequences) -> Float[Tensor, "*batch"]:
        """Log-probability, in nats, of sequences as whole sentences; minus infinity for what is none. Float64."""
        states = self.read(tokens)
        steps = self.chances.to(tokens.device)[states[..., :-1], tokens[..., 1:]].log()
        return torch.where(states[..., -1] == self.end, steps.sum(-1), -torch.inf)

    def sample(
        self, count: int, generator: torch.Generator, after: Int[Tensor, "prompt"] | None = None
    ) -> Int[Tensor, "{count} {self.longest}+1"]:
        """Draw sentences: begin mark, words, padding. All begin with ``after``, by default the begin mark alone."""
        tokens = (self.encode("") if after is None else after).expand(count, -1)
        state, tokens = self.read(tokens)[:, -1], list(tokens.unbind(1))
        cumulative = self.chances.cumsum(1)
        # The last word takes what rounding left.
        cumulative[self.chances.flip(1).cumsum(1).flip(1) == self.chances] = 1.0
        for draws in torch.rand(self.longest + 1 - len(tokens), count, generator=generator, dtype=torch.float64):
            tokens.append((draws[:, None] >= cumulative[state]).sum(1))
            state = self.successors[state, tokens[-1]]
        return torch.stack(tokens, 1)
