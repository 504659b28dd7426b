"""Predictions that were written down before the runs, and what became of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from actde_nb.compare.intervals import Estimate


@dataclass(frozen=True)
class Verdict:
    """Whether a prediction holds, as its criterion is worded, and by which numbers."""

    held: bool
    numbers: Mapping[str, float | Estimate] = field(default_factory=dict)


def read_predictions(beside: str) -> dict[str, dict[str, Any]]:
    """By name what was predicted, and by which criterion it was to be judged: ``predictions.yml`` in the folder of the
    module whose ``__file__`` this is."""
    return yaml.safe_load(Path(beside).with_name("predictions.yml").read_text(encoding="utf-8"))
