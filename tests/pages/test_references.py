"""Comparing glued numbers with their references."""

import json
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
        # Standard errors 3 and 4 make that of the difference 5; five of those are 25.
        ({"x": 100.0, "x_spread": 3.0}, {"x": 124.9, "x_spread": 4.0}, []),
        ({"x": 100.0, "x_spread": 3.0}, {"x": 125.1, "x_spread": 4.0}, ["x"]),
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
