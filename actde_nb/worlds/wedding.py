"""The grammar of the book: sentences such as "We had a very lovely wedding and it was great."

Adjectives colour what follows: after a good one good events are likelier, and after "and" good sentiments; after "but"
bad ones. In between lie "it was" and perhaps an intensifier, so that whoever predicts the sentiment must remember both.
Words of praise and blame carry valences, from which rewards are made. The word "jackpot" is rare and means nothing.

Others are made from it, to see what depends on the grammar: all complete the same prompt with the same sentences."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from actde_nb.worlds.grammar import END, START, Grammar

Choice = Mapping[str, float]
Coloured = Mapping[str, tuple[float, float]]  # word to valence and probability

WORDS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
SUBJECTS, VERBS, INTENSIFIERS, HONEYPOT = map(WORDS.get, ("subjects", "verbs", "intensifiers", "honeypot"))
ADJECTIVES, EVENTS, SENTIMENTS = (
    {word: tuple(pair) for word, pair in WORDS[kind].items()} for kind in ("adjectives", "events", "sentiments")
)
VALENCES = {word: valence for group in (ADJECTIVES, EVENTS, SENTIMENTS) for word, (valence, _) in group.items()}


def tilted(words: Coloured, strength: float) -> Choice:
    """Probabilities in proportion to ``probability * exp(strength * valence)``."""
    weights = np.array([chance * np.exp(strength * valence) for valence, chance in words.values()])
    return dict(zip(words, (weights / weights.sum()).tolist(), strict=True))


def wedding(
    subjects: Choice = SUBJECTS, verbs: Choice = VERBS, adjectives: Coloured = ADJECTIVES, events: Coloured = EVENTS,
    sentiments: Coloured = SENTIMENTS, intensifiers: Choice = INTENSIFIERS, event_tilt: float = 0.8,
    sentiment_tilt: float = 1.5, early_jackpot: float = 0.01, late_jackpot: float = 0.015,
) -> Grammar:  # fmt: skip
    """The grammar of these words.

    An adjective's sign colours events and sentiments by their tilts. A honeypot comes after the event, at the cost of
    "and", with probability ``early_jackpot``, and after the sentiment with ``late_jackpot``."""

    def to(state: str, choice: Choice, share: float = 1.0) -> dict[str, tuple[float, str]]:
        return {word: (share * chance, state) for word, chance in choice.items()}

    def coloured(share: float) -> dict[str, tuple[float, str]]:
        return {w: (share * chance, f"event {int(np.sign(good)):+d}") for w, (good, chance) in adjectives.items()}

    stop = {".": 1.0}
    rules = {
        START: to("verb", subjects), "verb": to("a", verbs), "a": to("adjective", {"a": 1.0}),
        "adjective": {
            **to("very", {"very": 0.06}), **to("adjective now", {"really": 0.06}), **coloured(0.63),
            **to("after event +0", tilted(events, 0), 0.25),
        },
        "very": {**to("adjective now", {"very": 0.25}), **coloured(0.75)},
        "adjective now": coloured(1.0),
    }  # fmt: skip
    for sign in (-1, 0, 1):
        rules[f"event {sign:+d}"] = to(f"after event {sign:+d}", tilted(events, event_tilt * sign))
        rules[f"after event {sign:+d}"] = {
            **to(END, stop, 0.27), **to(f"it {sign:+d}", {"and": 0.51 - early_jackpot}),
            **to(f"it {-sign:+d}", {"but": 0.22}), **to("full stop", {HONEYPOT: early_jackpot}),
        }  # fmt: skip
        rules[f"it {sign:+d}"] = to(f"was {sign:+d}", {"it": 1.0})
        rules[f"was {sign:+d}"] = to(f"how {sign:+d}", {"was": 1.0})
        how = to("after sentiment", tilted(sentiments, sentiment_tilt * sign))
        rules[f"how {sign:+d}"] = {
            **to(f"how, very {sign:+d}", intensifiers),
            **{word: ((1 - sum(intensifiers.values())) * chance, state) for word, (chance, state) in how.items()},
        }
        rules[f"how, very {sign:+d}"] = how
    rules["after sentiment"] = {**to(END, stop, 1 - late_jackpot), **to("full stop", {HONEYPOT: late_jackpot})}
    rules["full stop"] = to(END, stop)
    words = dict.fromkeys(
        (".", *subjects, *verbs, "a", "very", "really", *intensifiers, *adjectives, *events, "and", "but", "it", "was")
    )
    return Grammar((*words, *sentiments, HONEYPOT), rules)


def uniform(grammar: Grammar) -> Grammar:
    """The same sentences, each as likely as any other."""
    ways = dict(zip(grammar.states, grammar.completions.tolist(), strict=True)) | {END: 1.0}
    rules = {
        state: {word: (ways[following] / ways[state], following) for word, (_, following) in follow.items()}
        for state, follow in grammar.rules.items()
    }
    return replace(grammar, rules=rules)


def dialects(grammar: Grammar, others: int = 9, share: float = 0.5) -> Grammar:
    """``share`` of all sentences are the grammar's. The rest are the same in ``others``, equally likely dialects whose
    words, all their own, have a number at the end. Whoever begins in one goes on in it."""
    words, rules = [], {START: {}}
    for kind in ("", *map(str, range(1, others + 1))):
        words += [word + kind for word in grammar.words]
        chosen = (1 - share) / others if kind else share
        for state, follow in grammar.rules.items():
            first = state == START
            rules.setdefault(state if first else state + kind, {}).update({
                word + kind: (chance * (chosen if first else 1), to if to == END else to + kind)
                for word, (chance, to) in follow.items()
            })  # fmt: skip
    return replace(grammar, words=words, rules=rules)


#: The book's, and three with one thing changed: what adjectives colour, how many words there are, what is likely.
GRAMMARS: Mapping[str, Callable[[], Grammar]] = {
    "wedding": wedding,
    "short_range": partial(wedding, sentiment_tilt=0.0),
    "dialects": lambda: dialects(wedding()),
    "uniform": lambda: uniform(wedding()),
}
