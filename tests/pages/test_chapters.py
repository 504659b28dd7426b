"""Chapters as sources: what they take, what they depend on, what odd ones say."""

import datetime
from pathlib import Path

import pytest
from test_execute import HEADER, PARAMETERS, chapter

from actde_nb import paths
from actde_nb.checks import BookError
from actde_nb.pages import chapters as sources
from actde_nb.pages.chapters import Chapter, chapters, settings


def with_parameters(folder: Path, code: str) -> Chapter:
    source = folder / "99_sample.md"
    source.write_text(f"{HEADER}```{{code-cell}} ipython3\n:tags: [parameters]\n{code}\n```\n", encoding="utf-8")
    return Chapter(source)


def test_a_chapter_depends_on_what_it_imports_and_on_nothing_else(tmp_path: Path, monkeypatch):
    sample = chapter(tmp_path, "from actde_nb.pages import style")
    assert "actde_nb.pages.style" in sample.modules
    assert "actde_nb.pages" in sample.modules, "packages run their __init__"
    others = ("actde_nb.pages.render", "actde_nb.tables", "actde_nb.cli")
    assert not any(module.startswith(others) for module in sample.modules)
    deeper = chapter(tmp_path, "from actde_nb.tables import bandit", "98_deeper")
    assert "actde_nb.checks" in deeper.modules, "imports of imports count"
    before = sample.fingerprint({}), deeper.fingerprint({})
    copy = tmp_path / "bandit.py"
    copy.write_text("changed = True\n", encoding="utf-8")
    original = sources._module_files
    monkeypatch.setattr(
        sources, "_module_files", lambda module: [copy] if module == "actde_nb.tables.bandit" else original(module)
    )
    after = sample.fingerprint({}), deeper.fingerprint({})
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]


def test_a_figure_depends_on_its_style_sheet():
    assert [file.name for file in sources._module_files("actde_nb.pages.style")] == ["style.mplstyle", "style.py"]
    assert [file.name for file in sources._module_files("actde_nb.pages")] == ["__init__.py"]


def test_a_chapter_that_can_find_stored_runs_depends_on_them(tmp_path: Path, monkeypatch):
    reads = chapter(tmp_path, "from actde_nb.compare import frontiers")
    other = chapter(tmp_path, "# RESULTS and stored( are words", "98_other")
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(paths, "RESULTS", results)
    prints = [(reads.fingerprint({}), other.fingerprint({}))]
    (results / "games").mkdir()
    for name, text in (("a.nc", "one"), ("b.safetensors", "one"), ("a.nc", "two"), ("games/c.nc", "one")):
        (results / name).write_text(text, encoding="utf-8")
        prints.append((reads.fingerprint({}), other.fingerprint({})))
    assert len({one for one, _ in prints}) == 5, "three new files, one of them in a folder, and a changed one"
    for stray in ("a.checkpoint.safetensors", ".DS_Store", ".a.nc.x1", ".a.nc", "notes.txt", "b.nc~"):
        (results / stray).write_text("", encoding="utf-8")
    (results / "folder.nc").mkdir()
    assert (reads.fingerprint({}), other.fingerprint({})) == prints[-1], "strays are no runs"
    assert len({one for _, one in prints}) == 1


def test_every_chapter_that_reads_stored_runs_can_find_them():
    for each in chapters():
        if "RESULTS" in each.text or "stored(" in each.text:
            assert sources.FINDS_STORED_RUNS in each.modules, each.name


@pytest.mark.parametrize(
    ("scale", "parameters", "message"),
    [
        ("huge", {}, "scale = 'huge': allowed are smoke, reader, paper"),
        ("smoke", {"sed": 1}, "parameter = 'sed' of chapter 99_sample: allowed are factor"),
        ("smoke", {"scale": "paper"}, "parameter = 'scale' of chapter 99_sample: allowed are factor"),
        ("smoke", {"factor": datetime.date(2020, 1, 1)}, "factor = 2020-01-01: allowed are numbers, .*"),
    ],
)
def test_unknown_settings_are_one_clear_error(tmp_path: Path, scale: str, parameters: dict, message: str):
    with pytest.raises(BookError, match="^" + message + "$"):
        settings(chapter(tmp_path, "pass"), scale, parameters)


def test_only_what_differs_from_the_defaults_is_injected(tmp_path: Path):
    sample = chapter(tmp_path, "pass")
    assert settings(sample, "reader", {"factor": 2}) == {}
    assert settings(sample, "smoke", {"factor": 3}) == {"scale": "smoke", "factor": 3}


@pytest.mark.parametrize("name", ["77", "0"])
def test_a_name_that_fits_no_chapter_or_several_is_one_clear_error(name: str):
    with pytest.raises(BookError, match=f"chapter = '{name}': allowed are .*01_one_reward_for_ever"):
        chapters([name])


