"""Main loop of a run on one machine: starts, watches, restarts and ends the roles."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rljob.algorithms import needs_torch
from rljob.diagnosis import hook_failures, set_aside
from rljob.diagnosis.stall import Stall
from rljob.errors import INTERRUPTED, InputError
from rljob.local.application_access import close_run
from rljob.local.prepare import Wiring, write_job
from rljob.local.restarts import RunPosition
from rljob.local.roles import (
    Role,
    arguments,
    end_file,
    exit_text,
    last_lines,
    make_roles,
    port_file,
    port_of,
)
from rljob.local.scaling import RolloutScaling
from rljob.local.spawner import Exit, Spawner
from rljob.local.stalled import StallWatch
from rljob.local.targets import Targets
from rljob.local.view import View
from rljob.process import final_evaluation, termination_message
from rljob.run_folder import json_files, rollouts, token
from rljob.run_folder.events import Events
from rljob.run_folder.json_files import Tail
from rljob.run_folder.names import EVENTS, LOGS, METRICS, RESULT, SET_ASIDE, TARGETS, TOKEN
from rljob.run_folder.record import Record, SavedCheckpoint, read_records
from rljob.spec import RLJob, locate
from rljob.spec.roles import CLIENTS, SERVERS

TURN_SECONDS = 0.1
"""Longest time between two checks of all roles."""
LEARNER_GRACE = 30.0
"""Grace period of the learner, in which it saves its last checkpoint."""
GRACE = 3.0
"""Grace period of the other roles."""
LAST_LINES = 15

LEARNER = "learner-0"
EVALUATION = "evaluation"


@dataclass
class Stop:
    """Request to stop a run; set by a signal handler or from another thread.

    Attributes:
        number: the signal; None without a request.
        times: number of requests; from the second on, the grace periods are skipped.
    """

    number: int | None = None
    times: int = 0

    def request(self, number: int) -> None:
        self.number = self.number or number
        self.times += 1


@dataclass(frozen=True)
class Ending:
    """Reason for the end of the loop.

    Attributes:
        reason: empty if the learner completed or was stopped; `result.json` then has the reason.
        log, last_lines: log of the role that failed, and its last lines.
        error: an input error found by a role.
        complete: reason for which the learner completed, in case that it could not write its result.
    """

    reason: str = ""
    message: str = ""
    log: Path | None = None
    last_lines: str = ""
    error: InputError | None = None
    complete: str = ""


@dataclass
class Supervisor:
    """The processes of one run.

    Attributes:
        record: the learner's newest record; None before the first.
        trained: whether a learner of this supervisor has written a record.
        stopped: whether a stop was requested.
    """

    job: RLJob
    folder: Path
    spawner: Spawner
    wiring: Wiring
    view: View
    stop: Stop
    on_record: Callable[[Record, int, dict[str, str]], None]
    clock: Callable[[], float] = time.monotonic
    record: Record | None = None
    trained: bool = False
    stopped: bool = False

    def __post_init__(self) -> None:
        self.roles = make_roles(self.job.spec, self.folder)
        self._scaling = RolloutScaling(self.job.spec, self.folder)
        self._tail = Tail(self.folder / METRICS)
        self._targets = Targets(self.folder / TARGETS, self.job.metadata.name)
        self._events = Events(self.folder / EVENTS)
        self._mark = RunPosition()
        self._announced = False
        self._stalls = StallWatch(self.job.spec, self.wiring.token, self.clock())
        self._earlier = _identity(self.folder / RESULT)
        if self.wiring.resume:
            self.record = next(reversed(read_records(self.folder / METRICS)), None)

    @property
    def restarts(self) -> int:
        """Number of restarts so far."""
        everyone = (*self.roles.values(), *self._scaling.removed.values())
        return sum(role.restarts.attempt for role in everyone)

    @property
    def untouched(self) -> bool:
        """Whether the folder has the result of an earlier run, and no learner has accepted this job."""
        earlier = self._earlier
        return earlier is not None and earlier == _identity(self.folder / RESULT)

    @property
    def states(self) -> dict[str, str]:
        return {role.name: role.state for role in self.roles.values()}

    def run(self) -> Ending:
        """Start the roles and watch them until the run ends. `end` then ends the roles."""
        deadline = self.job.spec.active_deadline_seconds
        began = self.clock()
        (self.folder / LOGS).mkdir(exist_ok=True)
        token.write(self.folder / TOKEN, self.wiring.token)
        for role in self.roles.values():
            self._start(role)
        while True:
            ending = self._turn()
            if ending is not None:
                return ending
            if self.stop.times and not self.stopped:
                self.stopped = True
                self.finish_learner()
                return Ending()
            if deadline is not None and self.clock() - began >= deadline:
                self.finish_learner()
                return Ending(
                    "DeadlineExceeded", f"the run exceeded activeDeadlineSeconds: {deadline}"
                )

    def _turn(self) -> Ending | None:
        for exited in self.spawner.exits(TURN_SECONDS):
            ending = self._exited(exited)
            if ending is not None:
                return ending
        self._scale()
        now = self.clock()
        self._kill_late(now)
        for role in self.roles.values():
            if role.due is not None and role.due <= now:
                self._start(role)
            if role.state == "starting" and role.port is None:
                role.port = port_of(role, self.wiring)
            if role.state == "starting" and role.port is not None and role.kind != "learner":
                self._running(role)
        self._announce()
        self._targets.show(self.roles.values())
        self._report()
        stall = self._stalls.look(self.record, self.roles.values(), now)
        return None if stall is None else self._stalled(stall)

    def _stalled(self, stall: Stall) -> Ending | None:
        policy = self.job.spec.stall.policy
        if not stall.ends:
            self.view.event(f"no progress for {self.job.spec.stall.timeout}: {stall.message}")
        self._events.add(stall.name or "", "stalled", f"{stall.reason}: {stall.message}")
        log = None
        if stall.name is not None:
            log = self.roles[stall.name].log
            with suppress(OSError), log.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in (stall.message, *stall.stack))
        if policy == "Fail" or stall.ends:
            return Ending(stall.reason, stall.message, log, "\n".join(stall.stack))
        if policy == "Restart":
            for name in stall.stuck:
                self.spawner.signal(name, signal.SIGKILL)
        return None

    def _scale(self) -> None:
        """Start the rollouts that are missing from the number that was asked for, and end those beyond it."""
        wanted = rollouts.asked(self.folder)
        if wanted is None:
            return
        added, surplus = (
            self._scaling.missing(wanted, self.roles),
            self._scaling.surplus(wanted, self.roles),
        )
        for role in added:
            self.roles[role.name] = role
            self._start(role)
        for role in surplus:
            role.state, role.due = "ending", None
            role.killed_at = self.clock() + GRACE
            if role.name in self.spawner.running:
                self.spawner.signal(role.name, signal.SIGTERM)
            else:
                self._remove(role)
        if added or surplus:
            names = ", ".join(role.name for role in (*added, *surplus))
            self.view.event(f"scaled to {wanted}: {names} {'started' if added else 'ended'}")

    def _kill_late(self, now: float) -> None:
        """Kill rollouts that were to end and have not: an environment that hangs heeds no signal."""
        for role in self.roles.values():
            if role.killed_at is not None and role.killed_at <= now:
                role.killed_at = None
                self.spawner.signal(role.name, signal.SIGKILL)

    def _remove(self, role: Role) -> None:
        role.killed_at = None
        self._scaling.removed[role.name] = self.roles.pop(role.name)

    def _exited(self, exited: Exit) -> Ending | None:
        role = self.roles[exited.name]
        if role.state == "ending":
            self._remove(role)
            return None
        role.state, role.died = "ended", self.clock()
        end = termination_message.take(end_file(role, self.wiring))
        error = end.error if end is not None else None
        if exited.status == 0 and role.kind == "learner":
            done = end is not None and end.outcome == "Complete"
            return Ending(complete=end.reason if end is not None and done else "")
        if exited.status == InputError.exit_code:
            if not isinstance(error, InputError):
                error = InputError(
                    last_lines(role.log, 1) or f"{role.name} found its input invalid"
                )
            error = locate(self.job, error)
            return Ending("InputError", str(error), error=error)
        self._report()
        verdict = role.restarts.died(self._mark, self.clock())
        how = exit_text(exited.status)
        if exited.status > 0 and exited.status != INTERRUPTED:
            how = f"{how}: {error or last_lines(role.log, 1)}"
        what = f"{role.name} {how}"
        self._events.add(role.name, "died", how)
        if verdict.delay is None:
            times = f"{verdict.deaths} times" if verdict.deaths > 1 else "once"
            message = f"{what}; {times} without progress"
            return Ending("CrashLoop", message, role.log, last_lines(role.log, LAST_LINES))
        role.state, role.due = "restarting", self.clock() + verdict.delay
        self.view.event(f"{what}; restarting in {verdict.delay:.1f} s")
        return None

    def _start(self, role: Role) -> None:
        role.state, role.due, role.port, role.started = "starting", None, None, self.clock()
        port_file(role, self.wiring).unlink(missing_ok=True)
        role.starts += 1
        argv = arguments(role, self.folder, self.wiring)
        torch = needs_torch(self.job.spec.algorithm)
        self.spawner.spawn(role.name, argv, role.log, self.wiring.path, torch)

    def _announce(self) -> None:
        ports = [f"{role.name} {role.port}" for role in self.roles.values() if role.port]
        if not self._announced and len(ports) == len(self.roles):
            self._announced = True
            if self.job.spec.rollout.applications is not None:
                shown = os.path.relpath(self.folder)
                self.view.event(f'applications connect with rljob.Agent("{shown}")')
            self.view.event(f"metrics at http://127.0.0.1:PORT/metrics: {', '.join(ports)}")

    def _running(self, role: Role) -> None:
        role.state = "running"
        if role.died is not None:
            self.view.event(f"{role.name} is back after {self.clock() - role.died:.1f} s")
            self._events.add(role.name, "back")
            role.died = None

    def _report(self) -> None:
        """Read new records and show the newest."""
        for line in self._tail.new():
            record = Record.from_json(line)
            saved = record.checkpoint or SavedCheckpoint()
            here = RunPosition(record.steps, saved.policy_version)
            self._mark = self._mark.furthest(here)
            if self.wiring.resume and not self.trained:
                write_job(self.job, self.folder)
            self._tell_set_aside(record)
            self._tell_hook_failures(record)
            self.record, self.trained = record, True
            learner = self.roles[LEARNER]
            if learner.state == "starting":
                self._running(learner)
            self.on_record(record, self.restarts, self.states)
        self.view.progress(self.record, self.restarts, self.states)

    def _tell_set_aside(self, record: Record) -> None:
        if record.set_aside > (self.record or Record()).set_aside:
            self.view.event(set_aside.words(record.set_aside, str(self.folder / SET_ASIDE)))

    def _tell_hook_failures(self, record: Record) -> None:
        failed, before = record.hook_failures, (self.record or Record()).hook_failures
        if failed is not None and (before is None or before.message != failed.message):
            log = self.roles[LEARNER].log
            self.view.event(f"{hook_failures.words(failed.count, failed.message)} (see {log})")

    def finish_learner(self) -> None:
        """Stop the learner. It saves a checkpoint and writes its result; without a record, it is killed."""
        self.spawner.signal(LEARNER, signal.SIGTERM if self.trained else signal.SIGKILL)
        self._await([LEARNER], LEARNER_GRACE)

    def evaluate(self) -> dict[str, Any] | None:
        """Play greedy episodes of the final policy in a separate process. Returns None on a failure or a
        request to stop."""
        log = self.folder / LOGS / f"{EVALUATION}.log"
        result = self.wiring.scratch / "evaluation.json"
        argv = final_evaluation.command(self.job.spec, self.folder, result)
        requests = self.stop.times
        self.spawner.spawn(EVALUATION, argv, log, self.wiring.path)
        while EVALUATION in self.spawner.running:
            self.spawner.exits(TURN_SECONDS)
            if self.stop.times > requests:
                self.spawner.signal(EVALUATION, signal.SIGKILL)
        played = json_files.read(result)
        if played is None:
            self.view.event(f"the final policy was not evaluated: {last_lines(log, 1)}")
            return None
        if played.get("cutOff"):
            self.view.event(
                f"{played['cutOff']} of {played['episodes']} episodes of the final policy were cut off "
                f"after {max(played['lengths']):,} steps: the environment has no time limit"
            )
        return final_evaluation.kept(played)

    def end(self, kill: bool = False) -> None:
        """End all running roles. Rollouts end first, so that the buffer still accepts their data."""
        if not kill:
            self._end_orderly()
        for name in self.roles:
            self.spawner.signal(name, signal.SIGKILL)
        self._await(list(self.roles), GRACE)
        self._targets.remove()
        (self.folder / TOKEN).unlink(missing_ok=True)
        close_run(self.folder)
        for line in self._tail.new():
            self.record = Record.from_json(line)

    def _end_orderly(self) -> None:
        for kinds in (CLIENTS, SERVERS):
            names = [
                role.name for kind in kinds for role in self.roles.values() if role.kind == kind
            ]
            for name in names:
                self.spawner.signal(name, signal.SIGTERM)
            self._await(names, GRACE)

    def _await(self, names: Sequence[str], seconds: float) -> None:
        deadline = self.clock() + seconds
        waiting = {name for name in names if name in self.spawner.running}
        while waiting and self.clock() < deadline and self.stop.times < 2:
            waiting -= {exited.name for exited in self.spawner.exits(TURN_SECONDS)}
            self._report()


def _identity(path: Path) -> tuple[int, int] | None:
    """Differs once a file has been replaced; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
