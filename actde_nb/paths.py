"""Where things are, in a checkout or installed; an installed copy keeps what it makes in the reader's cache."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from actde_nb.checks import BookError

ROOT = Path(__file__).resolve().parents[1]
SOURCES, REFERENCES = ROOT / "book", ROOT / "tests" / "references"
CHECKOUT = SOURCES.exists()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
RESULTS = (SOURCES if CHECKOUT else ROOT) / "actde_book" / "results"
PROGRAMME = RESULTS / "programme.yml"
BUILD = ROOT / "_build" if CHECKOUT else CACHE / "actde-nb"
PRETRAINED, HTML = BUILD / "pretrained", BUILD / "html"
LOCK, CONFIG, CONTENTS = ROOT / "requirements.lock", ROOT / "_config.yml", ROOT / "_toc.yml"


def executed(scale: str, *assignments: str) -> Path:
    """Folder of the executed notebooks of ``scale``, with parameters such as ``seed=3`` set."""
    wanted = "+".join([scale, *assignments])
    name = re.sub(r"[^\w.=+-]", "_", wanted, flags=re.ASCII)[:80]
    if name != wanted:  # two values must not share a folder
        name += "-" + hashlib.sha256(wanted.encode()).hexdigest()[:12]
    return BUILD / "executed" / name


def stored_runs(files: str = "[!.]*") -> list[Path]:
    """Files of the stored runs, results and networks, by ``**/[!.]*`` in folders too; no strays that lie there."""
    files = [path for path in sorted(RESULTS.glob(files)) if path.is_file() and ".checkpoint." not in path.name]
    return [path for path in files if path.suffix in (".nc", ".safetensors")]


@contextmanager
def reserved(path: Path) -> Iterator[None]:
    """Refuse to make a file or a folder while another process does; what a killed process had reserved is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.lock")
    try:
        held = FileLock(place).acquire(timeout=0)
    except Timeout:
        raise BookError(f"{path} is being made by another process: wait until that has ended") from None
    with held:
        try:
            yield
        finally:
            place.unlink(missing_ok=True)  # still locked: who has opened it meanwhile sees that it is gone
