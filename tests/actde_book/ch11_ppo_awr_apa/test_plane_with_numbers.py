"""The ends of runs that a reader can point at, by hand."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch11_ppo_awr_apa.figures import plane_with_numbers


def test_ends_are_means_over_trials():
    # Three trials, zeros before training: reward, nats, entropy. Of 2, 4 and 32 sentences the mean is 256^(1/3).
    ends = np.array([[0.7, 1, np.log(2)], [0.8, 2, np.log(4)], [0.9, 6, np.log(32)]])
    numbers = np.stack([np.zeros((3, 3)), ends], axis=1)
    data = xr.Dataset(
        {kind: (("trial", "evaluated", f"{kind}_quantity"), numbers) for kind in ("exact", "sampled")},
        {f"{kind}_quantity": ["reward", "kl", "entropy"] for kind in ("exact", "sampled")},
    )
    curve = {"kl": np.array([0.0, 9]), "reward": np.array([0.4, 1]), "entropy": np.array([8.0, 1])}
    figure = plane_with_numbers(curve, {"PPO": {0.3: data}, "GRPO": {0.1: data}})
    assert [point["label"] for point in figure.data["points"]] == ["PPO, β = .3", "GRPO, β = .1"]
    for point in figure.data["points"]:
        found = [point[key] for key in ("reward", "nats", "sentences")]
        assert found == pytest.approx([0.8, 3, 256 ** (1 / 3)])
    assert {point["series"] for point in figure.data["points"]} <= figure.data["looks"].keys()
