"""The loop of a run on one machine: start the roles, watch them, start them again, end them all."""

from __future__ import annotations

import json
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rljob import errorfile
from rljob.errors import InputError
from rljob.local.folder import BUFFER, JOB, LOGS, METRICS, RESULT
from rljob.local.prepare import Wiring
from rljob.local.restarts import MOST_DEATHS, WINDOW_SECONDS, Mark, Restarts
from rljob.local.result import Tail
from rljob.local.spawner import Exit, Spawner
from rljob.local.view import View
from rljob.spec import RLJob, locate

TURN_SECONDS = 0.1
"""Longest time between two looks at everything."""
LEARNER_GRACE = 30.0
"""Seconds that the learner has to save its last checkpoint."""
GRACE = 3.0
"""Seconds that the other roles have to end."""
LAST_LINES = 15

LEARNER = "learner-0"
EVALUATION = "evaluation"


@dataclass
class Stop:
    """Asks a run to end; set by a signal handler, or from another thread.

    Attributes:
        number: the signal that asked, None as long as nobody did.
        times: how often; from the second time on, nothing is waited for.
    """

    number: int | None = None
    times: int = 0

    def request(self, number: int) -> None:
        self.number = self.number or number
        self.times += 1


@dataclass
class Role:
    """One replica of a role.

    Attributes:
        state: `starting`, `running`, `restarting` or `ended`.
        due: when it is to be started, in the clock's seconds; None when it runs or has ended.
        logged: size of its log when it was started.
    """

    name: str
    kind: str
    index: int
    log: Path
    restarts: Restarts
    state: str = "starting"
    due: float | None = None
    logged: int = 0
    started: float = 0.0
    died: float | None = None


@dataclass(frozen=True)
class Ending:
    """Why the loop ended.

    Attributes:
        reason: empty when the learner completed or was stopped, and its `result.json` says all.
        log, last_lines: of the role that failed.
        error: what was wrong with the input, found by a role.
    """

    reason: str = ""
    message: str = ""
    log: Path | None = None
    last_lines: str = ""
    error: InputError | None = None


