"""What a run writes down of itself, beside its checkpoints; and a tar archive of it for whoever asks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO

from rljob.export import CONTENT_TYPE, Archive
from rljob.pages import Answer

JOB, METRICS, EVALUATIONS, EVENTS, RESULT, PROVENANCE = (
    "job.yaml",
    "metrics.jsonl",
    "evaluations.jsonl",
    "events.jsonl",
    "result.json",
    "provenance.json",
)
FILES = (JOB, METRICS, EVALUATIONS, EVENTS, RESULT, PROVENANCE)


def page(folder: Path) -> Answer:
    """The records in a role's folder, as an answer to a request; 404 where there are none."""
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for name in FILES:
            try:
                files[name] = stack.enter_context((folder / name).open("rb"))
            except FileNotFoundError:
                continue
            except OSError as error:
                return Answer.text(500, f"cannot read {name}: {error.strerror}")
        if not files:
            return Answer.text(404, "there are no records yet")
        stack.pop_all()
    archive = Archive(files)
    return Answer(200, CONTENT_TYPE, archive.size, archive, archive.close)
