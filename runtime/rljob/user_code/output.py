"""Keeps what user code prints apart from what rljob prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def own_output() -> Iterator[TextIO]:
    """The standard output for rljob alone; what others write to descriptor 1 goes to standard error meanwhile."""
    standard = sys.__stdout__
    if standard is None or sys.stdout is not standard:
        # Something else has taken it, which is not descriptor 1.
        yield sys.stdout
        return
    standard.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as output:
            yield output
    finally:
        os.dup2(kept, 1)
        os.close(kept)
