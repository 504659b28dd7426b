"""A Sphinx extension: links that need the address of the repository, where the build knows it."""

import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx


def repository(app: Sphinx) -> str:
    """Address of the repository without an end, https://github.com/owner/name, or "" where the build knows none."""
    return app.config.book_repository.removesuffix("/").removesuffix(".git")


def address(app: Sphinx) -> str:
    """Where the rendered book is published, or ""."""
    host, owner, name = ([""] * 3 + repository(app).split("/"))[-3:]
    return f"https://{owner}.github.io/{name}/" if host == "github.com" else ""


def installation(app: Sphinx, extra: str = "") -> str:
    """The line that installs the package, from where it is kept, with the extra that a page needs, if any."""
    extra = extra and f"[{extra}]"
    if where := repository(app):
        return f'%pip install --quiet "actde-nb{extra} @ git+{where}@{app.config.book_revision}"'
    told = f"actde-nb{extra} is missing: pip install FOLDER{extra}, where FOLDER is that of the book's files"
    return f'raise ModuleNotFoundError("{told}")'


def links(app: Sphinx, page: str, template: str, context: dict, document: nodes.document | None) -> None:
    """Give pages the buttons that need an address: where to run, read, edit and discuss them."""
    if document is None or not (where := repository(app)):
        return
    buttons = [("Repository", where, "fab fa-github"), ("Open an issue", f"{where}/issues/new", "fas fa-lightbulb")]
    if page != "scorecard":  # which is made from data
        buttons.append(("Suggest an edit", f"{where}/edit/main/book/{page}.md", "fas fa-pencil-alt"))
    if Path(app.srcdir, f"{page}.ipynb").exists() and address(app):
        kept = where.removeprefix("https://github.com/")  # the workflow puts the notebooks on a branch of their own
        colab = f"https://colab.research.google.com/github/{kept}/blob/notebooks/{page}.ipynb"
        binder = f"https://mybinder.org/v2/gh/{kept}/notebooks?labpath={page}.ipynb"
        buttons += [("Run in Colab", colab, "fas fa-play"), ("Run on Binder", binder, "fas fa-rocket")]
    looks = [{"type": "link", "url": url, "text": text, **_named(text, icon)} for text, url, icon in buttons]
    group = {"type": "group", "buttons": looks, **_named("Run, edit, discuss", "fab fa-github")}
    context["header_buttons"].append(group)


def _named(text: str, icon: str) -> dict[str, str]:
    return {"tooltip": text, "icon": icon, "label": text.lower().replace(" ", "-").replace(",", "")}


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_config_value("book_repository", os.environ.get("BOOK_REPOSITORY", ""), "env")
    app.add_config_value("book_revision", os.environ.get("BOOK_REVISION", "main"), "env")
    app.connect("html-page-context", links, priority=900)  # after the theme's own buttons
    return {"parallel_read_safe": True}
