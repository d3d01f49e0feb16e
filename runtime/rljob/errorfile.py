"""Why a process ended, as a small JSON file for whoever started it.

A pod's role writes it to its termination log, a local one to a file that the supervisor names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rljob.errors import InputError, RLJobError, RunError
from rljob.spec.invalid import Invalid


def write(path: Path, error: RLJobError) -> None:
    """Write the error to `path`, replacing what is there."""
    path.write_text(json.dumps(_to_json(error)) + "\n", encoding="utf-8")


def take(path: Path) -> RLJobError | None:
    """Read the error and delete the file; None when there is none, or no whole one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return _from_json(value)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_json(error: RLJobError) -> dict[str, Any]:
    if isinstance(error, Invalid):
        return {"problems": [_to_json(problem) for problem in error.problems]}
    if isinstance(error, InputError):
        return {
            "message": error.message,
            "path": error.path,
            "file": error.file,
            "line": error.line,
        }
    return {"failure": str(error)}


def _from_json(value: dict[str, Any]) -> RLJobError:
    if "failure" in value:
        return RunError(value["failure"])
    if "problems" in value:
        return Invalid([_input_error(problem) for problem in value["problems"]])
    return _input_error(value)


def _input_error(value: dict[str, Any]) -> InputError:
    return InputError(value["message"], path=value["path"], file=value["file"], line=value["line"])
