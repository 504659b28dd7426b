"""The pages of errors, of the sources and of this book, in their order."""

import re
from datetime import datetime

from actde_nb.paths import SOURCES

# The slips after which a conclusion of a source reads differently.
WEIGHTY = [2, 5, 7, 8, 9, 10, 16, 17, 21, 23, 26, 27]


def test_slips_that_change_a_conclusion_come_first_and_the_others_are_folded():
    page = (SOURCES / "errata.md").read_text(encoding="utf-8")
    first, folded = page.split("````{admonition}")
    assert [int(number) for number in re.findall(r"^\* - (\d+)$", first, re.M)] == WEIGHTY
    folded, after = folded.split("\n````\n")
    assert folded.splitlines()[1] == ":class: dropdown"
    others = {int(number) for number in re.findall(r"^\* - (\d+)$", folded, re.M)}
    assert others == set(range(1, 28)) - set(WEIGHTY)
    assert "{doc}`changes`" in first.split("\n\n")[1], "the first paragraph says where errors of this book are"
    assert "list-table" not in after


def test_changes_of_this_book_are_dated_newest_first_and_say_where():
    page = (SOURCES / "changes.md").read_text(encoding="utf-8")
    heads = re.findall(r"^\* - (\d+ \w+ \d{4}),\n    (.*)$", page, re.M)
    assert len(heads) == page.count("\n* - ") - 1 >= 10, "each row but the first begins with a date"
    dates = [datetime.strptime(date, "%d %B %Y") for date, _ in heads]
    assert dates == sorted(dates, reverse=True)
    for _, place in heads:
        assert re.match(r"\{doc\}`[^<`]+ <\w+>`", place), place
