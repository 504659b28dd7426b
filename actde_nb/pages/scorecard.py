"""The scorecard: every checkable claim of the sources, what it comes to here, and the verdict.

Rows are data, ``book/scorecard/<chapter>.yml``; each value comes from that chapter's glued numbers."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import jinja2
import yaml
from jsonschema import Draft202012Validator

from actde_nb.checks import BookError
from actde_nb.pages.glue import glued

VERDICTS = {
    "confirmed": ("✓", "the statement holds as it was made"),
    "corrected": ("±", "it holds after a change of number, wording or assumption"),
    "refuted": ("✗", "it fails, and the page linked shows how"),
    "open": ("?", "this part cannot settle it; the number is the evidence nearest to it"),
}
GLUE = re.compile(r"\{([a-z]\w*):([^{}]+)\}")
GLUE_WITHOUT_FORMAT = re.compile(r"(?<![\\\w^])\{([a-z]\w*)\}")  # not the braces of \text{...} or x^{...}
LABELS = (
    r"^\(([^)\s]+)\)=\s*$",  # before a section
    r"^\s*:(?:label|name):\s*(\S+)\s*$",  # option of a directive
    r"^\s*figure:.*?\bname:\s*([\w-]+)|^\s+name:\s*([\w-]+)\s*$",  # of a cell's figure
)
# How each kind of label is cited; anything else is a section.
ROLES = {"eq": "eq", "fig": "numref", "tab": "numref"} | dict.fromkeys(("thm", "lem", "cor", "prop", "def"), "prf:ref")


@dataclass(frozen=True)
class Row:
    """One claim in our words; in ``ours`` stands ``{key:format}`` where the chapter's glued number goes; ``where`` is
    the label of ``chapter`` that shows it."""

    id: str
    claim: str
    source: str
    ours: str
    verdict: str
    where: str
    chapter: str

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Glue keys and formats in :attr:`ours`, in order."""
        return GLUE.findall(self.ours)


FIELDS = tuple(f.name for f in fields(Row) if f.name != "chapter")
TEXT = {"type": "string", "pattern": r"\S"}
ROWS = Draft202012Validator({"type": "array", "items": {
    "type": "object", "properties": dict.fromkeys(FIELDS, TEXT) | {"verdict": {"enum": list(VERDICTS)}},
    "required": FIELDS, "additionalProperties": False,
}})  # fmt: skip


def load(folder: Path, notebooks: Path | None = None) -> list[Row]:
    """Read and check all rows, ``folder/NN_name.yml``; the chapters' sources are one folder up.

    With ``notebooks``, a folder of executed chapters, glue keys and formats are checked against the values there."""
    rows: dict[str, Row] = {}
    for path in sorted(folder.glob("*.yml")):
        chapter = folder.parent / f"{path.stem}.md"
        if not chapter.is_file():
            raise BookError(f"{path.name}: there is no chapter {chapter.name}")
        source = chapter.read_text(encoding="utf-8")
        labels = {a for pattern in LABELS for found in re.finditer(pattern, source, re.M) for a in found.groups() if a}
        values = None if notebooks is None else glued(notebooks / f"{path.stem}.ipynb")
        for entry in _entries(path):
            row = Row(**{field: " ".join(entry[field].split()) for field in FIELDS}, chapter=path.stem)
            if fault := _fault(row, labels, values, rows):
                raise BookError(f"{path.name}, row {row.id}: {fault}")
            rows[row.id] = row
    return list(rows.values())


def _entries(path: Path) -> list[dict[str, str]]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BookError(f"{path.name}: is no YAML: {' '.join(str(error).split())}") from None
    for error in ROWS.iter_errors(entries):
        place, field = path.name, [*error.absolute_path]
        if field:
            entry, number = entries[field[0]], field.pop(0) + 1
            place += f", row {entry.get('id', number) if isinstance(entry, dict) else number}"
        raise BookError(": ".join([place, *field, error.message]))
    return entries


def _fault(row: Row, labels: set[str], values: dict | None, earlier: dict[str, Row]) -> str | None:
    """What is wrong with a row, if anything."""
    if row.id in earlier:
        return f"id: {earlier[row.id].chapter}.yml has it too"
    if row.where not in labels:
        return f"where = {row.where!r}: allowed are labels of {row.chapter}.md: {', '.join(sorted(labels))}"
    if bare := GLUE_WITHOUT_FORMAT.search(row.ours):
        return f"ours = {bare[0]!r}: allowed are keys with a format, as in {{key:.3f}} or {{key:s}}"
    if not row.keys:
        return f"ours = {row.ours!r}: allowed is a text with at least one glue key, as in {{key:.3f}}"
    for key, form in row.keys if values is not None else ():
        if key not in values:
            return f"ours = {key!r}: allowed are keys glued by {row.chapter}: {', '.join(sorted(values))}"
        try:
            format(values[key], form)
        except ValueError:
            return f"ours = '{key}:{form}': allowed are formats that fit {values[key]!r}"
    return None


def render(rows: Sequence[Row]) -> str:
    """Return the scorecard page in MyST."""
    template = Path(__file__).with_suffix(".md.jinja").read_text(encoding="utf-8")
    page = jinja2.Template(template, trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    counts = Counter(row.verdict for row in rows)
    return page.render(rows=rows, verdicts=VERDICTS, counts=counts, roles=ROLES, glue=GLUE)
