"""Files that are whole at every moment."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[str], None]) -> None:
    """Let ``write`` make a file beside ``path``, then put it in its place in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp keeps others out
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
