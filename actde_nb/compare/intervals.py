"""Effects with intervals: a quantity's mean over trials, and by how much it differs between two runs.

The trial is the unit: however long a run, its trials are the sample. Intervals are Student's, for differences Welch's
(1947), which lets the two runs have different spreads. Fewer than two trials, numbers that are not finite and levels
outside (0, 1) are a SettingError."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from actde_nb import checks
from actde_nb.checks import SettingError

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


def t_interval(
    samples: Float[np.ndarray, "trial *rest"], level: float = LEVEL
) -> tuple[Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"]]:
    """Mean over trials, and half the width of Student's interval for it."""
    _check(level, samples=samples)
    middle = samples.mean(0, dtype=np.float64)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of samples without spread
        half = stats.ttest_1samp(samples - middle, 0).confidence_interval(level).high
    return np.asarray(middle), np.where(np.ptp(samples, 0) == 0, 0, half)


def mean(samples: Samples, level: float = LEVEL) -> Estimate:
    """The mean over trials with Student's interval."""
    value, half = map(float, t_interval(checks.finite("samples", samples), level))
    return Estimate(value, value - half, value + half, float(stats.sem(samples)))


def difference(samples: Samples, reference: Others, level: float = LEVEL) -> Estimate:
    """Mean of ``samples`` minus that of ``reference``, independent of each other, with Welch's interval."""
    both = [checks.finite(name, x) for name, x in (("samples", samples), ("reference", reference))]
    _check(level, samples=samples, reference=reference)
    value, error = both[0].mean() - both[1].mean(), np.hypot(*map(stats.sem, both))
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of samples without spread
        ends = stats.ttest_ind(*both, equal_var=False).confidence_interval(level)
    return Estimate(*map(float, (value, *(ends if error > 0 else (value, value)), error)))


def ratio(samples: Samples, reference: Others, level: float = LEVEL) -> Estimate:
    """Geometric mean over trials of ``samples / reference``, both above zero, with Student's interval of the logs."""
    if len(samples) != len(reference):
        raise SettingError(f"reference has {len(reference)} trials: allowed are as many as samples, {len(samples)}")
    for name, values in (("samples", samples), ("reference", reference)):
        if (checks.finite(name, values) <= 0).any():
            raise SettingError(f"{name} = {values.tolist()}: allowed are numbers above zero")
    found = mean(np.log(samples / reference), level)
    value, low, high = map(float, np.exp(found[:3]))
    return Estimate(value, low, high, value * found.error)


def _check(level: float, **samples: np.ndarray) -> None:
    if not 0 < level < 1:
        raise SettingError(f"level = {level}: allowed are numbers between 0 and 1")
    for name, values in samples.items():
        if len(values) < 2:
            raise SettingError(f"{name} has {len(values)} trials: allowed are two or more")
