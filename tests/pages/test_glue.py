"""Numbers on their way to the prose."""

import json

import numpy as np
import pytest
import quoted
import sympy
import torch

from actde_nb.compare.intervals import Estimate
from actde_nb.pages import glue
from actde_nb.pages.glue import at_scale, plain, put_deviation, put_mean, put_over_runs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float64(0.25), 0.25),
        (np.int64(3), 3),
        (np.array(0.5), 0.5),
        (np.array([2.0]), 2.0),
        (np.bool_(True), True),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.tensor([4], dtype=torch.int64), 4),
        (sympy.Rational(1, 4), 0.25),
        (sympy.Integer(7), 7),
        (sympy.sqrt(2) / 2, 2**-0.5),
        ("party", "party"),
        (1.5, 1.5),
    ],
)
def test_scalars_become_plain_numbers(given, expected):
    result = plain(given)
    assert type(result) is type(expected)
    assert result == pytest.approx(expected, rel=1e-15) if isinstance(expected, float) else result == expected


@pytest.mark.parametrize("given", [np.nan, float("inf"), np.float32("nan"), torch.tensor(float("nan")), sympy.oo])
def test_what_is_not_finite_is_refused(given):
    with pytest.raises(ValueError, match="allowed are finite numbers"):
        plain(given)


@pytest.mark.parametrize("given", [np.zeros(2), torch.zeros(3), sympy.Symbol("x"), [1.0], None, 1j, sympy.I])
def test_what_is_no_scalar_is_refused(given):
    with pytest.raises(TypeError, match="allowed are single real numbers"):
        plain(given)


def test_a_scale_falls_back_on_the_one_below():
    assert [at_scale(s, smoke=1, reader=2) for s in ("smoke", "reader", "paper")] == [1, 2, 2]
    assert at_scale("reader", smoke=None) is None
    with pytest.raises(ValueError, match="scale = 'large': allowed are smoke, reader, paper"):
        at_scale("large", smoke=1)


def test_means_carry_their_standard_error(monkeypatch):
    seen = {}
    monkeypatch.setattr(glue, "put", lambda name, value, spread: seen.update({name: (value, spread)}))
    # Mean 2.5; sample variance ((1.5)^2 + (0.5)^2) 2 / 3 = 5/3, so the standard error is sqrt(5/12).
    put_mean("plain", np.array([1.0, 2.0, 3.0, 4.0]))
    assert seen["plain"] == pytest.approx((2.5, (5 / 12) ** 0.5), rel=1e-14)
    # Share 1/4; sample variance (1/4)(3/4) 4/3 = 1/4, so the standard error is 1/4.
    put_mean("share", np.array([True, False, False, False]))
    assert seen["share"] == pytest.approx((0.25, 0.25), rel=1e-14)
    put_mean("all", np.ones(50, dtype=bool))
    assert seen["all"] == (1.0, 1 / 50), "a share of all runs is still known only to within a run"
    with pytest.raises(ValueError, match="samples of few has 1 runs: allowed are two or more"):
        put_mean("few", np.ones(1))


def test_deviations_carry_their_standard_error(monkeypatch):
    seen = {}
    monkeypatch.setattr(glue, "put", lambda name, value, spread: seen.update({name: (value, spread)}))
    # Squares about the mean 2: 4, 0, 0, 4, so the deviation is sqrt(2); their standard error is sqrt(16/3)/2,
    # and d sqrt(s) = ds / (2 sqrt(s)).
    put_deviation("plain", np.array([0.0, 2.0, 2.0, 4.0]))
    assert seen["plain"] == pytest.approx((2**0.5, (16 / 3) ** 0.5 / 2 / (2 * 2**0.5)), rel=1e-14)
    put_deviation("none", np.ones(3))
    assert seen["none"] == (0.0, 0.0)
    with pytest.raises(ValueError, match="samples of few has 1 runs: allowed are two or more"):
        put_deviation("few", np.ones(1))


def test_standard_error_of_a_deviation_is_the_gaussian_one(monkeypatch):
    seen = {}
    monkeypatch.setattr(glue, "put", lambda name, value, spread: seen.update({name: spread}))
    put_deviation("gauss", np.random.default_rng(0).standard_normal(200_000))
    assert seen["gauss"] == pytest.approx(1 / np.sqrt(2 * 200_000), rel=0.02)


