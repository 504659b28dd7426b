"""The house as it stands: how long its rooms are, and who uses what is on the shelf.

python tests/house.py          prints lines and what has too few users
"""

import ast
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import jupytext

ROOT = Path(__file__).resolve().parents[1]
SHELF, DRAWERS, RECIPES = ROOT / "actde_nb", ROOT / "book" / "actde_book", ROOT / "tests" / "test_recipes.py"

#: Called from outside the package: by the notebooks that readers download, and where Sphinx makes them.
CALLED_BY_NAME = {f"actde_nb.pages.live.{name}" for name in ("begin_notebook", "fingerprint", "notebook_text")}
#: What stands behind a door is nobody's but the door's; a contract of import-linter holds that.
BEHIND_A_DOOR = "actde_nb.networks.fast."


def lines(folder: Path, *, without: tuple[str, ...] = ()) -> int:
    """Lines of all modules below ``folder``, docstrings and blank lines too."""
    files = [f for f in folder.rglob("*.py") if not set(without) & set(f.relative_to(folder).parts)]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def module_name(file: Path) -> str:
    """Dotted name of a module of the shelf or of a drawer."""
    base = ROOT if file.is_relative_to(SHELF) else DRAWERS.parent
    parts = file.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass
class Module:
    """What a module defines, and which names of the shelf each of its definitions uses.

    Args:
        name: dotted.
        uses: definition, or "" for what stands outside of all -> names of the shelf, as ``module.definition``.
    """

    name: str
    uses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    functions: set[str] = field(default_factory=set)


def read(name: str, code: str, modules: set[str]) -> Module:
    """Find the names of the shelf that each definition in ``code`` uses."""
    tree, found = ast.parse(code), Module(name)
    meanings: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("actde_nb"):
            for alias in node.names:
                meanings[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            meanings |= {(a.asname or a.name): a.name for a in node.names if a.name.startswith("actde_nb")}
    own = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    own |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    own |= {n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    meanings |= {n: f"{name}.{n}" for n in own}
    for node in tree.body:
        place = getattr(node, "name", "")
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            place = node.targets[0].id
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            place = node.target.id
        if isinstance(node, ast.FunctionDef):
            found.functions.add(node.name)
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                whole = meanings.get(part.value.id)
                if whole in modules:
                    found.uses[place].add(f"{whole}.{part.attr}")
            if isinstance(part, ast.Name) and part.id in meanings:
                found.uses[place].add(meanings[part.id])
    return found


def users() -> dict[str, set[str]]:
    """Each public function of the shelf -> who uses it.

    Users are chapters (with their drawers), the command line, the recipes of CONTRIBUTING that a test follows, each of
    which may get there through other functions of the shelf; and modules of the shelf in other folders, directly.
    """
    files = [f for f in SHELF.rglob("*.py") if "finetune" not in f.parts]
    names = {module_name(file) for file in files}
    shelf = [read(module_name(file), file.read_text(encoding="utf-8"), names) for file in files]
    calls: dict[str, set[str]] = defaultdict(set)  # definition -> what it uses
    direct: dict[str, set[str]] = defaultdict(set)  # definition -> modules in other folders
    for module in shelf:
        for place, used in module.uses.items():
            calls[f"{module.name}.{place}"] |= used
            for name in used:
                if folder_of(name) != folder_of(f"{module.name}.x") and module.name != "actde_nb.cli":
                    direct[name].add(module.name)
    reached: dict[str, set[str]] = defaultdict(set, {name: set(them) for name, them in direct.items()})
    for user, roots in consumers(names).items():
        seen, ahead = set(), list(roots)
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += calls[name]
                # Whoever imports a module runs what stands outside its definitions.
                ahead += calls[name.rsplit(".", 1)[0] + "."]
        for name in seen:
            reached[name].add(user)
    public = {f"{m.name}.{f}" for m in shelf for f in m.functions if not f.startswith("_")}
    inner = ("actde_nb.cli.", BEHIND_A_DOOR)
    return {name: reached[name] for name in sorted(public - CALLED_BY_NAME) if not name.startswith(inner)}


def folder_of(name: str) -> str:
    """Folder of the shelf that a definition stands in; ``networks.fast`` is a folder of its own."""
    parts = name.split(".")[1:-2]
    return ".".join(parts)


def consumers(names: set[str]) -> dict[str, set[str]]:
    """Chapters, command line and recipes -> names of the shelf that they use themselves."""
    found: dict[str, set[str]] = defaultdict(set)
    for page in sorted((ROOT / "book").glob("*.md")):
        if "kernelspec" not in page.read_text(encoding="utf-8-sig")[:600]:
            continue
        cells = [c.source for c in jupytext.read(page).cells if c.cell_type == "code"]
        code = "\n".join(re.sub(r"^\s*[%!].*$", "", cell, flags=re.M) for cell in cells)
        found[f"chapter {page.stem[:2]}"] |= set().union(*read(page.stem, code, names).uses.values())
    for file in DRAWERS.rglob("*.py"):
        drawer = file.relative_to(DRAWERS).parts[0]
        used = read(module_name(file), file.read_text(encoding="utf-8"), names).uses
        found[f"chapter {drawer.removeprefix('ch')[:2]}"] |= set().union(*used.values(), set())
    line = SHELF / "cli.py"
    found["command line"] = set().union(*read("actde_nb.cli", line.read_text(encoding="utf-8"), names).uses.values())
    if RECIPES.exists():
        code = RECIPES.read_text(encoding="utf-8")
        uses = read("recipes", code, names).uses
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                fixtures = [uses[argument.arg] for argument in node.args.args]
                helpers = [uses[name.removeprefix("recipes.")] for name in uses[node.name]]
                found[f"recipe {node.name}"] |= uses[node.name].union(*fixtures, *helpers)
    return found


def lonely() -> dict[str, set[str]]:
    """Public functions of the shelf with fewer than two users."""
    return {name: them for name, them in users().items() if len(them) < 2}


if __name__ == "__main__":
    for room in sorted(p for p in SHELF.iterdir() if p.is_dir() and p.name != "__pycache__"):
        print(f"{room.name:20} {lines(room):6}")
    print(f"{'shelf':20} {lines(SHELF, without=('finetune',)):6}")
    for room in sorted(p for p in DRAWERS.iterdir() if p.is_dir() and p.name not in ("__pycache__", "results")):
        print(f"{room.name:32} {lines(room):6}")
    print(f"{'shelf and drawers':20} {lines(SHELF, without=('finetune',)) + lines(DRAWERS):6}")
    for name, them in lonely().items():
        print(f"{name}: {', '.join(sorted(them)) or 'nobody'}")
