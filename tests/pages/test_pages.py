"""The rendered pages as files: links, alternative texts, numbers, downloads."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import scorecard

from actde_nb.paths import SOURCES


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.images = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(attributes[key] for key in ("id", "name") if attributes.get(key))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append((attributes.get("src", ""), attributes.get("alt")))


@pytest.fixture(scope="module")
def pages(html: Path) -> dict[str, Page]:
    return {path.name: Page(path) for path in html.glob("*.html")}


def test_every_link_leads_somewhere(html: Path, pages: dict[str, Page]):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) or link in ("#", ""):
                continue
            file, _, anchor = unquote(link.split("?")[0]).partition("#")
            target = file or name
            if not (html / target).exists():
                broken.append(f"{name} -> {link}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                broken.append(f"{name} -> {link} (no such place)")
    assert not broken, "\n".join(broken)


def test_every_chapter_says_by_whom_and_under_which_licence(html: Path, every_chapter: list):
    for chapter in every_chapter:
        text = (html / f"{chapter.name}.html").read_text(encoding="utf-8")
        assert "Code under the MIT licence" in text, chapter.name
        assert "the actde_nb authors" in text, chapter.name


def test_every_image_says_what_it_shows(pages: dict[str, Page]):
    images = [(name, source, alt or "") for name, page in pages.items() for source, alt in page.images]
    file_name = re.compile(r"\.(png|svg|jpe?g)$|^_images|^\w*/")
    unclear = [
        f"{name}: {source}: alt={alt!r}"
        for name, source, alt in images
        if "_static/" not in source and (len(alt) < 20 or file_name.search(alt))
    ]
    assert len(images) >= 10, "the pages have figures"
    assert not unclear, "\n".join(unclear)


def test_every_notebook_can_be_downloaded(html: Path, notebooks: dict[str, Path]):
    assert {path.stem for path in (html / "_sources").glob("*.ipynb")} == set(notebooks)
    for name in notebooks:
        assert f"_sources/{name}.ipynb" in (html / f"{name}.html").read_text(encoding="utf-8")


def test_no_glue_is_left_unresolved(html: Path):
    for path in html.glob("*.html"):
        text = re.sub(r"<pre.*?</pre>", "", path.read_text(encoding="utf-8"), flags=re.S)
        assert "glue:text" not in text, path.name
        assert not re.search(r"\bnan\b", re.sub(r"<[^>]+>", " ", text)), path.name


def test_the_scorecard_shows_every_row(html: Path):
    page = (html / "scorecard.html").read_text(encoding="utf-8")
    ids = [row["id"] for row in scorecard.load(SOURCES / "scorecard")]
    missing = [name for name in ids if f'id="{scorecard.anchor(name)}"' not in page]
    assert not missing, missing
    assert re.search(r'<form class="choose-rows"[^>]* hidden>', page), "without scripts there is nothing to choose with"
    assert not re.search(r"<tr[^>]* hidden", page), "and nothing is left out"
