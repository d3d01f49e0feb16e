"""The TensorBoard sink: event files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter

from rljob.roles.sinks.base import Opening
from rljob.roles.sinks.scalars import ScalarPoint

FOLDER = "tensorboard"
PREFIX = "events.out.tfevents."


def file_name(before: Iterable[str], now: int) -> str:
    """The name of a run's next event file.

    TensorBoard reads a run's files in the order of their names and ignores a new file that sorts before the
    current one. So the new name sorts after all names in `before`, even if the clock was set back.

    Args:
        now: nanoseconds since 1970.
    """
    seconds, rest = divmod(now, 10**9)
    name, last = f"{PREFIX}{seconds:010d}.{rest:09d}", max(before, default="")
    return name if name > last else f"{last}.1"


class TensorBoard:
    """Writes below `tensorboard` in the run's folder; hides records that a resumed learner lost."""

    def __init__(self, opening: Opening) -> None:
        self.run = FOLDER
        folder = opening.folder / FOLDER
        folder.mkdir(exist_ok=True)
        before = (path.name for path in folder.glob(f"{PREFIX}*"))
        # One process at a time holds the lock: no other can take the name before it is opened.
        file = (folder / file_name(before, time.time_ns())).open("xb")
        self._writer = RecordWriter(file)
        self._event(0, time.time(), file_version="brain.Event:2")
        self._reached = opening.step
        if opening.run:
            self._start_session(opening.step)
        else:
            self._text("job", opening.settings)

    def add(self, points: Sequence[ScalarPoint]) -> None:
        for point in points:
            if point.trained:
                # A learner that continues from a checkpoint goes back to its steps.
                if point.step < self._reached:
                    self._start_session(point.step)
                self._reached = point.step
            values = [Summary.Value(tag=name, simple_value=x) for name, x in point.values.items()]
            self._event(point.step, point.time, summary=Summary(value=values))
        self._writer.flush()

    def checkpoint(self, path: Path) -> None:
        """Does nothing: TensorBoard shows no files."""

    def page(self, path: Path) -> None:
        """See `checkpoint`."""

    def finish(self, result: Mapping[str, Any]) -> None:
        self._text("result", {name: json.dumps(value) for name, value in result.items()})
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _start_session(self, step: int) -> None:
        """TensorBoard drops what was written before at this step and later ones."""
        self._event(step, time.time(), session_log=SessionLog(status=SessionLog.START))

    def _text(self, tag: str, rows: Mapping[str, str]) -> None:
        """A table in Markdown, as the text plugin shows it."""
        lines = ["| | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in rows.items())]
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        tensor = TensorProto(
            dtype="DT_STRING",
            string_val=["\n".join(lines).encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        value = Summary.Value(
            tag=f"{tag}/text_summary", metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor
        )
        self._event(0, time.time(), summary=Summary(value=[value]))

    def _event(self, step: int, wall_time: float, **content: Any) -> None:
        event = Event(wall_time=wall_time, step=step, **content)
        self._writer.write(event.SerializeToString())
