"""Runs at their end beside the exact optimum, at the same divergence and at the same gold."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from actde_nb.compare import frontiers, intervals
from actde_nb.compare.intervals import Estimate


def optimum(data: xr.Dataset, best: Mapping[str, Float[np.ndarray, "beta"]]) -> tuple[Estimate, Estimate]:
    """Gold that a run misses of the optimum with the same divergence; and its effective sentences, as a multiple of
    those of the optimum with the same gold. Trial by trial."""
    missed = -frontiers.beyond(data, best, "gold")
    entropy = frontiers.last(data, "entropy")
    level = entropy - frontiers.beyond(data, best, "entropy", at="gold")
    return intervals.mean(missed), intervals.ratio(np.exp(entropy), np.exp(level))
