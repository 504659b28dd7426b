"""Text that follows the numbers of a notebook's run, and how far that run is."""

import hashlib
import re
import threading
import time
from collections.abc import Mapping

from IPython import get_ipython
from IPython.display import DisplayHandle, Markdown, display

from actde_nb.pages.glue import VALUES, Scalar

QUOTED = re.compile(r"\{\{(\w+):([^{}|]*)\|([^{}|]*)\}\}")  # {{key:format|what the book has}}
LONG = 10  # seconds, from which on a reader wants to see that something moves
_texts: dict[str, tuple[DisplayHandle, str]] = {}  # by the text before its numbers are filled in


def notebook_text(text: str) -> None:
    """Show Markdown with the numbers of this run, marked where the book has others; before a number is computed, with
    the book's. When a later cell computes it, the text follows."""
    filled = _filled(text)
    _texts[text] = display(Markdown(filled), display_id=True), filled


def begin_notebook(seconds: Mapping[str, float]) -> None:
    """Make ready to run a notebook whose cells, by their :func:`fingerprint`, took these ``seconds`` the last time."""
    shell = get_ipython()
    _texts.clear()
    VALUES.clear()
    for event, called in shell.events.callbacks.items():
        for old in [function for function in called if getattr(function, "__module__", "") == __name__]:
            shell.events.unregister(event, old)  # which an earlier run of this cell registered
    shell.events.register("post_run_cell", _follow)
    if sum(seconds.values()) >= LONG:
        bar = Progress(seconds)
        shell.events.register("pre_run_cell", bar.started)
        shell.events.register("post_run_cell", bar.ended)


def fingerprint(code: str) -> str:
    """What a cell is known by; not every front end says its id."""
    return hashlib.sha256(code.encode()).hexdigest()[:8]


class Progress:
    """A line that says how much of the work is done, against the ``seconds`` that each cell took the last time."""

    def __init__(self, seconds: Mapping[str, float]):
        self.seconds, self.done, self.cell, self.since = dict(seconds), set(), None, 0.0
        self.handle = display(Markdown(self.line()), display_id=True)

    def line(self) -> str:
        """What there is to see now."""
        here, total = self.seconds.get(self.cell, 0.0), sum(self.seconds.values())
        gone = time.monotonic() - self.since if here else 0.0
        share = (sum(self.seconds[cell] for cell in self.done) + min(gone, here)) / total
        doing = f"; this cell, {gone:.0f} s of about {here:.0f} s" if here else ""
        return f"`{'█' * round(20 * share):░<20}` {share:.0%} of about {total:.0f} s{doing}"

    def started(self, info) -> None:
        """A cell begins; a long one is watched from a thread."""
        self.cell, self.since = fingerprint(info.raw_cell), time.monotonic()
        if self.seconds.get(self.cell, 0) >= LONG:
            threading.Thread(target=self.watch, args=(self.cell,), daemon=True).start()

    def watch(self, cell: str) -> None:
        """Show every second how far a cell is."""
        while self.cell == cell:
            self.handle.update(Markdown(self.line()))
            time.sleep(1)

    def ended(self, result) -> None:
        """A cell has ended, one way or the other."""
        cell, self.cell = self.cell, None
        if cell in self.seconds and result.success:
            self.done.add(cell)
            self.handle.update(Markdown(self.line()))


def _follow(_result) -> None:
    """Renew the texts whose numbers a cell has changed."""
    for text, (handle, before) in _texts.items():
        if (filled := _filled(text)) != before:
            _texts[text] = handle, filled
            handle.update(Markdown(filled))


def _filled(text: str) -> str:
    return QUOTED.sub(_number, text)


def _number(found: re.Match) -> str:
    key, form, book = found.groups()
    now = _formatted(VALUES[key], form) if key in VALUES else book
    return book if now == book else f'<mark title="the book has {book}">{now}</mark>'


def _formatted(value: Scalar, form: str) -> str:
    # As MyST-NB does it for the page, without the two seconds that it takes to import.
    kinds = {"s": str, "d": int}
    return format(kinds.get(form[-1:], float)(value), form)
