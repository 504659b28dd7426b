"""A Sphinx extension: whatever a chapter glues is quoted on some page."""

import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.util import logging

from actde_nb.pages.glue import SPREAD, scraps

QUOTED = re.compile(r"\{glue(?::\w*)?\}(?:`([^`]+)`|[ \t]+(\S+))")  # a role, or a directive


def unquoted(notebook: Path, pages: Mapping[str, str]) -> list[str]:
    """Names of what an executed notebook glued and none of ``pages`` (name -> MyST text) quotes; the spread of a number
    is its tolerance, and need not be quoted."""
    names = {name for name, _ in scraps(notebook)}
    targets = [(page, quoted) for page, text in pages.items() for quoted in map("".join, QUOTED.findall(text))]
    # "key:format" on the chapter's own page, "chapter.ipynb::key:format" elsewhere
    there = f"{notebook.name}::"
    own = [target.removeprefix(there) for page, target in targets if page == notebook.stem or target.startswith(there)]
    quoted = {target.split(":")[0].strip() for target in own}
    return sorted(n for n in names - quoted if not (n.endswith(SPREAD) and n.removesuffix(SPREAD) in names))


def faults(folder: Path) -> list[str]:
    """Which of the executed chapters in a folder of pages glue what nobody quotes."""
    notebooks = sorted(folder.glob("*.ipynb"))
    pages = {page.stem: page.read_text(encoding="utf-8") for page in folder.glob("*.md")}
    for notebook in notebooks:
        cells = nbformat.read(notebook, as_version=4).cells
        pages[notebook.stem] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    idle = {notebook.stem: unquoted(notebook, pages) for notebook in notebooks}
    return [f"{name}: no page quotes {', '.join(keys)}" for name, keys in idle.items() if keys]


def check(app: Sphinx) -> None:
    """Warn of what nobody quotes."""
    for fault in faults(Path(app.srcdir)):
        logging.getLogger(__name__).warning("%s", fault)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("builder-inited", check, priority=900)  # after pages that are made from data
    return {"parallel_read_safe": True}
