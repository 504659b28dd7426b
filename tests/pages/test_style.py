"""The look that figures share."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from actde_nb.pages import style


@style.figure
def bands():
    """Two bands of eleven runs, 0 to 10 and twice that."""
    drawn, axes = style.panels(2, height=2.0)
    runs = np.arange(11.0) * np.array([[1.0], [2.0]])
    style.band(axes[0], np.array([0.0, 1.0]), runs, "runs", quantiles=(0.1, 0.9), **style.LOOK["value"])
    return drawn


def test_a_figure_has_the_common_look_and_leaves_no_trace():
    before = dict(plt.rcParams)
    drawn = bands()
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == [], "a cell would show it twice"
    assert tuple(drawn.get_size_inches()) == (style.WIDTH, 4.0)
    assert drawn.dpi == 160
    assert to_hex(drawn.get_facecolor()) == "#ffffff"
    axes = drawn.axes[0]
    assert not axes.spines["top"].get_visible()
    assert axes.get_xgridlines()[0].get_visible()
    assert to_hex(axes.get_xgridlines()[0].get_color()) == "#e6e6e6"


def test_a_band_is_the_median_between_two_quantiles():
    axes = bands().axes[0]
    [line], [area] = axes.lines, axes.collections
    # Of 0, 1, ..., 10 the median is 5, and a tenth lies below 1 and above 9.
    assert line.get_ydata() == pytest.approx([5.0, 10.0])
    assert to_hex(line.get_color()) == style.VERMILION
    corners = area.get_paths()[0].vertices
    assert {(x, y) for x, y in corners.round(9).tolist()} == {(0.0, 1.0), (0.0, 9.0), (1.0, 2.0), (1.0, 18.0)}
