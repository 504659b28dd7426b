"""The scorecard's rows are complete and checked, and the page shows them."""

import json
import re
from pathlib import Path

import pytest
import scorecard
import yaml

from actde_nb.checks import BookError

ROWS = Path(__file__).parents[2] / "book" / "scorecard"

# Every statement, question and piece of code that was looked at, by the names the rows use. A14 is a table of four
# episodes, A32 has three rows of another.
IDS = {
    "A": [
        *range(1, 7),
        *range(10, 15),
        *range(18, 24),
        *range(30, 33),
        *range(35, 46),
        *range(50, 84),
        *range(85, 110),
    ],
    "P": [*range(1, 31)],
    "G": [*range(1, 20), "20a", "20b", "20c", "20d", *range(21, 31)],
    "T": [*range(1, 17), *range(20, 25), *range(30, 42), *range(50, 64)],
    "Q": [*range(1, 24)],
}

ROW = {
    "id": "A13",
    "kind": "assertion",
    "work": "post",
    "claim": "An advantage of 1 makes $\\pi$ 0.73.",
    "source": "0.73",
    "ours": "{table_p:.4f} of $\\text{arm}_{1}$",
    "verdict": "confirmed",
    "where": "sec-table",
}
CHAPTER = """\
# One

(sec-table)=
## The table

```{prf:theorem} Name
:label: thm-one
```

```{code-cell} ipython3
---
mystnb:
  image: {alt: "A curve."}
  figure: {name: fig-inline, caption: "See."}
---
```

```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-block
    caption: See.
---
```
"""


def glue_output(name: str, value: object) -> dict:
    data = {"application/papermill.record/text/plain": repr(value)}
    scrap = {"name": name, "mime_prefix": "application/papermill.record/"}
    return {"output_type": "display_data", "data": data, "metadata": {"scrapbook": scrap}}


@pytest.fixture
def book(tmp_path):
    """A book of one chapter with one row; returns a function that replaces the rows."""
    (tmp_path / "scorecard").mkdir()
    (tmp_path / "01_one.md").write_text(CHAPTER)
    outputs = [glue_output("table_p", 0.731), glue_output("word", "up")]
    (tmp_path / "01_one.ipynb").write_text(json.dumps({"cells": [{"outputs": outputs}]}))

    def write(*rows, name="01_one.yml"):
        (tmp_path / "scorecard" / name).write_text(yaml.safe_dump(list(rows)))
        return tmp_path / "scorecard"

    return write


def test_a_good_row_is_read(book):
    (row,) = scorecard.load(folder := book(ROW), notebooks=folder.parent)
    added = {"chapter": "01_one", "number": "1", "title": "One", "headline": 0}
    assert row == ROW | added  # the braces of \text{arm}_{1} are no keys


@pytest.mark.parametrize("label", ["sec-table", "thm-one", "fig-inline", "fig-block"])
def test_sections_theorems_and_figures_can_be_linked(book, label):
    assert scorecard.load(book(ROW | {"where": label}))[0]["where"] == label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "maybe"}, r"01_one.yml, row A13: verdict: 'maybe' is not one of \['refuted', .*, 'confirmed'\]"),
        ({"work": "blog"}, r"row A13: work: 'blog' is not one of \['post', 'survey', 'draft'\]"),
        ({"headline": 0}, r"row A13: headline: 0 is less than the minimum of 1"),
        ({"headline": "1"}, r"row A13: headline: '1' is not of type 'integer'"),
        ({"kind": "hope"}, r"row A13: kind: 'hope' is not one of \['assertion', 'question', 'record'\]"),
        ({"where": "sec-gone"}, r"row A13: where = 'sec-gone': allowed are labels of 01_one.md: .*sec-table"),
        ({"claim": ""}, r"row A13: claim: '' does not match"),
        ({"source": 0.73}, r"row A13: source: 0.73 is not of type 'string'"),
        ({"ours": "about 0.73"}, r"row A13: ours = 'about 0.73': allowed is a text with at least one glue key"),
        ({"ours": "{table_p}"}, r"row A13: ours = '{table_p}': allowed are keys with a format"),
        ({"ours": "{gone:.2f}"}, r"row A13: ours = 'gone': allowed are keys glued by 01_one: table_p, word"),
        ({"ours": "{word:.2f}"}, r"row A13: ours = 'word:.2f': allowed are formats that fit 'up'"),
        ({"kind": "question", "ours": "yes"}, r"row A13: .* allowed for a row of kind question are answered, open"),
        ({"kind": "question", "verdict": "open", "ours": "no"}, r"ours = 'no': allowed .* records need none"),
        ({"note": "x"}, r"row A13: Additional properties are not allowed \('note' was unexpected\)"),
    ],
)
def test_what_is_off_is_named(book, change, message):
    folder = book(ROW | change)
    with pytest.raises(BookError, match=message):
        scorecard.load(folder, notebooks=folder.parent)


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("assertion", {"confirmed", "corrected", "refuted", "open"}),
        ("question", {"answered", "open"}),
        ("record", {"confirmed", "corrected", "open"}),
    ],
)
@pytest.mark.parametrize("verdict", scorecard.VERDICTS)
def test_only_what_is_said_is_refuted_and_only_what_is_asked_is_answered(book, kind, allowed, verdict):
    folder = book(ROW | {"kind": kind, "verdict": verdict})
    if verdict in allowed:
        assert scorecard.load(folder)[0]["verdict"] == verdict
    else:
        with pytest.raises(BookError, match=rf"row A13: verdict = '{verdict}': allowed for a row of kind {kind} are "):
            scorecard.load(folder)


