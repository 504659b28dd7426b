"""Rendering a small book: when it happens, and what a failure leaves behind."""

from pathlib import Path

import pytest
from test_execute import COUNTING, chapter

from actde_nb.checks import BookError
from actde_nb.pages import render as rendering
from actde_nb.pages.chapters import Chapter
from actde_nb.pages.execute import execute

CONFIG = """
title: A small book
only_build_toc_files: true
execute: {execute_notebooks: "off"}
parse: {myst_enable_extensions: [dollarmath]}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch) -> tuple[Chapter, Path]:
    """A book of one chapter, and the folder its executed notebook is in."""
    sources = tmp_path / "book"
    (sources / "scorecard").mkdir(parents=True)
    page = chapter(sources, COUNTING, "intro")
    (tmp_path / "_config.yml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro.ipynb\n", encoding="utf-8")
    for name, value in {
        "SOURCES": sources,
        "BUILD": tmp_path / "_build",
        "STAGE": tmp_path / "_build" / "stage",
        "CONFIG": tmp_path / "_config.yml",
        "CONTENTS": tmp_path / "_toc.yml",
    }.items():
        monkeypatch.setattr(rendering, name, value)
    return page, tmp_path / "executed"


def say(page: Chapter, words: str) -> Chapter:
    page.source.write_text(page.source.read_text(encoding="utf-8") + words, encoding="utf-8")
    return Chapter(page.source)


def test_a_fault_keeps_the_last_good_book(small: tuple[Chapter, Path], tmp_path: Path):
    page, executed = small
    execute([page], "reader", executed)
    first = rendering.render([page], executed, tmp_path / "html")
    good, made = first.read_text(encoding="utf-8"), first.stat().st_mtime_ns
    assert "A chapter" in good

    assert rendering.render([page], executed, tmp_path / "html") == first
    assert first.stat().st_mtime_ns == made, "rendered again although nothing had changed"

    page = say(page, "\nSee {ref}`nowhere`.\n")
    execute([page], "reader", executed)
    with pytest.raises(BookError, match=r"intro\.ipynb.*nowhere"):
        rendering.render([page], executed, tmp_path / "html")
    assert first.read_text(encoding="utf-8") == good


def test_a_chapter_that_was_never_run_is_not_rendered(small: tuple[Chapter, Path], tmp_path: Path):
    page, executed = small
    with pytest.raises(BookError, match="intro: was not executed; run 'actde-nb execute intro'"):
        rendering.render([page], executed, tmp_path / "html")
