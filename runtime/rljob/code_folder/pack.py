"""Packs a folder of modules into one archive with a digest; see `rljob.code_folder.archive`."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rljob.code_folder.archive import GZIP, LARGEST_TOTAL
from rljob.code_folder.files import files
from rljob.errors import InputError
from rljob.run_folder.provenance import git_commit
from rljob.spec import RLJob
from rljob.spec.code import LARGEST_ARCHIVE, PART_BYTES, TAKEN, CodeArchiveSpec

_HARMLESS = frozenset({"test"})
"""Modules of Python that nothing imports."""


@dataclass(frozen=True)
class CodeArchive:
    """A packed folder.

    Attributes:
        data: a tar archive, gzipped.
        sha256: digest of the tar archive.
    """

    data: bytes
    sha256: str

    def parts(self) -> list[bytes]:
        """The archive in pieces of at most `PART_BYTES`."""
        return [self.data[at : at + PART_BYTES] for at in range(0, len(self.data), PART_BYTES)]


def pack(folder: Path) -> CodeArchive:
    """Pack the files of a folder that go with a job.

    Raises:
        InputError: the folder cannot be sent, see `rljob.code_folder.files.files`; a module in it would hide one that rljob
            needs; or the archive is larger than `LARGEST_ARCHIVE`.
    """
    names = files(folder)
    _check_names(folder, names)
    tar = io.BytesIO()
    sizes, whole = {}, 0
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            try:
                content, runs = _read(folder / name)
            except OSError as error:
                raise InputError(f"--code {folder}: cannot read {name}: {error.strerror}") from None
            whole += len(content)
            if whole > LARGEST_TOTAL:
                raise InputError(f"--code {folder}: {name} grew while it was read")
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if runs else 0o644
            sizes[name] = len(content)
            archive.addfile(entry, io.BytesIO(content))
    content = tar.getvalue()
    compressor = zlib.compressobj(9, wbits=GZIP)
    data = compressor.compress(content) + compressor.flush()
    if len(data) > LARGEST_ARCHIVE:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        raise InputError(
            f"--code {folder}: is {len(data) / 2**20:.1f} MiB packed, and at most {LARGEST_ARCHIVE >> 20} MiB are sent. Leave files "
            f"out with .gitignore (largest: {', '.join(largest)}), or build an image with the code and name it in `image`"
        )
    return CodeArchive(data, hashlib.sha256(content).hexdigest())


def carried(job: RLJob, folder: str | Path) -> tuple[RLJob, CodeArchive]:
    """The job with this folder, and the folder packed.

    Raises:
        InputError: as `pack`.
    """
    packed = pack(Path(folder))
    known = CodeArchiveSpec(
        sha256=packed.sha256, size=len(packed.data), commit=git_commit(Path(folder))
    )
    return naming(job, known), packed


def naming(job: RLJob, known: CodeArchiveSpec | None) -> RLJob:
    """The job with another archive; messages still name its file."""
    told = job.spec.model_copy(update={"code_archive": known})
    return job.model_copy(update={"spec": told})


def _read(path: Path) -> tuple[bytes, bool]:
    """The content of a file, at most one byte more than may be sent, and whether its owner may execute it.

    Raises:
        OSError: it cannot be read, or is something else by now.
    """
    # A link is not followed, and what has no end, such as a pipe, is not waited for.
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb") as file:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return file.read(LARGEST_TOTAL + 1), bool(mode & stat.S_IXUSR)


def _check_names(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        top, *below = PurePosixPath(name).parts
        module = top.removesuffix(".py") if not below else top
        # A folder without `__init__.py` hides nothing.
        is_module = below == ["__init__.py"] or (not below and top.endswith(".py"))
        if is_module and module in TAKEN - _HARMLESS:
            raise InputError(
                f"--code {folder}: {name} would hide the module {module}; choose another name"
            )
