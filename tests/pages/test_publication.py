"""What pages tell those who link to, find, print or cite them, and what the picture of the README shows."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import publication
import pytest
import yaml
from actde_book.intro import card
from docutils import nodes
from docutils.utils import new_document
from sphinx.application import Sphinx

from actde_nb.pages.printing import BOOK, SUMMARY, chromium
from actde_nb.paths import ROOT


def page_of(*children: nodes.Node) -> nodes.document:
    document = new_document("page")
    document += children
    return document


def test_a_description_is_the_first_sentences_that_fit():
    short, long = "It says " + "this and " * 13 + "ends.", "x" * 30 + " and more" * 30 + "."
    box = nodes.note("", nodes.paragraph(text="A box is no description."))
    assert publication.description(page_of(box, nodes.paragraph(text=f"{short} {long}")), "else") == short
    assert publication.description(page_of(nodes.paragraph(text="Short\nand  spaced.")), "else") == "Short and spaced."
    remark = nodes.paragraph("", "", nodes.emphasis(text="It takes about a minute."))
    assert publication.description(page_of(remark, nodes.paragraph(text="Short.")), "else") == "Short."
    cut = publication.description(page_of(nodes.paragraph(text=long)), "else")
    assert len(cut) <= publication.LONGEST
    assert cut.endswith(" …")
    assert publication.description(page_of(box), "else") == publication.description(None, "else") == "else"


@pytest.mark.parametrize(
    ("said", "environment", "repository", "found"),
    [
        ("", "", "", ""),
        ("", "", "https://github.com/owner/name", "https://owner.github.io/name/"),
        ("", "https://book.example", "https://github.com/owner/name", "https://book.example/"),
        ("https://said.example/book/", "https://book.example", "", "https://said.example/book/"),
    ],
)
def test_the_address_is_the_first_that_is_known(monkeypatch, said, environment, repository, found):
    monkeypatch.setenv("BOOK_ADDRESS", environment)
    config = SimpleNamespace(html_baseurl=said, book_repository=repository)
    publication.find_address(SimpleNamespace(config=config), config)
    assert config.html_baseurl == found


@pytest.mark.parametrize("base", ["", "https://book.example/"])
def test_a_sitemap_needs_an_address_and_leaves_out_what_the_search_leaves_out(tmp_path: Path, base: str):
    known = SimpleNamespace(all_docs=["intro", "api", "api_internal"], metadata={"api_internal": {"nosearch": "true"}})
    app = SimpleNamespace(env=known, outdir=tmp_path, config=SimpleNamespace(html_baseurl=base))
    app.builder = SimpleNamespace(format="html")
    publication.sitemap(app, None)
    listed = (tmp_path / "sitemap.xml").read_text(encoding="utf-8") if base else ""
    assert re.findall(r"<loc>(.*?)</loc>", listed) == ([f"{base}api.html", f"{base}intro.html"] if base else [])
    assert (tmp_path / "sitemap.xml").exists() == bool(base)


def test_a_page_with_an_address_gives_it_to_those_who_link_to_it():
    app = SimpleNamespace(srcdir=ROOT, config=SimpleNamespace(html_baseurl="https://book.example/"))
    context = {"title": "A <em>page</em>", "theme_extra_footer": "Licence."}
    publication.head(app, "page", "page.html", context, page_of(nodes.paragraph(text='Say "so".')))
    for tag in (
        '<meta property="og:image" content="https://book.example/_static/card.png" />',
        '<meta property="og:url" content="https://book.example/page.html" />',
        '<meta property="og:title" content="A page" />',
        '<meta name="description" content="Say &quot;so&quot;." />',
    ):
        assert tag in context["metatags"]
    assert "Licence." in context["theme_extra_footer"]


def test_what_is_printed_is_linked_to_from_every_page_and_from_two_by_name():
    app = SimpleNamespace(srcdir=ROOT, config=SimpleNamespace(html_baseurl=""))
    context = {"title": "A page"}
    publication.head(app, "page", "page.html", context, page_of(nodes.paragraph(text="Said.")))
    for file, page in ((SUMMARY, "summary.md"), (BOOK, "intro.md")):
        hidden = f'<a data-printed="{file}" hidden>'
        assert context["theme_extra_footer"].count(hidden) == 1
        assert (ROOT / "book" / page).read_text(encoding="utf-8").count(hidden) == 1


def test_version_and_date_are_said_in_one_place_each():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert "version" not in cited, "that of pyproject.toml"
    book = publication.about(ROOT)
    assert re.fullmatch(r"\d+\.\d+\.\d+", book["version"])
    assert publication.said(book["date"]).endswith(str(book["date"].year))


def test_every_page_says_what_it_is_who_made_it_and_how_to_cite_it(html: Path):
    book, pages = publication.about(ROOT), sorted(path for path in html.glob("*.html") if path.stem != "index")
    assert {"404", "search", "intro", "api_internal", "summary"} <= {path.stem for path in pages}
    described = {}
    for path in pages:
        text = path.read_text(encoding="utf-8")
        [described[path.stem]] = re.findall(r'<meta name="description" content="([^"]{20,})" />', text)
        for part in (
            'property="og:title"', 'property="og:image"', 'href="_static/favicon.svg"', "Code under the MIT licence",
            f"Version {book['version']}, {publication.said(book['date'])}.", 'href="intro.html#how-to-cite"',
            *book["authors"],
        ):  # fmt: skip
            assert part in text, f"{path.name}: {part}"
        assert 'rel="canonical"' not in text, f"{path.name}: no address is known"
    chapters = [text for name, text in described.items() if name[0].isdigit() and name != "404"]
    assert len(set(chapters)) == len(chapters) > 15
    assert not (html / "sitemap.xml").exists()


def test_a_small_book(tmp_path: Path, monkeypatch):
    """A figure is shown again without a number of its own, and a page with nosearch is in no index."""
    known = publication.about(ROOT)
    monkeypatch.setattr(publication, "about", lambda folder: known)
    drawn = ".. figure:: drawn.svg\n   :name: fig-drawn\n   :alt: A picture of something\n\n   First.\n"
    again = ".. figure-from:: fig-drawn\n   :page: index\n\n   Seen *again*.\n"
    hidden = ":nosearch:\n\nHidden\n======\n\n.. py:function:: hidden()\n"
    pages = {
        "index": f"Top\n===\n\n.. toctree::\n\n   b\n   c\n\n{drawn}",
        "b": f"Second\n======\n\n{again}",
        "c": hidden,
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.rst").write_text(text, encoding="utf-8")
    (tmp_path / "drawn.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    settings = {"extensions": ["publication"], "numfig": True}
    app = Sphinx(
        tmp_path, None, tmp_path / "out", tmp_path / "read", "html", settings, status=None, warningiserror=True
    )
    app.build()
    page, index = ((tmp_path / "out" / name).read_text(encoding="utf-8") for name in ("b.html", "searchindex.js"))
    assert re.search(r'href="index.html#fig-drawn"><img alt="A picture of something"', page)
    assert "Seen <em>again</em>." in page
    assert "caption-number" not in page
    index = json.loads(index[index.index("{") : index.rindex("}") + 1])
    assert index["docnames"] == ["b", "index"]
    assert index["objects"] == {}
    assert 'property="og:title" content="Second"' in page


def test_the_search_leaves_out_what_is_internal(html: Path):
    index = (html / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(index[index.index("{") : index.rindex("}") + 1])
    assert {"api", "summary", "01_one_reward_for_ever"} <= set(index["docnames"])
    assert "api_internal" not in index["docnames"]
    objects = [f"{group}.{entry[-1]}" for group, entries in index["objects"].items() for entry in entries]
    assert any("training.losses" in name for name in objects)
    assert not any("pages.render" in name or "networks.fast" in name for name in objects)


def test_the_summary_shows_figures_of_the_chapters_and_prints_on_six_pages(html: Path):
    text = (html / "summary.html").read_text(encoding="utf-8")
    assert (
        len(re.findall(r'<figure class="[^"]*from-elsewhere', text))
        == text.count('class="reference internal image')
        == 3
    )
    if chromium() is None:
        pytest.skip("needs Chromium")
    leaves = len(re.findall(rb"/Type\s*/Page\b", (html / "summary.pdf").read_bytes()))
    assert 5 <= leaves <= 7
    assert 'href="summary.pdf"' in text


def numbers(svg: Path) -> np.ndarray:
    return np.array(re.findall(r"-?\d+\.\d+", svg.read_text(encoding="utf-8")), float)


def test_pictures_are_those_of_the_stored_runs(tmp_path: Path):
    card.save(tmp_path)
    for name in ("collapse-light.svg", "collapse-dark.svg"):
        drawn, kept = numbers(tmp_path / name), numbers(card.STATIC / name)
        assert len(drawn) == len(kept)
        np.testing.assert_allclose(drawn, kept, atol=0.01, err_msg="python -m actde_book.intro.card draws it anew")
    for name in ("collapse-light.svg", "collapse-dark.svg", "card.png", "favicon.svg"):
        assert (card.STATIC / name).stat().st_size < 100_000
