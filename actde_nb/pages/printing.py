"""PDF files of rendered pages, printed by a headless Chromium where there is one; no TeX."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from actde_nb.checks import BookError
from actde_nb.paths import CONTENTS

NONE = "no PDF: Chromium was not found (on Debian and Ubuntu: apt-get install chromium)"
LEFT_OUT = {"summary", "api", "api_internal"}  # what a reader of the whole book on paper does not need
PATIENCE = 900  # seconds
SUMMARY, BOOK = "summary.pdf", "book.pdf"


def chromium() -> str | None:
    """The browser that prints, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def print_page(page: Path, pdf: Path) -> None:
    """Print one HTML file, once its equations are typeset, and show the links to it on the pages beside it.

    Raises:
        BookError: The browser is missing or printed nothing; no file is left then."""
    if (browser := chromium()) is None:
        raise BookError(NONE)
    with tempfile.TemporaryDirectory() as profile:  # beside no other Chromium's
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        # Time runs ahead while nothing is being computed; this much is more than any page takes.
        options += ["--virtual-time-budget=1000000", "--no-pdf-header-footer", "--generate-pdf-document-outline"]
        run = [browser, *options, f"--print-to-pdf={pdf}", page.as_uri()]
        try:
            log = subprocess.run(run, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise BookError(f"{pdf.name} was not printed by {browser} in {PATIENCE} s") from None
    if log.returncode != 0 or not pdf.exists():
        raise BookError(f"{pdf.name} was not printed by {browser}: {log.stderr.strip().splitlines()[-1:]}")
    for other in page.parent.glob("*.html"):
        text = other.read_text(encoding="utf-8")
        if (hidden := f'data-printed="{pdf.name}" hidden') in text:
            other.write_text(text.replace(hidden, f'href="{pdf.name}"'), encoding="utf-8")


def print_book(html: Path) -> Path:
    """Print the whole rendered book into one file beside its pages, unless it lies there already."""
    if not (pdf := html / BOOK).exists():
        contents = yaml.safe_load(CONTENTS.read_text(encoding="utf-8"))
        whole = html / "print.html"
        try:
            whole.write_text(one_page(html, contents), encoding="utf-8")
            print_page(whole, pdf)
        finally:
            whole.unlink(missing_ok=True)
    return pdf


def one_page(html: Path, contents: Mapping) -> str:
    """All pages of a table of ``contents`` after each other, as one page whose links lead to places on itself."""
    first = Path(contents["root"]).stem
    parts = [(part["caption"], [Path(page["file"]).stem for page in part["chapters"]]) for part in contents["parts"]]
    parts = [(caption, [name for name in names if name not in LEFT_OUT]) for caption, names in parts]
    names = [first, *(name for _, pages in parts for name in pages)]
    texts = {name: _article((html / f"{name}.html").read_text(encoding="utf-8"), name, names) for name in names}
    titles = {name: re.search(r"<h1>(.*?)<a class=\"headerlink", text, re.S)[1] for name, text in texts.items()}
    lists = [
        f"<h3>{caption}</h3><ul>" + "".join(f'<li><a href="#{n}--">{titles[n]}</a></li>' for n in pages) + "</ul>"
        for caption, pages in parts
        if pages
    ]
    head = (html / f"{first}.html").read_text(encoding="utf-8").partition("<body")[0]
    listed = f'<nav class="bd-article"><h2>Contents</h2>{"".join(lists)}</nav>'
    ordered = [texts[first], listed, *(texts[name] for name in names[1:])]
    return f'{head}<body class="whole-book"><main class="bd-main">{"".join(ordered)}</main></body></html>'


def _article(page: str, name: str, names: Sequence[str]) -> str:
    """What a page says, with its anchors named after it and its links leading to where these are."""
    text = page.partition('<article class="bd-article">')[2].partition("</article>")[0]
    text = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    text = re.sub(r'(\sid|\sfor|\saria-labelledby)="([^"]+)"', rf'\1="{name}--\2"', text)

    def link(found: re.Match) -> str:
        target, _, anchor = found[1].partition("#")
        other = target.removesuffix(".html") or name
        return f'href="#{other}--{anchor}"' if other in names else found[0]

    text = re.sub(r'href="([^":]*)"', link, text)
    return f'<article class="bd-article" id="{name}--">{text}</article>'
