"""Reads a run's folder for a report. Any file may be missing or damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rljob import spec
from rljob.errors import InputError
from rljob.run_folder import json_files
from rljob.run_folder.json_files import parse_lines
from rljob.run_folder.names import (
    EVALUATIONS,
    EVENTS,
    JOB,
    METRICS,
    PROVENANCE,
    RECORDS,
    RESULT,
)
from rljob.show.report.history import RunHistory, history, number
from rljob.spec import RLJob


@dataclass(frozen=True)
class RunEnd:
    """Content of `result.json`; missing values are None or empty."""

    outcome: str = ""
    reason: str = ""
    message: str = ""
    mean_return: float | None = None
    best_return: float | None = None
    evaluation: tuple[float, float, int] | None = None
    restarts: int | None = None


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: name in legends; by default the folder's name.
        place: source of the run.
        job: the job; None if `job.yaml` is missing or cannot be read by this version.
        job_text: text of `job.yaml`.
        provenance: versions and machine, by name.
        missing: one sentence for each missing or unreadable file.
    """

    name: str
    place: str
    history: RunHistory
    job: RLJob | None = None
    job_text: str = ""
    ended: RunEnd = RunEnd()
    provenance: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def seed(self) -> int | None:
        return self.job.spec.seed if self.job is not None else None


def read(folder: Path, name: str = "", place: str = "") -> Run:
    """Read a run from its folder.

    Args:
        name, place: replace the folder's name and path.

    Raises:
        InputError: the folder does not exist or has no files of a run.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name a run's folder")
    if not any((folder / each).exists() for each in RECORDS):
        raise InputError(f"{folder} is not a run's folder: it has none of {', '.join(RECORDS[:2])}")
    missing: list[str] = []
    text = _text(folder / JOB)
    job = _job(text, missing)
    records = _lines(folder / METRICS, missing)
    evaluations = _lines(folder / EVALUATIONS, missing)
    events = _lines(folder / EVENTS, missing)
    happened = history(records, evaluations, events)
    if not happened:
        what = "is empty" if (folder / METRICS).exists() else "is missing"
        missing.insert(0, f"{METRICS} {what}: there are no plots")
    result, provenance = _object(folder / RESULT, missing), _object(folder / PROVENANCE, missing)
    if not (folder / RESULT).exists():
        missing.append(f"{RESULT} is missing: the run has not ended, or was killed")
    if job is not None and job.spec.evaluation is not None and not happened.evaluations:
        why = "no evaluation has ended, or the evaluator's pod was deleted"
        missing.append(f"{EVALUATIONS} has no evaluation: {why}")
    return Run(
        name or folder.resolve().name,
        place or str(folder),
        happened,
        job,
        text,
        _ended(result),
        _provenance(provenance, result, job),
        tuple(missing),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _job(text: str, missing: list[str]) -> RLJob | None:
    if not text.strip():
        missing.append(f"{JOB} is missing: the configuration is unknown")
        return None
    try:
        return spec.parse(text, file=JOB)
    except InputError as error:
        first = str(error).splitlines()[0]
        missing.append(f"{JOB} cannot be read by this version of rljob: {first}")
        return None


def _lines(path: Path, missing: list[str]) -> list[dict[str, Any]]:
    found, broken = parse_lines(path.read_bytes()) if path.exists() else ([], 0)
    if broken:
        lines = "1 line" if broken == 1 else f"{broken} lines"
        missing.append(f"{path.name} has {lines} that cannot be read")
    return found


def _object(path: Path, missing: list[str]) -> dict[str, Any]:
    found = json_files.read(path)
    if found is None and path.exists():
        missing.append(f"{path.name} cannot be read")
    return found or {}


def _ended(result: Mapping[str, Any]) -> RunEnd:
    played = result.get("evaluation")
    evaluation = None
    if isinstance(played, dict) and (mean := number(played.get("mean"))) is not None:
        episodes = number(played.get("episodes")) or 0
        evaluation = (mean, number(played.get("std")) or 0.0, int(episodes))
    restarts = number(result.get("restarts"))
    outcome, reason, message = (
        str(result.get(name) or "") for name in ("outcome", "reason", "message")
    )
    return RunEnd(
        outcome,
        reason,
        message,
        number(result.get("meanReturn")),
        number(result.get("bestReturn")),
        evaluation,
        None if restarts is None else int(restarts),
    )


def _provenance(
    values: Mapping[str, Any], result: Mapping[str, Any], job: RLJob | None
) -> dict[str, str]:
    lines: dict[str, str] = {}
    seed = result.get("seed", job.spec.seed if job is not None else None)
    if seed is not None:
        lines["seed"] = str(seed)
    for section in (values, {"versions": result.get("versions")}):
        for name, value in section.items():
            if name == "settings":
                continue
            if isinstance(value, dict):
                lines |= {str(key): str(item) for key, item in value.items() if item is not None}
            elif value is not None:
                lines[str(name)] = str(value)
    return lines
