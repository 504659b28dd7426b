"""Shared fixtures: the executed notebooks and the rendered book, made once and only if they are out of date."""

from pathlib import Path

import pytest

from actde_nb.book.chapters import Chapter, chapters
from actde_nb.book.execute import execute
from actde_nb.book.layout import BUILD, executed
from actde_nb.book.render import render

SCALE = "smoke"


@pytest.fixture(scope="session")
def every_chapter() -> list[Chapter]:
    return chapters()


@pytest.fixture(scope="session")
def notebooks(every_chapter: list[Chapter]) -> dict[str, Path]:
    return {path.stem: path for path in execute(every_chapter, SCALE, executed(SCALE))}


@pytest.fixture(scope="session")
def html(every_chapter: list[Chapter], notebooks: dict[str, Path]) -> Path:
    """Folder of the rendered book."""
    return render(every_chapter, executed(SCALE), BUILD / f"html-{SCALE}").parent
