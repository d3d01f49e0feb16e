"""The newest whole checkpoint of a run with its job, as a tar archive.

    job.yaml
    checkpoints/000000000150/…     as `rljob.checkpoints.checkpoint` describes it

Unpacked, it is a run's folder that `rljob eval` takes.
"""

from __future__ import annotations

import logging
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from rljob.checkpoints.manifest import (
    FILES,
    MANIFEST,
    newest_whole,
)
from rljob.errors import InputError, RunError
from rljob.run_folder.names import CHECKPOINTS, JOB

_PART = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_LOG = logging.getLogger("rljob")


class Archive:
    """Iterates over the bytes of one archive. Its files are open, so the learner may delete the checkpoint
    meanwhile.

    Attributes:
        size: bytes of the whole.
    """

    def __init__(self, files: dict[str, IO[bytes]]) -> None:
        self._files = files
        self._headers = {name: _header(name, file) for name, file in files.items()}
        whole = sum(_BLOCK + -(-info.size // _BLOCK) * _BLOCK for info in self._headers.values())
        self.size = whole + 2 * _BLOCK

    @classmethod
    def of(cls, folder: Path, job: Path) -> Archive:
        """Of the newest checkpoint that is whole.

        Args:
            folder: of the checkpoints.
            job: the RLJob's YAML file.

        Raises:
            InputError: when there is none.
            RunError: when it cannot be read.
        """
        while (found := newest_whole(folder, _LOG.warning)) is not None:
            inside = f"{CHECKPOINTS}/{found.path.name}"
            names = {JOB: job}
            names |= {f"{inside}/{name}": found.path / name for name in (MANIFEST, *FILES)}
            with ExitStack() as stack:
                try:
                    files: dict[str, IO[bytes]] = {
                        n: stack.enter_context(path.open("rb")) for n, path in names.items()
                    }
                except FileNotFoundError as error:
                    if found.path.exists():
                        raise RunError(f"{error.filename} is missing") from error
                    continue  # Deleted as too old since it was looked at.
                except OSError as error:
                    raise RunError(f"cannot read {error.filename}: {error.strerror}") from error
                stack.pop_all()
                return cls(files)
        raise InputError(f"there is no whole checkpoint in {folder}")

    def __iter__(self) -> Iterator[bytes]:
        for name, file in self._files.items():
            header = self._headers[name]
            yield header.tobuf(tarfile.GNU_FORMAT)
            # Records grow while they are sent: send the size in the header only.
            left = header.size
            while part := file.read(min(_PART, left)):
                left -= len(part)
                yield part
            if header.size % _BLOCK:
                yield bytes(_BLOCK - header.size % _BLOCK)
        yield bytes(2 * _BLOCK)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _header(name: str, file: IO[bytes]) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = file.seek(0, 2)
    info.mtime = int(time.time())
    file.seek(0)
    return info
