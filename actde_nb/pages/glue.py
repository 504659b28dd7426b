"""Numbers on their way from a computation to a sentence.

A chapter hands every number that its prose quotes to :func:`put`; the page shows it through MyST-NB's glue roles,
and the regression tests read the same values back with :func:`glued`."""

import ast
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import myst_nb
import numpy as np
from jaxtyping import Bool, Num
from scipy.stats import bootstrap, sem

from actde_nb import checks

SCALES = ("smoke", "reader", "paper")
SPREAD = "_spread"
Scalar = bool | int | float | str
VALUES: dict[str, Scalar] = {}  #: what this process has put, by name


def at_scale(scale: str, **choices: Any) -> Any:
    """The choice for ``scale``: smoke (tests), reader (the page) or paper (the sources' own size); a scale that is not
    given uses the one below it."""
    if scale not in SCALES:
        raise checks.SettingError(f"scale = {scale!r}: allowed are {', '.join(SCALES)}")
    return next(choices[s] for s in reversed(SCALES[: SCALES.index(scale) + 1]) if s in choices)


def plain(value: Any) -> Scalar:
    """The Python number that a NumPy, torch or SymPy scalar stands for; TypeError for what is no scalar, ValueError for
    NaN or an infinity."""
    if hasattr(value, "item") and callable(value.item) and getattr(value, "shape", ()) in ((), (1,)):
        value = value.item()
    elif getattr(value, "is_Integer", False):
        value = int(value)
    elif getattr(value, "is_extended_real", False) and value.is_number:
        value = float(value)
    if not isinstance(value, Scalar):
        raise TypeError(f"value = {value!r}: allowed are single real numbers, truth values and strings")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"value = {value}: allowed are finite numbers")
    return value


def put(name: str, value: Any, spread: Any = 0.0) -> None:
    """Make ``value``, a scalar or a string, available to the prose as ``name``, and ``spread``, its standard error over
    runs, as ``name_spread``. How far a value may be from its reference is said in :mod:`~actde_nb.pages.references`."""
    VALUES[name] = plain(value)
    myst_nb.glue(name, VALUES[name], display=False)
    if (spread := plain(spread)) > 0:
        myst_nb.glue(name + SPREAD, spread, display=False)


def put_mean(name: str, samples: Num[np.ndarray, "runs"] | Bool[np.ndarray, "runs"]) -> None:
    """Make the mean over runs available, with its standard error as spread; of truth values, the share of runs."""
    _several(name, samples)
    # A share of none or of all runs has no sampling error to show; its spread is that of one run.
    put(name, samples.mean(), spread=max(sem(samples), 1 / len(samples) if samples.dtype == bool else 0.0))


def put_deviation(name: str, samples: Num[np.ndarray, "runs"]) -> None:
    """Make the standard deviation over runs available, with its standard error (by the delta method) as spread."""
    _several(name, samples)
    squares = (samples - samples.mean()) ** 2
    deviation = np.sqrt(squares.mean())
    put(name, deviation, spread=sem(squares) / (2 * deviation) if deviation > 0 else 0.0)


def put_estimate(name: str, estimate: tuple[float, float, float, float], parts: str = "value") -> None:
    """Make the parts of an estimate (value, ends of its interval, standard error) that the prose quotes available:
    some of ``value low high half`` (width) as ``name``, ``name_low`` and so on, the standard error as their spread."""
    value, low, high, error = estimate
    numbers = {"value": value, "low": low, "high": high, "half": (high - low) / 2}
    for part in parts.split():
        checks.one_of("parts", part, tuple(numbers))
        put(name if part == "value" else f"{name}_{part}", numbers[part], spread=error)


def put_over_runs(name: str, samples: Num[np.ndarray, "runs"], statistic: Callable[..., Any] = np.median) -> None:
    """Make a statistic over runs, which reduces an axis, available, with its bootstrap standard error as spread."""
    _several(name, samples)
    how = {"n_resamples": 400, "method": "percentile", "rng": np.random.default_rng(0)}
    put(name, statistic(samples), spread=bootstrap((samples.astype(float),), statistic, **how).standard_error)


def put_math(name: str, expression: Any) -> None:
    """Make a SymPy expression available to the page's ``glue:math`` directive."""
    myst_nb.glue(name, expression, display=False)


def glued(notebook: Path) -> dict[str, Scalar]:
    """Read what an executed notebook glued with :func:`put`; equations are left out."""
    return {name: ast.literal_eval(text) for name, text in scraps(notebook) if text is not None}


def scraps(notebook: Path) -> Iterator[tuple[str, str | None]]:
    """Everything that a notebook glued: its name, and its text unless it is an equation."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if scrap := output.get("metadata", {}).get("scrapbook"):
                data, prefix = output["data"], scrap["mime_prefix"]
                text = None if prefix + "text/latex" in data else "".join(data[prefix + "text/plain"])
                yield scrap["name"], text


def _several(name: str, samples: np.ndarray) -> None:
    if len(samples) < 2:
        raise checks.SettingError(f"samples of {name} has {len(samples)} runs: allowed are two or more")
