"""`rljob.run`: trains a job on this machine."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rljob.errors import InputError, RLJobError, RunError
from rljob.local.prepare import Request, Transport, prepare, wire
from rljob.local.result import Result, RunFailed, RunProgress
from rljob.local.spawner import Spawner
from rljob.local.supervisor import Ending, Stop, Supervisor
from rljob.local.view import View
from rljob.process import final_evaluation
from rljob.run_folder import json_files, modules
from rljob.run_folder.folder import RunFolder
from rljob.run_folder.names import BUFFER, KEYS, RESULT
from rljob.run_folder.process import working_on
from rljob.run_folder.provenance import versions
from rljob.run_folder.record import Record
from rljob.spec import JobLike, RLJob
from rljob.spec.file import checked_overrides
from rljob.user_code.entry_point import importing
from rljob.user_code.host import host


class Quiet:
    """A view that shows nothing."""

    def started(self, job: RLJob, folder: Path) -> None: ...

    def progress(self, record: Record | None, restarts: int, roles: dict[str, str]) -> None: ...

    def event(self, text: str) -> None: ...

    def finished(self, result: dict[str, Any], folder: Path) -> None: ...

    def close(self) -> None: ...


def run(
    job: JobLike,
    *,
    dir: str | Path | None = None,  # noqa: A002 - as the command's option
    seed: int | None = None,
    resume: bool = False,
    transport: Transport = "ipc",
    code: str | Path | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
    overrides: Sequence[str] = (),
) -> Result:
    """Train a job on this machine and return the result.

    The roles run as separate processes; the calling script needs no `__main__` guard. An interrupt
    (Ctrl-C) saves a checkpoint first.

    Args:
        job: a YAML file, a mapping in the form of the YAML, or an `RLJob`.
        dir: the run's folder; by default `runs/NAME-N` with the next free N.
        seed: replaces the job's seed.
        resume: resume the run in the folder `dir`, or the newest run of this job.
        transport: transport between the processes: `ipc`, or `tcp` with encryption.
        code: folder of modules that goes with the job, as for `rljob.submit`; the run uses a copy.
        on_progress: called in this thread for each line of `metrics.jsonl`, several times per second.
        overrides: `path=value` as for `rljob run --set`, e.g. `algorithm.config.learningRate=1e-3`.

    Raises:
        InputError: the job is invalid; no files are left.
        RunError: the run cannot be started, for example by a module that a role imports.
        RunFailed: the run failed; its `result` contains the progress up to the failure.
    """
    check_caller("run")
    request = request_for(job, dir, seed, resume, transport, overrides, code)
    values, folder = launch(request, Spawner(), Quiet(), Stop(), on_progress)
    result = Result.from_json(values, folder)
    if result.outcome == "Failed":
        raise RunFailed("\n".join(filter(None, [result.message, result.last_lines])), result)
    return result


def check_caller(name: str) -> None:
    """Refuse a call of `rljob.NAME` that would start another run for each process of a run.

    Raises:
        RunError: a module that a role imports calls it when it is imported.
        InputError: an environment, network or algorithm calls it.
    """
    if (module := importing()) is not None:
        raise RunError(
            f"{module} starts a run when it is imported. Put `rljob.{name}(...)` below "
            '`if __name__ == "__main__":`, or what the job names into a module of its own'
        )
    if (role := host()) is not None:
        caller = sys._getframe(2)
        raise InputError(
            f"{caller.f_code.co_filename}:{caller.f_lineno} starts a run in {role}: an environment, network, "
            f"algorithm or hook must not call rljob.{name}"
        )


def request_for(
    job: JobLike | None,
    directory: str | Path | None,
    seed: int | None,
    resume: bool,
    transport: Transport,
    overrides: Sequence[str],
    code: str | Path | None = None,
) -> Request:
    """The request that the arguments of `run` stand for."""
    given = checked_overrides(overrides)
    if seed is not None:
        given = (*given, f"seed={seed}")
    # Without a file, the folder of the calling script.
    search = (Path(job).parent if isinstance(job, str | Path) else Path(sys.path[0]),)
    return Request(
        job,
        given,
        Path(directory) if directory is not None else None,
        resume,
        transport,
        search=search if code is None else (),
        code=Path(code) if code is not None else None,
    )


def launch(
    request: Request,
    spawner: Spawner,
    view: View,
    stop: Stop,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Run a job to its end. Returns the content of `result.json`, and the run's folder.

    Args:
        spawner: a started spawner, because the start takes time; it is closed at the end.

    Raises:
        InputError: the job is invalid.
        RunError: the folder cannot be written or the processes cannot be started.
    """
    try:
        job, folder = prepare(request)
        return launch_prepared(request, job, folder, spawner, view, stop, on_progress)
    finally:
        spawner.close(kill=stop.times > 1)


