"""Executing chapters: what runs again, and what a failure, a kill or a busy machine leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import nbformat
import psutil
import pytest

from actde_nb.checks import BookError
from actde_nb.pages import execute as execution
from actde_nb.pages.chapters import Chapter
from actde_nb.pages.execute import execute
from actde_nb.pages.glue import glued
from actde_nb.paths import reserved

HEADER = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n# A chapter\n\n"
PARAMETERS = "```{code-cell} ipython3\n:tags: [parameters]\nscale = 'reader'\nfactor = 2\n```\n\n"


def chapter(folder: Path, code: str, name: str = "99_sample") -> Chapter:
    source = folder / f"{name}.md"
    source.write_text(f"{HEADER}{PARAMETERS}```{{code-cell}} ipython3\n{code}\n```\n", encoding="utf-8")
    return Chapter(source)


COUNTING = "from actde_nb.pages.glue import put\nput('twice', 2 * factor)\nput('at', scale)"


def timeless(notebook: Path) -> str:
    return re.sub(r'"seconds": \d+', "", notebook.read_text(encoding="utf-8"))


def test_runs_once_and_gives_the_same_again_but_for_its_time(tmp_path: Path):
    sample = chapter(tmp_path, COUNTING)
    [notebook] = execute([sample], "reader", tmp_path / "out")
    assert glued(notebook) == {"twice": 4, "at": "reader"}
    first, made = timeless(notebook), notebook.stat().st_mtime_ns
    execute([sample], "reader", tmp_path / "out")
    assert notebook.stat().st_mtime_ns == made, "executed again although nothing had changed"
    execute([sample], "reader", tmp_path / "out", force=True)
    assert notebook.stat().st_mtime_ns > made
    assert timeless(notebook) == first, "two runs differ"


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


def soon(done: Callable[[], bool], seconds: float) -> bool:
    """Whether ``done`` comes true within ``seconds``."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.2)
    return done()


def test_a_busy_machine_is_given_minutes(tmp_path: Path, monkeypatch):
    given = {}

    def record(notebook, output, **options):
        given.update(options)
        return notebook

    monkeypatch.setattr(execution.papermill, "execute_notebook", record)
    assert execution._run(chapter(tmp_path, "pass").source, {}, tmp_path / "out.ipynb", "", 0) is None
    assert given["start_timeout"] >= 300
    assert given["iopub_timeout"] >= 300
    assert given.get("execution_timeout") is None, "a cell may take as long as it takes"


def test_a_path_is_no_template(tmp_path: Path, monkeypatch):
    folder = tmp_path / "a {b} {}"
    folder.mkdir()
    monkeypatch.setattr(execution, "SOURCES", folder)
    sample = chapter(folder, "import os\nfrom actde_nb.pages.glue import put\nput('at', os.getcwd())\nput('n', factor)")
    assert execution._run(sample.source, {"factor": 3}, folder / "out.ipynb", "", 0) is None
    assert glued(folder / "out.ipynb") == {"at": str(folder), "n": 3}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such sockets")
def test_sockets_have_short_names(tmp_path: Path, monkeypatch):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with ExitStack() as stack:
        place = Path(execution._transport(stack).KernelManager.ip)
        assert len(f"{place}-12345") < 104
        assert place.parent.is_dir()
    assert not place.parent.exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with ExitStack() as stack:
        assert execution._transport(stack) == {}, "TCP, where no folder will do"


def test_two_at_once_do_not_share_a_folder(tmp_path: Path):
    out = tmp_path / "out"
    lines = (
        "import time, pathlib",
        "from actde_nb.paths import reserved",
        f"with reserved(pathlib.Path({str(out)!r})):",
    )
    holder = "\n".join([*lines, "    print('held', flush=True)", "    time.sleep(600)"])
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BookError, match="out is being made by another process"):
            execute([chapter(tmp_path, COUNTING)], "reader", out)
    finally:
        process.kill()
        process.wait()
    with reserved(out):
        pass  # what a killed process held is free


def test_a_killed_worker_names_its_chapter_and_the_others_go_on(tmp_path: Path):
    killing = chapter(tmp_path, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "97_killing")
    with pytest.raises(BookError, match="97_killing: its process ended with status -9") as caught:
        execute([killing, chapter(tmp_path, COUNTING, "98_sound")], "reader", tmp_path / "out", jobs=1)
    assert "98_sound" not in str(caught.value)
    assert os.listdir(tmp_path / "out") == ["98_sound.ipynb"]


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_ended_leaves_no_process_and_nothing_reserved(tmp_path: Path, deadly: signal.Signals):
    note, out, script = tmp_path / "pids", tmp_path / "out", tmp_path / "command.py"
    code = f"import os, time\nwith open({str(note)!r}, 'w') as f:\n    print(os.getpid(), os.getppid(), file=f)\n"
    sample = chapter(tmp_path, code + "time.sleep(600)")
    lines = (
        "import signal",
        "from pathlib import Path",
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background takes away",
        "from actde_nb.pages.chapters import Chapter",
        "from actde_nb.pages.execute import execute",
        f"if __name__ == '__main__': execute([Chapter(Path({str(sample.source)!r}))], 'reader', Path({str(out)!r}))",
    )
    script.write_text("\n".join(lines), encoding="utf-8")
    command = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    assert soon(lambda: note.exists() and note.read_text().endswith("\n"), 300)
    processes = [psutil.Process(int(pid)) for pid in note.read_text().split()]
    command.send_signal(deadly)
    command.wait(60)
    assert soon(lambda: not any(process.is_running() for process in processes), 60), "kernel or worker lives on"
    (out / ".99_sample.ipynb.new").write_text("", encoding="utf-8")
    execute([chapter(tmp_path, COUNTING)], "reader", out)
    assert os.listdir(out) == ["99_sample.ipynb"]


def test_a_damaged_notebook_is_made_again(tmp_path: Path):
    sample = chapter(tmp_path, COUNTING)
    [notebook] = execute([sample], "reader", tmp_path / "out")
    whole, content = timeless(notebook), notebook.read_bytes()
    notebook.write_bytes(content[: len(content) // 2])
    execute([sample], "reader", tmp_path / "out")
    assert timeless(notebook) == whole


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_umask_is_respected(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(execution.papermill, "execute_notebook", lambda notebook, *_, **__: notebook)
    before = os.umask(0o027)
    try:
        execution._run(chapter(tmp_path, "pass").source, {}, tmp_path / "out.ipynb", "", 0)
    finally:
        os.umask(before)
    assert (tmp_path / "out.ipynb").stat().st_mode & 0o777 == 0o640


def test_executed_notebooks_hold_no_trace_of_the_machine(notebooks: dict[str, Path]):
    for path in notebooks.values():
        whole = path.read_text(encoding="utf-8")
        text = re.sub(r'"image/png": "[^"]*"', '"image/png": ""', whole)  # any letters may stand in a picture
        assert "papermill" not in json.loads(text)["metadata"]
        assert str(Path.home()) not in text
        assert str(path.parents[2]) not in text
