"""Tar archives that a role serves: its newest checkpoint and its records."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO

from rljob.checkpoints.archive import Archive
from rljob.errors import InputError, RunError
from rljob.run_folder.names import RECORDS
from rljob.telemetry.pages import Answer

CONTENT_TYPE = "application/x-tar"


def checkpoint(folder: Path, job: Path) -> Answer:
    """The newest complete checkpoint with its job, see `Archive.of`; 404 if there is none."""
    try:
        archive = Archive.of(folder, job)
    except InputError as error:
        return Answer.text(404, error.message)
    except RunError as error:
        return Answer.text(500, str(error))
    return _answer(archive)


def records(folder: Path) -> Answer:
    """The records in a role's folder; 404 if there are none."""
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for name in RECORDS:
            try:
                files[name] = stack.enter_context((folder / name).open("rb"))
            except FileNotFoundError:
                continue
            except OSError as error:
                return Answer.text(500, f"cannot read {name}: {error.strerror}")
        if not files:
            return Answer.text(404, "there are no records yet")
        stack.pop_all()
    return _answer(Archive(files))


def _answer(archive: Archive) -> Answer:
    return Answer(200, CONTENT_TYPE, archive.size, archive, archive.close)
