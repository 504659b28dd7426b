"""A Sphinx extension: what a page says to those who link to it, search for it, print it or cite it.

The version is that of ``pyproject.toml``, authors and date are those of ``CITATION.cff``, both among the sources."""

import os
import re
import tomllib
from datetime import date
from html import escape, unescape
from pathlib import Path

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from repository import address, repository
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LONGEST = 200  # characters of a description that are shown where a page is found
UNLISTED = {"404", "search", "genindex"}  # pages that nobody should be led to from elsewhere
PRINTED = {"summary.pdf": "Summary (PDF)", "book.pdf": "The whole book (PDF)"}  # shown where they were printed


def about(folder: Path) -> dict:
    """Title, authors, version and date of the book, from the two files in a folder that say so."""
    cited = yaml.safe_load((folder / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "title": cited["title"], "abstract": cited["abstract"], "version": project["version"],
        "authors": [person["name"] for person in cited["authors"]],
        "date": date.fromisoformat(str(cited["date-released"])),
    }  # fmt: skip


def said(day: date) -> str:
    """A date as people write it."""
    return f"{day.day} {day:%B %Y}"


def description(document: nodes.document | None, otherwise: str) -> str:
    """The first sentences of a page, as many as are shown where it is found; its first paragraph stands for it."""
    boxes = (nodes.Admonition, nodes.table, nodes.footnote, nodes.citation)
    paragraphs = (p for p in (document.findall(nodes.paragraph) if document else ()) if not inside(p, boxes))
    remark = nodes.emphasis  # a whole paragraph of it says how long the page takes to run, or who wrote it
    said = (p.astext() for p in paragraphs if [type(child) for child in p.children] != [remark])
    text = " ".join(next(said, otherwise).split())
    if len(text) <= LONGEST:
        return text
    whole = re.match(rf".{{110,{LONGEST}}}[.?!](?=\s)", text)
    return whole[0] if whole else text[: LONGEST - 2].rsplit(" ", 1)[0] + " …"


def inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    """Whether a node stands somewhere in one of these kinds."""
    return node.parent is not None and (isinstance(node.parent, kinds) or inside(node.parent, kinds))


def head(app: Sphinx, page: str, template: str, context: dict, document: nodes.document | None) -> None:
    """Give a page its description, a card for those who link to it, and the last line of every page."""
    if "body" in context:  # a list for screen readers has items only; docutils puts more into that of the references
        context["body"] = re.sub(r'(<div[^>]*) role="(?:list|doc-biblioentry)"', r"\1", context["body"])
    book = about(Path(app.srcdir))
    base = app.config.html_baseurl
    title = unescape(re.sub(r"<[^>]+>", "", context.get("title", ""))) or book["title"]
    told = description(document, book["abstract"])
    facts = {
        "og:type": "article", "og:site_name": book["title"], "og:title": title, "og:description": told,
        "og:image": f"{base}_static/card.png", "og:image:alt": book["abstract"].strip(),
    } | ({"og:url": f"{base}{page}.html"} if base else {})  # fmt: skip
    named = {"description": told, "author": ", ".join(book["authors"]), "twitter:card": "summary_large_image"}
    tags = [f'<meta property="{name}" content="{escape(value)}" />' for name, value in facts.items()]
    tags += [f'<meta name="{name}" content="{escape(value)}" />' for name, value in named.items()]
    context["metatags"] = "\n    ".join([context.get("metatags", ""), *tags])
    context["html_baseurl"] = base
    links = ['<a href="intro.html#how-to-cite">How to cite</a>']
    links += [f'<a data-printed="{file}" hidden>{text}</a>' for file, text in PRINTED.items()]
    made = f"Version {book['version']}, {said(book['date'])}."
    context["theme_extra_footer"] = f"{made} {context.get('theme_extra_footer', '')}<br/>{' '.join(links)}"


class FigureFrom(SphinxDirective):
    """A figure of another page once more, with a caption of its own: ``figure-from`` NAME, with ``:page:``."""

    required_arguments, has_content, option_spec = 1, True, {"page": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """A figure whose image is still to be fetched."""
        figure = shown_again("", classes=["from-elsewhere"])
        figure += borrowed(page=self.options["page"], name=self.arguments[0])
        told = nodes.paragraph()
        self.state.nested_parse(self.content, self.content_offset, told)
        figure += nodes.caption("", "", *(child for p in told.children for child in p.children))
        return [figure]


class shown_again(nodes.figure):  # noqa: N801
    """A figure without a number: that is the other page's."""


class borrowed(nodes.General, nodes.Element):  # noqa: N801
    """Where the image of a figure of another page goes."""


def fetch(app: Sphinx, document: nodes.document, page: str) -> None:
    """Put images of other pages where this one shows them again, each linked to where it is from."""
    for place in list(document.findall(borrowed)):
        source, name = place["page"], place["name"]
        figures = [f for f in app.env.get_doctree(source).findall(nodes.figure) if name in f["names"] + f["ids"]]
        images = [image for figure in figures for image in figure.findall(nodes.image)]
        if not images:
            logging.getLogger(__name__).warning("%s: no figure %s on page %s", page, name, source)
        uri = app.builder.get_relative_uri(page, source) if app.builder.format == "html" else ""
        link = nodes.reference("", "", *(image.deepcopy() for image in images), refuri=f"{uri}#{name}", internal=True)
        place.replace_self(link)


class HowToCite(SphinxDirective):
    """A box with a sentence and a BibTeX entry, made from what the project's files say of it."""

    def run(self) -> list[nodes.Node]:
        """The box; its anchor is ``how-to-cite``."""
        book, where = about(Path(self.env.srcdir)), self.config.html_baseurl or repository(self.env.app)
        authors, year = " and ".join(book["authors"]), book["date"].year
        lines = [f"@misc{{actdenb{year},", f"  author = {{{{{authors}}}}},", f"  title = {{{book['title']}}},"]
        lines += [f"  year = {{{year}}},", f"  note = {{Version {book['version']}}},"]
        lines += [f"  url = {{{where}}},"] if where else []
        entry = "\n".join([*lines, "}"])
        sentence = nodes.paragraph(
            "", "", nodes.Text(f"{authors[:1].upper()}{authors[1:]}, "), nodes.emphasis(text=book["title"])
        )
        sentence += nodes.Text(f" Version {book['version']}, {said(book['date'])}.")
        title, code = nodes.title(text="How to cite"), nodes.literal_block(entry, entry, language="bibtex")
        return [nodes.admonition("", title, sentence, code, ids=["how-to-cite"], classes=["note"])]


def find_address(app: Sphinx, config) -> None:
    """Where the book is published, unless the configuration says so: from the environment, or from the repository."""
    found = config.html_baseurl or os.environ.get("BOOK_ADDRESS", "") or address(app)
    config.html_baseurl = found and found.rstrip("/") + "/"


def unsearched(app: Sphinx) -> None:
    """Keep pages with ``nosearch`` out of the search altogether; Sphinx itself leaves their titles and objects in."""
    if app.builder.format != "html":
        return
    feed = app.builder.index_page

    def index_page(page: str, document: nodes.document, title: str) -> None:
        if "nosearch" not in app.env.metadata.get(page, {}):
            feed(page, document, title)

    app.builder.index_page = index_page


def sitemap(app: Sphinx, error: Exception | None) -> None:
    """List the pages for search engines, if the book knows where it is published."""
    if error is not None or app.builder.format != "html" or not (base := app.config.html_baseurl):
        return
    hidden = {name for name, facts in app.env.metadata.items() if "nosearch" in facts} | UNLISTED
    lines = [f"  <url><loc>{base}{page}.html</loc></url>" for page in sorted(app.env.all_docs) if page not in hidden]
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    text = "\n".join(['<?xml version="1.0" encoding="utf-8"?>', f'<urlset xmlns="{space}">', *lines, "</urlset>"])
    Path(app.outdir, "sitemap.xml").write_text(f"{text}\n", encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.setup_extension("repository")
    app.add_directive("how-to-cite", HowToCite)
    app.add_directive("figure-from", FigureFrom)
    app.add_node(borrowed)
    looks = (lambda writer, node: writer.visit_figure(node), lambda writer, node: writer.depart_figure(node))
    app.add_node(shown_again, html=looks)
    app.connect("builder-inited", unsearched)
    app.connect("doctree-resolved", fetch)
    app.connect("config-inited", find_address)
    app.connect("html-page-context", head, priority=900)
    app.connect("build-finished", sitemap)
    return {"parallel_read_safe": True}
