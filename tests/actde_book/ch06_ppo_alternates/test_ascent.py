"""Climbing one logit gap."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from actde_book.ch06_ppo_alternates import ascent
from scipy.optimize import brentq


@pytest.mark.parametrize(("step", "betas"), [(0.01, (0.9, 0.95)), (0.005, (0.8, 0.9))])
def test_adam_climbs_at_the_speed_of_the_two_series(step, betas):
    values = {ascent.STEP: step, ascent.BETA1: betas[0], ascent.BETA2: betas[1]}
    left, right = ascent.adam_speed().subs(values).args
    speed = brentq(sp.lambdify(ascent.SPEED, left - right), step / 2, 2 * step)
    assert speed == pytest.approx(step, rel=0.2)
    # Once the start is forgotten.
    late, middle = (ascent.climb(torch.optim.Adam, steps, lr=step, betas=betas) for steps in (800, 400))
    np.testing.assert_allclose(late - middle, 400 * speed, rtol=1e-3)


def test_plain_ascent_takes_the_logarithm():
    # x' = step exp(-x) from zero is ln(1 + step t).
    assert ascent.climb(torch.optim.SGD, 2_000, lr=0.01) == pytest.approx(math.log(21), rel=3e-3)
