"""Text that follows a run, its marks, the progress line, and a kernel that outlives an interruption."""

import time
from types import SimpleNamespace

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from myst_nb.core.variables import format_plain_text
from nbclient import NotebookClient

from actde_nb.pages import live

BEGIN = "from actde_nb.pages.live import begin_notebook, notebook_text\nbegin_notebook({})"


def run(*cells: str) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    return NotebookClient(notebook, timeout=60).execute()


def markdown(cell: nbformat.NotebookNode) -> list[str]:
    return [output.data["text/markdown"] for output in cell.outputs if "text/markdown" in output.get("data", {})]


def test_text_has_the_books_numbers_and_then_those_of_the_run():
    text = 'notebook_text(r"""At {{share:.1%|8.7%}} of {{trials:d|5}}, $\\\\pi^{{2}}$, {{unknown:.2f|0.25}}.""")'
    put = 'from actde_nb.pages.glue import put\nput("share", 0.123)\nput("trials", 5)'
    before = run(BEGIN, text.replace("\\\\", "\\"))
    assert markdown(before.cells[1]) == [r"At 8.7% of 5, $\pi^{{2}}$, 0.25."]
    after = run(BEGIN, text.replace("\\\\", "\\"), put)
    marked = '<mark title="the book has 8.7%">12.3%</mark>'
    assert markdown(after.cells[1]) == [rf"At {marked} of 5, $\pi^{{{{2}}}}$, 0.25."]
    assert not markdown(after.cells[2]), "the text appears where it stands, not where the number was computed"


def test_what_an_earlier_run_computed_is_forgotten():
    put = 'from actde_nb.pages.glue import put\nput("share", 0.123)'
    again = run(BEGIN, put, BEGIN, 'notebook_text("{{share:.1f|0.5}}")')
    assert markdown(again.cells[3]) == ["0.5"]


def test_what_an_earlier_run_registered_is_gone():
    long, short = (BEGIN.replace("{}", times) for times in ('{"a": 60.0}', "{}"))
    count = "len([f for f in get_ipython().events.callbacks[{!r}] if f.__module__ == 'actde_nb.pages.live'])"
    told = f"print({count.format('pre_run_cell')}, {count.format('post_run_cell')})"
    said = [cell.outputs[-1].text for cell in run(short, long, long, told, short, told).cells if "print" in cell.source]
    assert said == ["1 2\n", "0 1\n"]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(0.5, ".2f", "0.50"), (True, "s", "True"), ("a b", "s", "a b"), (1234, ",d", "1,234"), (3.0, "d", "3")],
)
def test_numbers_look_as_on_the_page(value, form: str, text: str, monkeypatch):
    assert format_plain_text(repr(value), form) == text
    monkeypatch.setattr(live, "VALUES", {"key": value})
    assert live._filled(f"{{{{key:{form}|{text}}}}}") == text
    assert "<mark" in live._filled(f"{{{{key:{form}|other}}}}")


class Shown:
    """A display that remembers what it was told to show."""

    def __init__(self):
        self.lines = []

    def update(self, shown):
        self.lines.append(shown.data)


def test_progress_counts_cells_by_the_seconds_they_took(monkeypatch):
    shown = Shown()
    monkeypatch.setattr(live, "display", lambda *_, **__: shown)
    bar = live.Progress({live.fingerprint("a"): 30, live.fingerprint("b"): 10})
    assert "0% of about 40 s" in bar.line()
    monkeypatch.setattr(live, "LONG", 100)  # no thread
    bar.started(SimpleNamespace(raw_cell="a"))
    assert "this cell, 0 s of about 30 s" in bar.line()
    bar.ended(SimpleNamespace(success=True))
    assert "75% of about 40 s" in shown.lines[-1]
    bar.started(SimpleNamespace(raw_cell="b"))
    bar.ended(SimpleNamespace(success=False))
    assert "75%" in bar.line(), "a cell that failed is not done"


def test_a_long_cell_is_watched_while_it_runs():
    slow = "import time; time.sleep(3)"
    cells = [BEGIN.replace("{}", f"{{'{live.fingerprint(slow)}': 12}}"), slow]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    seen = []

    class Client(NotebookClient):
        def process_message(self, message, cell, index):
            if message["msg_type"] == "update_display_data":
                seen.append(message["content"]["data"]["text/markdown"])
            return super().process_message(message, cell, index)

    client = Client(notebook, timeout=60)
    client.execute()
    assert any("this cell, 1 s of about 12 s" in line for line in seen)
    assert "100%" in markdown(client.nb.cells[0])[-1]


TRAIN = """
from actde_nb.experiments import runs
from actde_nb.experiments.stored_runs import prisoner
work = runs.trainer(prisoner(trials=2, updates=100_000))
print("ready", flush=True)
work.run()
"""


def test_an_interrupted_cell_leaves_a_kernel_that_goes_on():
    manager, client = start_new_kernel()
    try:
        asked = client.execute(TRAIN, stop_on_error=False)  # or what is asked next may be aborted as well
        while client.get_iopub_msg(timeout=120)["msg_type"] != "stream":
            pass
        time.sleep(2)
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != asked:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        reply = client.execute_interactive("work.step()", timeout=120)
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
