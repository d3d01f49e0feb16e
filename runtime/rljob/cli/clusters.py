"""Options and connection shared by all commands that use a cluster."""

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
    """Add the options for the cluster and the namespace, named as in kubectl."""
    group = parser.add_argument_group("cluster")
    group.add_argument("-n", "--namespace", metavar="NAME", help="default: the context's namespace")
    group.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig; default: the current context"
    )
    group.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="default: $KUBECONFIG or ~/.kube/config"
    )


def choice(arguments: argparse.Namespace) -> Choice:
    """Values of the cluster options."""
    from rljob.client.access import Choice

    return Choice(arguments.kubeconfig, arguments.context, arguments.namespace)


def connect(arguments: argparse.Namespace) -> Jobs:
    """Connect to the cluster. The namespace is that of `--namespace`, else the context's.

    Raises:
        InputError: there is no such cluster.
    """
    from rljob.client import jobs

    return jobs.connect(choice(arguments))


def full_name(name: str) -> str:
    """Resource and name as kubectl prints them."""
    return f"rljob.rljob.dev/{name}"


def note(text: str) -> None:
    """Print a message to stderr."""
    print(text, file=sys.stderr, flush=True)


def interrupt_on_termination() -> None:
    """Raise KeyboardInterrupt on SIGTERM, so that the command cleans up as after Ctrl-C."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, interrupt)


def interrupted(error: KeyboardInterrupt) -> int:
    """Exit code of a command that was ended by a signal."""
    return 128 + (error.args[0] if error.args else signal.SIGINT)
