"""Chapters as sources: what they are called, what they take, what they depend on."""

import ast
import functools
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import grimp
import jupytext
import nbformat
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from jupytext.myst import MystMetadataParsingError

from actde_nb.checks import BookError
from actde_nb.pages.glue import SCALES
from actde_nb.paths import LOCK, PROGRAMME, ROOT, SOURCES, stored_runs

PACKAGES = {"actde_nb": ROOT, "actde_book": SOURCES}  # where each lies
FINDS_STORED_RUNS = "actde_nb.paths"  # no chapter comes by a stored run but through this module
_import_graph = functools.cache(lambda: grimp.build_graph(*PACKAGES, cache_dir=None))


@dataclass(frozen=True)
class Chapter:
    """One MyST notebook of the book; what is wrong with it is a :class:`~actde_nb.checks.BookError` that names it."""

    source: Path

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.source.stem

    @property
    def text(self) -> str:
        """The source, without a byte order mark."""
        try:
            return self.source.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise BookError(f"{self.source.name}: is no text in UTF-8: {error}") from None

    @functools.cached_property
    def notebook(self) -> nbformat.NotebookNode:
        """The source as a notebook that was never run, its cells numbered so that two runs compare equal."""
        try:
            notebook = jupytext.reads(self.text, fmt="md")
        except (yaml.YAMLError, MystMetadataParsingError, nbformat.ValidationError) as error:
            told = " ".join(getattr(error, "message", str(error)).split())
            raise BookError(f"{self.source.name}: its front matter or a cell's options are wrong: {told}") from None
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
        return notebook

    @property
    def title(self) -> str:
        """First heading."""
        prose = "\n".join(cell.source for cell in self.notebook.cells if cell.cell_type == "markdown")
        if heading := re.search(r"^# (.*)", prose, re.M):
            return heading[1]
        raise BookError(f"{self.source.name}: has no title, a line that begins with '# '")

    @property
    def parameters(self) -> dict[str, Any]:
        """Names and defaults assigned in the cell tagged ``parameters``."""
        tagged = [c for c in self.notebook.cells if "parameters" in c.metadata.get("tags", [])]
        if len(tagged) != 1:
            raise BookError(f"{self.name}: has {len(tagged)} cells tagged 'parameters', needs exactly one")
        found: dict[str, Any] = {}
        for node in self._parsed("parameters cell", tagged[0].source).body:
            code = " ".join(ast.unparse(node).split())
            try:
                _assign(node, found)
            except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
                raise BookError(f"{self.name}, parameters cell, line {node.lineno}: {code}: {error}") from None
        return found

    @property
    def modules(self) -> set[str]:
        """Modules of the package that the chapter depends on, directly or not."""
        graph = _import_graph()
        cells = [cell.source for cell in self.notebook.cells if cell.cell_type == "code"]
        trees = [self._parsed(f"code cell {number}", cell) for number, cell in enumerate(cells, 1)]
        direct = set().union(*map(_imported, trees)) & graph.modules
        reached = direct.union(*(graph.find_upstream_modules(module) for module in direct))
        return reached | {module[: place.start()] for module in reached for place in re.finditer(r"\.", module)}

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        """Hash of everything that the executed notebook depends on."""
        digest = hashlib.sha256(self.source.read_bytes())
        digest.update(json.dumps([sys.version_info[:3], sorted(parameters.items())]).encode())
        modules = sorted(self.modules)
        # Names of files are put together in the cells, so that any stored run may be one that is read.
        read = [PROGRAMME, *stored_runs("**/[!.]*")] if FINDS_STORED_RUNS in modules else []
        digest.update(json.dumps([file.name for file in read]).encode())
        for file in [LOCK, *chain.from_iterable(map(_module_files, modules)), *read]:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _parsed(self, place: str, code: str) -> ast.Module:
        try:
            return _python(code)
        except SyntaxError as error:
            raise BookError(f"{self.name}, {place}: SyntaxError: {error}\n{code}") from None


def chapters(names: Sequence[str] = ()) -> list[Chapter]:
    """All chapters in the order of their names, or those asked for; a number is name enough."""
    every = [Chapter(file) for file in sorted(SOURCES.glob("[!.]*.md")) if _is_notebook(file)]
    chosen = []
    for name in names:
        fitting = [c for c in every if c.name == name] or [c for c in every if c.name.startswith(name)]
        if len(fitting) != 1:
            raise BookError(f"chapter = {name!r}: allowed are {', '.join(c.name for c in every)}")
        chosen += fitting
    return chosen if names else every


def settings(chapter: Chapter, scale: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters to inject: those that differ from the chapter's defaults."""
    if scale not in SCALES:
        raise BookError(f"scale = {scale!r}: allowed are {', '.join(SCALES)}")
    defaults = chapter.parameters
    allowed = [name for name in defaults if name != "scale"]
    for name, value in parameters.items():
        if name not in allowed:
            raise BookError(f"parameter = {name!r} of chapter {chapter.name}: allowed are {', '.join(allowed)}")
        try:
            json.dumps(value)
        except TypeError:
            raise BookError(f"{name} = {value}: allowed are numbers, texts, truth values, lists and maps") from None
    wanted = {"scale": scale, **parameters}
    return {name: value for name, value in wanted.items() if name not in defaults or value != defaults[name]}


def _is_notebook(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return True  # reading it will say what is wrong
    return text.startswith("---\n") and "kernelspec" in text.split("\n---\n")[0]


def _python(code: str) -> ast.Module:
    """Parse a cell as Jupyter would run it: magics and shell commands are calls."""
    first, _, rest = code.lstrip().partition("\n")
    if not first.startswith("%%"):
        return ast.parse(TransformerManager().transform_cell(code))
    try:
        return _python(rest)  # %%time and its like
    except SyntaxError:
        return ast.Module([], [])  # %%bash and its like


def _assign(node: ast.stmt, known: dict[str, Any]) -> None:
    """Add to ``known`` what a statement assigns. It may use what is known, and nothing else has a name for it."""
    match node:
        case ast.Assign():
            statement = node
        case ast.AnnAssign(target=target, value=ast.expr() as expression):
            statement = ast.copy_location(ast.Assign([target], expression), node)
        case ast.Expr() | ast.AnnAssign() | ast.Import() | ast.ImportFrom():
            return
        case _:
            raise ValueError("allowed are assignments")
    try:
        exec(compile(ast.Module([statement], []), "parameters", "exec"), {"__builtins__": {}}, known)
    except NameError:
        raise ValueError("allowed are numbers and arithmetic, texts, lists, maps, and earlier parameters") from None


def _imported(tree: ast.Module) -> set[str]:
    nodes = [*ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):  # what it names may be a module or something in it
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _module_files(module: str) -> list[Path]:
    """The module, and data beside it under its name, such as the style sheet of ``style``."""
    path = PACKAGES[module.split(".")[0]].joinpath(*module.split("."))
    return sorted(path.parent.glob(f"{path.name}.*")) if not path.is_dir() else [path / "__init__.py"]
