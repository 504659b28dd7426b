"""The runs of the common frontier that a reader can point at, by hand."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch16_one_frontier import comparison
from actde_book.ch16_one_frontier.figures import plane_with_numbers


def run(*ends: tuple[float, float, float]) -> xr.Dataset:
    """Trials with this divergence, gold and entropy at the end; with a divergence of NaN, one outside the language."""
    sampled = np.nan_to_num(np.array(ends), nan=50)[:, None]
    exact = np.where(np.isnan(ends).any(1)[:, None, None], np.nan, sampled)
    return xr.Dataset(
        {
            "exact": (("trial", "evaluated", "exact_quantity"), exact),
            "sampled": (("trial", "evaluated", "sampled_quantity"), sampled),
        },
        {f"{kind}_quantity": ["kl", "gold", "entropy"] for kind in ("exact", "sampled")},
    )


def test_trials_outside_the_language_count_in_no_mean():
    # Of 2 and 8 sentences the geometric mean is 4.
    most = run((1, 0.6, np.log(2)), (3, 0.8, np.log(8)), (np.nan, 0, 20))
    half = run((1, 0.6, 3), (np.nan, 0, 20))
    curve = {"kl": np.array([0.0, 9]), "reward": np.array([0.4, 1]), "entropy": np.array([8.0, 1])}
    families = {
        "ACTDE, return − q": {"actde_return_still": most, "actde_return_shared": half},
        "PPO": {"ppo_free": most},
    }
    first, second = plane_with_numbers(curve, families).data["points"]
    assert first["label"] == "ACTDE, return − q, still (2 of 3 trials)"
    assert [first[key] for key in ("nats", "reward", "sentences")] == pytest.approx([2, 0.7, 4])
    assert (second["label"], second["series"]) == ("PPO, no KL penalty (2 of 3 trials)", "PPO")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("apa_whitened_010", "APA, whitened, β = .1"),
        ("awr_whitened_200_cut_none", "AWR, whitened, β = 2, weights not cut"),
        ("actde_095_detached", "ACTDE, λ = .95, detached"),
        ("soft_005", "tied to soft q, β = .05"),
    ],
)
def test_names_of_runs_in_words(name, told):
    assert comparison.in_words(name) == told
