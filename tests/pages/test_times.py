"""Pages say how long they take to read, and how long their code takes, as it was last recorded."""

import json
from types import SimpleNamespace

import nbformat
import times
from nbformat import v4

BOX = "```{admonition} Change this\n:class: tip change-this\n\nReplace it.\n```"
KNOWN = {"smoke": {"a": 2}, "reader": {"a": 43, "b": 1}}


def test_a_page_says_how_long_it_takes(tmp_path):
    code = v4.new_code_cell("scale, runs = 'reader', dict(paper=3)", metadata={"tags": ["parameters"]})
    page = v4.new_notebook(cells=[code, v4.new_markdown_cell(BOX)])
    for name in ("a", "unknown"):
        nbformat.write(page, tmp_path / f"{name}.ipynb")
    (tmp_path / "times.json").write_text(json.dumps(KNOWN))
    times.write(SimpleNamespace(srcdir=tmp_path))
    assert nbformat.read(tmp_path / "unknown.ipynb", as_version=4).cells == page.cells
    told, boxed = (cell.source for cell in nbformat.read(tmp_path / "a.ipynb", as_version=4).cells[1:])
    assert told == (
        "*To read this page takes about 5 min, to run all its cells about 45 s on one core, "
        "at scale smoke about 5 s, at scale paper longer (not timed yet).*"
    )
    assert boxed == BOX.replace("it.", "it. Then run all cells again, about 45 s.")


def test_words_that_are_read():
    text = "Five words and $x = 1$.\n\n| no | table |\n| --: | --: |\n\n````{admonition} Proof\nNo.\n````\nOne more."
    code = v4.new_code_cell("no code")
    assert times.words(v4.new_notebook(cells=[code, v4.new_markdown_cell(text)])) == 8


def test_times_are_rounded():
    said = [times.in_words(seconds) for seconds in (0, 12, 99, 100, 571)]
    assert said == ["5 s", "10 s", "100 s", "2 min", "10 min"]
