"""Effects with intervals: a quantity's mean over trials, and by how much it differs between two runs.

The trial is the unit: however long a run, its trials are the sample. Intervals are Student's, for differences Welch's
(1947), which lets the two runs have different spreads; the bootstrap is there to check them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.study.curves import alternating
from actde_nb.study.wandering import t_interval

Samples = Float[np.ndarray, "trial"]
Others = Float[np.ndarray, "other_trial"]

LEVEL = 0.95


class Estimate(NamedTuple):
    """A value, the ends of its confidence interval, and its standard error."""

    value: float
    low: float
    high: float
    error: float

    def holds(self, number: float) -> bool:
        """Whether ``number`` lies in the interval."""
        return self.low <= number <= self.high


def mean(samples: Samples, level: float = LEVEL) -> Estimate:
    """The mean over trials with Student's interval.

    Raises:
        SettingError: fewer than two trials, a number that is not finite, a level outside (0, 1).
    """
    _check(level, samples=samples)
    value, half = map(float, t_interval(samples, level))
    return Estimate(value, value - half, value + half, float(stats.sem(samples)))


def difference(samples: Samples, reference: Others, level: float = LEVEL) -> Estimate:
    """Mean of ``samples`` minus that of ``reference``, independent of each other, with Welch's interval.

    Raises:
        SettingError: fewer than two trials in either, a number that is not finite, a level outside (0, 1).
    """
    _check(level, samples=samples, reference=reference)
    first, second = (float(x.var(ddof=1)) / len(x) for x in (samples, reference))
    total = first + second
    # Satterthwaite's degrees of freedom.
    shares = first**2 / (len(samples) - 1) + second**2 / (len(reference) - 1)
    freedom = total**2 / shares if shares > 0 else len(samples) + len(reference) - 2
    value, error = samples.mean() - reference.mean(), np.sqrt(total)
    reach = stats.t.ppf((1 + level) / 2, freedom) * error
    return Estimate(*map(float, (value, value - reach, value + reach, error)))


def ratio(samples: Samples, reference: Others, level: float = LEVEL) -> Estimate:
    """Geometric mean over trials of ``samples / reference``, each trial with its own, with Student's interval of logs.

    Raises:
        SettingError: fewer than two trials, a number that is not finite or not above zero, a level outside (0, 1).
    """
    _check(level, samples=samples, reference=reference)
    if len(samples) != len(reference):
        raise SettingError(f"reference has {len(reference)} trials: allowed are as many as samples, {len(samples)}")
    for name, values in (("samples", samples), ("reference", reference)):
        if (values <= 0).any():
            raise SettingError(f"{name} = {values.tolist()}: allowed are numbers above zero")
    found = mean(np.log(samples / reference), level)
    value, low, high = map(float, np.exp(found[:3]))
    return Estimate(value, low, high, value * found.error)


def bootstrap_difference(
    samples: Samples, reference: Others, generator: np.random.Generator, level: float = LEVEL, resamples: int = 10_000
) -> Estimate:
    """As :func:`difference`, with quantiles of the difference over resampled trials as the interval's ends.

    With a handful of trials it is too narrow: it knows neither the factor n - 1 nor Student's tails.

    Raises:
        SettingError: as :func:`difference`.
    """
    _check(level, samples=samples, reference=reference)
    means = [generator.choice(x, (resamples, len(x))).mean(1) for x in (samples, reference)]
    differences = means[0] - means[1]
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(samples.mean() - reference.mean()), float(low), float(high), float(differences.std()))


def end(data: xr.Dataset) -> float:
    """Updates in a run, up to the spacing of its curves."""
    update = data["update"].values
    return float(update[-1] + (update[-1] - update[-2] if len(update) > 1 else 0))


def between(
    data: xr.Dataset, curve: Float[np.ndarray, "trial update"], low: float, high: float
) -> Float[np.ndarray, "trial"]:
    """Each trial's mean of ``curve`` over the updates from ``low`` to ``high``.

    Raises:
        SettingError: no point of the curve is between them.
    """
    update = data["update"].values
    chosen = (low <= update) & (update < high)
    if not chosen.any():
        raise SettingError(f"low = {low}, high = {high}: allowed are limits with a point between them")
    return curve[:, chosen].mean(1, dtype=np.float64)


def late_window(data: xr.Dataset, low: float, high: float) -> tuple[float, float]:
    """``low`` to ``high``, or the second half of a run that ends before ``high``."""
    last = end(data)
    return (low, high) if last >= 0.98 * high else (last / 2, last)


def late_effects(runs: Mapping[str, xr.Dataset], low: float, high: float, level: float = LEVEL) -> xr.Dataset:
    """Late share of alternating games of several runs, and how far each is from the first.

    Args:
        runs: label -> results; the first is the reference.
        low: first update of the window.
        high: its end; for a shorter run its second half counts, and the reference's mean over the same updates.
        level: of the intervals.

    Returns:
        ``share`` and ``effect`` ``[run, estimate]`` with estimates value, low, high and error (the effect of the first
        on itself is NaN); ``deviation`` ``[run]`` over trials; ``peak`` ``[run]``, the highest point of the mean curve;
        ``trials``; ``first`` and ``last``, the window.
    """
    reference = next(iter(runs.values()))
    rows = []
    for data in runs.values():
        window = late_window(data, low, high)
        samples = between(data, alternating(data), *window)
        own = data is reference
        effect = None if own else difference(samples, between(reference, alternating(reference), *window), level)
        rows.append(
            {
                "share": mean(samples, level),
                "effect": 4 * [np.nan] if own else effect,
                "deviation": samples.std(ddof=1),
                "peak": alternating(data).mean(0).max(),
                "trials": len(samples),
                "first": window[0],
                "last": window[1],
            }
        )
    data = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    dims = {name: ("run", "estimate")[: values.ndim] for name, values in data.items()}
    return xr.Dataset(
        {name: (dims[name], values) for name, values in data.items()},
        {"run": list(runs), "estimate": list(Estimate._fields)},
    )


def _check(level: float, **samples: np.ndarray) -> None:
    if not 0 < level < 1:
        raise SettingError(f"level = {level}: allowed are numbers between 0 and 1")
    for name, values in samples.items():
        if len(values) < 2:
            raise SettingError(f"{name} has {len(values)} trials: allowed are two or more")
        checks.finite(name, values)
