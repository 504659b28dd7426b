"""What lies further back than a window."""

import math

import pytest
from actde_book.ch10_a_small_language.memory import window_losses

from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding

# "go", a coin, "so", and the coin again with probability .9.
ECHO = Grammar(
    (".", "go", "so", "a", "b"),
    {
        START: {"go": (1.0, "coin")},
        "coin": {"a": (0.5, "after a"), "b": (0.5, "after b")},
        "after a": {"so": (1.0, "echo a")},
        "after b": {"so": (1.0, "echo b")},
        "echo a": {"a": (0.9, "stop"), "b": (0.1, "stop")},
        "echo b": {"a": (0.1, "stop"), "b": (0.9, "stop")},
        "stop": {".": (1.0, END)},
    },
    longest=5,
)


def test_an_echo_by_hand():
    # One word back: after "so" the echo is a coin, which loses ln 2 - H(.9). And after "a" or "b" the reader cannot
    # tell the first from the second: "so" and "." are equally likely, ln 2 at each of two places. Two back: all known.
    h = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    found = window_losses(grow(ECHO, "go"), ECHO, 3)
    assert found[0].item() == pytest.approx(3 * math.log(2) - h)
    assert found[1:].abs().max() < 1e-12


def test_more_memory_never_hurts_and_six_words_are_enough_for_the_book():
    grammar = wedding()
    found = window_losses(grow(grammar, "We had a"), grammar, 7)
    assert (found.diff() < 1e-12).all()
    # Back to the adjective in "lovely wedding and it was very": six words; five miss it only after an intensifier.
    assert found[4] > 0.01
    assert found[5:].abs().max() < 1e-12


def test_without_tilts_nothing_need_be_remembered_past_the_conjunction():
    grammar = wedding(event_tilt=0, sentiment_tilt=0)
    found = window_losses(grow(grammar, "We had a"), grammar, 3)
    assert found[0] > 0.01  # "very" before an adjective or a sentiment
    assert found[2].abs() < 1e-12
