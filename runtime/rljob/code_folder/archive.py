"""Unpacks the archive of a folder of modules.

The digest is that of the contents: the same files make the same digest on every machine. An archive is unpacked only after its
digest was verified, with a bound on its size, and only regular files at paths below the target are written.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from rljob.errors import InputError
from rljob.spec.code import CodeArchiveSpec

GZIP = 31
"""`wbits` of zlib for gzip."""
LARGEST_TOTAL = 64 << 20
"""Most bytes of all files, before compression."""
_LARGEST_TAR = LARGEST_TOTAL + (LARGEST_TOTAL >> 1)
"""A header and padding for each file come on top."""


def unpack(data: bytes, known: CodeArchiveSpec, folder: Path) -> None:
    """Write the files of an archive into a folder, which is made, and replaced if it exists.

    Raises:
        InputError: the archive is not the one that the job names; nothing is written.
        OSError: the folder cannot be written.
    """
    whole = _verified(data, known)
    made = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive:
            for member in archive:
                _write(archive, member, made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    except tarfile.TarError as error:
        raise _damaged(f"is no archive: {error}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def join(parts: Path, known: CodeArchiveSpec) -> bytes:
    """The archive from its parts in a folder, `0`, `1` and so on.

    Raises:
        InputError: a part is missing, or they are larger than the job says.
    """
    data = b""
    for index in range(known.parts):
        file = parts / str(index)
        try:
            if file.stat().st_size > known.size - len(data):
                raise _damaged("is larger than the job says")
            data += file.read_bytes()
        except OSError as error:
            raise _damaged(f"cannot be read: {file}: {error.strerror}") from None
    return data


def _verified(data: bytes, known: CodeArchiveSpec) -> bytes:
    if len(data) != known.size:
        raise _damaged(f"has {len(data):,} bytes, and the job says {known.size:,}")
    opened = zlib.decompressobj(GZIP)
    try:
        whole = opened.decompress(data, _LARGEST_TAR)
    except zlib.error as error:
        raise _damaged(f"is no archive: {error}") from None
    if not opened.eof or opened.unused_data:
        raise _damaged(f"is cut off or larger than {_LARGEST_TAR >> 20} MiB")
    if hashlib.sha256(whole).hexdigest() != known.sha256:
        raise _damaged(f"does not have the digest {known.sha256}")
    return whole


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    parts = PurePosixPath(member.name).parts
    content = archive.extractfile(member) if member.isreg() else None
    if content is None or not parts or parts[0] == "/" or ".." in parts:
        raise _damaged(f"has {member.name[:80]!r}, which is no file below it")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _damaged(what: str) -> InputError:
    return InputError(
        f"the archive of the folder that was sent with the job {what}", path="codeArchive"
    )
