"""`rljob resume`: see `rljob.cli.suspend`."""

from __future__ import annotations

import argparse

from rljob.cli import suspend


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    suspend.configure(parser, suspend=False)