def test_statistics_carry_their_bootstrap_error(monkeypatch):
    seen = {}
    monkeypatch.setattr(glue, "put", lambda name, value, spread: seen.update({name: (value, spread)}))
    samples = np.random.default_rng(0).normal(3.0, 2.0, 2_000)
    put_over_runs("middle", samples)
    # The median of n normal numbers has standard error sigma sqrt(pi / 2 n) = 0.056.
    assert seen["middle"][0] == np.median(samples)
    assert seen["middle"][1] == pytest.approx(2.0 * np.sqrt(np.pi / 4_000), rel=0.3)
    put_over_runs("least", np.array([4, 2, 9]), np.min)
    assert seen["least"][0] == 2
    assert seen["least"][1] > 0
    put_over_runs("same", np.full(5, 0.25), np.max)
    assert seen["same"] == (0.25, 0.0)
    with pytest.raises(ValueError, match="samples of few has 1 runs: allowed are two or more"):
        put_over_runs("few", np.ones(1))


def test_estimates_carry_their_interval(monkeypatch):
    seen = {}
    monkeypatch.setattr(glue, "put", lambda name, value, spread: seen.update({name: (value, spread)}))
    glue.put_estimate("gap", Estimate(0.5, 0.2, 0.8, 0.1), parts="value low high half")
    assert seen == {
        "gap": (0.5, 0.1),
        "gap_low": (0.2, 0.1),
        "gap_high": (0.8, 0.1),
        "gap_half": (pytest.approx(0.3), 0.1),
    }
    seen.clear()
    glue.put_estimate("gap", Estimate(0.5, 0.2, 0.8, 0.1))
    glue.put_estimate("end", Estimate(0.5, 0.2, 0.8, 0.1), parts="high")
    assert seen == {"gap": (0.5, 0.1), "end_high": (0.8, 0.1)}, "only what is asked for"
    with pytest.raises(ValueError, match="parts = 'middle': allowed are value, low, high, half"):
        glue.put_estimate("gap", Estimate(0.5, 0.2, 0.8, 0.1), parts="middle")


def test_what_no_page_quotes_is_found(tmp_path):
    def scrap(name: str, kind: str = "plain") -> dict:
        prefix = "application/papermill.record/"
        metadata = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        return {"data": {prefix + "text/plain": "1.5", f"{prefix}text/{kind}": "1.5"}, "metadata": metadata}

    names = ["own", "own_spread", "elsewhere", "lone", "lone_spread", "any", "low_spread", "odd_spread", "other"]
    outputs = [scrap(name) for name in names] + [scrap("law", "latex"), scrap("lemma", "latex")]
    path = tmp_path / "01_one.ipynb"
    path.write_text(json.dumps({"cells": [{"outputs": outputs}, {"source": "words"}]}))
    pages = {
        "01_one": "is {glue:text}`own:.2f`, {glue:}`any` and `lone`\n```{glue:math} law\n:label: eq-law\n```\n",
        "02_two": "{glue:text}`01_one.ipynb::elsewhere:.1%`, {glue:text}`lone:.2f`, {glue:text}`02_two.ipynb::other`",
        "scorecard": "{glue:text}`01_one.ipynb::low_spread:.1g`",
    }
    assert quoted.unquoted(path, pages) == ["lemma", "lone", "odd_spread", "other"]
    assert glue.glued(path) == dict.fromkeys(names, 1.5)


def test_what_is_put_can_be_read_back(tmp_path, monkeypatch):
    outputs = []
    monkeypatch.setattr(
        "myst_nb.ext.glue.ipy_display", lambda data, metadata, raw: outputs.append({"data": data, "metadata": metadata})
    )
    glue.put("mean", np.float64(0.1), spread=0.25)
    glue.put("exact", sympy.Rational(1, 4))
    glue.put("word", "it's")
    glue.put_math("law", sympy.Eq(sympy.Symbol("x"), 2))
    path = tmp_path / "01_one.ipynb"
    path.write_text(json.dumps({"cells": [{"outputs": outputs}]}))
    assert glue.glued(path) == {"mean": 0.1, "mean_spread": 0.25, "exact": 0.25, "word": "it's"}
    assert quoted.unquoted(path, {}) == ["exact", "law", "mean", "word"]
