"""Stage the executed notebooks with the other pages, and render them into a book."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat

from actde_nb.checks import BookError
from actde_nb.pages import scorecard
from actde_nb.pages.chapters import Chapter
from actde_nb.pages.glue import unquoted
from actde_nb.paths import CONFIG, CONTENTS, HTML, LOCK, SOURCES, reserved

STAMP = ".fingerprint"


def render(chapters: Sequence[Chapter], notebooks: Path, html: Path = HTML) -> Path:
    """Render the book into ``html``, unless nothing has changed, and return its first page.

    The whole book is rendered anew, because an incremental build keeps old numbers on pages that quote another page;
    ``html`` is replaced only when that has succeeded without a warning, in one move."""
    old = html.with_name(f".{html.name}.old")
    with reserved(html):
        _tidy(html, old)
        work = Path(tempfile.mkdtemp(prefix=f".{html.name}.", dir=html.parent))
        try:
            stage(chapters, notebooks, work / "stage")
            stamp = _fingerprint(work / "stage")
            if not (html / STAMP).exists() or (html / STAMP).read_text() != stamp:
                made = _build(work)
                (made / STAMP).write_text(stamp)
                if html.exists():
                    html.rename(old)
                made.rename(html)
        finally:
            _tidy(html, old)
    return html / "intro.html"


def _tidy(html: Path, old: Path) -> None:
    """Remove what a rendering left beside ``html``; the old book comes back if the new one did not take its place."""
    if old.exists() and not html.exists():
        old.rename(html)
    for left in html.parent.glob(f".{html.name}.*/"):
        shutil.rmtree(left, ignore_errors=True)


def stage(chapters: Sequence[Chapter], notebooks: Path, folder: Path) -> None:
    """Lay out in ``folder`` what jupyter-book reads: pages, executed notebooks, the generated scorecard."""
    sources = [c.source.name for c in chapters]
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns(*sources, "scorecard", "results", ".*"))
    for file in (CONFIG, CONTENTS):
        shutil.copy(file, folder)
    for chapter in chapters:
        notebook = notebooks / f"{chapter.name}.ipynb"
        # jupyter-book renders a notebook that was never run without a word.
        if not notebook.exists():
            raise BookError(f"{chapter.name}: was not executed; run 'actde-nb execute {chapter.name}'")
        cells = nbformat.read(notebook, as_version=4).cells
        if any(cell.cell_type == "code" and cell.execution_count is None for cell in cells):
            raise BookError(f"{chapter.name}: has code cells that were not executed")
        shutil.copy(notebook, folder)
    rows = scorecard.load(SOURCES / "scorecard", notebooks)
    (folder / "scorecard.md").write_text(scorecard.render(rows), encoding="utf-8")
    pages = {page.stem: page.read_text(encoding="utf-8") for page in folder.glob("*.md")}
    pages |= {chapter.name: chapter.text for chapter in chapters}
    idle = {chapter.name: unquoted(folder / f"{chapter.name}.ipynb", pages) for chapter in chapters}
    if told := [f"{name}: no page quotes {', '.join(keys)}" for name, keys in idle.items() if keys]:
        raise BookError("glue only what is quoted:\n" + "\n".join(told))


def _build(work: Path) -> Path:
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", "--all", "-W", "-n", "--keep-going", "--path-output", work, work / "stage"]
    log = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    made = work / "_build" / "html"
    if log.returncode != 0 or not (made / "intro.html").exists():
        lines = re.sub(r"\x1b\[[0-9;]*m", "", log.stdout + log.stderr).splitlines()
        telling = [line.replace(f"{work}/stage/", "") for line in lines if re.search(r"WARNING|ERROR|Error", line)]
        raise BookError("the book was not rendered:\n" + "\n".join(dict.fromkeys(telling or lines[-30:])))
    return made


def _fingerprint(stage: Path) -> str:
    digest = hashlib.sha256(LOCK.read_bytes())
    package = Path(__file__).parents[1]  # whose docstrings the API pages show
    for folder, files in (stage, "*"), (package, "*.py"):
        for file in sorted(path for path in folder.rglob(files) if path.is_file()):
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()
