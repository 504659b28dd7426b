"""How large the house is, and that what stands on the shelf is used from several sides."""

import house


def test_the_shelf_stays_thin():
    assert house.lines(house.SHELF, without=("finetune",)) <= 8_775


def test_shelf_and_drawers_together():
    """Of Parts I to III."""
    later = [folder.name for folder in house.DRAWERS.iterdir() if folder.name > "ch19" and folder.name.startswith("ch")]
    parts = house.lines(house.DRAWERS, without=tuple(later))
    assert house.lines(house.SHELF, without=("finetune",)) + parts <= 16_876


def test_whatever_is_on_the_shelf_has_two_users():
    assert house.lonely() == {}


def test_a_function_of_one_chapter_is_found_out():
    """The count itself: a function that one chapter alone reaches has one user, one that two modules call has more."""
    users = house.users()
    assert "command line" in users["actde_nb.experiments.runs.train"]
    assert {"chapter 13", "chapter 16"} <= users["actde_nb.compare.frontiers.last"]
    assert house.read("chapter", "from actde_nb.tables import mdp\nmdp.evaluate(1)", {"actde_nb.tables.mdp"}).uses == {
        "": {"actde_nb.tables.mdp", "actde_nb.tables.mdp.evaluate"}
    }
