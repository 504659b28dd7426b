"""The way to a sentence, node by node."""

import pytest
from actde_book.ch10_a_small_language.on_the_tree import sentence_path

from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.tree import grow

TOY = Grammar(
    (".", "a", "b"),
    {
        START: {"a": (1.0, "after")},
        "after": {"a": (0.5, "stop"), "b": (0.3, "more"), ".": (0.2, END)},
        "more": {"b": (2 / 3, "stop"), ".": (1 / 3, END)},
        "stop": {".": (1.0, END)},
    },
    longest=4,
)


# Level 1 after "a": ".", "a", "b". Level 2: "a .", then "b .", "b b". Level 3: "b b .".
@pytest.mark.parametrize(("text", "path"), [("a b b.", [0, 3, 6, 7]), ("a b.", [0, 3, 5]), ("a.", [0, 1])])
def test_the_path_to_a_sentence(text, path):
    assert sentence_path(grow(TOY, "a"), TOY, text).tolist() == path
