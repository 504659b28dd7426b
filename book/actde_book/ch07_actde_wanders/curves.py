"""Shares late in a run, in the order of the tables' predictions."""

import numpy as np
import xarray as xr
from jaxtyping import Float


def later_shares(data: xr.Dataset, part: float = 0.5) -> Float[np.ndarray, "trial game"]:
    """Shares of cc, dd and alternating games over the last ``part`` of a run, the order of the tables' predictions."""
    since = (1 - part) * float(data["update"][-1])
    kept = data["outcome_share"].sel(update=slice(since, None)).mean("update")
    alternating = kept.sel(outcome="cd") + kept.sel(outcome="dc")
    return np.stack([kept.sel(outcome="cc").values, kept.sel(outcome="dd").values, alternating.values], axis=-1)
