"""`kubectl_complete-rl`: kubectl runs it to complete `kubectl rl`."""

from __future__ import annotations

import io
import os
import shlex
import sys

from rljob.cli.completion import REQUEST_VARIABLE, answer, words_to_complete
from rljob.cli.main import make_parser

_NO_FILES, _SHELL_DECIDES = ":4", ":0"
"""Directives of kubectl (cobra) for the shell."""


def main() -> int:
    """Run `kubectl_complete-rl WORD...` for kubectl: print one candidate per line, then a directive.

    The shell completes files. See
    https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/
    """
    *before, last = sys.argv[1:] or [""]
    line = f"{shlex.join(['rljob', *before])} {last}"
    os.environ.update({REQUEST_VARIABLE: "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line})
    os.environ["COMP_POINT"] = str(len(line))
    found = io.StringIO()
    answer(make_parser(words_to_complete()), found)
    candidates = found.getvalue().split()
    print("\n".join([*candidates, _NO_FILES if candidates else _SHELL_DECIDES]))
    return 0
