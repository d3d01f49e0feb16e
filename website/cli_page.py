"""The reference of the command line, from its argparse parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from rljob.cli.main import COMMANDS, make_parser

_HEAD = """\
# Command line

All commands and options of `rljob`. This page is generated from the parsers; `rljob COMMAND --help` prints the same.
`kubectl rl COMMAND` is the same command as a kubectl plugin.

`rljob` exits with 0 when the command is done, 2 for wrong input, 1 for any other failure, and 128 plus the number of
the signal that stopped it. `rljob --debug COMMAND` shows tracebacks.

| command | what it does |
|---|---|
"""
_WIDTH = 76


def page() -> str:
    """The Markdown of the page."""
    rows = [f"| [`{name}`](#rljob-{name}) | {text} |" for name, text in COMMANDS.items()]
    parts = [_HEAD + "\n".join(rows)]
    parts += ["\n".join(_command(name)) for name in COMMANDS]
    return "\n\n".join(parts) + "\n"


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    for action in make_parser([name])._actions:
        if isinstance(action, argparse._SubParsersAction):
            parser = action.choices[name]
            assert isinstance(parser, argparse.ArgumentParser)
            return parser
    raise LookupError(name)


def _command(name: str) -> Iterator[str]:
    parser = command_parser(name)
    yield f"## `rljob {name}` {{ #rljob-{name} }}\n"
    yield f"{COMMANDS[name].capitalize()}.\n"
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=_WIDTH)
    usage = parser.format_usage().removeprefix("usage: ").rstrip()
    yield f"```text\n{usage}\n```\n"
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        if not actions:
            continue
        yield f"**{(group.title or '').capitalize()}**\n"
        for action in actions:
            yield f"`{_name(action)}`"
            yield f":   {_meaning(action)}\n"


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        if action.choices is not None:
            return "{" + ",".join(map(str, action.choices)) + "}"
        return str(action.metavar or action.dest)
    value = ""
    if action.nargs != 0:
        choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
        value = f" {action.metavar or choices or action.dest.upper()}"
    return ", ".join(f"{option}{value}" for option in action.option_strings)


def _meaning(action: argparse.Action) -> str:
    """Its help, and what the help leaves out: that it is required, its default."""
    text = (action.help or "").strip()
    parts = [text[:1].upper() + text[1:]] if text else []
    if action.required and action.option_strings:
        parts.append("Required")
    shown = action.default not in (None, False, [], argparse.SUPPRESS) and action.option_strings
    if shown and "default" not in text:
        parts.append(f"Default `{action.default}`")
    return ". ".join(parts) + "." if parts else "No description."
