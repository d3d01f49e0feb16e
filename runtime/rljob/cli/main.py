"""`rljob`: parses the command line and runs the subcommand. Imports no slow modules."""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rljob.cli import completion
from rljob.errors import AskedToEnd, InputError, RLJobError, UserCodeError
from rljob.system import unsupported
from rljob.version import __version__

COMMANDS = {
    "run": "train an RLJob on this machine",
    "check": "try a job's environment, network and algorithm for some seconds",
    "plan": "predict a job's rate, its bottleneck and its cost",
    "eval": "play greedy episodes of a trained policy",
    "export": "write a policy as a file for other programs",
    "serve": "serve a policy over HTTP",
    "gateway": "let programs in any language act for a job, over HTTP",
    "report": "write a report of one or more runs as an HTML page",
    "role": "run one role of a job",
    "render": "print a job's Kubernetes objects",
    "submit": "create an RLJob on a cluster",
    "status": "show the RLJobs of a cluster, or one of them",
    "top": "show the training rates of a cluster's jobs, refreshed",
    "explain": "explain why a job does not train or what limits its speed",
    "logs": "print the logs of a job's pods",
    "suspend": "stop a job's pods and keep its checkpoint",
    "resume": "resume a suspended job",
    "scale": "change a job's number of rollouts",
    "delete": "delete a job and its pods",
    "get-policy": "fetch the policy of a job",
    "serve-checkpoint": "serve the checkpoint in a learner's folder over HTTP",
    "keys": "make the CURVE keys of a job whose roles communicate over TCP",
    "applications": "make, list and revoke the keys of a job's applications",
    "rotate-keys": "give a job new CURVE keys while it trains",
    "algorithms": "list the built-in algorithms, or the settings of one",
    "environments": "list the available environments, or show one",
    "completion": "print the script for shell completion",
}
EXTRAS = {
    **dict.fromkeys(
        ("gymnasium", "numpy", "prometheus_client", "rich", "safetensors", "waitress", "zmq"),
        "runtime",
    ),
    **dict.fromkeys(("kubernetes", "urllib3"), "client"),
    "pathspec": "client",
    "torch": "learner",
    "matplotlib": "report",
    **dict.fromkeys(("av", "PIL"), "video"),
}
"""Packages that only some commands need, and the extra of rljob that installs them."""
LEARNING = ("run", "check", "plan")
"""Commands that need torch in addition to the missing package."""

WITH_TRACE = ("role", "check", "eval")
"""Commands that show where user code raised."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 success, 1 failure, 2 invalid input, 128 + signal."""
    if (reason := unsupported()) is not None:
        print(reason, file=sys.stderr)
        return InputError.exit_code
    arguments = list(sys.argv[1:] if argv is None else argv)
    if completion.REQUEST_VARIABLE in os.environ:
        completion.answer(make_parser(completion.words_to_complete()))
    parser = make_parser(arguments)
    parsed = parser.parse_args(arguments)
    if argv is None:
        # Modules of users may parse the command line when they are imported; this one is not theirs.
        del sys.argv[1:]
    try:
        code = int(parsed.handle(parsed))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader closed the pipe, as in `| head`. Avoid a second error at the flush on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RLJobError as error:
        if parsed.debug:
            raise
        if isinstance(error, UserCodeError) and parsed.command in WITH_TRACE:
            print(error.trace, end="", file=sys.stderr)
        print(error, file=sys.stderr)
        return error.exit_code
    except AskedToEnd:
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        if parsed.debug or error.name not in EXTRAS:
            raise
        extra = "learner" if parsed.command in LEARNING else EXTRAS[error.name]
        needed = f"{error.name}, part of: pip install 'rljob[{extra}]'"
        print(f"rljob {parsed.command} needs {needed}", file=sys.stderr)
        return InputError.exit_code
    except BaseException as error:
        from rljob.user_code.failure import from_user_code

        found = from_user_code(error)
        if parsed.debug or found is None:
            raise
        print(f"{found.trace}{found}", file=sys.stderr)
        return found.exit_code


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Parser of the command line. Only the named command's arguments are added."""
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
    """Name of the program in messages: kubectl runs `kubectl-rl` for `kubectl rl`."""
    return "kubectl rl" if Path(sys.argv[0]).name.startswith("kubectl-rl") else "rljob"
