"""Three trials beside a made-up frontier, by hand."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch11_ppo_awr_apa import beside


def test_three_trials_by_hand():
    # A frontier from (0 nats, gold .4, entropy 4) over (1, .8, 3) to (3, 1, 1), in the order of rising prices.
    best = {"kl": np.array([3.0, 1, 0]), "gold": np.array([1, 0.8, 0.4]), "entropy": np.array([1.0, 3, 4])}
    # Gold .1, .05 and 0 below it at 1, 2 and 3 nats; entropy 3.25, 2.5 and 1 there on it.
    ends = np.array([[0.7, 1, 3.25 + np.log(2)], [0.85, 2, 2.5 + np.log(4)], [1, 3, 1 + np.log(8)]])
    data = xr.Dataset(
        {kind: (("trial", "evaluated", f"{kind}_quantity"), ends[:, None]) for kind in ("exact", "sampled")},
        {f"{kind}_quantity": ["gold", "kl", "entropy"] for kind in ("exact", "sampled")},
    )
    missed, times = beside.optimum(data, best)
    assert missed.value == pytest.approx((0.1 + 0.05) / 3)
    assert times.value == pytest.approx(4)
