"""Runs beside the frontier: where exact numbers are known, and what is beyond."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from actde_nb.compare import frontiers
from actde_nb.compare.frontiers import Samples


def known_exactly(data: xr.Dataset) -> Bool[np.ndarray, "trial evaluated"]:
    """Where the policy was near enough to the language for exact numbers."""
    return np.isfinite(data["exact"].sel(exact_quantity="kl").values)


def beyond(data: xr.Dataset, curve: Mapping[str, Float[np.ndarray, "beta"]], quantity: str) -> Samples:
    """By how much each trial has more of a quantity at the end than a curve has at the same divergence ``kl``; beyond
    its largest divergence the curve counts as level."""
    order = np.argsort(curve["kl"])
    there = np.interp(frontiers.last(data, "kl"), curve["kl"][order], curve[quantity][order])
    return frontiers.last(data, quantity) - there
