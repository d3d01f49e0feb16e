"""`rljob applications`: make, list and revoke the keys of a job's applications."""

from __future__ import annotations

import argparse
from pathlib import Path

from rljob.cli import clusters


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        ("add", "make a key for an application"),
        ("list", "list the applications that may connect"),
        ("revoke", "revoke the key of an application"),
    ):
        sub = actions.add_parser(action, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("job", metavar="NAME|RUN", help="a job on the cluster, or a run's folder")
        if action != "list":
            sub.add_argument("name", metavar="APPLICATION", help="name of the application")
        clusters.add_options(sub)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Do what is asked, for a run's folder or a job on a cluster; returns the exit code."""
    folder = Path(arguments.job)
    return _of_run(folder, arguments) if folder.is_dir() else _of_job(arguments)


def _of_run(folder: Path, arguments: argparse.Namespace) -> int:
    from rljob.local import applications

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


def _of_job(arguments: argparse.Namespace) -> int:
    from rljob.client.applications import ApplicationKeys
    from rljob.kube import names
    from rljob.wire.sockets import new_keypair

    jobs = clusters.connect(arguments)
    keys = ApplicationKeys(jobs, arguments.job)
    if arguments.action == "list":
        for name in keys.names():
            print(name)
    elif arguments.action == "revoke":
        keys.revoke(arguments.name)
        print(
            f"{arguments.name} cannot connect any more once the pods know it, within about a minute"
        )
    else:
        secret = keys.add(arguments.name, new_keypair())
        label = f"{names.APPLICATION_LABEL}: {arguments.job}"
        print(f"secret/{secret} created: mount it into pods with the label {label}, at /etc/rljob")
        print(f'  rljob.Agent("{arguments.job}")')
    return 0
