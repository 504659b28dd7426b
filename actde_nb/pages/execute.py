"""Run chapters with papermill, several at a time, each only when something it depends on has changed."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets.config import Config

from actde_nb.checks import BookError
from actde_nb.pages.chapters import Chapter, settings
from actde_nb.paths import SOURCES, reserved

STAMP = "actde_nb"
PATIENCE = 600  # seconds that a busy machine may take to start a kernel, or to hand over what a cell printed
GRACE = 10  # seconds to end in
SOCKET_NAME = 80  # characters of a folder whose sockets every system accepts: their paths end at 104
NEW = ".new"  # ends the name of a notebook that is being written


def execute(
    chapters: Sequence[Chapter], scale: str, folder: Path, parameters: Mapping[str, Any] | None = None,
    *, jobs: int | None = None, force: bool = False,
) -> list[Path]:  # fmt: skip
    """Execute ``chapters`` into ``folder``, several ``jobs`` at a time, and return their notebooks.

    A notebook is moved into place only when every cell has run: a failure leaves the last good one alone. The chapters
    run in processes of their own, as many as there are cores by default; when one is killed, the others go on.
    ``parameters`` are values for names of the chapters' parameters cell; ``force`` runs even what is up to date."""
    injected = {c: settings(c, scale, parameters or {}) for c in chapters}
    targets = {c: folder / f"{c.name}.ipynb" for c in chapters}
    failures = []
    with reserved(folder):
        stamps = {c: c.fingerprint({"scale": scale, **injected[c]}) for c in chapters}
        stale = [c for c in chapters if force or stamp(targets[c]).get("fingerprint") != stamps[c]]
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".*{NEW}"):  # by a process that was killed
            left.unlink()
        tasks = {c.name: (c.source, injected[c], targets[c], stamps[c]) for c in stale}
        for count, (name, failure, seconds) in enumerate(_side_by_side(tasks, jobs or os.cpu_count() or 1), 1):
            done = "FAILED" if failure else "executed"
            tqdm.write(f"[{count}/{len(stale)}] {done} {name} ({scale}) in {seconds:.0f} s")
            failures += [failure] if failure else []
    if failures:
        raise BookError("\n\n".join(failures))
    return [targets[c] for c in chapters]


def stamp(notebook: Path) -> dict[str, Any]:
    """How an executed notebook was made, its ``fingerprint`` and its ``seconds``; nothing of what it does not say."""
    try:
        return nbformat.read(notebook, as_version=4).metadata.get(STAMP, {})
    except (FileNotFoundError, ValueError):  # was never made, or is damaged
        return {}


def _side_by_side(tasks: Mapping[str, tuple], workers: int) -> Iterator[tuple[str, str | None, float]]:
    """Run every task in one of several processes; yield name, failure and seconds as they end."""
    context = multiprocessing.get_context("spawn")
    waiting, idle, busy = [*tasks][::-1], [*range(min(workers, len(tasks)))], {}
    started: dict[int, tuple[multiprocessing.Process, Connection]] = {}  # by the line of their progress bar
    try:
        while waiting or busy:
            while waiting and idle:
                line, name = idle.pop(), waiting.pop()
                if line not in started:
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_work, args=(theirs,), daemon=True)
                    process.start()
                    theirs.close()  # so that ours ends when the process does
                    started[line] = process, ours
                connection = started[line][1]
                connection.send((*tasks[name], line))
                busy[connection] = name, line, time.monotonic()
            for connection in multiprocessing.connection.wait(list(busy)):
                name, line, began = busy.pop(connection)
                try:
                    failure = connection.recv()
                except EOFError:
                    process, _ = started.pop(line)
                    process.join()
                    failure = f"{name}: its process ended with status {process.exitcode}; was there too little memory?"
                idle.append(line)
                yield name, failure, time.monotonic() - began
    finally:
        for process, connection in started.values():
            connection.close()
            if busy:
                process.terminate()
        for process, _ in started.values():
            process.join(GRACE)
            process.kill()


def _work(connection: Connection) -> None:
    """Run the tasks that come in, one after the other, as long as there is someone to send them."""
    # One thread a kernel: the chapters themselves fill the cores.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            connection.send(_run(*connection.recv()))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)  # nbclient ends the kernel, and the task its temporary files
    time.sleep(GRACE)
    os._exit(1)


def _run(source: Path, parameters: dict, target: Path, stamp: str, line: int) -> str | None:
    """Run one chapter in this process; return what went wrong, if anything."""
    chapter, began = Chapter(source), time.monotonic()
    with ExitStack() as stack:
        try:
            # Notebooks, not paths: papermill would read a name in braces in a path as a parameter.
            ran = papermill.execute_notebook(
                chapter.notebook, None, parameters=parameters or None, kernel_name="python3", language="python",
                cwd=SOURCES, log_output=False, start_timeout=PATIENCE, iopub_timeout=PATIENCE, config=_transport(stack),
                request_save_on_cell_execute=False, autosave_cell_every=0,  # saving takes as long as drawing
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # at its end it would report an interrupt
                progress_bar={"desc": chapter.name, "position": line, "leave": False, "disable": None},
            )  # fmt: skip
            notebook = clean(ran)
            notebook.metadata[STAMP] = {"fingerprint": stamp, "seconds": round(time.monotonic() - began)}
            nbformat.write(notebook, new := target.with_name(f".{target.name}{NEW}"))
            os.replace(new, target)
        except PapermillExecutionError as error:
            return _explain(chapter, error, injected=bool(parameters))
        except Exception as error:  # a dead kernel, a full disk: the other chapters go on
            return f"{chapter.name}: {type(error).__name__}: {error}"
    return None


def _transport(stack: ExitStack) -> Config:
    """Let the kernel talk through files in a folder of its own, whose name is short enough for them. (Windows: by TCP.)

    Kernels that start together can be promised one TCP port (nteract/papermill#511), and the second dies."""
    for parent in (tempfile.gettempdir(), "/tmp"):
        if os.name != "nt" and len(os.fsencode(parent)) < SOCKET_NAME and os.access(parent, os.W_OK):
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=parent))
            return Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})
    return Config()


def _explain(chapter: Chapter, error: PapermillExecutionError, injected: bool) -> str:
    cell = error.exec_count - injected  # the source has no cell of injected parameters
    code = "\n".join(f"    {line}" for line in error.source.strip().splitlines())
    frames = "\n".join(error.traceback) if sys.stderr.isatty() else ""
    return f"{chapter.name}, code cell {cell}: {error.ename}: {error.evalue}\n{code}\n{frames}".rstrip()


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs from run to run but for whole seconds, and hide the cell that papermill injects."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        if (seconds := round(cell.metadata.pop("papermill", {}).get("duration") or 0)) > 0:
            cell.metadata["seconds"] = seconds
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-cell")
    return notebook
