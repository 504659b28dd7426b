"""One colour and marker a method: the table of looks, and that the figures of all drawers take theirs from it."""

import ast
import importlib
import re

import house
import pytest

from actde_nb.checks import SettingError
from actde_nb.pages import style

#: Methods, where METHODS also has forms of one method.
PROPER = ("PPO", "RLOO", "GRPO", "Dr. GRPO", "RWR", "REPS", "AWR", "APA", "GAA", "ACTDE", "return − q", "tied")
#: Words that a figure would call a method by.
NAMED = re.compile(r"\b(PPO|RLOO|GRPO|RWR|REPS|AWR|APA|GAA|ACTDE|return − q|tied)\b")
COLOURS = {"BLACK", "ORANGE", "SKY", "GREEN", "BLUE", "VERMILION", "PURPLE", "INDIGO", "TEAL", "OLIVE", "WINE", "BROWN"}


def drawn_by_hand(code: str) -> list[str]:
    """Methods for which a dictionary in the code has a colour of its own."""
    found = []
    for node in ast.walk(ast.parse(code)):
        for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and NAMED.search(key.value):
                names = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
                texts = {part.value for part in ast.walk(value) if isinstance(part, ast.Constant)}
                if names & COLOURS or any(isinstance(text, str) and text.startswith("#") for text in texts):
                    found.append(key.value)
    return found


def test_no_two_methods_have_the_same_colour_and_marker():
    looks = [(look["color"], look["marker"]) for look in style.METHODS.values()]
    assert len(set(looks)) == len(looks)
    for part in ("color", "marker"):
        proper = [style.METHODS[name][part] for name in PROPER]
        assert len(set(proper)) == len(proper), part
    # The optimum and the frontier are black and grey lines without a mark.
    assert "marker" not in style.LOOK["theory"]
    assert style.LOOK["theory"]["color"] not in {look["color"] for look in style.METHODS.values()}


def test_forms_and_tables_have_the_colour_of_their_method():
    assert style.LOOK["value"]["color"] == style.METHODS["PPO"]["color"]
    assert style.LOOK["actde"]["color"] == style.METHODS["ACTDE"]["color"]


@pytest.mark.parametrize("drawer", sorted(file.parent.name for file in house.DRAWERS.glob("*/figures.py")))
def test_a_drawer_takes_the_looks_of_methods_from_the_table(drawer):
    for file in (house.DRAWERS / drawer).glob("*.py"):
        assert drawn_by_hand(file.read_text(encoding="utf-8")) == [], file.name
    module = importlib.import_module(f"actde_book.{drawer}.figures")
    for name, table in vars(module).items():
        for label, look in table.items() if isinstance(table, dict) and table is not style.METHODS else ():
            if isinstance(look, dict) and label in style.METHODS:
                assert look["color"] == style.METHODS[label]["color"], (name, label)


def test_pages_choose_no_colours():
    for page in sorted((house.ROOT / "book").glob("*.md")):
        assert not re.search(r"\bcolou?r\s*=|[\"']color[\"']", page.read_text(encoding="utf-8")), page.name


def test_a_look_that_is_drawn_by_hand_is_found():
    assert drawn_by_hand('looks = {"PPO, β = .1": {"color": BLUE}, "praise": {"color": BLUE}}') == ["PPO, β = .1"]
    assert drawn_by_hand('looks = {"tied": ("#123456", "o"), "PPO": METHODS["PPO"]}') == ["tied"]


def test_settings_of_one_method_share_its_colour_and_marker():
    looks = style.method_looks(("PPO, β = .1", "GAA, code unscaled", "PPO, no KL penalty"))
    assert list(looks) == ["PPO, β = .1", "GAA, code unscaled", "PPO, no KL penalty"]
    assert looks["GAA, code unscaled"] == style.METHODS["GAA, code unscaled"], "the longest name that fits"
    first, second = looks["PPO, β = .1"], looks["PPO, no KL penalty"]
    assert [first[part] == second[part] for part in ("color", "marker", "linestyle")] == [True, True, False]


@pytest.mark.parametrize("labels", [["DPO"], [f"PPO, {number}" for number in range(5)]])
def test_labels_without_a_look_are_refused(labels):
    with pytest.raises(SettingError, match=r"label = '[DP]PO.*': allowed are up to 4 of each of PPO, RLOO"):
        style.method_looks(labels)
