"""The roles of one run: command line, state, log and end report of each."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from rljob.errors import INTERRUPTED
from rljob.local.prepare import Wiring
from rljob.local.restarts import MOST_DEATHS, WINDOW_SECONDS, Restarts
from rljob.run_folder.names import BUFFER, LOGS, SET_ASIDE, TOKEN
from rljob.spec import RLJobSpec
from rljob.spec.roles import ROLES, START_ORDER, RoleName, role_counts


@dataclass
class Role:
    """One replica of a role.

    Attributes:
        state: `starting`, `running`, `restarting`, `ended`, or `ending` for a rollout that is too many.
        due: time of the next start in the clock's seconds; None if it is running or has ended.
        died: time of death in the clock's seconds, until it is running again.
        port: port of its metrics.
        started: time of the last start in the clock's seconds.
        starts: number of starts.
        killed_at: when a rollout that is too many is killed, if it has not ended by then; None for others.
    """

    name: str
    kind: RoleName
    index: int
    log: Path
    restarts: Restarts
    state: str = "starting"
    due: float | None = None
    died: float | None = None
    port: int | None = None
    started: float = 0.0
    starts: int = 0
    killed_at: float | None = None


def make_roles(spec: RLJobSpec, folder: Path) -> dict[str, Role]:
    """All replicas by name, in the order of their start."""
    wanted, roles = role_counts(spec), dict[str, Role]()
    for kind in START_ORDER:
        for index in range(wanted.get(kind, 0)):
            role = make_role(spec, folder, kind, index)
            roles[role.name] = role
    return roles


def make_role(spec: RLJobSpec, folder: Path, kind: RoleName, index: int) -> Role:
    """One replica that has not started."""
    limit = Restarts(MOST_DEATHS, WINDOW_SECONDS)
    if ROLES[kind].counts_failures:
        limit = Restarts(spec.backoff_limit, None)
    name = f"{kind}-{index}"
    return Role(name, kind, index, folder / LOGS / f"{name}.log", limit)


def arguments(role: Role, folder: Path, wiring: Wiring) -> list[str]:
    """Arguments of `rljob` for this role."""
    own = folder / BUFFER if role.kind == "buffer" else folder
    argv = ["role", role.kind, "--job", str(wiring.job), "--index", str(role.index)]
    argv += ["--attempt", str(role.starts - 1), "--dir", str(own)]
    argv += ["--buffer", wiring.buffer, "--learner", wiring.learner]
    argv += ["--end-file", str(end_file(role, wiring))]
    argv += ["--port-file", str(port_file(role, wiring)), "--token", str(folder / TOKEN)]
    if role.kind == "buffer":
        # Its own folder goes with the run's end.
        argv += ["--set-aside", str(folder / SET_ASIDE)]
    if role.kind == "learner":
        argv += ["--threads", str(wiring.learner_threads)]
    if wiring.keys is not None:
        argv += ["--keys", str(wiring.keys)]
    if wiring.trace is not None:
        argv += ["--trace", str(wiring.trace)]
    if wiring.resume and role.kind in ("learner", "rollout"):
        argv.append("--resume")
    return argv


def end_file(role: Role, wiring: Wiring) -> Path:
    """Path of a role's end report."""
    return wiring.scratch / f"{role.name}.end"


def port_file(role: Role, wiring: Wiring) -> Path:
    """Path of the file in which a role writes the port of its metrics when it is ready to work."""
    return wiring.scratch / f"{role.name}.port"


def port_of(role: Role, wiring: Wiring) -> int | None:
    """The port of a role's metrics; None before the role has written it."""
    try:
        return int(port_file(role, wiring).read_text())
    except FileNotFoundError:
        return None


def exit_text(status: int) -> str:
    """Description of an exit status: an exit code, or the negative number of a signal."""
    if status == 0:
        return "exited"
    if status == INTERRUPTED:
        return "was interrupted"
    if status > 0:
        return f"failed (exit code {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed ({name})"


def last_lines(log: Path, count: int) -> str:
    """The last `count` non-empty lines of a log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-count:])
