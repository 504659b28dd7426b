"""Figures that a reader can work: what a cell computed goes to the page's script as data, and into a table for readers
without the script, and for notebooks."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from actde_nb import checks
from actde_nb.checks import SettingError

KINDS = ("prices", "baselines", "frontier")  # each has a function of this name in book/_static/interactive.js
SHOWN = ("color", "marker", "fillstyle")  # of a look
DIGITS = 5  # significant ones of what a page hands over


@dataclass(frozen=True)
class Interactive:
    """One such figure; a cell whose last line it is shows it.

    Args:
        kind: one of :data:`KINDS`, the function of the script that draws it.
        data: what that function takes; numbers and arrays are rounded to :data:`DIGITS`, and none may be NaN.
        head: names of the table's columns.
        rows: the table, of the same data or some of it."""

    kind: str
    data: Mapping[str, Any]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self):
        checks.one_of("kind", self.kind, KINDS)
        for row in self.rows:
            if len(row) != len(self.head):
                raise SettingError(f"rows has one with {len(row)} cells: allowed are {len(self.head)}, as in head")

    @classmethod
    def frontier(
        cls, points: Sequence[Mapping[str, Any]], curve: Mapping[str, Float[np.ndarray, "points"]],
        looks: Mapping[str, Mapping[str, Any]],
    ) -> "Interactive":  # fmt: skip
        """Policies in the plane of divergence and reward, with their numbers at each, beside what is possible.

        Args:
            points: ``label``, ``series``, ``nats``, ``reward`` and effective ``sentences`` of each.
            curve: ``kl``, ``reward`` and ``entropy`` of optima, as of :func:`actde_nb.compare.frontiers.possible`.
            looks: ``color``, ``marker`` and, where it is not full, ``fillstyle`` of each series."""
        order = np.argsort(curve["kl"])
        numbers = {"nats": curve["kl"], "reward": curve["reward"], "sentences": np.exp(curve["entropy"])}
        data = {
            "points": points,
            "curve": {name: values[order] for name, values in numbers.items()},
            "looks": {name: {key: look[key] for key in SHOWN if key in look} for name, look in looks.items()},
        }
        rows = [(p["label"], f"{p['nats']:.2f}", f"{p['reward']:.3f}", f"{p['sentences']:,.0f}") for p in points]
        return cls("frontier", data, ("policy", "nats", "reward", "effective sentences"), rows)

    def _repr_mimebundle_(self, **_kwargs) -> dict[str, str]:
        return {"text/html": self._page(), "text/markdown": self._table()}

    def _page(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.head)
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        table = f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        # "</script>" in a text would end the data.
        data = json.dumps(_plain(self.data), ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
        return (
            f'<div class="interactive" data-kind="{self.kind}">'
            f'<div class="pst-scrollable-table-container">{table}</div>'
            f'<script type="application/json">{data}</script></div>'
        )

    def _table(self) -> str:
        rows = [self.head, ["--"] * len(self.head), *self.rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _plain(value: Any) -> Any:
    """What JSON can hold, with numbers rounded."""
    match value:
        case Mapping():
            return {name: _plain(part) for name, part in value.items()}
        case str() | bool() | int():
            return value
        case float() | np.floating():
            return float(f"{value:.{DIGITS}g}")
        case np.ndarray():
            return _plain(value.tolist())
        case _:
            return [_plain(part) for part in value]
