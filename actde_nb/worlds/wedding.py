"""The grammar of the book: sentences such as "We had a very lovely wedding and it was great."

Adjectives colour what follows: after a good one good events are likelier, and after "and" good sentiments; after "but"
bad ones. In between lie "it was" and perhaps an intensifier, so that whoever predicts the sentiment must remember both.
Words of praise and blame carry valences, from which rewards are made. The word "jackpot" is rare and means nothing."""

from collections.abc import Mapping
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
