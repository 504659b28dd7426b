"""A Sphinx extension: what the pages' script shows of a link's target where the target is on another page.

Terms, equations and theorems that some other page links to go into one script beside the pages, as HTML by page and
place. (A page that is read from a disk may not fetch a file, and may load a script.)"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

FILE = "_static/previews-data.js"
LIMIT = 200_000  # bytes that a reader may have to load for a preview
TARGETS = "dl.glossary > dt[id], div.math[id], div.proof[id]"
MARKS = re.compile(r'class="[^"]*glossary|id="equation-|class="proof ')  # without one of them a page has no target
ELSEWHERE = re.compile(r'<a class="reference internal" href="([\w-]+\.html)#([^"]+)"')


def previews(pages: Mapping[str, str]) -> dict[str, str]:
    """HTML to show, by target as ``page.html#place``, of pages by their file's name."""
    wanted = {target for text in pages.values() for target in ELSEWHERE.findall(text)}
    found = {}
    for name in sorted(name for name in {name for name, _ in wanted} & pages.keys() if MARKS.search(pages[name])):
        places = {place for other, place in wanted if other == name}
        page = BeautifulSoup(pages[name], "html.parser")
        for target in page.select(TARGETS):
            if target["id"] in places:
                found[f"{name}#{target['id']}"] = shown(target)
    return found


def shown(target: Tag) -> str:
    """A target as a preview has it: a term with its meaning; no links, since nobody can reach them there."""
    parts = [target, target.find_next_sibling("dd")] if target.name == "dt" else [target]
    text = "".join(map(str, parts))
    text = re.sub(r'<a class="headerlink".*?</a>|</?a\b[^>]*>| id="[^"]*"', "", text, flags=re.S)
    return re.sub(r"\n+", "\n", text)


def write(app: Sphinx, error: Exception | None) -> None:
    """Put the script beside the rendered pages."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    pages = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}
    script = f"window.bookPreviews = {json.dumps(previews(pages), ensure_ascii=False, indent=0)};\n"
    if (size := len(script.encode())) > LIMIT:
        raise ExtensionError(f"{FILE} has {size} bytes: allowed are {LIMIT}")
    (folder / FILE).write_text(script, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
