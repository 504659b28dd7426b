"""Effects with intervals: a quantity's mean over trials, and by how much it differs between two runs.

The trial is the unit: however long a run, its trials are the sample. Intervals are Student's, for differences Welch's
(1947), which lets the two runs have different spreads; the bootstrap is there to check them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.stats import t as t_distribution

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


def _check(level: float, **samples: np.ndarray) -> None:
    if not 0 < level < 1:
        raise SettingError(f"level = {level}: allowed are numbers between 0 and 1")
    for name, values in samples.items():
        if len(values) < 2:
            raise SettingError(f"{name} has {len(values)} trials: allowed are two or more")
        checks.finite(name, values)


def t_interval(
    samples: Float[np.ndarray, "trial *rest"], level: float = 0.95
) -> tuple[Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"]]:
    """Mean over trials, and half the width of Student's interval for it.

    Raises:
        SettingError: fewer than two trials; a level outside (0, 1).
    """
    trials = len(samples)
    if trials < 2:
        raise SettingError(f"samples has {trials} trials: allowed are two or more")
    if not 0 < level < 1:
        raise SettingError(f"level = {level}: allowed are numbers between 0 and 1")
    error = samples.std(0, ddof=1) / np.sqrt(trials)
    half = t_distribution.ppf((1 + level) / 2, trials - 1) * error
    return np.asarray(samples.mean(0)), np.asarray(half)
