"""Numbers on their way from a computation to a sentence.

A chapter hands every number that its prose quotes to :func:`put`; the page shows it through MyST-NB's
glue roles, and the regression tests read the same values back with :func:`glued`.
"""

import ast
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Num
from scipy.stats import bootstrap, sem

from actde_nb import checks

SCALES = ("smoke", "reader", "paper")
SPREAD = "_spread"

Scalar = bool | int | float | str


def at_scale(scale: str, **choices: Any) -> Any:
    """Return the choice for ``scale``; a scale that is not given uses the one below it.

    Args:
        scale: ``"smoke"`` (tests), ``"reader"`` (the page) or ``"paper"`` (the sources' own size).
        choices: one value for ``smoke``, and for the larger scales where they differ.

    Raises:
        ValueError: ``scale`` is none of the three.
    """
    if scale not in SCALES:
        raise checks.SettingError(f"scale = {scale!r}: allowed are {', '.join(SCALES)}")
    return next(choices[s] for s in reversed(SCALES[: SCALES.index(scale) + 1]) if s in choices)


def plain(value: Any) -> Scalar:
    """Turn a NumPy, torch or SymPy scalar into the Python number it stands for.

    Raises:
        TypeError: ``value`` is no scalar (an array of several numbers, a free symbol, a complex number).
        ValueError: ``value`` is NaN or infinite.
    """
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
    """Make ``value`` available to the prose as glue key ``name``.

    Args:
        name: key, unique on its page.
        value: a scalar of Python, NumPy, torch or SymPy, or a string.
        spread: standard error of ``value`` over runs, in its units. A value with a spread is compared
            with its reference at five times that spread, an exact one at float precision, and the
            spread itself can be quoted as ``name_spread``.

    Raises:
        TypeError, ValueError: see :func:`plain`.
    """
    from myst_nb import glue

    glue(name, plain(value), display=False)
    if (spread := plain(spread)) > 0:
        glue(name + SPREAD, spread, display=False)


def put_mean(name: str, samples: Num[np.ndarray, "runs"] | Bool[np.ndarray, "runs"]) -> None:
    """Make the mean over runs available as ``name``, with its standard error as spread.

    Args:
        name: key, unique on its page.
        samples: one number a run, or one truth value: then the mean is the share of runs. A share of
            none or of all runs has no sampling error to show; its spread is that of one run.

    Raises:
        ValueError: fewer than two runs, or a number that is not finite.
    """
    if len(samples) < 2:
        raise ValueError(f"samples of {name} has {len(samples)} runs: allowed are two or more")
    spread = sem(samples)
    if samples.dtype == bool:
        spread = max(spread, 1 / len(samples))
    put(name, samples.mean(), spread=spread)


def put_deviation(name: str, samples: Num[np.ndarray, "runs"]) -> None:
    """Make the standard deviation over runs available as ``name``, with its standard error as spread.

    The standard error is that of any distribution with a fourth moment, by the delta method.

    Args:
        name: key, unique on its page.
        samples: one number a run.

    Raises:
        ValueError: fewer than two runs, or a number that is not finite.
    """
    if len(samples) < 2:
        raise ValueError(f"samples of {name} has {len(samples)} runs: allowed are two or more")
    squares = (samples - samples.mean()) ** 2
    deviation = np.sqrt(squares.mean())
    put(name, deviation, spread=sem(squares) / (2 * deviation) if deviation > 0 else 0.0)


def put_estimate(name: str, estimate: tuple[float, float, float, float], parts: str = "value") -> None:
    """Make the parts of an estimate that the prose quotes available; the standard error is everyone's spread.

    Args:
        name: key of the value.
        estimate: value, ends of its interval, standard error.
        parts: some of ``value``, and ``low``, ``high`` and ``half`` (the interval's half width), which are glued as
            ``name_low``, ``name_high`` and ``name_half``; with spaces between.

    Raises:
        SettingError: another part.
    """
    value, low, high, error = estimate
    numbers = {"value": value, "low": low, "high": high, "half": (high - low) / 2}
    for part in parts.split():
        checks.one_of("parts", part, tuple(numbers))
        put(name if part == "value" else f"{name}_{part}", numbers[part], spread=error)


def put_over_runs(name: str, samples: Num[np.ndarray, "runs"], statistic: Callable[..., Any] = np.median) -> None:
    """Make a statistic over runs available as ``name``, with its bootstrap standard error as spread.

    Args:
        name: key, unique on its page.
        samples: one number a run.
        statistic: reduces an axis, as ``np.median``, ``np.min`` and ``np.max`` do.

    Raises:
        ValueError: fewer than two runs, or a number that is not finite.
    """
    if len(samples) < 2:
        raise ValueError(f"samples of {name} has {len(samples)} runs: allowed are two or more")
    resampled = bootstrap(
        (samples.astype(float),), statistic, n_resamples=400, method="percentile", rng=np.random.default_rng(0)
    )
    put(name, statistic(samples), spread=resampled.standard_error)


def put_math(name: str, expression: Any) -> None:
    """Make a SymPy expression available to the page as an equation, through the ``glue:math`` directive."""
    from myst_nb import glue

    glue(name, expression, display=False)


def glued(notebook: Path) -> dict[str, Scalar]:
    """Read what an executed notebook glued with :func:`put`; equations are left out."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    found = {}
    for output in outputs:
        scrap = output.get("metadata", {}).get("scrapbook")
        if scrap is None or scrap["mime_prefix"] + "text/latex" in output["data"]:
            continue
        text = output["data"][scrap["mime_prefix"] + "text/plain"]
        found[scrap["name"]] = ast.literal_eval("".join(text))
    return found
