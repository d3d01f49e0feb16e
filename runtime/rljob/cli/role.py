"""`rljob role`: one role of a job, as a process started by hand, by `rljob run` or in a pod."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from rljob import errorfile, spec
from rljob.errors import RLJobError
from rljob.wire.keys import ROLES

MODULES = {
    "rollout": "rljob.rollout.loop",
    "buffer": "rljob.buffer.server",
    "learner": "rljob.learner.loop",
    "evaluator": "rljob.evaluator.loop",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--job", required=True, type=Path, help="the RLJob's YAML file")
    parser.add_argument("--index", type=int, default=0, help="which replica this is, from 0")
    parser.add_argument("--attempt", type=int, default=0, help="how often it was started before")
    parser.add_argument("--buffer", required=True, help="tcp://host:port or ipc:///path")
    parser.add_argument("--learner", required=True, help="tcp://host:port or ipc:///path")
    parser.add_argument("--keys", type=Path, help="folder of CURVE keys, see rljob keys")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the role keeps its files")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints there")
    parser.add_argument("--metrics-host", default="127.0.0.1")
    parser.add_argument("--metrics-port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--trace", type=Path, help="folder for the record of every segment")
    parser.add_argument("--error-file", type=Path, help="where to write as JSON why the role ended")
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the role to its end."""
    try:
        return _run(arguments)
    except RLJobError as error:
        if arguments.error_file is not None:
            errorfile.write(arguments.error_file, error)
        raise


def _run(arguments: argparse.Namespace) -> int:
    from rljob.role import RoleContext, log_to_stderr

    context = RoleContext(
        job=spec.load(arguments.job),
        role=arguments.role,
        index=arguments.index,
        attempt=arguments.attempt,
        buffer=arguments.buffer,
        learner=arguments.learner,
        keys=arguments.keys,
        folder=arguments.dir,
        resume=arguments.resume,
        metrics_host=arguments.metrics_host,
        metrics_port=arguments.metrics_port,
        trace=arguments.trace,
    )
    context.stop_on_signals()
    log_to_stderr(context.name)
    importlib.import_module(MODULES[arguments.role]).main(context)
    return 0
