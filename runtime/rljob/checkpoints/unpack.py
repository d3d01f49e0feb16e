"""Unpacks a checkpoint from a tar stream into a folder and verifies it.

The stream is not trusted: only the files of a checkpoint are written, under their own names.
The stream is that of `rljob.checkpoints.archive`.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rljob.checkpoints import manifest
from rljob.checkpoints.manifest import FILES, MANIFEST, Checkpoint, DamagedCheckpoint, is_name
from rljob.errors import RunError
from rljob.run_folder.names import CHECKPOINTS, JOB, LATEST, RECORDS

if TYPE_CHECKING:
    from typing_extensions import Buffer


def unpack(chunks: Iterator[bytes], folder: Path) -> Checkpoint:
    """Make `folder` a run's folder from the stream, every byte compared with the manifest.

    Raises:
        RunError: the stream is cut off, or holds what no checkpoint has.
        DamagedCheckpoint: it is not what its manifest says.
        OSError: the folder cannot be written.
    """
    found: set[Path] = set()
    try:
        with tarfile.open(fileobj=io.BufferedReader(Stream(chunks)), mode="r|") as archive:
            for member in archive:
                found.add(_write(archive, member, folder).parent)
    except tarfile.TarError as error:
        raise RunError(f"the checkpoint is incomplete: {error}") from None
    inside = found - {folder}
    if len(inside) != 1 or not (folder / JOB).is_file():
        raise RunError(
            f"the stream is not {JOB} and one checkpoint; does the job run another version of rljob?"
        )
    try:
        checkpoint = manifest.read_manifest(inside.pop())
        manifest.verify(checkpoint)
    except DamagedCheckpoint as error:
        raise DamagedCheckpoint(_without(folder, str(error))) from None
    (folder / CHECKPOINTS / LATEST).symlink_to(checkpoint.path.name)
    return checkpoint


def unpack_records(chunks: Iterator[bytes], folder: Path) -> None:
    """Write the records of a stream, those of `rljob.run_folder.records`, into the folder.

    Raises:
        RunError: the stream is cut off, or holds something else.
        OSError: the folder cannot be written.
    """
    try:
        with tarfile.open(fileobj=io.BufferedReader(Stream(chunks)), mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or member.name not in RECORDS:
                    raise RunError(
                        f"refused: the stream holds {member.name[:80]!r}, which is not a record"
                    )
                with (folder / member.name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except tarfile.TarError as error:
        raise RunError(f"the records are incomplete: {error}") from None


class Stream(io.RawIOBase):
    """Chunks of bytes as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer).cast("B")
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        size = min(len(target), len(self._rest))
        target[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> Path:
    path = _place(member, folder)
    content = archive.extractfile(member) if path is not None else None
    if path is None or content is None or path.exists():
        raise RunError(
            f"refused: the stream holds {member.name[:80]!r}, which is not part of a checkpoint"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
    return path


def _place(member: tarfile.TarInfo, folder: Path) -> Path | None:
    """Where the file belongs; None for one that belongs nowhere."""
    match member.name.split("/"):
        case [name] if member.isreg() and name == JOB:
            return folder / JOB
        case [top, inner, name] if member.isreg() and top == CHECKPOINTS:
            if is_name(inner) and name in (MANIFEST, *FILES):
                return folder / CHECKPOINTS / inner / name
    return None


def _without(folder: Path, message: str) -> str:
    """The message with paths relative to the folder."""
    return re.sub(rf"{re.escape(str(folder))}/?", "", message)
