"""What a notebook shows of a handle. `tests/integration/test_notebook.py` shows one in a kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from rljob.errors import RunError
from rljob.handles.base import JobHandle, LogText
from rljob.handles.notebook import HandleView, page
from rljob.handles.status import JobStatus
from rljob.run_folder.record import Record

TRAINING = JobStatus(
    "a-job", "Training", steps=300, mean_return=30.0, best_return=31.5, rollouts=2, rollouts_ready=1
)


def test_a_page_has_the_status_and_a_curve() -> None:
    text = page(TRAINING, [(100, 10.0), (200, 15.0), (300, 30.0)])
    root = ElementTree.fromstring(text)
    cells = [cell.text for cell in root.iter("td")]
    told = dict(zip(cells[::2], cells[1::2], strict=True))
    assert told["phase"] == "Training"
    assert (told["steps"], told["return"]) == ("300", "30.0, best 31.5")
    assert told["rollouts"] == "1/2 ready"
    line = next(root.iter("polyline")).attrib["points"]
    assert line == "0.0,96.0 240.0,72.0 480.0,0.0"


def test_text_of_the_cluster_is_no_html() -> None:
    status = JobStatus("a", "Failed", "Error", "<script>alert(1)</script> & more")
    text = page(status, [])
    assert "<script>" not in text
    assert ElementTree.fromstring(text) is not None
    assert "polyline" not in text


def test_equal_returns_make_a_flat_line() -> None:
    text = page(TRAINING, [(5, 1.0), (6, 1.0)])
    assert 'points="0.0,0.0 480.0,0.0"' in text


class ScriptedHandle(JobHandle):
    """A handle whose statuses are given; None is a time without an answer."""

    def __init__(self, *statuses: JobStatus | None) -> None:
        super().__init__("a-job")
        self._left = list(statuses)

    @property
    def status(self) -> JobStatus:
        found = self._left.pop(0)
        if found is None:
            raise RunError("no <answer>")
        return found

    def records(self) -> Iterator[Sequence[Record]]:
        yield [Record(steps=100, mean_return=10.0)]

    def logs(self, role: str | None = None, *, tail: int | None = None) -> LogText:
        return LogText("a\nb")

    def scale(self, replicas: int) -> None: ...

    def stop(self) -> None: ...

    def resume(self) -> None: ...

    def delete(self) -> None: ...

    def result(self) -> None:  # type: ignore[override]
        ...

    def policy(self, seed: int | None = None) -> None:  # type: ignore[override]
        ...

    def history(self) -> dict[str, object]:  # type: ignore[override]
        return {}


def test_a_view_adds_the_status_to_the_records_and_knows_the_end() -> None:
    ended = JobStatus("a-job", "Complete", steps=400, mean_return=40.0)
    view = HandleView(ScriptedHandle(TRAINING, ended))
    assert len(re.findall(r"\d,\d", _line(view.html()))) == 2
    assert not view.ended.is_set()
    assert len(re.findall(r"\d,\d", _line(view.html()))) == 3
    assert view.ended.is_set()


def test_a_log_shows_itself() -> None:
    assert repr(ScriptedHandle().logs()) == "a\nb"


def _line(text: str) -> str:
    found = re.search(r'points="([^"]*)"', text)
    assert found is not None
    return found[1]
