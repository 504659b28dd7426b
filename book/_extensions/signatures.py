"""A Sphinx extension: signatures and shapes in the API reference as a person would write them."""

import re

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

# Autodoc writes types out in full; this one is a page long.
ARRAY_LIKE = [stringify_annotation(ArrayLike, mode) for mode in ("smart", "fully-qualified-except-typing")]

LINES = {"l": "parameters", "d": "parameter"}


def _shorten(app, what, name, obj, options, signature, return_annotation):
    """Name NumPy's ArrayLike instead of writing it out, and leave out what a default factory is called."""
    for long, short in (*((long, "ArrayLike") for long in ARRAY_LIKE), ("<factory>", "...")):
        signature = signature and signature.replace(long, short)
        return_annotation = return_annotation and return_annotation.replace(long, short)
    return signature, return_annotation


def _escape(app, what, name, obj, options, lines):
    """Keep napoleon and docutils from reading more into a docstring than it says."""
    # The star of a shape such as [*batch, arms] opens no emphasis.
    lines[:] = [re.sub(r"([\[ ])\*(?=\w+[,\]])", r"\1\*", line) for line in lines]
    # What stands before the first colon of an attribute's docstring is no type. (An empty type is none.)
    if what in ("attribute", "data", "property") and lines:
        lines[0] = f": {lines[0]}"


def _valid(app, page, template, context, document):
    """Write the parameters of a long signature as lines; Sphinx makes a list of definitions that define nothing."""
    if "body" in context:
        context["body"] = re.sub(r'<dt class="sig.*?</dt>', _lines, context["body"], flags=re.S)


def _lines(signature: re.Match) -> str:
    opened = re.sub("<d([ld])>", lambda tag: f'<span class="{LINES[tag[1]]}">', signature[0])
    return re.sub("</d[ld]>", "</span>", opened)


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _escape, priority=400)  # before napoleon, at 500
    app.connect("html-page-context", _valid)
    return {"parallel_read_safe": True}