def test_a_record_needs_no_number(book):
    assert scorecard.load(book(ROW | {"kind": "record", "ours": "so it is"}))[0]["ours"] == "so it is"


@pytest.mark.parametrize("source", ["0.73", '"with probability 1"', "“up to 8”, in “its” note", 'a: "b"; "c d"'])
def test_a_source_quotes_in_pairs_of_marks_or_not_at_all(book, source):
    assert scorecard.load(book(ROW | {"source": source}))[0]["source"] == source


@pytest.mark.parametrize("source", ['"with', "“with", "with”", '“with"', '""', "“ ”", "”with“", "“a “b” c”"])
def test_quotation_marks_that_do_not_pair_are_named(book, source):
    with pytest.raises(BookError, match=r"row A13: source = .*: allowed are quotation marks in pairs, around words"):
        scorecard.load(book(ROW | {"source": source}))


@pytest.mark.parametrize("field", scorecard.FIELDS)
def test_a_missing_field_is_named(book, field):
    row = {name: value for name, value in ROW.items() if name != field}
    with pytest.raises(BookError, match=rf"01_one.yml, row (A13|1): '{field}' is a required property"):
        scorecard.load(book(row))


def test_an_id_used_twice_is_named(book):
    with pytest.raises(BookError, match=r"row A13: id: 01_one.yml has it too"):
        scorecard.load(book(ROW, ROW))


