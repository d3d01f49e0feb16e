"""`rljob applications`: make, list and revoke the keys of a job's applications."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        ("add", "make a key for an application"),
        ("list", "list the applications that may connect"),
        ("revoke", "revoke the key of an application"),
    ):
        sub = actions.add_parser(action, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("job", metavar="RUN", type=Path, help="a run's folder")
        if action != "list":
            sub.add_argument("name", metavar="NAME", help="name of the application")
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Do what is asked; returns the exit code."""
    from rljob.local import applications

    folder: Path = arguments.job
    if arguments.action == "list":
        for name in applications.names(folder):
            print(name)
    elif arguments.action == "revoke":
        applications.withdraw(folder, arguments.name)
        print(f"{arguments.name} cannot connect any more")
    else:
        path = applications.add(folder, arguments.name)
        print(f"the key of {arguments.name} is in {path}; it is a secret")
    return 0
