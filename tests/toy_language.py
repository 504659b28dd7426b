"""A language of six sentences, for tests that train on one."""

from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.language import Language
from actde_nb.worlds.rewards import Scorer

GRAMMAR = Grammar(
    (".", "so", "a", "b"),
    {
        START: {"so": (1.0, "first")},
        "first": {"a": (0.7, "second"), "b": (0.3, "second")},
        "second": {"a": (0.4, "stop"), "b": (0.4, "stop"), ".": (0.2, END)},
        "stop": {".": (1.0, END)},
    },
    longest=5,
)
WORLD = Language(GRAMMAR, "so", "sent", Scorer(GRAMMAR, {"a": 0.2, "b": 1.0}, (), "so"))