def test_a_file_without_its_chapter_is_named(book):
    book(ROW)
    with pytest.raises(BookError, match=r"09_gone.yml: there is no chapter 09_gone.md"):
        scorecard.load(book(ROW, name="09_gone.yml"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [({"id": "A1"}, "01_one.yml: .* is not of type 'array'"), (["A1"], "01_one.yml, row 1: 'A1' is not of type")],
)
def test_a_file_of_another_form_is_named(book, rows, message):
    folder = book()
    (folder / "01_one.yml").write_text(yaml.safe_dump(rows))
    with pytest.raises(BookError, match=message):
        scorecard.load(folder)


def test_a_file_that_is_no_yaml_is_named(book):
    folder = book()
    (folder / "01_one.yml").write_text("- id: [A1")
    with pytest.raises(BookError, match="^01_one.yml: is no YAML: .*$"):
        scorecard.load(folder)


def test_the_page_counts_glues_and_links(book):
    rows = scorecard.load(book(ROW, ROW | {"id": "A14", "verdict": "refuted", "where": "thm-one"}))
    page = scorecard.render(rows)
    assert "* - {ref}`✓\N{NO-BREAK SPACE}confirmed <sec-verdict-confirmed>`\n  - 1\n" in page
    assert "* - ±\N{NO-BREAK SPACE}corrected\n  - 0\n" in page
    assert "{glue:text}`01_one.ipynb::table_p:.4f` of $\\text{arm}_{1}$" in page
    assert "{ref}`sec-table`" in page
    assert "{prf:ref}`thm-one`" in page
    assert "{doc}`01_one`" in page
    assert "* - (row-a14)=\n    An advantage of 1 makes" in page
    assert "There are 2 rows" in page
    assert "What most readers came for" not in page, "no row is a headline"


def test_headlines_come_first_in_their_order_and_in_the_list_too(book):
    texts = {"A1": "First said.", "A2": "Second said.", "A3": "Said by the way."}
    rows = [ROW | {"id": name, "claim": claim} for name, claim in texts.items()]
    folder = book(rows[0] | {"headline": 2}, rows[1] | {"headline": 1}, rows[2])
    page = scorecard.render(scorecard.load(folder))
    claims = [text for line in page.splitlines() for text in texts.values() if text in line]
    assert claims == ["Second said.", "First said.", "First said.", "Second said.", "Said by the way."]
    assert page.count("data-verdict=") == 3, "the filter leaves headlines alone"


@pytest.mark.parametrize("places", [[2], [1, 1], [1, 3]])
def test_headlines_are_numbered_without_gaps(book, places):
    folder = book(*(ROW | {"id": f"A{number}", "headline": place} for number, place in enumerate(places)))
    with pytest.raises(BookError, match=rf"^headline = .*: allowed is each of 1 to {len(places)} once, over all files"):
        scorecard.load(folder)


def test_the_filter_offers_what_some_row_has_with_counts(book):
    book(ROW, ROW | {"id": "A14", "verdict": "refuted"})
    folder = book(ROW | {"id": "P1", "work": "survey"}, name="02_two.yml")
    (folder.parent / "02_two.md").write_text(CHAPTER.replace("# One", "# Two: a title that goes on"))
    assert scorecard.choices(scorecard.load(folder)) == {
        "verdict": [("refuted", "✗ refuted (1)"), ("confirmed", "✓ confirmed (2)")],
        "source": [("post", "Post on ACTDE (2)"), ("survey", "Text on APA (1)")],
        "chapter": [("1", "1 One (2)"), ("2", "2 Two (1)")],
    }


def test_each_row_carries_what_the_filter_asks(book):
    page = scorecard.render(scorecard.load(book(ROW | {"verdict": "refuted"})))
    assert '<span class="marks" data-verdict="refuted" data-source="post" data-chapter="1"></span>' in page
    assert re.findall(r'<select name="(\w+)">', page) == ["verdict", "source", "chapter"]
    assert '<option value="refuted">✗ refuted (1)</option>' in page


def test_rows_named_in_a_claim_are_links_to_them(book):
    page = scorecard.render(scorecard.load(book(ROW | {"claim": "See rows A6, Q2 and G20b, row Q3; A7 is no row."})))
    assert set(re.findall(r"\{ref\}`(\w+) <row-(\w+)>`", page)) == {
        ("A6", "a6"), ("Q2", "q2"), ("G20b", "g20b"), ("Q3", "q3"),
    }  # fmt: skip


def test_the_page_goes_from_refuted_to_confirmed_by_chapters(book):
    folder = book(ROW, ROW | {"id": "A14", "verdict": "refuted"})
    (folder.parent / "02_two.md").write_text(CHAPTER.replace("# One", "# Two, then"))
    page = scorecard.render(scorecard.load(book(ROW | {"id": "A15"}, name="02_two.yml")))
    lines = re.findall(r"^#{2,3} .*|^\* - \(row-a\d+\)", page, re.M)
    one, two = "### Chapter 1: One", "### Chapter 2: Two, then"
    refuted, confirmed = (
        ["## Refuted", one, "* - (row-a14)"],
        ["## Confirmed", one, "* - (row-a13)", two, "* - (row-a15)"],
    )
    assert lines == ["## All rows", *refuted, *confirmed]


def test_the_page_cites_all_three_sources(book):
    page = scorecard.render(scorecard.load(book(ROW)))
    assert {"turner2023mode", "transferlab2023apa", "zhu2023apa", "johnson2023greedy"} <= {
        key for keys in re.findall(r"\{cite:[tp]\}`([^`]+)`", page) for key in keys.split(",")
    }


def test_everything_that_was_looked_at_has_exactly_one_row():
    names = [f"{letter}{number}" for letter, numbers in IDS.items() for number in numbers]
    assert sorted(row["id"] for row in scorecard.load(ROWS)) == sorted(names)


def test_the_headlines_are_twelve_and_of_all_sources():
    headlines = [row for row in scorecard.load(ROWS) if row["headline"]]
    assert len(headlines) == 12
    assert {row["work"] for row in headlines} == set(scorecard.WORKS)


def test_names_of_rows_tell_whose_they_are():
    letters = {"A": "post", "P": "survey", "G": "draft"}
    for row in scorecard.load(ROWS):
        assert row["work"] == letters.get(row["id"][0], row["work"]), row["id"]


def test_no_result_is_typed_where_a_glued_value_belongs():
    """With the keys taken out, only set-up numbers are left in ``ours``: nothing with three decimals."""
    for row in scorecard.load(ROWS):
        assert not re.search(r"\d*\.\d{3,}", scorecard.GLUE.sub("", row["ours"])), (
            f"{row['chapter']}.yml, row {row['id']}"
        )
