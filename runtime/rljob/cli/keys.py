"""`rljob keys`: make CURVE keys for roles that communicate over TCP."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "folder", type=Path, help="folder for the keys; created if it does not exist"
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Make a key pair for each role."""
    from rljob.spec.roles import ROLES
    from rljob.wire.keygen import generate

    generate(arguments.folder)
    print(f"keys of {', '.join(ROLES)} are in {arguments.folder}")
    return 0
