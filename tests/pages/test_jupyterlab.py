"""A reader's own notebooks in a real JupyterLab: opened by a double click, changed and run; nothing of ours changes."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from test_browser import CHROMIUM, browser  # noqa: F401 - a fixture

from actde_nb.pages.render import lay_out
from actde_nb.paths import ROOT

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

CHAPTER = "02_finite_reinforcement.ipynb"
STATE = """() => {
  const panel = jupyterapp.shell.currentWidget, cells = [...panel.content.model.cells];
  const outputs = cells.flatMap(c => c.type === 'code' ? c.outputs.toJSON() : []);
  return {
    errors: outputs.filter(o => o.output_type === 'error').map(o => o.evalue),
    texts: outputs.map(o => (o.data || {})['text/markdown']).filter(Boolean).map(t => [].concat(t).join('')),
    busy: panel.sessionContext.session?.kernel?.status,
    ran: cells.filter(c => c.type === 'code' && c.executionCount).length,
    waiting: cells.filter(c => c.type === 'code' && c.executionState === 'running').length,
  };
}"""


@pytest.fixture(scope="module")
def folder(html: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reader") / "notebooks"
    assert lay_out(html, folder) == []
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    places = {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    options = [
        "--no-browser",
        "--allow-root",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
    ]
    options += [
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = open(home / "log", "w")  # noqa: SIM115 - as long as the server
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options, str(folder)], stdout=log, stderr=log,
        env={**os.environ, **places, "PYTHONPATH": f"{ROOT}:{ROOT / 'book'}"},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}/lab"
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=5)
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(30)
    log.close()


@pytest.fixture
def page(lab: str, browser):  # noqa: F811
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}?reset")
    page.wait_for_selector(f".jp-DirListing-item[title*='{CHAPTER}']", timeout=60_000)
    page.dblclick(f".jp-DirListing-item[title*='{CHAPTER}']")
    page.wait_for_selector(".jp-NotebookPanel .jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=90_000
    )
    yield page
    page.close()


def tracked() -> str:
    return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout


def show(page, words: str, selector: str) -> None:
    """Scroll to the cell that has these words, until what is looked for is to be seen."""
    for _ in range(40):
        page.evaluate(
            """async words => {
              const notebook = jupyterapp.shell.currentWidget.content;
              const has = c => JSON.stringify(c.toJSON()).includes(words);
              await notebook.scrollToItem([...notebook.model.cells].findIndex(has));
            }""",
            words,
        )
        page.wait_for_timeout(500)  # far cells are drawn when they come near
        if page.locator(selector).count() and page.locator(selector).first.is_visible():
            return
    raise AssertionError(f"no {selector} in the cell with {words!r}")


def test_a_chapter_opens_as_a_page_and_follows_its_run(page, folder: Path):
    before = tracked()
    show(page, "Theorem 2.1 (Telescoping)", "blockquote strong:has-text('Theorem 2.1 (Telescoping)')")
    show(page, "Theorem 2.1 (Telescoping)", "blockquote mjx-container")
    show(page, "runs of ACTDE have the same gap", "p:has-text('all 100 runs of ACTDE have the same gap')")
    show(page, "Solution to Exercise 2.1", "details summary:has-text('Solution to Exercise 2.1')")
    assert not page.locator("details[open]").count()

    show(page, "every random draw on this page", ".jp-CodeCell .cm-content:has-text('every random draw')")
    page.locator(".jp-CodeCell .cm-content", has_text="every random draw").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.type('scale = "smoke"\nseed = 3')
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_timeout(2_000)
    state = _finished(page)
    assert state["errors"] == []
    changed = [text for text in state["texts"] if "<mark" in text]
    assert changed, "another seed has other numbers"
    words = re.search(r"([a-z]+) <mark title=\"the book has ([^\"]+)\">([^<]+)</mark>", "\n".join(changed))
    assert words
    assert words[2] != words[3]
    show(page, words[0].replace('"', '\\"'), "mark")
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(1_000)
    assert tracked() == before


def _finished(page) -> dict:
    for _ in range(180):
        state = page.evaluate(STATE)
        if state["errors"] or (state["busy"] == "idle" and not state["waiting"]):
            page.wait_for_timeout(1_000)
            again = page.evaluate(STATE)
            if again["errors"] or (again["busy"] == "idle" and not again["waiting"] and again["ran"] == state["ran"]):
                return again
        page.wait_for_timeout(1_000)
    raise AssertionError(f"still running: {state}")


def test_what_a_reader_changed_is_never_overwritten(html: Path, tmp_path: Path):
    mine, other = tmp_path / CHAPTER, tmp_path / "01_one_reward_for_ever.ipynb"
    assert lay_out(html, tmp_path) == []
    mine.write_text(mine.read_text(encoding="utf-8").replace("seed = 0", "seed = 3"), encoding="utf-8")
    other.unlink()
    changed = mine.read_bytes()
    assert lay_out(html, tmp_path) == [mine]
    assert mine.read_bytes() == changed
    assert other.exists()
    mine.unlink()
    assert lay_out(html, tmp_path) == []
    assert mine.exists()


def test_a_notebook_that_was_only_opened_is_not_a_readers(html: Path, tmp_path: Path):
    assert lay_out(html, tmp_path) == []
    opened = nbformat.read(tmp_path / CHAPTER, as_version=4)
    opened.metadata["toc-autonumbering"] = False
    nbformat.write(opened, tmp_path / CHAPTER)
    assert lay_out(html, tmp_path) == []
    (tmp_path / CHAPTER).write_text("no notebook", encoding="utf-8")
    assert lay_out(html, tmp_path) == [tmp_path / CHAPTER]
