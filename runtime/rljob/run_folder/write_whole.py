"""Writes files atomically: under a temporary name, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder. At the end it replaces `path`; on an error it is removed.

    Raises:
        OSError: the file cannot be renamed.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 file; raises OSError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