def test_a_chapter_without_parameters_is_refused(tmp_path: Path):
    source = tmp_path / "99_sample.md"
    source.write_text(HEADER + "Words.\n", encoding="utf-8")
    with pytest.raises(BookError, match="0 cells tagged 'parameters'"):
        settings(Chapter(source), "smoke", {})


def test_every_chapter_takes_a_scale_and_a_seed(every_chapter: list[Chapter]):
    for each in every_chapter:
        assert each.parameters["scale"] == "reader", each.name
        assert isinstance(each.parameters.get("seed", 0), int), each.name


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("seed: int = 0", {"seed": 0}),
        ("seed: int", {}),
        ("a, (b, c) = 1, [2.5, None]", {"a": 1, "b": 2.5, "c": None}),
        ("a = b = -3", {"a": -3, "b": -3}),
        ("updates = 2 * 10\nhalf = updates // 2 + 10**2", {"updates": 20, "half": 110}),
        ("rates = (1 / 4, -0.5)\nnames = ['a', 3 - 1]", {"rates": (0.25, -0.5), "names": ["a", 2]}),
        ("more = {'a': {1, 2}}", {"more": {"a": {1, 2}}}),
        ("'What they mean.'\nimport math\n%matplotlib inline\nflag = other = True", {"flag": True, "other": True}),
    ],
)
def test_parameters_are_read_as_python_reads_them(tmp_path: Path, code: str, expected: dict):
    found = with_parameters(tmp_path, code).parameters
    assert found == expected
    assert list(map(type, found.values())) == list(map(type, expected.values()))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("seed = 1\nrate = max(1, 2)", r"99_sample, parameters cell, line 2: rate = max\(1, 2\): allowed are numbers"),
        ("rate = open('never', 'w')", "line 1: .*: allowed are numbers and arithmetic, texts"),
        ("rate = speed", "line 1: rate = speed: allowed are numbers"),
        ("rate = 1 / 0", "line 1: rate = 1 / 0: division by zero"),
        ("a, b = 1, 2, 3", "line 1: .*too many values"),
        ("a = [1][2]", "line 1: .*out of range"),
        ("a = (1).speed", "line 1: .*no attribute"),
        ("for seed in (1, 2): pass", "line 1: .*: allowed are assignments"),
        ("x[0] = 1", "line 1: .*: allowed are numbers and arithmetic, .*, and earlier parameters"),
        ("seed = = 1", "99_sample, parameters cell: SyntaxError"),
    ],
)
def test_parameters_that_only_running_could_tell_are_refused(tmp_path: Path, code: str, message: str):
    with pytest.raises(BookError, match=message):
        _ = with_parameters(tmp_path, code).parameters


@pytest.mark.parametrize(
    "code",
    [
        "%matplotlib inline\nfrom actde_nb.tables import bandit",
        "files = !ls\n!ls\nfrom actde_nb.tables import bandit",
        "%%time\nfrom actde_nb.tables import bandit",
        "%%capture\n%matplotlib inline\nfrom actde_nb.tables import bandit",
        "bandit?\nfrom actde_nb.tables import bandit",
    ],
)
def test_magics_are_no_syntax_errors(tmp_path: Path, code: str):
    assert "actde_nb.tables.bandit" in chapter(tmp_path, code).modules


def test_a_cell_in_another_language_imports_nothing(tmp_path: Path):
    assert chapter(tmp_path, "%%bash\nls -l | head").modules == set()


def test_a_byte_order_mark_hides_no_chapter(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    source = chapter(tmp_path, "pass").source
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes().replace(b"\n", b"\r\n"))
    [found] = chapters()
    assert found.title == "A chapter"
    assert found.parameters == {"scale": "reader", "factor": 2}
    (tmp_path / "no_chapter.md").write_text("# A page\n", encoding="utf-8")
    (tmp_path / ".99_sample.md").write_text(HEADER, encoding="utf-8")
    assert chapters() == [found]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ((HEADER + PARAMETERS).replace("# A chapter", "Words.").encode(), "has no title"),
        (b"---\nkernelspec: {name: [python3\n---\n# A chapter\n", "options are wrong: while parsing"),
        (
            (HEADER + "```{code-cell} ipython3\n---\ntags: [a\n---\npass\n```\n").encode(),
            "options are wrong: Code cell 1",
        ),
        ((HEADER.replace("display_name", "name") + PARAMETERS).encode(), "are wrong: 'display_name' is a required"),
        ("---\nkernelspec\n".encode("utf-16"), "is no text in UTF-8"),
        (HEADER.replace("A chapter", "Caf\xe9").encode("latin-1"), "is no text in UTF-8"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch, text: bytes, message: str):
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    (tmp_path / "42_odd.md").write_bytes(text)
    chapter(tmp_path, "pass")
    odd, sound = chapters()
    with pytest.raises(BookError, match=f"^42_odd.md: .*{message}.*$"):
        _ = odd.title
    assert sound.title == "A chapter"
    assert chapters(["99"]) == [sound]
