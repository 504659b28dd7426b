"""Run chapters with papermill, several at a time, each only when something it depends on has changed."""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets.config import Config

from actde_nb.checks import BookError
from actde_nb.pages.chapters import Chapter, settings
from actde_nb.paths import SOURCES

STAMP = "actde_nb"


def execute(
    chapters: Sequence[Chapter],
    scale: str,
    folder: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    jobs: int | None = None,
    force: bool = False,
) -> list[Path]:
    """Execute ``chapters`` into ``folder`` and return their notebooks.

    A chapter runs in a temporary folder and its notebook is moved into place only when every cell has
    run: a failure leaves the last good notebook alone.

    Args:
        chapters: what to run.
        scale: ``"smoke"``, ``"reader"`` or ``"paper"``.
        folder: where the executed notebooks go.
        parameters: values for further names of the chapters' parameters cell.
        jobs: chapters at a time; as many as there are cores by default.
        force: run even what is up to date.

    Raises:
        BookError: an unknown scale or parameter; or chapters that failed, each with cell and error.
    """
    injected = {chapter: settings(chapter, scale, parameters or {}) for chapter in chapters}
    stamps = {c: c.fingerprint({"scale": scale, **injected[c]}) for c in chapters}
    targets = {c: folder / f"{c.name}.ipynb" for c in chapters}
    stale = [c for c in chapters if force or _stamp(targets[c]) != stamps[c]]
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    if stale:
        context = multiprocessing.get_context("spawn")
        lock = context.RLock()  # keeps the chapters' progress bars from writing over each other
        workers = min(jobs or os.cpu_count() or 1, len(stale))
        with ProcessPoolExecutor(workers, context, tqdm.set_lock, (lock,)) as pool:
            runs = {
                pool.submit(_run, c.source, injected[c], targets[c], stamps[c], place % workers): c
                for place, c in enumerate(stale)
            }
            for count, run in enumerate(as_completed(runs), 1):
                failure, seconds = run.result()
                done = "FAILED" if failure else "executed"
                tqdm.write(f"[{count}/{len(stale)}] {done} {runs[run].name} ({scale}) in {seconds:.0f} s")
                failures += [failure] if failure else []
    if failures:
        raise BookError("\n\n".join(failures))
    return [targets[c] for c in chapters]


def _stamp(notebook: Path) -> str | None:
    if not notebook.exists():
        return None
    return nbformat.read(notebook, as_version=4).metadata.get(STAMP, {}).get("fingerprint")


def _run(source: Path, parameters: dict, target: Path, stamp: str, place: int) -> tuple[str | None, float]:
    """Run one chapter in this process; return what went wrong, if anything, and the seconds it took."""
    # One thread a kernel: the chapters themselves fill the cores.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    began = time.monotonic()
    chapter = Chapter(source)
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{chapter.name}-") as scratch,
        tempfile.TemporaryDirectory() as sockets,
    ):
        raw, ran = Path(scratch, "in.ipynb"), Path(scratch, "out.ipynb")
        nbformat.write(chapter.notebook, raw)
        try:
            papermill.execute_notebook(
                raw,
                ran,
                parameters=parameters or None,
                kernel_name="python3",
                language="python",
                cwd=SOURCES,
                log_output=False,
                request_save_on_cell_execute=False,  # after each cell it takes as long as drawing
                autosave_cell_every=0,
                config=_transport(sockets),
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # at its end it would report an interrupt
                progress_bar={"desc": chapter.name, "position": place, "leave": False, "disable": None},
            )
        except PapermillExecutionError as error:
            return _explain(chapter, error, injected=bool(parameters)), time.monotonic() - began
        except Exception as error:  # a dead kernel, a full disk: the other chapters go on
            return f"{chapter.name}: {type(error).__name__}: {error}", time.monotonic() - began
        notebook = clean(nbformat.read(ran, as_version=4))
        notebook.metadata[STAMP] = {"fingerprint": stamp}
        nbformat.write(notebook, ran)
        os.replace(ran, target)
    return None, time.monotonic() - began


def _transport(folder: str) -> Config:
    """Let the kernel talk through files in a folder of its own.

    Kernels that start together can be promised one TCP port (nteract/papermill#511), and the second dies.
    The folder's name must be short: a socket's path has at most 104 characters. Windows has TCP only.
    """
    return Config() if os.name == "nt" else Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})


def _explain(chapter: Chapter, error: PapermillExecutionError, injected: bool) -> str:
    cell = error.exec_count - injected  # the source has no cell of injected parameters
    code = "\n".join(f"    {line}" for line in error.source.strip().splitlines())
    frames = "\n".join(error.traceback) if sys.stderr.isatty() else ""
    return f"{chapter.name}, code cell {cell}: {error.ename}: {error.evalue}\n{code}\n{frames}".rstrip()


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs from run to run (times, paths), and hide the cell that papermill injects."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-cell")
    return notebook
