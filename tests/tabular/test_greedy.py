"""What chapter 12 says about greedy-advantage-aware RLHF, by hand, by enumeration and against simulations."""

import numpy as np
import pytest

from actde_nb.tabular import greedy


class TestCoefficients:
    @pytest.mark.parametrize(
        ("sigma", "eta", "a", "b"), [(0, 0, 1, 0), (0, 1, 1, 0), (2, 0, 2, -1), (2, 1, 0, -1)]
    )  # the four cases of the text
    def test_corners(self, sigma, eta, a, b):
        assert greedy.coefficients(eta, sigma) == (a, b)

    def test_by_hand(self):
        # Half way: a = 1/2 * 3/2 + 1/2 * 2^-10, b = -1/2 * 1/2 + 1/2 (2^-10 - 1).
        a, b = greedy.coefficients(0.5, 1.0)
        assert a == 0.75 + 2**-11
        assert b == -0.75 + 2**-11

    def test_published_cuts(self):
        # Scripts' (x_sigma, x_eta) = (3, 2): at eta >= 1/2 and sigma >= 1/3 only the greedy term is left.
        a, b = greedy.coefficients([0.5, 0.9, 0.25], [1 / 3, 4.0, 1 / 3], x_eta=2, x_sigma=3)
        np.testing.assert_allclose(a, [0, 0, 1], atol=1e-12)
        np.testing.assert_allclose(b, [-1, -1, -1], atol=1e-12)
        assert greedy.coefficients(0.4, -1.0) == (1, 0)

    def test_outside_its_range(self):
        # (1 + 1/2)^10 = 57.665 and (1 - 5/2)^10 is the same number.
        power = 1.5**10
        for eta, sigma in ((0.5, -1.0), (1.0, 5.0)):
            a, b = greedy.coefficients(eta, sigma, cut=False)
            assert a == pytest.approx((1 - eta) * (1 + sigma / 2) + eta * power)
            assert b == pytest.approx(-(1 - eta) * sigma / 2 + eta * (power - 1))

    def test_range(self):
        a, b = greedy.coefficients(np.linspace(0, 1, 41)[:, None], np.linspace(0, 2, 41))
        assert (a.min(), a.max(), b.min(), b.max()) == (0, 2, -1, 0)

    def test_refusals(self):
        with pytest.raises(ValueError, match="x_sigma = 0"):
            greedy.coefficients(0.5, 1.0, x_sigma=0.0)
        with pytest.raises(ValueError, match="sigma"):
            greedy.coefficients(0.5, np.nan)
