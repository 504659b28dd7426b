"""Pages on their way to paper: one page of all, links that lead to places on it, and what happens without a browser."""

import re
import shutil
from pathlib import Path

import pytest

from actde_nb.checks import BookError
from actde_nb.pages import printing, render

CONTENTS = {
    "root": "intro.ipynb",
    "parts": [
        {"caption": "First", "chapters": [{"file": "01_a.ipynb"}]},
        {"caption": "Last", "chapters": [{"file": "api"}, {"file": "notes", "sections": [{"file": "api_internal"}]}]},
    ],
}
PAGE = """<html><head><title>{0}</title></head><body><a href="x.html">menu</a><article class="bd-article">
<section id="top-{0}"><h1>Title {0}<a class="headerlink" href="#top-{0}">#</a></h1>
<p><a href="01_a.html#top-01_a">a</a> <a href="intro.html">b</a> <a href="api.html#x">c</a> <a href="#top-{0}">d</a>
<a href="https://example.org/01_a.html#x">e</a></p></section></article><script>1</script></body></html>"""


@pytest.fixture
def html(tmp_path: Path) -> Path:
    for name in ("intro", "01_a", "api", "notes"):
        (tmp_path / f"{name}.html").write_text(PAGE.format(name), encoding="utf-8")
    (tmp_path / "summary.html").write_text('<a data-printed="summary.pdf" hidden>PDF</a>', encoding="utf-8")
    return tmp_path


def test_the_whole_book_is_one_page_whose_links_stay_on_it(html: Path):
    page = printing.one_page(html, CONTENTS)
    assert re.findall(r'<article class="bd-article" id="([^"]+)"', page) == ["intro--", "01_a--", "notes--"]
    places = [page.index(mark) for mark in ("<h1>Title intro", "Contents", "First", "Last", "<h1>Title 01_a")]
    assert places == sorted(places)
    assert "menu" not in page
    assert "Title api" not in page
    anchors = re.findall(r'\sid="([^"]+)"', page)
    assert len(set(anchors)) == len(anchors), "an anchor of one page is not that of another"
    links = re.findall(r'href="([^"]+)"', page)
    assert {link[1:] for link in links if link.startswith("#")} <= set(anchors)
    assert {link for link in links if not link.startswith("#")} == {"api.html#x", "https://example.org/01_a.html#x"}


def test_without_a_browser_one_line_and_no_failure(html: Path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BookError, match="no PDF: Chromium was not found"):
        printing.print_page(html / "summary.html", html / "summary.pdf")
    render._print_summary(html)
    assert capsys.readouterr().err == f"{printing.NONE}\n"
    assert "hidden" in (html / "summary.html").read_text(encoding="utf-8"), "no link to a file that is not there"


@pytest.mark.parametrize("prints", [True, False])
def test_a_link_is_shown_once_the_file_is_there(html: Path, monkeypatch, tmp_path: Path, prints: bool):
    browser = tmp_path / "chromium"
    told = 'for word in "$@"; do case $word in --print-to-pdf=*) echo PDF > "${word#*=}";; esac; done'
    browser.write_text(f"#!/bin/sh\n{told if prints else 'echo cannot open >&2'}\n", encoding="utf-8")
    browser.chmod(0o755)
    monkeypatch.setattr(printing, "chromium", lambda: str(browser))
    if prints:
        printing.print_page(html / "summary.html", html / "summary.pdf")
        assert (html / "summary.html").read_text(encoding="utf-8") == '<a href="summary.pdf">PDF</a>'
    else:
        with pytest.raises(BookError, match=r"summary\.pdf was not printed by .*cannot open"):
            printing.print_page(html / "summary.html", html / "summary.pdf")
        assert "hidden" in (html / "summary.html").read_text(encoding="utf-8")


def test_the_book_is_printed_once_and_leaves_no_page_behind(html: Path, monkeypatch, tmp_path: Path):
    contents = tmp_path / "_toc.yml"
    contents.write_text("root: intro.ipynb\nparts: [{caption: A, chapters: [{file: notes}]}]\n", encoding="utf-8")
    monkeypatch.setattr(printing, "CONTENTS", contents)
    printed = []
    monkeypatch.setattr(printing, "print_page", lambda page, pdf: (printed.append(page.name), pdf.write_text("PDF")))
    assert printing.print_book(html) == printing.print_book(html) == html / "book.pdf"
    assert printed == ["print.html"]
    assert not (html / "print.html").exists()
