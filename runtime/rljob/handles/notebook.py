"""Shows a handle in a notebook: a small table, and the curve of the return, which goes on moving while the job trains."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Protocol

from rljob.errors import RLJobError
from rljob.handles.status import JobStatus
from rljob.run_folder.record import Record
from rljob.show.view.figures import ReturnCurve, ReturnPoint, count, score, span_text

if TYPE_CHECKING:
    from rljob.handles.base import JobHandle

EVERY_SECONDS = 1.0
MOST_FAILURES = 30
"""Looks in a row without an answer after which the view stands still."""
_WIDTH, _HEIGHT = 480, 96
_LABEL = "font-size:smaller;opacity:.7"


class UpdatableDisplay(Protocol):
    """A part of a notebook's output that can be replaced, as `IPython.display.display(..., display_id=True)` returns it."""

    def update(self, value: object) -> None: ...


class HandleView:
    """What a notebook shows of a handle."""

    def __init__(self, handle: JobHandle) -> None:
        self._handle = handle
        self._curve = ReturnCurve()
        self._tail = handle.records()
        self._status: JobStatus | None = None
        self.ended = threading.Event()

    def html(self) -> str:
        """The table and the curve as they are now.

        Raises:
            RLJobError: the job cannot be asked.
        """
        self._status = status = self._handle.status
        for record in next(self._tail, ()):
            self._curve.add(record)
        # The status is newer than the records, or all that there is.
        self._curve.add(Record(steps=status.steps, mean_return=status.mean_return))
        if status.ended:
            self.ended.set()
        return page(status, self._curve.points)

    def follow(self, shown: UpdatableDisplay, first: str) -> None:
        """Replace what is shown whenever it has changed, until the job has ended; `first` is what is shown."""
        from IPython.display import HTML

        failures, last = 0, first
        while failures < MOST_FAILURES and not self.ended.wait(EVERY_SECONDS):
            try:
                text, failures = self.html(), 0
            except RLJobError as error:
                failures += 1
                text = _told(last, str(error))
            if text != last:
                last = text
                shown.update(HTML(text))  # type: ignore[no-untyped-call]


def show(handle: JobHandle) -> HandleView:
    """Display a handle in the notebook that runs this, and update it from a thread."""
    from IPython.display import HTML, display

    view = HandleView(handle)
    try:
        text = view.html()
    except RLJobError as error:
        view.ended.set()
        text = f"<p>{escape(handle.name)}: {escape(str(error))}</p>"
    shown = display(HTML(text), display_id=True)  # type: ignore[no-untyped-call]
    if shown is not None and not view.ended.is_set():
        threading.Thread(
            target=view.follow, args=(shown, text), name=f"view of {handle.name}", daemon=True
        ).start()
    return view


def page(status: JobStatus, points: Sequence[ReturnPoint]) -> str:
    """A status and the mean return by steps as HTML. Pure."""
    rows = [
        ("job", status.name),
        ("phase", f"{status.phase} ({status.reason})" if status.reason else status.phase),
        ("steps", count(status.steps)),
        ("return", f"{score(status.mean_return)}, best {score(status.best_return)}"),
        ("speed", f"{count(status.steps_per_second or 0)} steps/s for {span_text(status.seconds)}"),
        ("rollouts", f"{status.rollouts_ready}/{status.rollouts} ready"),
        ("restarts", str(status.restarts)),
    ]
    if status.message:
        rows.append(("message", status.message))
    cells = "".join(
        f'<tr><td style="text-align:left;{_LABEL}">{escape(name)}</td>'
        f'<td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in rows
    )
    return f'<div class="rljob"><table>{cells}</table>{_curve(points)}</div>'


def _curve(points: Sequence[ReturnPoint]) -> str:
    if len(points) < 2:
        return ""
    low, high = min(mean for _, mean in points), max(mean for _, mean in points)
    first, last = points[0][0], points[-1][0]
    wide, tall = last - first or 1.0, high - low or 1.0
    path = " ".join(
        f"{_WIDTH * (step - first) / wide:.1f},{_HEIGHT * (high - mean) / tall:.1f}"
        for step, mean in points
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 -2 {_WIDTH} {_HEIGHT + 4}" role="img" '
        f'aria-label="mean return by steps"><polyline points="{path}" fill="none" stroke="currentColor" '
        f'stroke-width="1.5"/></svg><div style="{_LABEL}">mean return {score(low, high)} to {score(high)}, '
        f"steps {count(first)} to {count(last)}</div>"
    )


def _told(text: str, error: str) -> str:
    """The last view, and why it is not newer."""
    start = text.partition('<p class="rljob-error">')[0]
    return f'{start}<p class="rljob-error">{escape(error)}</p>'
