"""Chapters as sources: what they are called, what they take, what they depend on."""

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grimp
import jupytext
import nbformat
import yaml

from actde_nb.checks import BookError
from actde_nb.pages.glue import SCALES
from actde_nb.paths import LOCK, RESULTS, SOURCES

PACKAGE = "actde_nb"


@dataclass(frozen=True)
class Chapter:
    """One MyST notebook of the book."""

    source: Path

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.source.stem

    @functools.cached_property
    def notebook(self) -> nbformat.NotebookNode:
        """The source as a notebook that was never run, its cells numbered so that two runs compare equal."""
        notebook = jupytext.read(self.source)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
        return notebook

    @property
    def title(self) -> str:
        """First heading."""
        lines = self.source.read_text(encoding="utf-8").splitlines()
        return next(line.removeprefix("# ") for line in lines if line.startswith("# "))

    @property
    def parameters(self) -> dict[str, Any]:
        """Names and defaults assigned in the cell tagged ``parameters``."""
        tagged = [c for c in self.notebook.cells if "parameters" in c.metadata.get("tags", [])]
        if len(tagged) != 1:
            raise BookError(f"{self.name}: has {len(tagged)} cells tagged 'parameters', needs exactly one")
        assignments = [node for node in ast.parse(tagged[0].source).body if isinstance(node, ast.Assign)]
        return {node.targets[0].id: ast.literal_eval(node.value) for node in assignments}

    @property
    def modules(self) -> set[str]:
        """Modules of the package that the chapter depends on, directly or not."""
        graph = _import_graph()
        named = set()
        for number, cell in enumerate((c for c in self.notebook.cells if c.cell_type == "code"), 1):
            try:
                named |= _imported(cell.source)
            except SyntaxError as error:
                raise BookError(f"{self.name}, code cell {number}: SyntaxError: {error}\n{cell.source}") from None
        direct = named & graph.modules
        reached = direct.union(*(graph.find_upstream_modules(module) for module in direct))
        return reached | {parent for module in reached for parent in _parents(module)}

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        """Hash of everything that the executed notebook depends on."""
        digest = hashlib.sha256(self.source.read_bytes())
        digest.update(json.dumps([sys.version_info[:3], sorted(parameters.items())]).encode())
        # Names of files are put together in the cells, so that any stored run may be one that is read.
        text = self.source.read_text(encoding="utf-8")
        stored = sorted(RESULTS.glob("*")) if "RESULTS" in text or "stored(" in text else []
        read = [file for file in stored if not file.name.endswith(".checkpoint.safetensors")]
        digest.update(json.dumps([file.name for file in read]).encode())
        for file in [LOCK, *sorted(map(_module_file, self.modules)), *read]:
            digest.update(file.read_bytes())
        return digest.hexdigest()


def chapters(names: Sequence[str] = ()) -> list[Chapter]:
    """All chapters in the order of their names, or those asked for; a number is name enough.

    Raises:
        BookError: a name that fits no chapter or several.
    """
    every = [Chapter(file) for file in sorted(SOURCES.glob("*.md")) if _is_notebook(file)]
    if not names:
        return every
    chosen = []
    for name in names:
        fitting = [c for c in every if c.name == name] or [c for c in every if c.name.startswith(name)]
        if len(fitting) != 1:
            raise BookError(f"chapter = {name!r}: allowed are {', '.join(c.name for c in every)}")
        chosen += fitting
    return chosen


def settings(chapter: Chapter, scale: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters to inject: those that differ from the chapter's defaults.

    Raises:
        BookError: an unknown scale, or a parameter that the chapter does not have.
    """
    if scale not in SCALES:
        raise BookError(f"scale = {scale!r}: allowed are {', '.join(SCALES)}")
    defaults = chapter.parameters
    for name in parameters:
        if name not in defaults or name == "scale":
            allowed = ", ".join(n for n in defaults if n != "scale")
            raise BookError(f"parameter = {name!r} of chapter {chapter.name}: allowed are {allowed}")
    wanted = {"scale": scale, **parameters}
    return {name: value for name, value in wanted.items() if value != defaults[name]}


def _is_notebook(file: Path) -> bool:
    text = file.read_text(encoding="utf-8")
    if not text.startswith("---\n"):
        return False
    return "kernelspec" in (yaml.safe_load(text.split("---\n")[1]) or {})


def _imported(code: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # "from package import name" may name a module or something in it.
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@functools.cache
def _import_graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, cache_dir=None)


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _module_file(module: str) -> Path:
    path = SOURCES.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
