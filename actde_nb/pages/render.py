"""Stage the executed notebooks with the other pages, and render them into a book."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat

from actde_nb.checks import BookError
from actde_nb.pages.chapters import Chapter
from actde_nb.pages.printing import SUMMARY, print_page
from actde_nb.pages.references import TIMES, times
from actde_nb.paths import CONFIG, CONTENTS, HTML, LOCK, ROOT, SOURCES, reserved
from actde_nb.training.files import replace_file

STAMP = ".fingerprint"


def render(chapters: Sequence[Chapter], notebooks: Path, html: Path = HTML, repository: str = "") -> Path:
    """Render the book into ``html``, unless nothing has changed, and return its first page.

    With the address of a ``repository`` the pages link to it, and their notebooks install the package from there.

    The whole book is rendered anew, because an incremental build keeps old numbers on pages that quote another page;
    ``html`` is replaced only when that has succeeded without a warning, in one move."""
    old = html.with_name(f".{html.name}.old")
    with reserved(html):
        _tidy(html, old)
        work = Path(tempfile.mkdtemp(prefix=f".{html.name}.", dir=html.parent))
        try:
            stage(chapters, notebooks, work / "stage")
            known = {"BOOK_REPOSITORY": repository, "BOOK_REVISION": os.environ.get("GITHUB_SHA", "main")}
            stamp = _fingerprint(work / "stage", known)
            if not (html / STAMP).exists() or (html / STAMP).read_text() != stamp:
                made = _build(work, known)
                _print_summary(made)
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
    """Lay out in ``folder`` what jupyter-book reads: pages, executed notebooks, and the data that pages are made of."""
    sources = [c.source.name for c in chapters]
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns(*sources, "results", ".*"))
    for file in (CONFIG, CONTENTS, ROOT / "CITATION.cff", ROOT / "pyproject.toml"):  # the last two say who and when
        shutil.copy(file, folder)
    (folder / TIMES).write_text(json.dumps(times()), encoding="utf-8")
    for chapter in chapters:
        notebook = notebooks / f"{chapter.name}.ipynb"
        # jupyter-book renders a notebook that was never run without a word.
        if not notebook.exists():
            raise BookError(f"{chapter.name}: was not executed; run 'actde-nb execute {chapter.name}'")
        page = nbformat.read(notebook, as_version=4)
        if any(cell.cell_type == "code" and cell.execution_count is None for cell in page.cells):
            raise BookError(f"{chapter.name}: has code cells that were not executed")
        shutil.copy(notebook, folder)


def _build(work: Path, known: Mapping[str, str]) -> Path:
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", "--all", "-W", "-n", "--keep-going", "--path-output", work, work / "stage"]
    environment = {**os.environ, **known}
    log = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
    made = work / "_build" / "html"
    if log.returncode != 0 or not (made / "intro.html").exists():
        lines = re.sub(r"\x1b\[[0-9;]*m", "", log.stdout + log.stderr).splitlines()
        telling = [line.replace(f"{work}/stage/", "") for line in lines if re.search(r"WARNING|ERROR|Error", line)]
        raise BookError("the book was not rendered:\n" + "\n".join(dict.fromkeys(telling or lines[-30:])))
    return made


def _print_summary(made: Path) -> None:
    """Where it cannot be printed the pages do without it, and a line says so."""
    if (page := made / "summary.html").exists():
        try:
            print_page(page, made / SUMMARY)
        except BookError as error:
            print(error, file=sys.stderr)


def _fingerprint(stage: Path, known: Mapping[str, str]) -> str:
    digest = hashlib.sha256(LOCK.read_bytes() + repr(sorted(known.items())).encode())
    package = Path(__file__).parents[1]  # whose docstrings the API pages show
    for folder, files in (stage, "*"), (package, "*.py"):
        for file in sorted(path for path in folder.rglob(files) if path.is_file()):
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


def lay_out(pages: Path, folder: Path) -> list[Path]:
    """Copy the notebooks of rendered ``pages`` into a reader's ``folder``, and return those that were left alone
    because the reader has changed them."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / ".copied.json"
    copied = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    changed = []
    for source in sorted((pages / "_sources").glob("*.ipynb")):
        target = folder / source.name
        if target.exists() and _hash(target) != copied.get(source.name):
            changed.append(target)
        else:
            replace_file(target, source.read_bytes())
            copied[source.name] = _hash(target)
    replace_file(record, json.dumps(copied, indent=1).encode())
    return changed


def _hash(file: Path) -> str:
    """Of what a reader can change; to open a notebook changes its metadata."""
    try:
        cells = nbformat.read(file, as_version=4).cells
    except (ValueError, nbformat.ValidationError):  # not a notebook any more
        return hashlib.sha256(file.read_bytes()).hexdigest()
    kept = [(cell.cell_type, cell.source, cell.get("outputs", [])) for cell in cells]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
