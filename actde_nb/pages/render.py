"""Stage the executed notebooks with the other pages, and render them into a book."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from actde_nb.checks import BookError
from actde_nb.pages import scorecard
from actde_nb.pages.chapters import Chapter
from actde_nb.paths import BUILD, CONFIG, CONTENTS, HTML, LOCK, SOURCES

STAGE = BUILD / "stage"
STAMP = ".fingerprint"


def render(chapters: Sequence[Chapter], notebooks: Path, html: Path = HTML) -> Path:
    """Render the book from the executed ``notebooks`` into ``html`` and return its first page.

    Nothing happens when nothing has changed since ``html`` was made. Otherwise the whole book is
    rendered anew, because an incremental build keeps old numbers on pages that quote another page;
    ``html`` is replaced only when that has succeeded without a warning.

    Raises:
        BookError: a chapter that was not executed, or a build with warnings or errors.
    """
    stage(chapters, notebooks)
    stamp = _fingerprint()
    first = html / "intro.html"
    if first.exists() and (html / STAMP).exists() and (html / STAMP).read_text() == stamp:
        return first
    scratch = BUILD / "rendering"
    shutil.rmtree(scratch, ignore_errors=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "--all", "-W", "-n", "--keep-going"]
    log = subprocess.run(
        [*command, "--path-output", str(scratch), str(STAGE)], capture_output=True, text=True, check=False
    )
    made = scratch / "_build" / "html"
    if log.returncode != 0 or not (made / first.name).exists():
        raise BookError(_complaints(log.stdout + log.stderr))
    (made / STAMP).write_text(stamp)
    shutil.rmtree(html, ignore_errors=True)
    html.parent.mkdir(parents=True, exist_ok=True)
    made.rename(html)
    return first


def stage(chapters: Sequence[Chapter], notebooks: Path) -> None:
    """Lay out what jupyter-book reads: pages, executed notebooks, the generated scorecard."""
    shutil.rmtree(STAGE, ignore_errors=True)
    sources = [c.source.name for c in chapters]
    shutil.copytree(SOURCES, STAGE, ignore=shutil.ignore_patterns(*sources, "scorecard", "results", ".*"))
    for file in (CONFIG, CONTENTS):
        shutil.copy(file, STAGE)
    for chapter in chapters:
        notebook = notebooks / f"{chapter.name}.ipynb"
        _check_executed(chapter, notebook)
        shutil.copy(notebook, STAGE)
    try:
        rows = scorecard.load(SOURCES / "scorecard", notebooks)
    except ValueError as error:
        raise BookError(str(error)) from None
    (STAGE / "scorecard.md").write_text(scorecard.render(rows), encoding="utf-8")


def _check_executed(chapter: Chapter, notebook: Path) -> None:
    # jupyter-book renders a notebook that was never run without a word.
    if not notebook.exists():
        raise BookError(f"{chapter.name}: was not executed; run 'actde-nb execute {chapter.name}'")
    code = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    if any(cell.execution_count is None for cell in code):
        raise BookError(f"{chapter.name}: has code cells that were not executed")


def _fingerprint() -> str:
    digest = hashlib.sha256(LOCK.read_bytes())
    for file in sorted(path for path in STAGE.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(STAGE)).encode() + file.read_bytes())
    # The API pages show docstrings.
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _complaints(log: str) -> str:
    lines = re.sub(r"\x1b\[[0-9;]*m", "", log).splitlines()
    telling = [line.replace(f"{STAGE}/", "") for line in lines if re.search(r"WARNING|ERROR|Error", line)]
    return "the book was not rendered:\n" + "\n".join(dict.fromkeys(telling or lines[-30:]))
