"""Where the modules of a run's job are: `modules.json`, for commands that come after the run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rljob.run_folder import json_files
from rljob.run_folder.names import CODE, JOB, MODULES


def remember(folder: Path, places: Iterable[Path]) -> None:
    """Write the folders that the run's roles search for modules first.

    Raises:
        OSError: the file cannot be written.
    """
    json_files.write(folder / MODULES, {"path": [str(place.resolve()) for place in places]})


def job_file(path: Path) -> Path | None:
    """The `job.yaml` of a run's folder, of its checkpoints or of one of them; None without one."""
    for folder in (path, *path.absolute().parents[:2]):
        if (folder / JOB).is_file():
            return folder / JOB
    return None


def search_path(folder: Path) -> list[str]:
    """The first folders of the module search path of this run: its own code, then the remembered ones."""
    code = [str((folder / CODE).resolve())] if (folder / CODE).is_dir() else []
    known = (json_files.read(folder / MODULES) or {}).get("path")
    return code + [place for place in known or [] if isinstance(place, str)]
