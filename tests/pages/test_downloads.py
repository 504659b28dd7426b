"""What each page offers for download: readable by any Jupyter, and run far from the checkout against a wheel."""

import copy
import json
import os
import re
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from times import BOX

from actde_nb.pages.chapters import chapters
from actde_nb.pages.glue import glued
from actde_nb.pages.references import differences, reference_file
from actde_nb.paths import PRETRAINED

NAMES = [chapter.name for chapter in chapters()]
CHANGES = Path(__file__).with_name("changes")
REPLACE = re.compile(r"replace `([^`]+)` by `([^`]+)`")
HIDDEN = {"remove-cell", "remove-input"}
MYST = (r"\{[a-z:]+\}`", r"^(`{3,}|:{3,})\{", r"^\([\w-]+\)=$", r"^:[\w-]+: ", r"%s", r"\*{4}")


@pytest.fixture(scope="session")
def downloads(html: Path) -> dict[str, nbformat.NotebookNode]:
    folder = html / "_sources"
    return {name: nbformat.read(folder / f"{name}.ipynb", as_version=4) for name in NAMES}


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What a reader reads: Markdown cells, and the Markdown that cells show."""
    shown = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return shown + [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]


@pytest.mark.parametrize("name", NAMES)
def test_no_directive_and_no_role_is_left(name: str, downloads):
    found = [m[0] for text in texts(downloads[name]) for p in MYST for m in re.finditer(p, text, re.M)]
    assert not found
    assert not re.search(r"<summary>[^<]*\]\(", "\n".join(texts(downloads[name])))
    assert not [text for text in texts(downloads[name]) if "{{" in text and "|" in text.split("{{")[1].split("}}")[0]]


@pytest.mark.parametrize("name", NAMES)
def test_headings_code_and_figures_are_those_of_the_page(name: str, downloads, notebooks: dict[str, Path]):
    page, download = nbformat.read(notebooks[name], as_version=4), downloads[name]
    code = [c.source for c in page.cells if c.cell_type == "code" and "injected-parameters" not in c.metadata.tags]
    computing = [c for c in download.cells if c.cell_type == "code" and not {"setup", "prose"} & set(c.metadata.tags)]
    assert sorted(c.source for c in computing) == sorted(code)
    figures = [sum("image/png" in o.get("data", {}) for c in n.cells if c.cell_type == "code" for o in c.outputs)
               for n in (page, download)]  # fmt: skip
    assert figures[0] == figures[1]
    prose = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    headings = len(re.findall(r"^#+ ", re.sub(r"^```.*?^```", "", prose, flags=re.M | re.S), re.M))
    assert sum(len(re.findall(r"^#+ ", text, re.M)) for text in texts(download)) == headings


@pytest.mark.parametrize("name", NAMES)
def test_code_comes_in_the_order_of_the_page(name: str, downloads, notebooks: dict[str, Path]):
    page = nbformat.read(notebooks[name], as_version=4)
    place = {cell.id: number for number, cell in enumerate(page.cells)}
    order = [place[cell.id] for cell in downloads[name].cells if cell.id in place]
    assert order == sorted(order)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_the_page_follows_a_run(name: str, downloads, notebooks: dict[str, Path]):
    page = nbformat.read(notebooks[name], as_version=4)
    prose = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    quoted = set(re.findall(r"\{glue:text\}`(\w+):", prose))
    live = "\n".join(c.source for c in downloads[name].cells if "prose" in c.metadata.get("tags", []))
    assert set(re.findall(r"\{\{(\w+):[^{}|]*\|[^{}|]*\}\}", live)) >= quoted


def test_theorems_equations_solutions_and_figures_look_as_on_the_page(downloads):
    text = "\n".join(texts(downloads["02_finite_reinforcement"]))
    assert "\n> **Theorem 2.1 (Telescoping)**\n>\n> Let every update add $\\eta_t \\delta_t$" in text
    assert "\n> Proof. An update changes" in text
    assert "\\tag{2.1} $$" in text
    assert "> **Exercise 2.1**\n>\n> Let" in text
    solution = "By [(2.2)](#2.4-The-end-point:-a-softmax-over-rewards) the share"
    assert f"<details><summary>Solution to Exercise 2.1</summary>\n\n{solution}" in text
    assert "**Fig. 2.2** The same two rewards" in text
    assert "[ACTDE in several states: bounds, fixed points and cycles](04_more_than_one_state.ipynb)" in text


def test_solutions_with_code_are_folded_too(downloads):
    cells = downloads["02_finite_reinforcement"].cells
    [place] = [n for n, cell in enumerate(cells) if cell.source.startswith("always_first")]
    assert cells[place].metadata.jupyter.source_hidden
    assert "<details><summary>Solution to Exercise 2.2, continued</summary>" in cells[place + 1].source


def boxes(name: str) -> list[tuple[str, str]]:
    """The changes that a chapter proposes: what to replace, by what."""
    [chapter] = chapters([name])
    return [
        tuple(" ".join(part.split()) for part in REPLACE.search(box).groups()) for box, _ in BOX.findall(chapter.text)
    ]


NUMBERED = [name for name in NAMES if name[0].isdigit()]


@pytest.mark.parametrize("name", NUMBERED)
def test_a_change_is_of_one_place_that_a_reader_sees(name: str):
    [chapter] = chapters([name])
    code = [cell for cell in chapter.notebook.cells if cell.cell_type == "code"]
    assert len(boxes(name)) == len(expectations(name)) == 2
    for old, _ in boxes(name):
        cells = [cell for cell in code if old in cell.source]
        assert [cell.source.count(old) for cell in cells] == [1], old
        assert not HIDDEN & set(cells[0].metadata.get("tags", [])), old


def expectations(name: str) -> list[str]:
    return yaml.safe_load((CHANGES / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path, monkeypatch, notebooks) -> Path:
    """An empty folder, from which only the wheel is found, without a network."""
    cache = tmp_path / "cache" / "actde-nb"
    cache.mkdir(parents=True)
    (cache / "pretrained").symlink_to(PRETRAINED)  # what would take a minute to make
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR", str(Path.home() / ".cache")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(installed))
    for way in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(way, "http://127.0.0.1:9")
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def run(notebook: nbformat.NotebookNode, folder: Path, name: str) -> dict:
    """Execute at scale smoke and keep the notebook beside the folder; return what was glued."""
    probe = nbformat.v4.new_code_cell("import actde_nb, actde_book\nprint(actde_nb.__file__, actde_book.__file__)")
    notebook.cells.append(probe)
    done = papermill.execute_notebook(
        notebook, None, parameters={"scale": "smoke"}, kernel_name="python3", cwd=folder, progress_bar=False,
    )  # fmt: skip
    nbformat.write(done, folder.parent / f"{name}.ipynb")
    places = done.cells[-1].outputs[0].text.split()
    assert all(Path(place).is_relative_to(os.environ["PYTHONPATH"]) for place in places), places
    return glued(folder.parent / f"{name}.ipynb")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NUMBERED])
def test_a_page_runs_in_an_empty_folder_against_a_wheel(name: str, downloads, elsewhere: Path):
    run(copy.deepcopy(downloads[name]), elsewhere, name)
    assert not differences(elsewhere.parent / f"{name}.ipynb", "smoke")


@pytest.mark.parametrize("name", NUMBERED)
def test_a_chapter_runs_there_with_its_changes_and_shows_what_the_boxes_say(name: str, downloads, elsewhere: Path):
    """Both changes in one run, since it takes long; they are in different cells, and decide different numbers."""
    changed = copy.deepcopy(downloads[name])
    computing = [c for c in changed.cells if c.cell_type == "code" and "prose" not in c.metadata.get("tags", [])]
    for old, new in boxes(name):
        [cell] = [cell for cell in computing if old in cell.source]
        cell.source = cell.source.replace(old, new)
    before = json.loads(reference_file(name, "smoke").read_text(encoding="utf-8"))
    after = run(changed, elsewhere, name)
    for expected in expectations(name):
        assert eval(expected, {"before": before, "after": after}), expected
        assert not eval(expected, {"before": before, "after": before}), expected
    assert after.keys() - before.keys() == set()
