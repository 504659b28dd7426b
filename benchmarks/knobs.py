"""Are the names in the table of knobs still the libraries'? Downloads wheels, of the versions that the table names.

Not a test, since it needs a network and other people's packages."""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "book" / "if_your_model_collapses.md"


def table() -> list[list[str]]:
    """Cells of the table of knobs, its heading first."""
    lines = PAGE.read_text(encoding="utf-8").split("## Names of the knobs")[1].split("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def source(library: str, version: str) -> str:
    """All Python and YAML text of a released wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*command, f"{library}=={version}"], check=True)
        [wheel] = Path(folder).iterdir()
        with zipfile.ZipFile(wheel) as files:
            names = [name for name in files.namelist() if name.endswith((".py", ".yaml"))]
            return "\n".join(files.read(name).decode() for name in names)


def main() -> None:
    heading, _, *rows = table()
    missing = 0
    for column, titled in enumerate(heading[1:], 1):
        library, version = titled.split()
        text = source(library.lower(), version)
        for name in [name for row in rows for name in re.findall(r"`([\w.]+)`", row[column])]:
            if not re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text):
                missing += 1
                print(f"{titled}: no {name}")
    print(f"knobs that are not there: {missing}")


if __name__ == "__main__":
    main()
