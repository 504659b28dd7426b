"""Executing chapters: what runs again, what a failure leaves behind, what bad input says."""

import json
import os
from pathlib import Path

import nbformat
import pytest

from actde_nb.checks import BookError
from actde_nb.pages import chapters as sources
from actde_nb.pages.chapters import Chapter, chapters, settings
from actde_nb.pages.execute import execute
from actde_nb.pages.glue import glued

HEADER = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n# A chapter\n\n"
PARAMETERS = "```{code-cell} ipython3\n:tags: [parameters]\nscale = 'reader'\nfactor = 2\n```\n\n"


def chapter(folder: Path, code: str, name: str = "99_sample") -> Chapter:
    source = folder / f"{name}.md"
    source.write_text(f"{HEADER}{PARAMETERS}```{{code-cell}} ipython3\n{code}\n```\n", encoding="utf-8")
    return Chapter(source)


COUNTING = "from actde_nb.pages.glue import put\nput('twice', 2 * factor)\nput('at', scale)"


def test_runs_once_and_gives_the_same_bytes_again(tmp_path: Path):
    sample = chapter(tmp_path, COUNTING)
    [notebook] = execute([sample], "reader", tmp_path / "out")
    assert glued(notebook) == {"twice": 4, "at": "reader"}
    first, made = notebook.read_bytes(), notebook.stat().st_mtime_ns
    execute([sample], "reader", tmp_path / "out")
    assert notebook.stat().st_mtime_ns == made, "executed again although nothing had changed"
    execute([sample], "reader", tmp_path / "out", force=True)
    assert notebook.stat().st_mtime_ns > made
    assert notebook.read_bytes() == first, "two runs differ"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such sockets")
def test_kernels_that_start_together_cannot_be_given_one_port(tmp_path: Path):
    code = "from ipykernel.kernelapp import IPKernelApp as App\nfrom actde_nb.pages.glue import put\n"
    code += "app = App.instance()\nput('place', f'{app.transport} {app.ip}')"
    two = execute([chapter(tmp_path, code, name) for name in ("98_one", "99_two")], "smoke", tmp_path / "out", jobs=2)
    places = [glued(notebook)["place"] for notebook in two]
    assert all(place.startswith("ipc ") for place in places)
    assert places[0] != places[1]


def test_parameters_and_scale_reach_the_chapter(tmp_path: Path):
    [notebook] = execute([chapter(tmp_path, COUNTING)], "smoke", tmp_path / "out", {"factor": 5})
    assert glued(notebook) == {"twice": 10, "at": "smoke"}
    injected = [c for c in nbformat.read(notebook, 4).cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert [c.metadata.tags[-1] for c in injected] == ["remove-cell"]


def test_a_failing_chapter_is_named_and_leaves_the_last_good_one(tmp_path: Path):
    [good] = execute([chapter(tmp_path, COUNTING)], "reader", tmp_path / "out")
    kept = good.read_bytes()
    broken = chapter(tmp_path, "height = 1 / 0")
    sound = chapter(tmp_path, COUNTING, "98_sound")
    with pytest.raises(BookError, match="99_sample, code cell 2"):
        execute([broken], "smoke", tmp_path / "elsewhere")  # where a cell of parameters is injected
    with pytest.raises(BookError) as caught:
        execute([broken, sound], "reader", tmp_path / "out")
    message = str(caught.value)
    assert "99_sample, code cell 2" in message
    assert "ZeroDivisionError: division by zero" in message
    assert "height = 1 / 0" in message
    assert good.read_bytes() == kept
    assert sorted(os.listdir(tmp_path / "out")) == ["98_sound.ipynb", "99_sample.ipynb"], "scratch files were left"


def test_a_cell_that_is_no_python_is_named(tmp_path: Path):
    with pytest.raises(BookError, match="99_sample, code cell 2: SyntaxError"):
        execute([chapter(tmp_path, "height = = 1")], "reader", tmp_path / "out")


def test_a_changed_chapter_runs_alone(tmp_path: Path):
    first, second = chapter(tmp_path, COUNTING, "97_first"), chapter(tmp_path, COUNTING, "98_second")
    made = execute([first, second], "reader", tmp_path / "out")
    stamps = {path: path.stat().st_mtime_ns for path in made}
    first.source.write_text(first.source.read_text(encoding="utf-8") + "\nMore.\n", encoding="utf-8")
    execute([Chapter(first.source), second], "reader", tmp_path / "out")
    assert [path.stat().st_mtime_ns > stamps[path] for path in made] == [True, False]


def test_a_chapter_depends_on_what_it_imports_and_on_nothing_else(tmp_path: Path, monkeypatch):
    sample = chapter(tmp_path, "from actde_nb.pages import style")
    assert "actde_nb.pages.style" in sample.modules
    assert "actde_nb.pages" in sample.modules, "packages run their __init__"
    assert not any(
        module.startswith(("actde_nb.pages.render", "actde_nb.tabular", "actde_nb.cli")) for module in sample.modules
    )
    deeper = chapter(tmp_path, "from actde_nb.tabular import bandit", "98_deeper")
    assert "actde_nb.checks" in deeper.modules, "imports of imports count"
    before = sample.fingerprint({}), deeper.fingerprint({})
    copy = tmp_path / "bandit.py"
    copy.write_text("changed = True\n", encoding="utf-8")
    original = sources._module_file
    monkeypatch.setattr(
        sources, "_module_file", lambda module: copy if module == "actde_nb.tables.bandit" else original(module)
    )
    after = sample.fingerprint({}), deeper.fingerprint({})
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]


