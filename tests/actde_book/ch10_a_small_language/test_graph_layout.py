"""A grammar as a graph."""

import pytest
from actde_book.ch10_a_small_language.graph_layout import arrows, places, rows, visits, way

from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.wedding import wedding

# start -a-> left, start -b,c-> right; left -a-> right or ends; right ends.
TOY = Grammar(
    (".", "a", "b", "c"),
    {
        START: {"a": (0.5, "left"), "b": (0.2, "right"), "c": (0.3, "right")},
        "left": {"a": (0.4, "right"), ".": (0.6, END)},
        "right": {".": (1.0, END)},
    },
    longest=3,
)


def test_visits_by_hand():
    # right: .5 at once, .5 * .4 by way of left.
    assert visits(TOY).tolist() == pytest.approx([1, 0.5, 0.7, 1, 0])


def test_visits_make_up_the_mean_length():
    grammar = wedding()
    assert visits(grammar)[: grammar.end].sum().item() == pytest.approx(grammar.mean_length[0].item())
    assert visits(grammar)[grammar.end].item() == pytest.approx(1)


def test_arrows_by_hand():
    found = {(arrow.start, arrow.end): arrow for arrow in arrows(TOY)}
    assert list(found) == [
        (START, "left"), (START, "right"), ("left", "right"), ("left", END), ("right", END)
    ]  # fmt: skip
    both = found[START, "right"]
    assert both.words == ("c", "b")
    assert (both.chance, both.flow) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found["left", END].flow == pytest.approx(0.3)


def test_rows_are_longest_ways():
    assert rows(TOY) == {START: 0, "left": 1, "right": 2, END: 3}


def test_every_arrow_of_the_book_points_down_and_nothing_overlaps():
    grammar = wedding()
    depth, at = rows(grammar), places(grammar)
    assert all(depth[arrow.start] < depth[arrow.end] for arrow in arrows(grammar))
    assert len(set(at.values())) == len(at)
    for row in range(max(depth.values()) + 1):
        xs = sorted(x for x, y in at.values() if y == row)
        assert all(right - left >= 0.5 for left, right in zip(xs, xs[1:], strict=False))
        assert xs[0] == pytest.approx(-xs[-1], abs=0.3)


def test_what_is_said_most_goes_straight_down():
    # "and" keeps the sign and is likelier than "but", which turns it round.
    at, depth = places(wedding()), rows(wedding())
    for sign in ("-1", "+0", "+1"):
        xs = [at[f"{state} {sign}", depth[f"{state} {sign}"]][0] for state in ("event", "after event", "it", "was")]
        assert xs == [xs[0]] * 4


def test_waypoints_of_an_arrow():
    depth = rows(TOY)
    jump = next(arrow for arrow in arrows(TOY) if (arrow.start, arrow.end) == (START, "right"))
    assert way(depth, jump) == [(START, 0), ("start → right", 1), ("right", 2)]
    assert ("start → right", 1) in places(TOY)
    assert ("start → right", 1) not in places(TOY, longest=1)
