"""What all commands that talk to a cluster share: their options, and the way there."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rljob.client.access import Choice
    from rljob.client.jobs import Jobs


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which cluster and which namespace, as kubectl has it."""
    group = parser.add_argument_group("cluster")
    group.add_argument("-n", "--namespace", metavar="NAME", help="default: that of the context")
    group.add_argument("--context", metavar="NAME", help="a context of the kubeconfig")
    group.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="default: $KUBECONFIG, or ~/.kube/config"
    )


def choice(arguments: argparse.Namespace) -> Choice:
    """What was chosen with those options."""
    from rljob.client.access import Choice

    return Choice(arguments.kubeconfig, arguments.context, arguments.namespace)


def connect(arguments: argparse.Namespace, namespace: str | None = None) -> Jobs:
    """The RLJobs of the chosen namespace; else of `namespace`, else of the context's.

    Raises:
        InputError: there is no such cluster.
    """
    from rljob.client import api
    from rljob.client.jobs import Jobs

    connection, found = api.connect(choice(arguments))
    return Jobs(connection, arguments.namespace or namespace or found.namespace)


def full_name(name: str) -> str:
    """As kubectl names what it did something to."""
    return f"rljob.rljob.dev/{name}"


def note(text: str) -> None:
    """Tell the user what is no part of the output."""
    print(text, file=sys.stderr, flush=True)


def interrupt_on_termination() -> None:
    """SIGTERM ends the command as Ctrl-C does: what it holds is given back."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, interrupt)


def interrupted(error: KeyboardInterrupt) -> int:
    """The exit code of a command that a signal has ended."""
    return 128 + (error.args[0] if error.args else signal.SIGINT)