@dataclass
class Supervisor:
    """One run's processes.

    Attributes:
        record: the newest line of `metrics.jsonl`; empty before the first.
        stopped: whether the run was asked to end.
    """

    job: RLJob
    folder: Path
    spawner: Spawner
    wiring: Wiring
    view: View
    stop: Stop
    on_record: Callable[[dict[str, Any], int, dict[str, str]], None]
    clock: Callable[[], float] = time.monotonic
    record: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False

    def __post_init__(self) -> None:
        spec = self.job.spec
        counts = {"learner": 1, "buffer": 1, "rollout": spec.rollout.replicas}
        if spec.evaluation is not None:
            counts["evaluator"] = 1
        self.roles = {
            f"{kind}-{index}": self._role(kind, index)
            for kind, count in counts.items()
            for index in range(count)
        }
        self._tail = Tail(self.folder / METRICS)
        self._mark = Mark()
        self._announced = False

    def _role(self, kind: str, index: int) -> Role:
        limit = Restarts(MOST_DEATHS, WINDOW_SECONDS)
        if kind == "learner":
            limit = Restarts(self.job.spec.backoff_limit, None)
        name = f"{kind}-{index}"
        return Role(name, kind, index, self.folder / LOGS / f"{name}.log", limit)

    @property
    def restarts(self) -> int:
        """Roles that were started again so far."""
        return sum(role.restarts.attempt for role in self.roles.values())

    @property
    def states(self) -> dict[str, str]:
        return {role.name: role.state for role in self.roles.values()}

    def run(self) -> Ending:
        """Start everything and watch until the run is over; the roles are still to be ended."""
        deadline = self.job.spec.active_deadline_seconds
        began = self.clock()
        (self.folder / LOGS).mkdir(exist_ok=True)
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
                return Ending("DeadlineExceeded", f"activeDeadlineSeconds: {deadline} have passed")

    def _turn(self) -> Ending | None:
        for exited in self._exits():
            ending = self._exited(exited)
            if ending is not None:
                return ending
        now = self.clock()
        for role in self.roles.values():
            if role.due is not None and role.due <= now:
                self._start(role)
            if role.state == "starting" and role.kind != "learner" and _ready(role):
                self._running(role)
        self._report()
        return None

    def _exits(self) -> list[Exit]:
        readable, _, _ = select.select([self.spawner], [], [], TURN_SECONDS)
        return self.spawner.events() if readable else []

    def _exited(self, exited: Exit) -> Ending | None:
        role = self.roles[exited.name]
        role.state, role.died = "ended", self.clock()
        error = errorfile.take(self._error_file(role))
        if exited.status == 0 and role.kind == "learner" and self._complete():
            return Ending()
        if exited.status == InputError.exit_code:
            if not isinstance(error, InputError):
                error = InputError(last_lines(role.log, 1) or f"{role.name} refused its input")
            error = locate(self.job, error)
            return Ending("InputError", str(error), error=error)
        self._report()
        verdict = role.restarts.died(self._mark, self.clock())
        what = f"{role.name} {_died(exited.status)}"
        if exited.status > 0:
            what = f"{what}: {error or last_lines(role.log, 1)}"
        if verdict.delay is None:
            times = f"{verdict.deaths} times" if verdict.deaths > 1 else "once"
            message = f"{what}; this happened {times} without progress"
            return Ending("CrashLoop", message, role.log, last_lines(role.log, LAST_LINES))
        role.state, role.due = "restarting", self.clock() + verdict.delay
        self.view.event(f"{what}; starts again after {verdict.delay:.1f} s")
        return None

    def _complete(self) -> bool:
        """Whether the learner has reached the job's end; one that was only told to stop has not."""
        try:
            return bool(json.loads((self.folder / RESULT).read_text())["outcome"] == "Complete")
        except FileNotFoundError:
            return False

    def _start(self, role: Role) -> None:
        wiring = self.wiring
        own = self.folder / BUFFER if role.kind == "buffer" else self.folder
        argv = ["role", role.kind, "--job", str(self.folder / JOB), "--index", str(role.index)]
        argv += ["--attempt", str(role.restarts.attempt), "--dir", str(own)]
        argv += ["--buffer", wiring.buffer, "--learner", wiring.learner]
        argv += ["--error-file", str(self._error_file(role))]
        if wiring.keys is not None:
            argv += ["--keys", str(wiring.keys)]
        if wiring.trace is not None:
            argv += ["--trace", str(wiring.trace)]
        if wiring.resume and role.kind == "learner":
            argv.append("--resume")
        role.state, role.due, role.started = "starting", None, self.clock()
        role.logged = role.log.stat().st_size if role.log.exists() else 0
        self.spawner.spawn(role.name, argv, role.log, wiring.path)

    def _error_file(self, role: Role) -> Path:
        return self.wiring.scratch / f"{role.name}.error"

    def _running(self, role: Role) -> None:
        role.state = "running"
        if role.died is not None:
            self.view.event(f"{role.name} is back after {self.clock() - role.died:.1f} s")
            role.died = None

    def _report(self) -> None:
        """Take new lines of metrics; the newest is shown."""
        records = list(self._tail.new())
        for record in records:
            saved = record.get("checkpoint") or {}
            here = Mark(record["steps"], saved.get("policyVersion", -1))
            self._mark = self._mark.furthest(here)
            self.record = record
            learner = self.roles[LEARNER]
            if learner.state == "starting":
                self._running(learner)
            self.on_record(record, self.restarts, self.states)
        self.view.progress(self.record, self.restarts, self.states)

    @property
    def trained(self) -> bool:
        """Whether there is anything to keep."""
        return self.wiring.resume or self._mark.steps > 0

    def finish_learner(self) -> None:
        """Have the learner save a checkpoint and write its result."""
        self.spawner.signal(LEARNER, signal.SIGTERM)
        self._await([LEARNER], LEARNER_GRACE)

    def evaluate(self, episodes: int) -> dict[str, Any] | None:
        """Play greedy episodes of the final policy in a process of its own, which a request to stop
        ends; None when that came or playing failed."""
        log = self.folder / LOGS / f"{EVALUATION}.log"
        argv = ["eval", str(self.folder), "--episodes", str(episodes), "--json"]
        argv += ["--seed", str((self.job.spec.seed or 0) % 2**32)]
        asked = self.stop.times
        self.spawner.spawn(EVALUATION, argv, log, self.wiring.path)
        while EVALUATION in self.spawner.running:
            self._exits()
            if self.stop.times > asked:
                self.spawner.signal(EVALUATION, signal.SIGKILL)
        try:
            played = json.loads(last_lines(log, 1))
            return {name: played[name] for name in ("mean", "std", "min", "max", "episodes")}
        except (ValueError, KeyError, TypeError):
            self.view.event(f"the final policy was not evaluated: {last_lines(log, 1)}")
            return None

    def end(self, kill: bool = False) -> None:
        """End what still runs: those that produce first, so that the buffer takes what they have."""
        if not kill:
            self._end_orderly()
        for name in self.roles:
            self.spawner.signal(name, signal.SIGKILL)
        self._await(list(self.roles), GRACE)
        for record in self._tail.new():
            self.record = record

    def _end_orderly(self) -> None:
        producing = [
            role.name for role in self.roles.values() if role.kind in ("rollout", "evaluator")
        ]
        for names in (producing, ["buffer-0", LEARNER]):
            for name in names:
                self.spawner.signal(name, signal.SIGTERM)
            self._await(names, GRACE)

    def _await(self, names: Sequence[str], seconds: float) -> None:
        deadline = self.clock() + seconds
        waiting = {name for name in names if name in self.spawner.running}
        while waiting and self.clock() < deadline and self.stop.times < 2:
            waiting -= {exited.name for exited in self._exits()}
            self._report()


def _ready(role: Role) -> bool:
    """Whether a role has said where its metrics are, which it does when it is about to work."""
    try:
        with role.log.open("rb") as file:
            file.seek(role.logged)
            return b": metrics at http" in file.read()
    except FileNotFoundError:
        return False


def _died(status: int) -> str:
    if status == 0:
        return "ended by itself"
    if status > 0:
        return f"failed (exit code {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed ({name})"


def last_lines(log: Path, count: int) -> str:
    """The last lines of a log that are not empty."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-count:])
