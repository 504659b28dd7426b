"""Bookkeeping is off the pages, and the code that is left stands on its own."""

import ast
import builtins

import pytest

from actde_nb.pages.chapters import Chapter, chapters

REMOVED = {"remove-cell", "remove-input"}
NUMBERED = [chapter for chapter in chapters() if chapter.name[0].isdigit()]


def shown(chapter: Chapter) -> list[tuple[ast.Module, bool]]:
    """The cells of which a page shows the code, and whether it is folded."""
    cells = [(c.source, set(c.metadata.get("tags", []))) for c in chapter.notebook.cells if c.cell_type == "code"]
    return [(ast.parse(source), "hide-input" in tags) for source, tags in cells if not REMOVED & tags]


def bound(tree: ast.AST) -> set[str]:
    """Names that a cell gives to something, in a function or outside."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(name.asname or name.name).split(".")[0] for name in node.names}
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return found


def unknown(cells: list[tuple[ast.Module, bool]]) -> set[str]:
    """Names in code that stands open, of which no code on the page says where they come from."""
    known = set(dir(builtins)).union(*(bound(tree) for tree, _ in cells))
    used = {n.id for tree, folded in cells if not folded for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return used - known


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda chapter: chapter.name)
def test_code_on_a_page_uses_only_what_the_page_shows(chapter: Chapter):
    assert not unknown(shown(chapter))


def test_a_name_from_a_cell_that_is_not_shown_is_found():
    assert unknown([(ast.parse("a = 1"), True), (ast.parse("print(a, b)"), False)]) == {"b"}
