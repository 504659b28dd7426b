"""Compilation by Numba, kept on disk between runs where that is possible.

Numba's own cache watches the file of the function alone, not the files of the functions that it calls. Ours therefore
lives in a folder named after the text of all compiled files: a change in any of them starts a new one.
"""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numba
from numba import njit

SOURCES = ("cache.py", "../dropout.py", "kernels.py", "simd.py")


def folder() -> Path:
    """Where machine code is kept: in ``NUMBA_CACHE_DIR`` if that is set, else in the user's cache folder."""
    text = b"".join((Path(__file__).parent / name).read_bytes() for name in SOURCES)
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(numba.config.CACHE_DIR or user) / f"actde_nb-{hashlib.sha256(text).hexdigest()[:16]}"


@contextmanager
def _cache_in(path: Path) -> Iterator[None]:
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(path)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def compiled(function: Callable) -> Callable:
    """Compile at the first call, or load what an earlier process compiled.

    The function runs without the interpreter's lock, and dividing by zero gives infinity instead of an exception.
    """
    function = inspect.unwrap(function)  # the tests' type checker wraps every function of ours
    settings = {"nogil": True, "error_model": "numpy"}
    try:
        with _cache_in(folder()):
            return njit(cache=True, **settings)(function)
    except (RuntimeError, OSError):  # no place to write to: compile in every process
        return njit(**settings)(function)


def inlined(function: Callable) -> Callable:
    """Make a function part of every compiled one that calls it."""
    return njit(forceinline=True, error_model="numpy")(inspect.unwrap(function))
