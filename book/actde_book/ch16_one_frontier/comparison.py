"""Runs beside the frontier: where exact numbers are known."""

import numpy as np
import xarray as xr
from jaxtyping import Bool


def known_exactly(data: xr.Dataset) -> Bool[np.ndarray, "trial evaluated"]:
    """Where the policy was near enough to the language for exact numbers."""
    return np.isfinite(data["exact"].sel(exact_quantity="kl").values)
