"""A Sphinx extension: pages say how long they take to read and to run."""

import json
import re
from pathlib import Path

import nbformat
from sphinx.application import Sphinx

WORDS_A_MINUTE = 160  # of technical text, for readers of whom many have another first language
FOLDED = re.compile(r"^(`{3,})\{(?:admonition|exercise|solution-start)\}.*?^\1$", re.S | re.M)
BOX = re.compile(r"(```\{admonition\} Change this\n:class: tip change-this\n\n.*?)(\n```)", re.S)


def with_times(page: nbformat.NotebookNode, taken: dict[str, int]) -> nbformat.NotebookNode:
    """Say below the parameters how long the page takes to read and to run, and the latter in the boxes for readers'
    changes too; ``taken`` are seconds by scale."""
    if "reader" not in taken:
        return page
    usual = in_words(taken["reader"])
    others = {scale: in_words(seconds) for scale, seconds in sorted(taken.items()) if scale != "reader"}
    others = "".join(f", at scale {scale} about {time}" for scale, time in others.items())
    if "paper" not in taken and any("paper=" in cell.source for cell in page.cells):
        others += ", at scale paper longer (not timed yet)"
    reading = max(5, 5 * round(words(page) / WORDS_A_MINUTE / 5))
    told = f"*To read this page takes about {reading} min, to run all its cells about {usual} on one core{others}.*"
    place = next(i for i, cell in enumerate(page.cells) if "parameters" in cell.metadata.get("tags", []))
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = BOX.sub(rf"\1 Then run all cells again, about {usual}.\2", cell.source)
    page.cells.insert(place + 1, nbformat.v4.new_markdown_cell(told, id="times"))
    return page


def words(page: nbformat.NotebookNode) -> int:
    """Number of words that are read in a row: without tables, options, and what is folded or for exercise."""
    text = FOLDED.sub("", "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown"))
    return sum(len(line.split()) for line in text.splitlines() if not line.startswith(("|", ":", "`")))


def in_words(seconds: int) -> str:
    """A time as one would say it."""
    return f"{max(5, 5 * round(seconds / 5))} s" if seconds < 100 else f"{round(seconds / 60)} min"


def write(app: Sphinx) -> None:
    """Put the times, ``times.json`` among the sources, into the notebooks there."""
    known = json.loads(Path(app.srcdir, "times.json").read_text(encoding="utf-8"))
    for notebook in Path(app.srcdir).glob("*.ipynb"):
        taken = {scale: chapters[notebook.stem] for scale, chapters in known.items() if notebook.stem in chapters}
        nbformat.write(with_times(nbformat.read(notebook, as_version=4), taken), notebook)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
