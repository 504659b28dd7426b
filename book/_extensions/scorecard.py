"""A Sphinx extension: the scorecard, every claim and question of the sources, what it comes to here, and the verdict.

Rows are data, ``scorecard/<chapter>.yml``, one file per chapter; each value comes from that chapter's glued numbers.
:func:`load` checks the rows, :func:`render` writes the page: the headline rows first, then all of them. In a browser
``_static/scorecard.js`` shows a choice of them, by the marks that each row carries."""

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
# Whose statement, question or code a row is about: the name in the data and in links, the one in the filter.
WORKS = {"post": "Post on ACTDE", "survey": "Text on APA", "draft": "Draft on GAA"}
GLUE = re.compile(r"\{([a-z]\w*):([^{}]+)\}")
GLUE_WITHOUT_FORMAT = re.compile(r"(?<![\\\w^])\{([a-z]\w*)\}")  # not the braces of \text{...} or x^{...}
OTHER_ROWS = re.compile(r"\brows? [A-Z]\d+\w?(?:(?:, | and |, and )[A-Z]\d+\w?)*")  # "rows A6, A96 and Q2"
QUOTATION = re.compile(r"“[^“”\"]*\w[^“”\"]*”|\"[^“”\"]*\w[^“”\"]*\"")
LABEL = re.compile(r"^\(([^)\s]+)\)=\s*$|^\s*:(?:label|name):\s*(\S+)\s*$", re.M)  # of a section, of a directive
# How each kind of label is cited; anything else is a section.
ROLES = {"eq": "eq", "fig": "numref", "tab": "numref"} | dict.fromkeys(("thm", "lem", "cor", "prop", "def"), "prf:ref")


# A claim's name, unique in the book; its kind; whose it is; the claim in our words; what the source says, its own words
# in quotation marks and nothing else in them; what comes out here, a text with {key:format} where the chapter's glued
# number goes; one of the verdicts; the label of what shows it, on that page. A headline, one of the rows that a reader
# came for, also has its place among these, ``headline``: 1, 2, ...
FIELDS = ("id", "kind", "work", "claim", "source", "ours", "verdict", "where")
TEXT = {"type": "string", "pattern": r"\S"}
ROWS = Draft202012Validator({
    "type": "array",
    "items": {
        "type": "object",
        "properties": dict.fromkeys(FIELDS, TEXT)
        | {"verdict": {"enum": [*VERDICTS]}, "kind": {"enum": [*KINDS]}, "work": {"enum": [*WORKS]}}
        | {"headline": {"type": "integer", "minimum": 1}},
        "required": FIELDS,
        "additionalProperties": False,
    },
})  # fmt: skip


def load(folder: Path, notebooks: Path | None = None) -> list[dict[str, str | int]]:
    """Read and check all rows, ``folder/NN_name.yml``; each also gets the name of its ``chapter``, its ``number`` and
    the ``title``, and a ``headline``, its place among the headlines or 0.

    The chapters lie beside ``folder``, as sources or as notebooks. With ``notebooks``, a folder of executed chapters,
    glue keys and formats are checked against the values there."""
    rows: dict[str, dict[str, str | int]] = {}
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
            row |= {"chapter": path.stem, "number": path.stem.split("_")[0].lstrip("0")}
            row |= {"title": re.search(r"^# (.+)$", text, re.M)[1], "headline": entry.get("headline", 0)}
            if fault := _fault(row, labels, values, rows):
                raise BookError(f"{path.name}, row {row['id']}: {fault}")
            rows[row["id"]] = row
    places = sorted(row["headline"] for row in rows.values() if row["headline"])
    if places != [*range(1, len(places) + 1)]:
        raise BookError(f"headline = {places}: allowed is each of 1 to {len(places)} once, over all files")
    return list(rows.values())


def _entries(path: Path) -> list[dict[str, str | int]]:
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


def _fault(row: dict[str, str | int], labels: set[str], values: dict | None, earlier: dict[str, dict]) -> str | None:
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


def marks(row: Mapping[str, str | int]) -> dict[str, str]:
    """What the filter knows of a row, by the name of its choice."""
    return {"verdict": row["verdict"], "source": row["work"], "chapter": row["number"]}


def choices(rows: Sequence[Mapping[str, str | int]]) -> dict[str, list[tuple[str, str]]]:
    """What the filter offers: for each of its choices the values that some row has, each with its words.

    Verdicts and sources come in the order of this module, chapters in that of the rows, by the part of their titles
    that stands before a colon."""
    words = {
        "verdict": {name: f"{mark} {name}" for name, (mark, _) in VERDICTS.items()},
        "source": WORKS,
        "chapter": {row["number"]: f"{row['number']} {row['title'].split(':')[0]}" for row in rows},
    }
    counts = Counter(mark for row in rows for mark in marks(row).items())
    return {
        choice: [
            (value, f"{text} ({counts[choice, value]})") for value, text in values.items() if counts[choice, value]
        ]
        for choice, values in words.items()
    }


def _linked(claim: str) -> str:
    """The claim with the rows that it names as links to them."""
    return OTHER_ROWS.sub(
        lambda names: re.sub(r"[A-Z]\d+\w?", lambda name: f"{{ref}}`{name[0]} <{anchor(name[0])}>`", names[0]), claim
    )


def anchor(name: str) -> str:
    """The label of a row, by which a page can link to it."""
    return f"row-{name.lower()}"


def render(rows: Sequence[Mapping[str, str | int]]) -> str:
    """Return the scorecard page in MyST."""
    template = Path(__file__).with_suffix(".md.jinja").read_text(encoding="utf-8")
    page = jinja2.Template(template, trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    tools = {"marks": marks, "linked": _linked, "anchor": anchor, "roles": ROLES, "glue": GLUE}
    counts = Counter(row["verdict"] for row in rows)
    return page.render(rows=rows, verdicts=VERDICTS, kinds=KINDS, counts=counts, choices=choices(rows), **tools)


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
