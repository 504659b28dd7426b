"""Where things are in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "book"
RESULTS = SOURCES / "actde_book" / "results"
BUILD = ROOT / "_build"
PRETRAINED = BUILD / "pretrained"
HTML = BUILD / "html"
LOCK = ROOT / "requirements.lock"
REFERENCES = ROOT / "tests" / "references"
CONFIG = ROOT / "_config.yml"
CONTENTS = ROOT / "_toc.yml"


def executed(scale: str) -> Path:
    """Folder of the executed notebooks of ``scale``."""
    return BUILD / "executed" / scale
