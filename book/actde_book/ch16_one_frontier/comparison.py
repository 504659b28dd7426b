"""Runs beside the frontier: their names, and where exact numbers are known."""

import numpy as np
import xarray as xr
from jaxtyping import Bool

#: Parts of the names of runs in words; other parts are words already.
WORDS = {
    "ppo": "PPO", "rloo": "RLOO", "grpo": "GRPO", "awr": "AWR", "apa": "APA", "actde": "ACTDE", "tied": "tied to q",
    "soft": "tied to soft q", "return": "return − q", "free": "no KL penalty", "adaptive": "adaptive β",
    "000": "λ = 0", "095": "λ = .95", "030": "β = .3", "010": "β = .1", "005": "β = .05", "200": "β = 2",
    "uncut": "weights not cut",
}  # fmt: skip


def in_words(name: str) -> str:
    """A run's name in the programme, as ``apa_whitened_010``, in the words of the page: "APA, whitened, β = .1"."""
    return ", ".join(WORDS.get(part, part) for part in name.replace("cut_none", "uncut").split("_"))


def known_exactly(data: xr.Dataset) -> Bool[np.ndarray, "trial evaluated"]:
    """Where the policy was near enough to the language for exact numbers."""
    return np.isfinite(data["exact"].sel(exact_quantity="kl").values)
