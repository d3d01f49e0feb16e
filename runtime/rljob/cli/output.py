"""`-o json` and `-o yaml`: output for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

FORMATS = ("json", "yaml")


def add_option(parser: argparse._ActionsContainer) -> None:
    """Add `--output`."""
    parser.add_argument("-o", "--output", choices=FORMATS, help="print JSON or YAML")


def serialize(value: Mapping[str, Any], form: str) -> str:
    """The value in one of `FORMATS`, with a line break at its end."""
    from rljob.spec import yamltext

    return json.dumps(value, indent=4) + "\n" if form == "json" else yamltext.dump(value)
