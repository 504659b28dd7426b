"""A Sphinx extension: signatures and shapes in the API reference as a person would write them."""

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

# Autodoc writes types out in full; this one is a page long.
ARRAY_LIKE = [stringify_annotation(ArrayLike, mode) for mode in ("smart", "fully-qualified-except-typing")]


def shorten(app, what, name, obj, options, signature, return_annotation):
    """Name NumPy's ArrayLike instead of writing it out, and leave out what a default factory is called."""

    def short(text: str | None) -> str | None:
        if text is None:
            return None
        for long in ARRAY_LIKE:
            text = text.replace(long, "ArrayLike")
        return text.replace("<factory>", "...")

    return short(signature), short(return_annotation)


def escape(app, what, name, obj, options, lines):
    """Keep the star of a shape such as ``[*batch, arms]`` from opening an emphasis."""
    lines[:] = [line.replace("[*", r"[\*") for line in lines]


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", escape)
    return {"parallel_read_safe": True}
