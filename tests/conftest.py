"""Shared fixtures: the executed notebooks and the rendered book, made once and only if they are out of date."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from actde_nb import cli
from actde_nb.pages.chapters import Chapter, chapters
from actde_nb.pages.execute import execute
from actde_nb.pages.render import render
from actde_nb.paths import BUILD, ROOT, executed

SCALE = "smoke"
# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def every_chapter() -> list[Chapter]:
    return chapters()


@contextmanager
def alone() -> Iterator[None]:
    """Keep the other processes that run tests from building the same things at the same time."""
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / ".tests.lock"):
        yield


@pytest.fixture(scope="session")
def notebooks(every_chapter: list[Chapter]) -> dict[str, Path]:
    with alone():
        return {path.stem: path for path in execute(every_chapter, SCALE, executed(SCALE))}


@pytest.fixture(scope="session")
def html(every_chapter: list[Chapter], notebooks: dict[str, Path]) -> Path:
    """Folder of the rendered book."""
    with alone():
        return render(every_chapter, executed(SCALE), BUILD / f"html-{SCALE}").parent


@pytest.fixture(scope="session")
def installed() -> Path:
    """Folder with the package as a wheel installs it, made from a copy of what is installed."""
    with alone():
        folder = BUILD / "tests-installed"
        with tempfile.TemporaryDirectory() as place:
            skipped = shutil.ignore_patterns(".*", "_*build", "tests", "build", "notebooks", "runs", "__pycache__")
            source = shutil.copytree(ROOT, Path(place, "source"), ignore=skipped)
            content = hashlib.sha256()
            for file in sorted(file for file in source.rglob("*") if file.is_file()):
                content.update(str(file.relative_to(source)).encode() + file.read_bytes())
            mark = folder / "content"
            if not mark.exists() or mark.read_text() != content.hexdigest():
                shutil.rmtree(folder, ignore_errors=True)
                pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
                options = ["--no-index", "--no-build-isolation", "--target", folder, source]
                subprocess.run([*pip, *options], check=True, capture_output=True)
                mark.write_text(content.hexdigest())
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple]:
    """``actde-nb`` with arguments, in this process; returns its exit status, or its last words, and what it printed."""

    def run(*arguments: str) -> tuple[int | str | None, str]:
        monkeypatch.setattr(sys, "argv", ["actde-nb", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run
