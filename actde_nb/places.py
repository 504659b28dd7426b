"""Where results and pretrained networks lie in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
RESULTS = ROOT / "book" / "results"
PRETRAINED = BUILD / "pretrained"


def stored_files(folder: Path = RESULTS) -> list[Path]:
    """The stored runs and networks, without what else may lie beside them: folders, hidden files, checkpoints."""
    return sorted(
        path
        for path in folder.glob("*")
        if path.is_file()
        and path.suffix in (".nc", ".safetensors")
        and not path.name.startswith(".")
        and not path.name.endswith(".checkpoint.safetensors")
    )
