"""What a page hands to its script: numbers as they are, and a table for readers without the script."""

import json
import re

import numpy as np
import pytest

from actde_nb.checks import SettingError
from actde_nb.pages.interactive import Interactive
from actde_nb.pages.style import METHODS
from actde_nb.paths import SOURCES

LOOKS = {"PPO": {"color": "#d55e00", "marker": "o", "linestyle": "-"}, "APA": {"color": "#0072b2", "marker": "s"}}
POINTS = [
    {"label": "PPO, β = .1", "series": "PPO", "nats": np.float64(1.23456789), "reward": 0.87, "sentences": 1234.5},
    {"label": "APA, β = .1", "series": "APA", "nats": 0.5, "reward": 0.8, "sentences": 2000.0},
]
CURVE = {"kl": np.array([2.0, 0.0, 1.0]), "reward": np.array([0.9, 0.4, 0.7]), "entropy": np.log([100.0, 300.0, 200.0])}


def handed_over(figure: Interactive) -> dict:
    page = figure._repr_mimebundle_()["text/html"]
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


def test_a_frontier_hands_over_points_and_a_curve_in_order():
    data = handed_over(Interactive.frontier(POINTS, CURVE, LOOKS))
    assert data["points"][0] == POINTS[0] | {"nats": 1.2346}, "rounded to five digits"
    assert data["curve"] == {"nats": [0, 1, 2], "reward": [0.4, 0.7, 0.9], "sentences": [300, 200, 100]}
    assert data["looks"]["PPO"] == {"color": "#d55e00", "marker": "o"}


def test_a_frontier_shows_each_method_as_its_static_figures_do():
    data = handed_over(Interactive.frontier(POINTS, CURVE, METHODS))
    assert data["looks"]["APA, whitened"] == {"color": METHODS["APA"]["color"], "marker": "d", "fillstyle": "none"}
    script = (SOURCES / "_static" / "interactive.js").read_text(encoding="utf-8")
    table = re.search(r"const MARKERS = \{(.*?)\n  \};", script, re.S)[1]
    drawn = {name.strip('"') for name in re.findall(r'("?[^\s",:]+"?): "M', table)}
    assert {look["marker"] for look in data["looks"].values()} <= drawn


def test_the_table_says_the_same_without_the_script():
    shown = Interactive.frontier(POINTS, CURVE, LOOKS)._repr_mimebundle_()
    assert "<tr><td>PPO, β = .1</td><td>1.23</td><td>0.870</td><td>1,234</td></tr>" in shown["text/html"]
    assert shown["text/markdown"].splitlines()[2] == "| PPO, β = .1 | 1.23 | 0.870 | 1,234 |"


def test_a_text_cannot_leave_its_place():
    text = "</script><b>&"
    figure = Interactive("prices", {"sentences": [text]}, ("sentence",), [(text,)])
    assert handed_over(figure) == {"sentences": [text]}
    page = figure._repr_mimebundle_()["text/html"]
    assert page.count("</script>") == 1
    assert "<td>&lt;/script&gt;&lt;b&gt;&amp;</td>" in page


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(SettingError, match="^kind = 'price': allowed are prices, baselines, frontier$"):
        Interactive("price", {}, (), ())
    with pytest.raises(SettingError, match="^rows has one with 1 cells: allowed are 2, as in head$"):
        Interactive("prices", {}, ("a", "b"), [("a", "b"), ("a",)])
    with pytest.raises(ValueError, match="not JSON compliant"):
        Interactive("prices", {"reward": np.array([np.nan])}, (), ())._repr_mimebundle_()
