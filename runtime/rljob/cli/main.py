"""`rljob`: parses the command line and hands over; imports nothing that takes time."""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rljob.cli import completion
from rljob.errors import InputError, RLJobError
from rljob.version import __version__

COMMANDS = {
    "run": "train an RLJob on this machine",
    "plan": "predict a job's rate, what bounds it and what it costs",
    "eval": "play greedy episodes of a trained policy",
    "report": "show what runs have done, as one page of HTML",
    "role": "run one role of a job",
    "render": "print a job's Kubernetes objects",
    "submit": "make an RLJob on a cluster",
    "status": "show the RLJobs of a cluster, or one of them",
    "top": "show how fast the jobs of a cluster go, again and again",
    "explain": "say why a job is not training, or not faster",
    "logs": "print what the pods of a job say",
    "suspend": "stop a job's pods and keep what was learned",
    "resume": "let a suspended job go on",
    "scale": "give a job more or fewer rollouts",
    "delete": "delete a job and its pods",
    "get-policy": "fetch the policy of a job",
    "serve-checkpoint": "hand out the checkpoint in a learner's folder, over HTTP",
    "keys": "make the CURVE keys of a job whose roles talk over tcp",
    "algorithms": "list the built-in algorithms, or the settings of one",
    "environments": "list the environments that can be trained on here",
    "completion": "print the script that completes commands in a shell",
}
EXTRAS = {
    **dict.fromkeys(
        ("gymnasium", "numpy", "prometheus_client", "rich", "safetensors", "zmq"), "runtime"
    ),
    **dict.fromkeys(("kubernetes", "urllib3"), "client"),
    "torch": "learner",
    "matplotlib": "report",
    **dict.fromkeys(("av", "PIL"), "video"),
}
"""Packages that not every command needs, and the extra of rljob that brings them."""
LEARNING = ("run", "plan")
"""Commands that need torch besides whatever else is missing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 2 for input, 1 for a failure, 128 + signal."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if completion.ASKED in os.environ:
        completion.answer(make_parser(completion.typed()))
    parser = make_parser(arguments)
    parsed = parser.parse_args(arguments)
    try:
        code = int(parsed.handle(parsed))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader, as in `| head`, has seen enough; nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RLJobError as error:
        if parsed.debug:
            raise
        print(error, file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if parsed.debug or error.name not in EXTRAS:
            raise
        extra = "learner" if parsed.command in LEARNING else EXTRAS[error.name]
        needed = f"{error.name}, part of: pip install 'rljob[{extra}]'"
        print(f"rljob {parsed.command} needs {needed}", file=sys.stderr)
        return InputError.exit_code


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The command line's parser; of the commands, it knows the arguments of the one that is named."""
    parser = argparse.ArgumentParser(
        prog=_program(),
        description="Reinforcement-learning training, on one machine or on Kubernetes.",
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=32),
    )
    parser.add_argument("--version", action="version", version=f"rljob {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            module = f"rljob.cli.{name.replace('-', '_')}"
            importlib.import_module(module).configure(sub)
    return parser


def _program() -> str:
    """How it was called: kubectl runs `kubectl-rl` for `kubectl rl`."""
    return "kubectl rl" if Path(sys.argv[0]).name.startswith("kubectl-rl") else "rljob"