def launch_prepared(
    request: Request,
    job: RLJob,
    folder: RunFolder,
    spawner: Spawner,
    view: View,
    stop: Stop,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Run what `prepare` returned, as `launch`; the folder is closed at the end."""
    try:
        request = _with_modules(request, folder.path)
        with working_on(folder.path):
            return _launch(request, job, folder, spawner, view, stop, on_progress)
    finally:
        folder.close()


def heed_signals(stop: Stop) -> None:
    """Make the signals that end a process requests to stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # It is ignored under nohup.
            signal.signal(number, lambda received, _: stop.request(received))


def _with_modules(request: Request, folder: Path) -> Request:
    """Remember where a new run's modules are; add what was remembered to a resumed one."""
    if request.resume:
        known = (Path(place) for place in modules.search_path(folder))
        return replace(request, search=(*request.search, *known))
    try:
        modules.remember(folder, request.search)
    except OSError as error:
        raise RunError(f"cannot write to the run's folder {folder}: {error.strerror}") from error
    return request


def _launch(
    request: Request,
    job: RLJob,
    folder: RunFolder,
    spawner: Spawner,
    view: View,
    stop: Stop,
    on_progress: Callable[[RunProgress], None] | None,
) -> tuple[dict[str, Any], Path]:
    def report(record: Record, restarts: int, roles: dict[str, str]) -> None:
        if on_progress is not None:
            on_progress(RunProgress.of(record, restarts, roles))

    kept = job.spec.saves_replay
    buffer = folder.path / BUFFER
    if not kept:
        spawner.remove_at_end(buffer)
    spawner.remove_at_end(folder.path / KEYS)
    wiring = wire(request, job, spawner.scratch, folder.path)
    supervisor = Supervisor(job, folder.path, spawner, wiring, view, stop, report)
    try:
        view.started(job, folder.path)
        result = _supervise(supervisor, folder)
        if not kept or result["outcome"] == "Complete":
            shutil.rmtree(buffer, ignore_errors=True)
        view.finished(result, folder.path)
    finally:
        view.close()
    return result, folder.path


def _supervise(supervisor: Supervisor, folder: RunFolder) -> dict[str, Any]:
    """Run the job, end all processes and write the result."""
    try:
        ending = supervisor.run()
        in_vain = ending.error is not None and not supervisor.trained
        supervisor.end(kill=in_vain)
    except KeyboardInterrupt:
        supervisor.stop.request(signal.SIGINT)
        supervisor.finish_learner()
        supervisor.end()
        _conclude(supervisor, Ending())
        raise
    except RLJobError as error:
        return _conclude(supervisor, Ending("LauncherLost", str(error)))
    if ending.error is not None and in_vain:
        folder.discard()
        raise ending.error
    return _conclude(supervisor, ending)


def _conclude(supervisor: Supervisor, ending: Ending) -> dict[str, Any]:
    """Complete the result. The learner writes `result.json`, unless it was killed."""
    folder = supervisor.folder
    # A job that never trained here leaves the earlier run's result as it is.
    refused = supervisor.untouched
    earlier = None if refused else json_files.read(folder / RESULT)
    result = earlier or _from_record(supervisor, ending.complete)
    if ending.reason and result["outcome"] != "Complete":
        result |= {"outcome": "Failed", "reason": ending.reason, "message": ending.message}
        if ending.log is not None:
            result |= {"log": str(ending.log), "lastLines": ending.last_lines}
    evaluation = supervisor.job.spec.evaluation
    if result["outcome"] == "Complete" and evaluation is not None:
        result["evaluation"] = played = supervisor.evaluate()
        missed = final_evaluation.shortfall(supervisor.job.spec, played)
        if missed is not None:
            result |= {"outcome": "Failed", "reason": missed.reason, "message": missed.message}
    result["restarts"] = supervisor.restarts
    if not refused:
        try:
            json_files.write(folder / RESULT, result)
        except OSError as error:
            supervisor.view.event(f"{RESULT} cannot be written: {error.strerror}")
    return dict(result)


def _from_record(supervisor: Supervisor, complete: str) -> dict[str, Any]:
    """Result of a run whose learner wrote none, from its newest record.

    Args:
        complete: why it completed, if it did: its disk may have been full.
    """
    record = supervisor.record or Record()
    return {
        "outcome": "Complete" if complete else "Stopped",
        "reason": complete or "Interrupted",
        "meanReturn": record.mean_return,
        "bestReturn": record.best_return,
        "steps": record.steps,
        "episodes": record.episodes,
        "updates": record.updates,
        "seconds": record.seconds,
        "policyVersion": record.policy_version or 0,
        "seed": supervisor.job.spec.seed,
        "versions": versions(),
    }
