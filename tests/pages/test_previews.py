"""What a link shows of its target on another page."""

import json
from pathlib import Path
from types import SimpleNamespace

import previews as extension
import pytest
from previews import previews
from sphinx.errors import ExtensionError

GLOSSARY = """<article><dl class="simple glossary">
<dt id="term-nat">nat<a class="headerlink" href="#term-nat" title="Link">#</a></dt><dd><p>A unit of
<a class="reference internal" href="#term-entropy"><span class="xref">entropy</span></a>.</p></dd>
<dt id="term-entropy">entropy</dt><dd><p>Never asked for.</p></dd></dl></article>"""
CHAPTER = r"""<article><p><a class="reference internal" href="glossary.html#term-nat">nat</a>,
<a class="reference internal" href="other.html#equation-eq-one">(1)</a>,
<a class="reference internal" href="other.html#a-section">there</a></p></article>"""
OTHER = r"""<article><section id="a-section"><div class="math" id="equation-eq-one">
<span class="eqno">(1)<a class="headerlink" href="#equation-eq-one">#</a></span>\[a &lt; b\]</div>
<div class="proof theorem admonition" id="thm-here"><p>Nobody elsewhere links to it.</p></div></section></article>"""
PAGES = {"glossary.html": GLOSSARY, "chapter.html": CHAPTER, "other.html": OTHER}


def test_what_other_pages_link_to_is_shown_without_links():
    assert previews(PAGES) == {
        "glossary.html#term-nat": '<dt>nat</dt><dd><p>A unit of\n<span class="xref">entropy</span>.</p></dd>',
        "other.html#equation-eq-one": '<div class="math">\n<span class="eqno">(1)</span>\\[a &lt; b\\]</div>',
    }


def test_the_script_beside_the_pages_stays_small(tmp_path: Path, monkeypatch):
    (tmp_path / "_static").mkdir()
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    extension.write(app, None)
    script = (tmp_path / extension.FILE).read_text(encoding="utf-8")
    assert json.loads(script.removeprefix("window.bookPreviews = ").removesuffix(";\n")) == previews(PAGES)
    monkeypatch.setattr(extension, "LIMIT", 100)
    with pytest.raises(ExtensionError, match=r"previews-data.js has \d+ bytes: allowed are 100"):
        extension.write(app, None)
