"""`rljob run`: train a job on this machine."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from rljob.errors import InputError

DEFAULT_ALGORITHM = "PPO"
DEFAULT_STEPS = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("file", nargs="?", type=Path, help="the RLJob's YAML file")
    parser.add_argument("--env", metavar="ID", help="Gymnasium id, e.g. CartPole-v1")
    parser.add_argument("--algorithm", metavar="NAME", help=f"default {DEFAULT_ALGORITHM}")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="set any field, e.g. algorithm.config.learningRate=1e-3; may be repeated",
    )
    parser.add_argument("--dir", type=Path, help="the run's folder; default runs/NAME-N")
    parser.add_argument(
        "--code",
        type=Path,
        metavar="DIR",
        help="folder of modules that goes with the job; the run uses a copy",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all randomness")
    parser.add_argument("--resume", action="store_true", help="resume an interrupted run")
    parser.add_argument("--plain", action="store_true", help="print lines instead of the live view")
    parser.add_argument(
        "--transport",
        choices=("ipc", "tcp"),
        default="ipc",
        help="transport between the roles; default ipc",
    )
    parser.add_argument(
        "--trace", type=Path, metavar="DIR", help="folder for the trace of all segments"
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    # Start the launcher first: it imports its modules while the job is read and checked.
    from rljob.local.spawner import Spawner

    spawner = Spawner()
    from rljob.local.prepare import Request
    from rljob.local.run import heed_signals, launch
    from rljob.local.supervisor import Stop
    from rljob.local.view import ScreenView
    from rljob.show.view.screen import make_screen

    stop = Stop()
    heed_signals(stop)
    try:
        job, overrides = chosen(arguments)
        request = Request(
            job,
            overrides,
            arguments.dir,
            arguments.resume,
            arguments.transport,
            arguments.trace,
            search(arguments),
            arguments.code,
        )
        view = ScreenView(make_screen(arguments.plain))
        result, _ = launch(request, spawner, view, stop)
    finally:
        spawner.close(kill=True)
    return exit_code(result, stop.number)


def search(arguments: argparse.Namespace) -> tuple[Path, ...]:
    """Where the roles look for modules first: here and beside the job's file; with a folder of code, only in that."""
    if arguments.code is not None:
        return ()
    return (Path(), *([arguments.file.parent] if arguments.file is not None else []))


def chosen(arguments: argparse.Namespace) -> tuple[Path | dict[str, Any] | None, tuple[str, ...]]:
    """The job and the overrides from the command line."""
    overrides = list(arguments.overrides)
    if arguments.seed is not None:
        overrides.append(f"seed={arguments.seed}")
    if arguments.file is not None or (arguments.resume and arguments.env is None):
        # A mapping replaces the whole section, including an entryPoint.
        if arguments.env is not None:
            overrides.insert(0, f"environment={json.dumps({'id': arguments.env})}")
        if arguments.algorithm is not None:
            overrides.insert(0, f"algorithm={json.dumps({'name': arguments.algorithm})}")
        return arguments.file, tuple(overrides)
    if arguments.env is None:
        raise InputError(
            "name a job: a YAML file as in `rljob run examples/cartpole-ppo.yaml`, "
            "or an environment as in `rljob run --env CartPole-v1`"
        )
    algorithm = arguments.algorithm or DEFAULT_ALGORITHM
    job = {
        "metadata": {"name": job_name(arguments.env, algorithm)},
        "spec": {
            "environment": {"id": arguments.env},
            "algorithm": {"name": algorithm},
            "stop": {"steps": DEFAULT_STEPS},
        },
    }
    return job, tuple(overrides)


def job_name(environment: str, algorithm: str) -> str:
    """Name of a job without a file: `CartPole-v1`, `PPO` → `cartpole-v1-ppo`."""
    text = re.sub(r"[^a-z0-9]+", "-", f"{environment}-{algorithm}".lower())
    return re.sub(r"^[^a-z]+", "", text)[:40].strip("-") or "job"


def exit_code(result: dict[str, Any], number: int | None) -> int:
    """0 for a complete run, 128 + signal for a stopped run, 2 for invalid input, else 1."""
    if result["outcome"] == "Failed":
        if "log" in result:
            print(f"The last lines of {result['log']}:\n{result['lastLines']}", file=sys.stderr)
        return InputError.exit_code if result["reason"] == "InputError" else 1
    if result["outcome"] == "Stopped":
        return 128 + (number or signal.SIGTERM)
    return 0
