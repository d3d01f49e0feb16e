"""`rljob role`: run one role of a job as a process; used by `rljob run` and in pods."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rljob import system
from rljob.cli.ports import port
from rljob.errors import INTERRUPTED, AskedToEnd, UserCodeError
from rljob.process.stopping import Stopping
from rljob.spec.roles import ROLES
from rljob.user_code.failure import explain, from_user_code
from rljob.user_code.host import become_host

if TYPE_CHECKING:
    from rljob.process.context import RoleContext
    from rljob.spec import RLJob
    from rljob.spec.status import EndReport

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One thread: environments are stepped one by one and the matrices are small."""
MOST_DESCRIPTORS = 65_536
"""Each connection takes one, whoever opens it."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--job", required=True, type=Path, help="the RLJob's YAML file")
    parser.add_argument("--name", type=_name, help="unique in the job; default ROLE-INDEX")
    parser.add_argument("--index", type=int, default=0, help="index of this replica, from 0")
    parser.add_argument(
        "--attempt", type=int, default=0, help="number of earlier starts of this replica"
    )
    parser.add_argument("--buffer", required=True, help="tcp://host:port or ipc:///path")
    parser.add_argument("--learner", required=True, help="tcp://host:port or ipc:///path")
    parser.add_argument("--keys", type=Path, help="folder of CURVE keys; see rljob keys")
    parser.add_argument("--dir", type=Path, default=Path(), help="folder for the role's files")
    parser.add_argument(
        "--resume", action="store_true", help="resume from the checkpoints in --dir"
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="of the learner: play the final policy before it ends, if the job has evaluations",
    )
    parser.add_argument(
        "--threads",
        type=_threads,
        help="number of torch threads of the learner; default: the available cores",
    )
    parser.add_argument(
        "--metrics-host",
        default="127.0.0.1",
        help="address to serve on; * for all of IPv4 and IPv6",
    )
    parser.add_argument("--metrics-port", type=port, default=0, help="0 selects a free port")
    parser.add_argument(
        "--state-port", type=port, help="port of /state and /status; default: that of the metrics"
    )
    parser.add_argument(
        "--token",
        type=Path,
        help="file of the token for /state and /status; without it, requests for them are refused",
    )
    parser.add_argument(
        "--loopback-port",
        type=port,
        help="port on 127.0.0.1 for all pages, policy and records included, without a token",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        default=os.environ.get("RLJOB_TRACE") or None,
        help="folder for the trace of all segments (default: $RLJOB_TRACE)",
    )
    parser.add_argument(
        "--set-aside",
        type=Path,
        help="folder of the buffer for batches that the learner died of; default set-aside in --dir",
    )
    parser.add_argument(
        "--code-parts", type=Path, help="folder with the parts of the job's codeArchive"
    )
    parser.add_argument("--code-files", type=Path, help="folder to unpack them into")
    parser.add_argument("--port-file", type=Path, help="file for the port of the metrics")
    parser.add_argument("--end-file", type=Path, help="file for the role's end report, as JSON")
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the role. Returns 0, or `INTERRUPTED` for a learner stopped before its stop condition."""
    stop = Stopping()
    stop.listen()
    become_host(arguments.name or f"{arguments.role}-{arguments.index}")
    system.raise_descriptor_limit(MOST_DESCRIPTORS)
    # numpy reads these at import. The OpenMP threads are also used by torch in the learner.
    for name in ONE_THREAD if arguments.role != "learner" else ONE_THREAD[1:2]:
        os.environ.setdefault(name, "1")
    context: RoleContext | None = None
    try:
        with stop.at_once():
            context = _context(arguments, stop)
            _unpack_code(context.job, arguments.code_parts, arguments.code_files)
            module = importlib.import_module(ROLES[arguments.role].module)
        end: EndReport | None = module.main(context)
    except AskedToEnd:
        end = _interrupted() if arguments.role == "learner" else None
    except BaseException as error:
        # A request to end is AskedToEnd: a BaseException is `sys.exit` or the like in a network or an algorithm.
        from rljob.process import termination_message

        failure = _failure(arguments.role, error)
        _write(arguments.end_file, termination_message.failed(failure), context)
        if failure is error:
            raise
        raise failure from error
    if end is None:
        return 0
    _write(arguments.end_file, end, context)
    # A job that trained to its end and then failed, as below its baseline, fails again at the next attempt.
    return INTERRUPTED if end.outcome == "Interrupted" else 0


def _failure(role: str, error: BaseException) -> Exception:
    """What to tell: an exception that came through user code is told with its place there."""
    found = from_user_code(error)
    if found is not None:
        return found
    if isinstance(error, Exception):
        return error
    return UserCodeError(f"{role} was ended: {explain(error)}")


def _context(arguments: argparse.Namespace, stop: Stopping) -> RoleContext:
    from rljob import spec
    from rljob.process.context import RoleContext, log_to_stderr
    from rljob.process.servers import Addresses

    context = RoleContext(
        job=spec.load(arguments.job),
        role=arguments.role,
        given_name=arguments.name,
        index=arguments.index,
        attempt=arguments.attempt,
        buffer=arguments.buffer,
        learner=arguments.learner,
        keys=arguments.keys,
        folder=arguments.dir,
        resume=arguments.resume,
        evaluates=arguments.evaluate,
        threads=arguments.threads,
        serves=Addresses(
            host=arguments.metrics_host,
            port=arguments.metrics_port,
            state_port=arguments.state_port,
            token=arguments.token,
            loopback_port=arguments.loopback_port,
        ),
        port_file=arguments.port_file,
        trace=arguments.trace,
        stop=stop,
        set_aside=arguments.set_aside,
    )
    log_to_stderr(context.name)
    return context


def _unpack_code(job: RLJob, parts: Path | None, files: Path | None) -> None:
    """Unpack the folder that was sent with the job, before anything of it is imported. A container that starts again has it."""
    known = job.spec.code_archive
    if known is None or parts is None or files is None or files.exists():
        return
    from rljob.code_folder import archive

    archive.unpack(archive.join(parts, known), known, files)
    importlib.invalidate_caches()


def _interrupted() -> EndReport:
    from rljob.spec.status import EndReport

    message = "stopped before training started"
    return EndReport(outcome="Interrupted", reason="Interrupted", message=message)


def _write(path: Path | None, end: EndReport, context: RoleContext | None) -> None:
    if path is None:
        return
    from rljob.process import termination_message

    report = context.report if context is not None else None
    try:
        termination_message.write(path, end.model_copy(update={"report": report}))
    except OSError as error:
        # The role's own result takes precedence over this error.
        print(f"--end-file {path}: {error.strerror}", file=sys.stderr)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name: allowed are up to 253 letters, digits, '-', '_' and '.'; the first "
            "and the last must be a letter or digit"
        )
    return text


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
