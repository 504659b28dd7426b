"""What each number on a page was when it was last looked at, and whether it still is."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from actde_nb.pages.glue import SPREAD, Scalar, glued
from actde_nb.paths import REFERENCES
from actde_nb.training.files import replace_file

SPREADS = 5.0  # a value with a spread may differ by this many standard errors of the difference
GROWTH = 1.5  # a spread may be this many times its reference: noise is no excuse for a difference
RELATIVE = 1e-6  # an exact value may differ by rounding, which other processors do differently
ABSOLUTE = 1e-9
TIMES = "times.json"


@dataclass(frozen=True)
class Difference:
    """A glued number that is not what its reference says; ``None`` stands for absent."""

    chapter: str
    key: str
    reference: Scalar | None
    now: Scalar | None
    tolerance: float

    def __str__(self) -> str:
        return f"{self.chapter}: {self.key}: {self.reference} -> {self.now} (tolerance {self.tolerance:.3g})"


def reference_file(chapter: str, scale: str) -> Path:
    """Where the references of ``chapter`` at ``scale`` are kept."""
    return REFERENCES / scale / f"{chapter}.json"


def differences(notebook: Path, scale: str) -> list[Difference]:
    """Compare what an executed notebook glued with its references, number by number.

    How far a value may move is said by its reference alone, so that a number cannot pass by becoming noisy. A spread
    is its value's tolerance: it may shrink, but neither vanish nor grow by more than half."""
    file = reference_file(notebook.stem, scale)
    reference = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    now = glued(notebook)
    found = []
    for key in sorted(reference.keys() | now.keys()):
        before, after, spread = reference.get(key), now.get(key), reference.get(key + SPREAD, 0.0)
        words = [value is None or isinstance(value, bool | str) for value in (before, after)]
        tolerance = 0.0 if words[0] else max(SPREADS * math.hypot(spread, spread), RELATIVE * abs(before), ABSOLUTE)
        if key.endswith(SPREAD) and key.removesuffix(SPREAD) in reference.keys() & now.keys():
            before, after = before or 0.0, after or 0.0
            tolerance = (GROWTH - 1) * before + ABSOLUTE
            agree = after - before <= tolerance < math.inf and (after > 0 or before <= ABSOLUTE)
        elif any(words):
            agree = before == after and type(before) is type(after)
        else:
            agree = abs(before - after) <= tolerance < math.inf
        if not agree:
            found.append(Difference(notebook.stem, key, before, after, tolerance))
    return found


def record(notebook: Path, scale: str) -> None:
    """Make what ``notebook`` glued the reference, and nothing else."""
    file = reference_file(notebook.stem, scale)
    _write(file, glued(notebook))


def times() -> dict[str, dict[str, int]]:
    """Seconds that each chapter took when it was last recorded, by scale and name."""
    file = REFERENCES / TIMES
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def record_time(notebook: Path, scale: str, seconds: int) -> None:
    """Keep how long a chapter takes."""
    if not seconds:
        return
    known = times()
    known.setdefault(scale, {})[notebook.stem] = seconds
    _write(REFERENCES / TIMES, known)


def _write(file: Path, content: dict) -> None:
    replace_file(file, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
