"""Runs at their end beside the exact optimum, at the same divergence and at the same gold."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from actde_nb.compare import intervals
from actde_nb.compare.frontiers import last
from actde_nb.compare.intervals import Estimate


def optimum(data: xr.Dataset, best: Mapping[str, Float[np.ndarray, "beta"]]) -> tuple[Estimate, Estimate]:
    """Gold that a run misses of the optimum with the same divergence; and its effective sentences, as a multiple of
    those of the optimum with the same gold. Trial by trial; ``best`` is the frontier, along which all three move one
    way."""
    gold, kl, entropy = (last(data, name) for name in ("gold", "kl", "entropy"))
    way = {name: best[name][np.argsort(best["kl"])] for name in ("gold", "kl", "entropy")}
    missed = np.interp(kl, way["kl"], way["gold"]) - gold
    level = np.interp(gold, way["gold"], way["entropy"])
    return intervals.mean(missed), intervals.ratio(np.exp(entropy), np.exp(level))
