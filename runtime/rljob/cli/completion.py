"""`rljob completion`: shell completion for bash, zsh and fish, and for `kubectl rl`.

The shell script does not depend on the version: at each Tab it runs `rljob`, and argcomplete computes the
candidates from the parser. The candidates therefore match the installed version. kubectl calls a program
for completion and gets the same candidates.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, TextIO, cast

SHELLS = ("bash", "zsh", "fish")
REQUEST_VARIABLE = "_ARGCOMPLETE"
"""Environment variable that a shell sets to request completions."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog = (
        'bash: add `eval "$(rljob completion bash)"` to ~/.bashrc. zsh: add `eval "$(rljob completion zsh)"` to '
        "~/.zshrc after compinit. fish: `rljob completion fish > ~/.config/fish/completions/rljob.fish`."
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["rljob"], use_defaults=False, shell=arguments.shell))
    return 0


def words_to_complete() -> list[str]:
    """Words of the command line to complete, without the program's name."""
    return os.environ.get("COMP_LINE", "").split()[1:]


def answer(parser: argparse.ArgumentParser, out: TextIO | None = None) -> None:
    """Write the completions: commands, options, choices, and files for path arguments.

    Args:
        out: output, without files. By default, the function writes to the file descriptor of the shell
            script and ends the process.
    """
    from argcomplete.finders import CompletionFinder

    CompletionFinder()(
        parser,
        always_complete_options=False,
        exit_method=os._exit if out is None else _no_exit,
        output_stream=out,
        default_completer=cast("Any", _files if out is None else _no_completions),
    )


def _no_exit(_code: int) -> None:
    """Replace `os._exit`."""


def _no_completions(**_rest: object) -> list[str]:
    return []


def _files(prefix: str, action: argparse.Action, **_rest: object) -> list[str]:
    if action.type is not Path:
        return []
    from argcomplete.completers import FilesCompleter

    found: list[str] = FilesCompleter()(prefix)
    return found
