"""Does a quantity settle, keep to a range, or walk away? Read off the curves of a few independent trials, with points
equally far apart. Trials are the only independent samples: every interval comes from drawing whole trials again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy.stats import f as f_distribution

from actde_nb.experiments.results import windows

Curves = Float[np.ndarray, "trial point"]
Lags = Int[np.ndarray, "lag"] | Sequence[int]


def aligned(
    fine: xr.Dataset, coarse: xr.Dataset, curve: Float[np.ndarray, "trial fine"]
) -> Float[np.ndarray, "trial coarse"]:
    """A curve of ``fine`` averaged over the windows of ``coarse``, which hold a whole number of the finer ones."""
    ratio = int(coarse.attrs["window"]) // int(fine.attrs["window"])
    whole = curve.shape[1] // ratio
    return windows(curve[:, : whole * ratio].T, ratio).T[:, : coarse.sizes["update"]]


def later_shares(data: xr.Dataset, part: float = 0.5) -> Float[np.ndarray, "trial game"]:
    """Shares of cc, dd and alternating games over the last ``part`` of a run, the order of the tables' predictions."""
    since = (1 - part) * float(data["update"][-1])
    kept = data["outcome_share"].sel(update=slice(since, None)).mean("update")
    alternating = kept.sel(outcome="cd") + kept.sel(outcome="dc")
    return np.stack([kept.sel(outcome="cc").values, kept.sel(outcome="dd").values, alternating.values], axis=-1)


def hotelling(samples: Float[np.ndarray, "trial quantity"], point: Float[np.ndarray, "quantity"]) -> float:
    """Hotelling's test: how often trials whose mean is ``point`` would lie as far from it as these, if normal. The
    three shares of games sum to one and count as the two numbers that they are: give it two of them."""
    trials, quantities = samples.shape
    off = samples.mean(0) - point
    squared = trials * off @ np.linalg.solve(np.atleast_2d(np.cov(samples.T)), off)
    rest = trials - quantities
    return float(f_distribution.sf(squared * rest / (quantities * (trials - 1)), quantities, rest))


def spread_over_lags(curves: Curves, lags: Lags) -> Float[np.ndarray, "lag"]:
    """Half the mean squared change over each lag (the variogram). A walk that nothing pulls back has a straight line
    through the origin; a pull makes it level off, at the variance about the place it is pulled to."""
    return np.array([((curves[:, lag:] - curves[:, :-lag]) ** 2).mean() / 2 for lag in lags])


def autocorrelation(curves: Curves, lags: Lags) -> Float[np.ndarray, "lag"]:
    """Correlation of a trial with itself a lag later, about the mean of all trials. About each trial's own mean it
    would fall below zero at long lags whatever the truth, since a short record's mean follows its slow swings."""
    off = curves - curves.mean()
    return np.array([(off[:, lag:] * off[:, :-lag]).mean() for lag in lags]) / off.var()


@dataclass(frozen=True)
class Relaxation:
    """A pull back to ``mean``, by a factor ``kept`` per ``lag`` points, as for an Ornstein-Uhlenbeck process; one or
    more means that nothing pulls. ``deviation`` is the standard deviation about the mean in the long run."""

    kept: float
    mean: float
    deviation: float
    lag: int

    @property
    def time(self) -> float:
        """Points until an excursion has fallen to 1/e; infinite where nothing pulls."""
        return -self.lag / np.log(self.kept) if 0 < self.kept < 1 else (np.inf if self.kept >= 1 else 0.0)


def relaxation(curves: Curves, lag: int) -> Relaxation:
    """Least-squares fit of x(t + lag) = mean + kept (x(t) - mean) + noise, one mean for all trials. A lag of several
    points keeps sampling noise and smoothing out of the fit. Short records make ``kept`` too small: see
    :func:`walks_kept`."""
    before, after = curves[:, :-lag].ravel().astype(float), curves[:, lag:].ravel().astype(float)
    kept = np.cov(before, after)[0, 1] / before.var(ddof=1)
    mean = (after.mean() - kept * before.mean()) / (1 - kept)
    noise = (after - mean - kept * (before - mean)).var()
    deviation = np.sqrt(noise / (1 - kept**2)) if abs(kept) < 1 else np.inf
    return Relaxation(float(kept), float(mean), float(deviation), lag)


def over_trials(
    statistic: Callable[[Curves], Any], curves: Curves, rng: np.random.Generator, resamples: int = 400
) -> Float[np.ndarray, "resample *rest"]:
    """``statistic`` of as many trials as there are, drawn with repetition, again and again."""
    picks = rng.integers(len(curves), size=(resamples, len(curves)))
    return np.array([statistic(curves[pick]) for pick in picks])


def walks_kept(curves: Curves, lag: int, rng: np.random.Generator, walks: int = 400) -> Float[np.ndarray, "walk"]:
    """What :func:`relaxation` calls ``kept`` for walks that nothing pulls back: as many trials and steps as ``curves``,
    with their starts and their spread over one lag. Steps shorter than a lag do not matter, so one point a lag is
    drawn."""
    steps = (curves.shape[1] - 1) // lag
    changes = (curves[:, lag:] - curves[:, :-lag]).std()
    paths = rng.normal(0, changes, (walks, len(curves), steps)).cumsum(-1) + curves[None, :, :1]
    paths = np.concatenate([np.broadcast_to(curves[None, :, :1], (walks, len(curves), 1)), paths], axis=-1)
    return np.array([relaxation(path, 1).kept for path in paths])
