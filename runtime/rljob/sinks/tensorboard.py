"""TensorBoard's event files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from rljob.sinks.base import Opening
from rljob.sinks.scalars import Point

FOLDER = "tensorboard"


class TensorBoard:
    """Writes below `tensorboard` in the run's folder; what a learner lost is hidden."""

    def __init__(self, opening: Opening) -> None:
        self.run = FOLDER
        self._writer = EventFileWriter(str(opening.folder / FOLDER))
        if opening.run:
            started = SessionLog(status=SessionLog.START)
            self._event(opening.step, time.time(), session_log=started)
        else:
            self._text("job", opening.settings)

    def add(self, points: Sequence[Point]) -> None:
        for point in points:
            values = [Summary.Value(tag=name, simple_value=x) for name, x in point.values.items()]
            self._event(point.step, point.time, summary=Summary(value=values))
        self._writer.flush()

    def finish(self, result: Mapping[str, Any]) -> None:
        self._text("result", {name: json.dumps(value) for name, value in result.items()})
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

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
        self._writer.add_event(Event(wall_time=wall_time, step=step, **content))
