"""Compilation by Numba, kept on disk between runs where that is possible.

Numba's own cache watches the file of the function alone, not the files of the functions that it calls. Ours therefore
lives in a folder named after the text of all compiled files: a change in any of them starts a new one."""

import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numba
from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserWideCacheLocator

SOURCES = ("__init__.py", "cache.py", "kernels.py", "simd.py", "../dropout.py")


def folder() -> Path:
    """Where machine code is kept: in ``NUMBA_CACHE_DIR`` if that is set, else in the user's cache folder."""
    text = b"".join((Path(__file__).parent / name).read_bytes() for name in SOURCES)
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(numba.config.CACHE_DIR or user) / f"actde_nb-{hashlib.sha256(text).hexdigest()[:16]}"


@functools.cache
def _say(how: str) -> None:
    """The first time, a line for those who wait. In a notebook it would stay on the page."""
    if "ipykernel" not in sys.modules:
        print(f"\nactde-nb: compiling the network, {how}; takes about a minute", file=sys.stderr, flush=True)


class _Locator(UserWideCacheLocator):
    def get_cache_path(self) -> str:
        return str(folder())


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Cache(FunctionCache):
    _impl_class = _Implementation

    def load_overload(self, signature, target_context):
        found = super().load_overload(signature, target_context)
        if found is None:
            _say("once")
        return found


def compiled(function: Callable) -> Callable:
    """Compile at the first call, or load what an earlier process compiled.

    The function runs without the interpreter's lock, and dividing by zero gives infinity instead of an exception."""
    function = inspect.unwrap(function)  # the tests' type checker wraps every function of ours
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    try:
        dispatcher._cache = _Cache(function)  # as njit(cache=True) does, whose folder is one for all of Numba
    except (RuntimeError, OSError):
        _say("in every process, since no cache folder can be written")
    return dispatcher


def inlined(function: Callable) -> Callable:
    """Make a function part of every compiled one that calls it."""
    return njit(forceinline=True, error_model="numpy")(inspect.unwrap(function))
