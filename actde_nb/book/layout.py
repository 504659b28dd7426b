"""Where things are in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "book"
BUILD = ROOT / "_build"
HTML = BUILD / "html"
LOCK = ROOT / "requirements.lock"
REFERENCES = ROOT / "tests" / "references"
CONFIG = ROOT / "_config.yml"
CONTENTS = ROOT / "_toc.yml"
RESULTS = SOURCES / "results"
PRETRAINED = BUILD / "pretrained"


class BookError(Exception):
    """Something a person can mend: shown as one message, without a traceback."""


def executed(scale: str) -> Path:
    """Folder of the executed notebooks of ``scale``."""
    return BUILD / "executed" / scale
