"""Which files of a kind are to go when a new one was written."""

from __future__ import annotations

from pathlib import Path


def older(folder: Path, newest: Path, keep: int) -> list[Path]:
    """Files with the suffix of `newest` beyond the `keep` that were written last.

    `newest` always stays, also if the clock was set back. Names are not compared: a resumed run goes back to
    lower policy versions.

    Raises:
        OSError: a file cannot be read.
    """
    others = [path for path in folder.glob(f"*{newest.suffix}") if path != newest]
    others.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
    return others[: max(0, len(others) - (keep - 1))]
