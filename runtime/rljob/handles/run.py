"""`rljob.start`, and the handle of a run on this machine."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rljob import spec
from rljob.errors import InputError, RLJobError, RunError
from rljob.handles.base import JobHandle, LogText, lines_of, replicas_of, role_of
from rljob.handles.status import JobStatus
from rljob.local import background, history
from rljob.local.prepare import Request, Transport
from rljob.local.result import Result
from rljob.local.run import check_caller, request_for
from rljob.local.situation import is_worked_on, phase_of, restarts_of
from rljob.run_folder import json_files, rollouts
from rljob.run_folder.folder import RunFolder
from rljob.run_folder.json_files import Tail
from rljob.run_folder.names import JOB, LOGS, METRICS, RESULT
from rljob.run_folder.process import UnknownProcess, tell
from rljob.run_folder.record import Record, last_record
from rljob.spec import JobLike, RLJob
from rljob.spec.roles import NO_ROLLOUTS, START_ORDER

if TYPE_CHECKING:
    import numpy as np

    from rljob.local.background import BackgroundRun
    from rljob.policies.loaded import TrainedPolicy

END_SECONDS = 30.0
"""Longest time in which the processes of a run end."""
LOOK_EVERY = 0.1
"""Seconds between two looks whether a run has ended."""


def start(
    job: JobLike,
    *,
    dir: str | Path | None = None,  # noqa: A002 - as the command's option
    seed: int | None = None,
    resume: bool = False,
    transport: Transport = "ipc",
    code: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> RunHandle:
    """Start to train a job on this machine and return its handle at once.

    The run is a process of its own. It goes on when this process ends; `rljob.attach(FOLDER)` finds it again. Ctrl-C does
    not reach it.

    Args:
        job: a YAML file, a mapping in the form of the YAML, or an `RLJob`.
        dir: the run's folder; by default `runs/NAME-N` with the next free N.
        seed: replaces the job's seed.
        resume: resume the run in the folder `dir`, or the newest run of this job.
        transport: transport between the processes: `ipc`, or `tcp` with encryption.
        code: folder of modules that goes with the job, as for `rljob.submit`; the run uses a copy.
        overrides: `path=value` as for `rljob run --set`, e.g. `algorithm.config.learningRate=1e-3`.

    Raises:
        InputError: the job is invalid; no files are left.
        RunError: the run cannot be started.
    """
    check_caller("start")
    run = background.start(request_for(job, dir, seed, resume, transport, overrides, code))
    return RunHandle(run.job, run.folder, run)


def find(folder: str | Path) -> RunHandle:
    """The handle of the run in a folder.

    Raises:
        InputError: the folder is not a run's folder.
    """
    path = Path(folder)
    if not (path / JOB).is_file():
        raise InputError(f"{folder} is not a run's folder: it has no {JOB}")
    return RunHandle(spec.load(path / JOB), path.resolve())


class RunHandle(JobHandle):
    """A run on this machine.

    Attributes:
        folder: the run's folder.
    """

    def __init__(self, job: RLJob, folder: Path, run: BackgroundRun | None = None) -> None:
        super().__init__(job.metadata.name)
        self.folder = folder
        self._job = job
        self._run = run

    @property
    def status(self) -> JobStatus:
        """The status now.

        Raises:
            InputError: a role found the job invalid; the run's folder is gone.
            RunError: the run was deleted.
        """
        alive = self._works
        error = None if alive or self._run is None else self._run.error()
        if error is not None and self._run is not None and _ended_since(self.folder, self._run):
            error = None
        if isinstance(error, InputError):
            raise error
        found = self._status(*phase_of(self.folder, alive, (self.folder / METRICS).exists()))
        if error is not None:
            found = replace(found, phase="Failed", reason="LauncherLost", message=str(error))
        # Only now: the folder may go at any moment.
        if not self.folder.exists():
            raise error or RunError(f"the run in {self.folder} was deleted")
        return found

    def logs(self, role: str | None = None, *, tail: int | None = None) -> LogText:
        kinds = START_ORDER if role is None else (role_of(role),)
        number = lines_of(tail)
        files = [
            file for kind in kinds for file in sorted((self._there / LOGS).glob(f"{kind}-*.log"))
        ]
        if role is not None and not files:
            raise RunError(f"{self.name} has no {role}, or it has not started")
        parts = []
        for file in files:
            try:
                text = file.read_text(encoding="utf-8", errors="replace").rstrip("\n")
            except FileNotFoundError:
                continue
            if number is not None:
                text = "\n".join(text.splitlines()[-number:] if number else [])
            parts.append(f"==> {file.stem} <==\n{text}" if len(files) > 1 else text)
        return LogText("\n".join(parts))

    def scale(self, replicas: int) -> None:
        wanted = replicas_of(replicas)
        status = self.status
        if status.ended:
            raise RunError(f"{self.name} has ended ({status.phase}); it cannot be scaled")
        if not self._job.spec.environment.played:
            raise InputError(f"replicas: {wanted} is not allowed; {NO_ROLLOUTS.format(self.name)}")
        if self._job.spec.strict and wanted != 1:
            raise InputError(f"replicas: {wanted} is not allowed with strict: true; only 1")
        rollouts.ask(self.folder, wanted)

    def stop(self) -> None:
        """Stop the run: its learner saves a checkpoint first. Returns when the run has ended."""
        self._end(signal.SIGTERM)

    def resume(self) -> None:
        if self._works:
            return
        self._run = background.start(Request(None, directory=self._there, resume=True))

    def delete(self) -> None:
        """End the run without a checkpoint and delete its folder."""
        self._end(signal.SIGTERM, again=True)
        if self.folder.exists():
            # Also where a deletion was broken off, which may have taken the job's file first.
            folder = RunFolder(self.folder, [], fresh=False)
            try:
                self._remove()
            finally:
                folder.close()

    def _remove(self) -> None:
        """Remove the folder. Roles whose supervisor was killed may write into it for some seconds more."""
        deadline = time.monotonic() + END_SECONDS
        while True:
            try:
                shutil.rmtree(self.folder)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RunError(f"cannot delete {self.folder}: {error.strerror}") from error
            time.sleep(LOOK_EVERY)

    def result(self) -> Result:
        if self._works:
            raise InputError(f"{self.name} has not ended; `wait` waits for its end")
        folder = self._there
        if json_files.read(folder / RESULT) is None:
            raise RunError(
                f"{self.name} has no result: the process that ran it was killed. `resume` goes on from its newest checkpoint"
            )
        return Result.read(folder)

    def policy(self, seed: int | None = None) -> TrainedPolicy:
        from rljob.policies.load import load_folder

        return load_folder(self._there, seed)

    def history(self) -> dict[str, np.ndarray]:
        return history.training(self._there)

    def records(self) -> Iterator[Sequence[Record]]:
        tail = Tail(self.folder / METRICS, 0)
        while True:
            yield [Record.from_json(line) for line in tail.new()]

    @property
    def _works(self) -> bool:
        """Whether a process works on the run."""
        try:
            return is_worked_on(self.folder)
        except FileNotFoundError:
            return False

    @property
    def _there(self) -> Path:
        if not self.folder.exists():
            error = self._run.error() if self._run is not None and not self._works else None
            raise error or RunError(f"the run in {self.folder} was deleted")
        return self.folder

    def _status(self, phase: str, reason: str, message: str) -> JobStatus:
        folder = self.folder
        last = last_record(folder / METRICS) or Record()
        result = json_files.read(folder / RESULT) if phase not in ("Starting", "Training") else None
        if result is not None:
            last = Record.from_json({**last.to_json(), **result})
        return JobStatus.of(
            last,
            name=self.name,
            phase=phase,
            reason=reason,
            message=message,
            checkpoint_step=last.checkpoint.step if last.checkpoint is not None else None,
            rollouts=rollouts.counts(self._job.spec, folder).get("rollout", 0),
            restarts=sum(restarts_of(folder).values()),
        )

    def _end(self, number: signal.Signals, again: bool = False) -> None:
        """Ask the run to end, twice to skip its checkpoint, and wait until it has ended."""
        told, deadline = 0, time.monotonic() + END_SECONDS
        while self._works:
            if told < 1 + again:
                try:
                    told += tell(self.folder, number)
                except UnknownProcess:
                    # It says which process it is shortly after it has locked the folder, and not while it deletes it.
                    if time.monotonic() > deadline:
                        raise
            time.sleep(LOOK_EVERY)

    def __repr__(self) -> str:
        try:
            return f"<{self.folder}: {self.status.summary}>"
        except RLJobError as error:
            return f"<{self.folder}: {error}>"


def _ended_since(folder: Path, run: BackgroundRun) -> bool:
    """Whether another process has resumed the run since this one ended, and brought it to its end."""
    result = json_files.read(folder / RESULT) or {}
    if result.get("outcome") not in ("Complete", "Failed"):
        return False
    with suppress(OSError):
        return (folder / RESULT).stat().st_mtime > run.ended_at
    return False
