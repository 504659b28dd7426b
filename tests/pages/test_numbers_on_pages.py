"""What the chapters computed, against their references; and that prose quotes numbers instead of typing them."""

import re
from pathlib import Path

import pytest

from actde_nb.pages.chapters import chapters
from actde_nb.pages.references import differences, reference_file
from actde_nb.paths import REFERENCES, SOURCES

NAMES = [chapter.name for chapter in chapters()]
NOT_PROSE = (
    r"^---\n.*?\n---\n",  # front matter
    r"^(`{3,}|:{3,})\{code-cell\}.*?^\1",
    r"^```\{?math.*?^```",
    r"\$\$.*?\$\$",
    r"`[^`\n]+`",  # glue roles among them
)


@pytest.mark.parametrize("name", NAMES)
def test_smoke_numbers_are_the_references(name: str, notebooks: dict[str, Path]):
    moved = differences(notebooks[name], "smoke")
    assert not moved, "\n".join(map(str, moved))


@pytest.mark.parametrize("scale", ["smoke", "reader"])
@pytest.mark.parametrize("name", NAMES)
def test_references_are_kept(name: str, scale: str):
    assert reference_file(name, scale).exists(), f"run: actde-nb record {name} --scale {scale}"


def test_references_are_those_of_chapters():
    assert {file.stem for file in REFERENCES.glob("*/*")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_code_fits_the_page(name: str):
    """Longer lines are cut off on the page, and longer cells belong in the package."""
    [chapter] = chapters([name])
    for cell in (cell for cell in chapter.notebook.cells if cell.cell_type == "code"):
        lines = cell.source.splitlines()
        assert max(map(len, lines)) <= 80, max(lines, key=len)
        assert len(lines) <= 20, cell.source


@pytest.mark.parametrize("page", sorted(path.name for path in SOURCES.glob("*.md")))
def test_prose_does_not_type_results(page: str):
    """A number with three decimals or more in a sentence is a result, and results are glued."""
    prose = (SOURCES / page).read_text(encoding="utf-8")
    for not_prose in NOT_PROSE:
        prose = re.sub(not_prose, "", prose, flags=re.S | re.M)
    typed = [line for line in prose.splitlines() if re.search(r"(?<![\w.])\d*\.\d{3,}", line)]
    assert not typed, "\n".join(typed)
