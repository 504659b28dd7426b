"""The scorecard: every checkable claim of the sources, what it comes to here, and the verdict.

Rows are data, ``book/scorecard/<chapter>.yml``, one file per chapter; each value comes from that chapter's
glued numbers. :func:`load` checks the rows, :func:`render` writes the page.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path

import yaml

from actde_nb.pages.glue import Scalar, glued

VERDICTS = {
    "confirmed": ("✓", "the statement holds as it was made"),
    "corrected": ("±", "it holds after a change of number, wording or assumption"),
    "refuted": ("✗", "it fails, and the page linked shows how"),
    "open": ("?", "this part cannot settle it; the number is the evidence nearest to it"),
}

GLUE = re.compile(r"\{([a-z]\w*):([^{}]+)\}")
GLUE_WITHOUT_FORMAT = re.compile(r"(?<![\\\w^])\{([a-z]\w*)\}")  # not the braces of \text{...} or x^{...}

# How each kind of label is cited; anything else is a section.
ROLES = {"eq": "eq", "fig": "numref", "tab": "numref"} | dict.fromkeys(("thm", "lem", "cor", "prop", "def"), "prf:ref")


@dataclass(frozen=True)
class Row:
    """One claim.

    Args:
        id: name of the claim, unique in the book.
        claim: what is claimed, in our words.
        source: what the source says.
        ours: what comes out here: text with ``{key:format}`` where the chapter's glued number ``key`` goes.
        verdict: one of :data:`VERDICTS`.
        where: label of the section, figure, theorem or equation that shows it.
        chapter: page the numbers and the label are on, without suffix.
    """

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


def load(folder: Path, notebooks: Path | None = None) -> list[Row]:
    """Read and check all rows of a book.

    Args:
        folder: where the rows are, ``NN_name.yml``; the chapters' sources ``NN_name.md`` are one folder up.
        notebooks: folder with the executed ``NN_name.ipynb``; if given, every glue key and its format
            are checked against the values there.

    Returns:
        The rows, chapter by chapter, in the order of the files.

    Raises:
        ValueError: something is off; the message names file, row, field, value and what is allowed.
    """
    rows: list[Row] = []
    for path in sorted(folder.glob("*.yml")):
        chapter = folder.parent / f"{path.stem}.md"
        if not chapter.is_file():
            raise _error(path, None, "name", path.name, f"are names of chapters; there is no {chapter.name}")
        labels = _labels(chapter.read_text(encoding="utf-8"))
        values = None if notebooks is None else glued(notebooks / f"{path.stem}.ipynb")
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise _error(path, None, "content", entries, "is a list of rows")
        for number, entry in enumerate(entries, start=1):
            row = _row(path, number, entry)
            _check(path, row, labels, values, rows)
            rows.append(row)
    return rows


def _error(path: Path, row: str | int | None, field: str, value: object, allowed: str) -> ValueError:
    place = path.name if row is None else f"{path.name}, row {row}"
    return ValueError(f"{place}: {field} = {value!r}: allowed {allowed}")


def _row(path: Path, number: int, entry: object) -> Row:
    if not isinstance(entry, Mapping):
        raise _error(path, number, "content", entry, f"is a mapping of {', '.join(FIELDS)}")
    name = entry.get("id", number)
    if strange := [field for field in entry if field not in FIELDS]:
        raise _error(path, name, "field", strange[0], f"are {', '.join(FIELDS)}")
    for field in FIELDS:
        value = entry.get(field)
        if not isinstance(value, str) or not value.strip():
            raise _error(path, name, field, value, "is a text that is not empty (numbers in quotes)")
    return Row(**{field: " ".join(entry[field].split()) for field in FIELDS}, chapter=path.stem)


def _check(path: Path, row: Row, labels: set[str], values: Mapping[str, Scalar] | None, earlier: Sequence[Row]) -> None:
    for other in earlier:
        if other.id == row.id:
            raise _error(path, row.id, "id", row.id, f"are ids used once; {other.chapter}.yml has it too")
    if row.verdict not in VERDICTS:
        raise _error(path, row.id, "verdict", row.verdict, f"are {', '.join(VERDICTS)}")
    if row.where not in labels:
        raise _error(path, row.id, "where", row.where, f"are labels of {row.chapter}.md: {', '.join(sorted(labels))}")
    if bare := GLUE_WITHOUT_FORMAT.search(row.ours):
        raise _error(path, row.id, "ours", bare[0], "are keys with a format, as in {key:.3f} or {key:s}")
    if not row.keys:
        raise _error(path, row.id, "ours", row.ours, "is a text with at least one glue key, as in {key:.3f}")
    for key, form in row.keys if values is not None else ():
        if key not in values:
            raise _error(path, row.id, "ours", key, f"are keys glued by {row.chapter}: {', '.join(sorted(values))}")
        try:
            format(values[key], form)
        except ValueError:
            raise _error(path, row.id, "ours", f"{key}:{form}", f"are formats that fit {values[key]!r}") from None


def _labels(source: str) -> set[str]:
    """Labels a chapter defines: of sections, directives and figures."""
    target = re.findall(r"^\(([^)\s]+)\)=\s*$", source, re.MULTILINE)
    option = re.findall(r"^\s*:(?:label|name):\s*(\S+)\s*$", source, re.MULTILINE)
    figure = re.findall(r"^\s*figure:.*?\bname:\s*([\w-]+)|^\s+name:\s*([\w-]+)\s*$", source, re.MULTILINE)
    return {*target, *option, *(a or b for a, b in figure)}


INTRO = """\
# Scorecard

