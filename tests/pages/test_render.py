"""Rendering a small book: when it happens, and what a failure leaves behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import quoted
from test_execute import COUNTING, chapter

from actde_nb.checks import BookError
from actde_nb.pages import render as rendering
from actde_nb.pages.chapters import Chapter
from actde_nb.pages.execute import execute
from actde_nb.paths import reserved

CONFIG = f"""
title: A small book
only_build_toc_files: true
execute: {{execute_notebooks: "off"}}
parse: {{myst_enable_extensions: [dollarmath]}}
sphinx: {{local_extensions: {{quoted: "{Path(quoted.__file__).parent}"}}}}
"""


def say(page: Chapter, words: str) -> Chapter:
    page.source.write_text(page.source.read_text(encoding="utf-8") + words, encoding="utf-8")
    return Chapter(page.source)


@pytest.fixture
def small(tmp_path: Path, monkeypatch) -> tuple[Chapter, Path]:
    """A book of one chapter, and the folder its executed notebook is in."""
    sources = tmp_path / "book"
    (sources / "scorecard").mkdir(parents=True)
    page = say(chapter(sources, COUNTING, "intro"), "\n{glue:text}`twice:d` at {glue:text}`at:s`.\n")
    (tmp_path / "_config.yml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro.ipynb\n", encoding="utf-8")
    for name, value in {
        "SOURCES": sources,
        "CONFIG": tmp_path / "_config.yml",
        "CONTENTS": tmp_path / "_toc.yml",
    }.items():
        monkeypatch.setattr(rendering, name, value)
    return page, tmp_path / "executed"


def test_a_fault_keeps_the_last_good_book(small: tuple[Chapter, Path], tmp_path: Path):
    page, executed = small
    execute([page], "reader", executed)
    first = rendering.render([page], executed, tmp_path / "html")
    good, made = first.read_text(encoding="utf-8"), first.stat().st_mtime_ns
    assert "A chapter" in good

    assert rendering.render([page], executed, tmp_path / "html") == first
    assert first.stat().st_mtime_ns == made, "rendered again although nothing had changed"

    page = say(page, "\nSee {ref}`nowhere`.\n")
    page.source.write_text(page.source.read_text(encoding="utf-8").replace("{glue:text}`at:s`", "`at`"))
    execute([Chapter(page.source)], "reader", executed)
    with pytest.raises(BookError, match=r"(?s)intro: no page quotes at\n.*intro\.ipynb.*nowhere"):
        rendering.render([page], executed, tmp_path / "html")
    assert first.read_text(encoding="utf-8") == good


def test_a_chapter_that_was_never_run_is_not_rendered(small: tuple[Chapter, Path], tmp_path: Path):
    page, executed = small
    with pytest.raises(BookError, match="intro: was not executed; run 'actde-nb execute intro'"):
        rendering.render([page], executed, tmp_path / "html")


def test_a_number_that_nobody_quotes_is_a_fault(small: tuple[Chapter, Path], tmp_path: Path):
    page, executed = small
    told = page.source.read_text(encoding="utf-8")
    page.source.write_text(told.replace("{glue:text}`at:s`", "`at`"), encoding="utf-8")
    execute([page], "reader", executed)
    rendering.stage([page], executed, tmp_path / "one")
    assert quoted.faults(tmp_path / "one") == ["intro: no page quotes at"]
    (page.source.parent / "other.md").write_text("At {glue:text}`intro.ipynb::at:s`.\n", encoding="utf-8")
    rendering.stage([page], executed, tmp_path / "two")
    assert quoted.faults(tmp_path / "two") == []


@pytest.fixture
def quick(small: tuple[Chapter, Path], monkeypatch) -> Callable[[str], Path]:
    """Renders the small book at once, into one page with the words given."""
    page, executed = small
    monkeypatch.setattr(rendering, "stage", lambda chapters, notebooks, folder: folder.mkdir())

    def render(words: str) -> Path:
        def build(work: Path, _known: dict[str, str]) -> Path:
            made = work / "made"
            made.mkdir()
            (made / "intro.html").write_text(words, encoding="utf-8")
            return made

        monkeypatch.setattr(rendering, "_build", build)
        monkeypatch.setattr(rendering, "_fingerprint", lambda *_: words)
        return rendering.render([page], executed, executed.parent / "out" / "html")

    return render


@pytest.mark.parametrize("moves", [0, 1])
def test_a_book_is_there_whenever_rendering_stops(quick: Callable[[str], Path], monkeypatch, moves: int):
    first = quick("one")
    rename, works = Path.rename, iter([True] * moves + [False])

    def failing(self: Path, target: Path) -> Path:
        if not next(works, True):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(KeyboardInterrupt):
            quick("two")
    assert first.read_text(encoding="utf-8") == "one"
    assert quick("two").read_text(encoding="utf-8") == "two"
    assert sorted(path.name for path in first.parents[1].iterdir()) == ["html"]


def test_a_killed_process_left_the_book_between_two_moves(quick: Callable[[str], Path]):
    first = quick("one")
    (first.parents[1] / ".html.junk").mkdir()
    first.parent.rename(first.parents[1] / ".html.old")
    made = (first.parents[1] / ".html.old" / "intro.html").stat().st_mtime_ns
    assert quick("one").stat().st_mtime_ns == made, "rendered again although nothing had changed"
    assert sorted(path.name for path in first.parents[1].iterdir()) == ["html"]


def test_two_do_not_render_into_one_folder(quick: Callable[[str], Path]):
    first = quick("one")
    with reserved(first.parent), pytest.raises(BookError, match="html is being made by another process"):
        quick("two")
    assert first.read_text(encoding="utf-8") == "one"
