"""Comparing glued numbers with their references."""

import json
import math
from pathlib import Path

import pytest

from actde_nb.pages import references


def notebook(path: Path, numbers: dict) -> Path:
    outputs = [
        {
            "output_type": "display_data",
            "data": {"application/papermill.record/text/plain": repr(value)},
            "metadata": {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}},
        }
        for name, value in numbers.items()
    ]
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "outputs": outputs}]}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("reference", "now", "moved"),
    [
        ({"x": 0.5}, {"x": 0.5 + 1e-8}, []),
        ({"x": 0.5}, {"x": 0.5 + 1e-5}, ["x"]),
        # Two runs of standard error 3 differ by 3 sqrt(2); five of those are 21.2.
        ({"x": 100.0, "x_spread": 3.0}, {"x": 121.2, "x_spread": 3.0}, []),
        ({"x": 100.0, "x_spread": 3.0}, {"x": 121.3, "x_spread": 3.0}, ["x"]),
        # What is noisier now may differ no more for that, and is itself a difference from half as much again.
        ({"x": 100.0, "x_spread": 3.0}, {"x": 121.3, "x_spread": 4.4}, ["x"]),
        ({"x": 100.0, "x_spread": 3.0}, {"x": 100.0, "x_spread": 4.5}, []),
        ({"x": 100.0, "x_spread": 3.0}, {"x": 100.0, "x_spread": 4.6}, ["x_spread"]),
        ({"x": 100.0, "x_spread": 3.0}, {"x": 100.0, "x_spread": 0.1}, []),
        ({"x": 100.0, "x_spread": 3.0}, {"x": 100.0}, ["x_spread"]),
        ({"x": 100.0}, {"x": 100.0, "x_spread": 0.1}, ["x_spread"]),
        ({"x": 100.0, "x_spread": 1e-17}, {"x": 100.0}, []),
        ({"x": 100.0, "x_spread": 3.0}, {}, ["x", "x_spread"]),
        ({}, {"x": 100.0, "x_spread": 3.0}, ["x", "x_spread"]),
        ({"x": 1.0}, {}, ["x"]),
        ({}, {"x": 1.0}, ["x"]),
        ({"x": True}, {"x": False}, ["x"]),
        ({"x": True}, {"x": 1}, ["x"]),
        ({"x": "party"}, {"x": "wedding"}, ["x"]),
        ({"only_spread": 1.0}, {"only_spread": 2.0}, ["only_spread"]),
    ],
)
def test_differences(tmp_path: Path, monkeypatch, reference: dict, now: dict, moved: list[str]):
    monkeypatch.setattr(references, "REFERENCES", tmp_path)
    references.record(notebook(tmp_path / "01_x.ipynb", reference), "smoke")
    found = references.differences(notebook(tmp_path / "01_x.ipynb", now), "smoke")
    assert [difference.key for difference in found] == moved
    assert all("01_x" in str(difference) for difference in found)


def test_what_was_recorded_agrees_with_itself(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(references, "REFERENCES", tmp_path)
    path = notebook(tmp_path / "01_x.ipynb", {"x": 0.1, "x_spread": 0.2, "word": "it's", "flag": True, "n": 3})
    references.record(path, "reader")
    assert references.differences(path, "reader") == []


@pytest.mark.parametrize(
    ("reference", "now", "moved"),
    [
        ({"x": math.nan}, {"x": 1.0}, ["x"]),
        ({"x": 1.0}, {"x": math.nan}, ["x"]),
        ({"x": math.nan}, {"x": math.nan}, ["x"]),
        ({"x": 1.0, "x_spread": math.nan}, {"x": 2.0, "x_spread": 0.1}, ["x", "x_spread"]),
        ({"x": 1.0, "x_spread": math.inf}, {"x": 2.0, "x_spread": 0.1}, ["x", "x_spread"]),
        ({"x": 1.0, "x_spread": 0.1}, {"x": 1.0, "x_spread": math.nan}, ["x_spread"]),
        ({"x": 1.0, "x_spread": math.inf}, {"x": 1.0, "x_spread": math.inf}, ["x", "x_spread"]),
    ],
)
def test_what_is_not_finite_never_agrees(tmp_path: Path, monkeypatch, reference: dict, now: dict, moved: list[str]):
    monkeypatch.setattr(references, "REFERENCES", tmp_path)
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "01_x.json").write_text(json.dumps(reference), encoding="utf-8")
    monkeypatch.setattr(references, "glued", lambda _: now)
    assert [difference.key for difference in references.differences(tmp_path / "01_x.ipynb", "smoke")] == moved


def test_what_is_glued_no_more_leaves_the_references(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(references, "REFERENCES", tmp_path)
    references.record(notebook(tmp_path / "01_x.ipynb", {"kept": 1.0, "gone": 2.0, "gone_spread": 0.1}), "smoke")
    path = notebook(tmp_path / "01_x.ipynb", {"kept": 1.0})
    assert [difference.key for difference in references.differences(path, "smoke")] == ["gone", "gone_spread"]
    references.record(path, "smoke")
    assert json.loads((tmp_path / "smoke" / "01_x.json").read_text(encoding="utf-8")) == {"kept": 1.0}