What came of the claims that can be checked: {total} so far, from {cite} and the comments under it.
Each row gives the claim in our words, what the source says, what we find, and the place that shows it.
Our values are read from the computations themselves, so a changed result changes this page too.

```{{list-table}}
:header-rows: 1
:class: verdicts

* - Verdict
  - Rows
  - Meaning
{verdicts}
```
"""


def render(rows: Sequence[Row]) -> str:
    """Return the scorecard page in MyST."""
    counts = Counter(row.verdict for row in rows)
    verdicts = "\n".join(
        f"* - {_verdict(name)}\n  - {counts[name]}\n  - {meaning}" for name, (_, meaning) in VERDICTS.items()
    )
    intro = INTRO.format(total=len(rows), cite="{cite:t}`turner2023mode`", verdicts=verdicts)
    return intro + "".join(_table(chapter, list(group)) for chapter, group in groupby(rows, lambda row: row.chapter))


def _verdict(name: str) -> str:
    return f"{VERDICTS[name][0]}\N{NO-BREAK SPACE}{name}"


def _table(chapter: str, rows: Sequence[Row]) -> str:
    number, name = chapter.split("_", 1)
    lines = [
        f"\n## Chapter {number.lstrip('0')}: {name.replace('_', ' ')}\n",
        f"The chapter itself: {{doc}}`{chapter}`.\n",
        "```{list-table}",
        ":header-rows: 1",
        ":stub-columns: 1",
        ":widths: 8 28 17 20 15 12",
        ":class: cards scorecard\n",
        _cells("Id", "Claim", "Source", "Ours", "Verdict", "Where"),
    ]
    for row in rows:
        ours = GLUE.sub(lambda found: f"{{glue:text}}`{chapter}.ipynb::{found[1]}:{found[2]}`", row.ours)
        where = f"{{{ROLES.get(row.where.split('-')[0], 'ref')}}}`{row.where}`"
        lines.append(_cells(row.id, row.claim, row.source, ours, _verdict(row.verdict), where))
    return "\n".join([*lines, "```\n"])


def _cells(first: str, *others: str) -> str:
    return "\n".join([f"* - {first}", *(f"  - {text}" for text in others)])
