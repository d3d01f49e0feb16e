"""Ports as arguments of commands."""

from __future__ import annotations

import argparse


def port(text: str) -> int:
    """The type of an argument: a port to listen on, where 0 takes any free one."""
    from rljob.telemetry.listening import MOST_PORT

    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if not 0 <= number <= MOST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; allowed are 0 to {MOST_PORT}")
    return number