def test_a_chapter_that_reads_stored_runs_depends_on_them(tmp_path: Path, monkeypatch):
    reads = chapter(tmp_path, "from actde_nb.paths import RESULTS")
    other = chapter(tmp_path, "pass", "98_other")
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(sources, "RESULTS", results)
    prints = [(reads.fingerprint({}), other.fingerprint({}))]
    for name, text in (("a.nc", "one"), ("b.nc", "one"), ("a.nc", "two"), ("a.checkpoint.safetensors", "")):
        (results / name).write_text(text, encoding="utf-8")
        prints.append((reads.fingerprint({}), other.fingerprint({})))
    assert len({one for one, _ in prints}) == 4, "a new file and a changed one, but no checkpoint"
    assert len({one for _, one in prints}) == 1


@pytest.mark.parametrize(
    ("scale", "parameters", "message"),
    [
        ("huge", {}, "scale = 'huge': allowed are smoke, reader, paper"),
        ("smoke", {"sed": 1}, "parameter = 'sed' of chapter 99_sample: allowed are factor"),
        ("smoke", {"scale": "paper"}, "parameter = 'scale' of chapter 99_sample: allowed are factor"),
    ],
)
def test_unknown_settings_are_one_clear_error(tmp_path: Path, scale: str, parameters: dict, message: str):
    with pytest.raises(BookError, match="^" + message + "$"):
        settings(chapter(tmp_path, "pass"), scale, parameters)


def test_unknown_chapter_is_one_clear_error():
    with pytest.raises(BookError, match=r"chapter = '77': allowed are .*01_one_reward_for_ever"):
        chapters(["77"])


def test_a_chapter_without_parameters_is_refused(tmp_path: Path):
    source = tmp_path / "99_sample.md"
    source.write_text(HEADER + "Words.\n", encoding="utf-8")
    with pytest.raises(BookError, match="0 cells tagged 'parameters'"):
        settings(Chapter(source), "smoke", {})


def test_every_chapter_takes_a_scale_and_a_seed(every_chapter: list[Chapter]):
    for each in every_chapter:
        assert each.parameters["scale"] == "reader", each.name
        assert isinstance(each.parameters.get("seed", 0), int), each.name


def test_executed_notebooks_hold_no_trace_of_the_machine(notebooks: dict[str, Path]):
    for path in notebooks.values():
        text = path.read_text(encoding="utf-8")
        assert "papermill" not in json.loads(text)["metadata"]
        assert str(Path.home()) not in text
        assert str(path.parents[2]) not in text
