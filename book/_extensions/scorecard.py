"""A Sphinx extension: the scorecard, every claim and question of the sources, what it comes to here, and the verdict.

Rows are data, ``scorecard/<chapter>.yml``, one file per chapter; each value comes from that chapter's glued numbers.
:func:`load` checks the rows, :func:`render` writes the page."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import jupytext
import yaml
from jsonschema import Draft202012Validator
from sphinx.application import Sphinx
from sphinx.util import logging

from actde_nb.checks import BookError
from actde_nb.pages.glue import glued

# In the order of the page.
VERDICTS = {
    "refuted": ("✗", "A source says that it is so, and it is not; the linked place shows how."),
    "corrected": ("±", "It holds after a change of a number, a word or an assumption; or text and code differ."),
    "answered": ("→", "A source asks or wishes it; the linked place has the answer, be it yes, no or in part."),
    "open": ("?", "Not settled here: not tested, or not seen in what was tested. The number is the nearest evidence."),
    "confirmed": ("✓", "It holds as it stands."),
}
# What a row is about, with the verdicts it can have.
KINDS = {
    "assertion": ("a source says that it is so", ("confirmed", "corrected", "refuted", "open")),
    "question": ("a source asks or wishes it, or leaves it open", ("answered", "open")),
    "record": ("what a text or its code contains, or leaves unsaid", ("confirmed", "corrected", "open")),
}
GLUE = re.compile(r"\{([a-z]\w*):([^{}]+)\}")
GLUE_WITHOUT_FORMAT = re.compile(r"(?<![\\\w^])\{([a-z]\w*)\}")  # not the braces of \text{...} or x^{...}
QUOTATION = re.compile(r"“[^“”\"]*\w[^“”\"]*”|\"[^“”\"]*\w[^“”\"]*\"")
LABEL = re.compile(r"^\(([^)\s]+)\)=\s*$|^\s*:(?:label|name):\s*(\S+)\s*$", re.M)  # of a section, of a directive
# How each kind of label is cited; anything else is a section.
ROLES = {"eq": "eq", "fig": "numref", "tab": "numref"} | dict.fromkeys(("thm", "lem", "cor", "prop", "def"), "prf:ref")


# A claim's name, unique in the book; its kind; the claim in our words; what the source says, its own words in quotation
# marks and nothing else in them; what comes out here, a text with {key:format} where the chapter's glued number goes;
# one of the verdicts; the label of what shows it, on that page.
FIELDS = ("id", "kind", "claim", "source", "ours", "verdict", "where")
TEXT = {"type": "string", "pattern": r"\S"}
ROWS = Draft202012Validator({
    "type": "array",
    "items": {
        "type": "object",
        "properties": dict.fromkeys(FIELDS, TEXT) | {"verdict": {"enum": [*VERDICTS]}, "kind": {"enum": [*KINDS]}},
        "required": FIELDS,
        "additionalProperties": False,
    },
})  # fmt: skip


def load(folder: Path, notebooks: Path | None = None) -> list[dict[str, str]]:
    """Read and check all rows, ``folder/NN_name.yml``; each also gets the name of its ``chapter`` and the ``title``.

    The chapters lie beside ``folder``, as sources or as notebooks. With ``notebooks``, a folder of executed chapters,
    glue keys and formats are checked against the values there."""
    rows: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.yml")):
        chapters = [file for end in ("md", "ipynb") if (file := folder.parent / f"{path.stem}.{end}").is_file()]
        if not chapters:
            raise BookError(f"{path.name}: there is no chapter {path.stem}.md")
        cells = jupytext.read(chapters[0]).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        figures = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells]
        labels = {label for label in (*sum(LABEL.findall(text), ()), *figures) if label}
        values = None if notebooks is None else glued(notebooks / f"{path.stem}.ipynb")
        for entry in _entries(path):
            row = {field: " ".join(entry[field].split()) for field in FIELDS}
            row |= {"chapter": path.stem, "title": re.search(r"^# (.+)$", text, re.M)[1]}
            if fault := _fault(row, labels, values, rows):
                raise BookError(f"{path.name}, row {row['id']}: {fault}")
            rows[row["id"]] = row
    return list(rows.values())


def _entries(path: Path) -> list[dict[str, str]]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BookError(f"{path.name}: is no YAML: {' '.join(str(error).split())}") from None
    for error in ROWS.iter_errors(entries):
        place, (number, *field) = path.name, (*error.absolute_path,) or (None,)
        if number is not None:
            entry = entries[number]
            place += f", row {entry.get('id', number + 1) if isinstance(entry, dict) else number + 1}"
        raise BookError(": ".join([place, *field, error.message]))
    return entries


def _fault(row: dict[str, str], labels: set[str], values: dict | None, earlier: dict[str, dict]) -> str | None:
    """What is wrong with a row, if anything."""
    chapter, ours, where, kind = row["chapter"], row["ours"], row["where"], row["kind"]
    if row["id"] in earlier:
        return f"id: {earlier[row['id']]['chapter']}.yml has it too"
    if row["verdict"] not in KINDS[kind][1]:
        return f"verdict = {row['verdict']!r}: allowed for a row of kind {kind} are {', '.join(KINDS[kind][1])}"
    if set('"“”') & set(QUOTATION.sub("", row["source"])):
        return f"source = {row['source']!r}: allowed are quotation marks in pairs, around words"
    if where not in labels:
        return f"where = {where!r}: allowed are labels of {chapter}.md: {', '.join(sorted(labels))}"
    if bare := GLUE_WITHOUT_FORMAT.search(ours):
        return f"ours = {bare[0]!r}: allowed are keys with a format, as in {{key:.3f}} or {{key:s}}"
    keys = GLUE.findall(ours)
    if not keys and kind != "record":
        return f"ours = {ours!r}: allowed is a text with at least one glue key, as in {{key:.3f}}; records need none"
    for key, form in keys if values is not None else ():
        if key not in values:
            return f"ours = {key!r}: allowed are keys glued by {chapter}: {', '.join(sorted(values))}"
        try:
            format(values[key], form)
        except ValueError:
            return f"ours = '{key}:{form}': allowed are formats that fit {values[key]!r}"
    return None


def render(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the scorecard page in MyST."""
    template = Path(__file__).with_suffix(".md.jinja").read_text(encoding="utf-8")
    page = jinja2.Template(template, trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    counts = Counter(row["verdict"] for row in rows)
    return page.render(rows=rows, verdicts=VERDICTS, kinds=KINDS, counts=counts, roles=ROLES, glue=GLUE)


def write(app: Sphinx) -> None:
    """Make the page, of rows and executed chapters in the folder of the sources; a fault is a warning."""
    folder = Path(app.srcdir)
    try:
        page = render(load(folder / "scorecard", folder))
    except BookError as error:
        logging.getLogger(__name__).warning("%s", error)
    else:
        (folder / "scorecard.md").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("builder-inited", write)  # before Sphinx looks which pages there are
    return {"parallel_read_safe": True}
