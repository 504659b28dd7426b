"""Where results and pretrained networks lie in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
RESULTS = ROOT / "book" / "actde_book" / "results"
PRETRAINED = BUILD / "pretrained"
