"""Where things are in a checkout."""

from pathlib import Path

from actde_nb.places import BUILD, PRETRAINED, RESULTS, ROOT

__all__ = [
    "BUILD", "CONFIG", "CONTENTS", "HTML", "LOCK", "PRETRAINED", "REFERENCES", "RESULTS", "ROOT", "SOURCES",
    "executed",
]  # fmt: skip

SOURCES = ROOT / "book"
HTML = BUILD / "html"
LOCK = ROOT / "requirements.lock"
REFERENCES = ROOT / "tests" / "references"
CONFIG = ROOT / "_config.yml"
CONTENTS = ROOT / "_toc.yml"


def executed(scale: str) -> Path:
    """Folder of the executed notebooks of ``scale``."""
    return BUILD / "executed" / scale
