"""`rljob completion`: completion of the command line in bash, zsh and fish, and of `kubectl rl`.

The shell's script is a few lines that never change: at each Tab it runs `rljob`, and argcomplete answers
from the parser of the command line. So what is offered is what the installed version takes, and kubectl,
which asks a program, gets the same answers.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
from pathlib import Path
from typing import Any, TextIO, cast

SHELLS = ("bash", "zsh", "fish")
ASKED = "_ARGCOMPLETE"
"""Set in the environment where a shell asks for completions."""
_NO_FILES, _SHELL_DECIDES = ":4", ":0"
"""kubectl's directives for the shell, which are those of cobra."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog = (
        'bash: add `eval "$(rljob completion bash)"` to ~/.bashrc. zsh: the same with zsh, in ~/.zshrc '
        "after compinit. fish: `rljob completion fish > ~/.config/fish/completions/rljob.fish`."
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["rljob"], use_defaults=False, shell=arguments.shell))
    return 0


def typed() -> list[str]:
    """The words after the program's name that the shell wants completed."""
    return os.environ.get("COMP_LINE", "").split()[1:]


def answer(parser: argparse.ArgumentParser, out: TextIO | None = None) -> None:
    """Write what can follow what was typed: commands, options, choices, and files where a path is asked for.

    Args:
        out: where to, without files. By default the descriptor that the shell's script has opened; then
            it also ends the process, as there is nothing more to do.
    """
    from argcomplete.finders import CompletionFinder

    CompletionFinder()(
        parser,
        always_complete_options=False,
        exit_method=os._exit if out is None else _go_on,
        output_stream=out,
        default_completer=cast("Any", _files if out is None else _none),
    )


def kubectl() -> int:
    """`kubectl_complete-rl WORD...`, as kubectl calls it: a candidate in each line, then a directive.

    Files are left to the shell. See
    https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/
    """
    from rljob.cli.main import make_parser

    *before, last = sys.argv[1:] or [""]
    line = f"{shlex.join(['rljob', *before])} {last}"
    os.environ.update({ASKED: "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line})
    os.environ["COMP_POINT"] = str(len(line))
    found = io.StringIO()
    answer(make_parser(typed()), found)
    candidates = found.getvalue().split()
    print("\n".join([*candidates, _NO_FILES if candidates else _SHELL_DECIDES]))
    return 0


def _go_on(_code: int) -> None:
    """In place of what ends the process."""


def _none(**_asked: object) -> list[str]:
    return []


def _files(prefix: str, action: argparse.Action, **_rest: object) -> list[str]:
    if action.type is not Path:
        return []
    from argcomplete.completers import FilesCompleter

    found: list[str] = FilesCompleter()(prefix)
    return found
