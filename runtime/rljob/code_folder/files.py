"""Which files of a folder go with a job: those that git would not ignore."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from rljob.code_folder.archive import LARGEST_TOTAL
from rljob.errors import InputError
from rljob.run_folder.names import JOB, MODULES

MOST_FILES = 10_000
NEVER = "Names that begin with a dot, __pycache__, virtual environments and folders of runs are left out anyway."
_IGNORE = ".gitignore"

_Rules = tuple[tuple[Path, GitIgnoreSpec], ...]


def files(folder: Path) -> list[str]:
    """Paths of the files that go, relative to the folder, with `/`, sorted.

    `.gitignore` files count as in git: that of the folder, those below, and those above up to the root of the repository.

    Raises:
        InputError: it is no folder, has a link, or more than `MOST_FILES` files or `LARGEST_TOTAL` bytes.
    """
    if not folder.is_dir():
        raise InputError(f"--code {folder}: {'is a file' if folder.exists() else 'no such folder'}")
    # The files above the folder name it by its real place.
    root = folder.resolve()
    found, total, largest = list[str](), 0, (-1, "")
    try:
        for path, size in _walk(root, root, _above(root)):
            found.append(path)
            total += size
            largest = max(largest, (size, path))
            if total > LARGEST_TOTAL or len(found) > MOST_FILES:
                raise InputError(
                    f"--code {folder}: has more than {MOST_FILES:,} files or {LARGEST_TOTAL >> 20} MiB (largest: {largest[1]}). "
                    f"Give the folder of your modules alone, or leave files out with {_IGNORE}. {NEVER}"
                )
    except OSError as error:
        raise InputError(
            f"--code {folder}: cannot read {error.filename}: {error.strerror}"
        ) from None
    if not found:
        raise InputError(f"--code {folder}: has no files to send. {NEVER}")
    return sorted(found)


def _above(root: Path) -> _Rules:
    """Rules of the folders from the root of the repository down to `root`; without one, its own."""
    within = [root, *root.parents]
    top = next((n for n, place in enumerate(within) if (place / ".git").exists()), 0)
    return tuple(rule for place in reversed(within[: top + 1]) for rule in _rules(place))


def _rules(place: Path) -> _Rules:
    file = place / _IGNORE
    if not file.is_file():
        return ()
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        return ((place, GitIgnoreSpec.from_lines(lines)),)
    except ValueError as error:
        raise InputError(f"--code: {file} has a wrong line: {error}") from None


def _walk(root: Path, place: Path, rules: _Rules) -> Iterator[tuple[str, int]]:
    for entry in sorted(os.scandir(place), key=lambda each: each.name):
        path = Path(entry.path)
        folder = entry.is_dir(follow_symlinks=False)
        # First what git would not look at: it may not be readable.
        if _is_ignored(path, folder or entry.is_symlink(), rules) or _is_left_out(entry, folder):
            continue
        name = path.relative_to(root).as_posix()
        if folder:
            yield from _walk(root, path, (*rules, *_rules(path)))
        elif entry.is_file(follow_symlinks=False) and name.isprintable():
            yield name, entry.stat(follow_symlinks=False).st_size
        else:
            kind = "is a link" if entry.is_symlink() else "is no file"
            if entry.is_file(follow_symlinks=False):
                kind = "has a name that cannot be printed"
            raise InputError(
                f"--code {root}: {name!a} {kind}; only files with printable names can be sent. Leave it out with {_IGNORE}"
            )


def _is_left_out(entry: os.DirEntry[str], folder: bool) -> bool:
    path = Path(entry.path)
    if entry.name.startswith(".") or entry.name == "__pycache__":
        return True
    a_run = (path / MODULES).is_file() and (path / JOB).is_file()
    return folder and (a_run or (path / "pyvenv.cfg").is_file())


def _is_ignored(path: Path, folder: bool, rules: _Rules) -> bool:
    """Of several files, the deepest with a matching line decides; in a file, its last one."""
    for place, spec in reversed(rules):
        name = path.relative_to(place).as_posix()
        # A link may stand for a folder.
        decided = [
            spec.check_file(each).include for each in ({name, f"{name}/"} if folder else {name})
        ]
        known = [one for one in decided if one is not None]
        if known:
            return any(known)
    return False
