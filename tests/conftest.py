"""Shared fixtures: the executed notebooks and the rendered book, made once and only if they are out of date."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from actde_nb.pages.chapters import Chapter, chapters
from actde_nb.pages.execute import execute
from actde_nb.pages.render import render
from actde_nb.paths import BUILD, executed

SCALE = "smoke"


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
