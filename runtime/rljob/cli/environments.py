"""`rljob environments`: the available environments, or one of them in detail."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rljob.cli import clusters, output

if TYPE_CHECKING:
    from rljob.envs.listing import Listed
    from rljob.envs.spaces import Space

HEAD = ("GROUP", "ID", "ACTION", "OBSERVATION", "ALGORITHMS")
NOT_MADE = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "id", nargs="?", metavar="ID", help="make this environment and show its details"
    )
    output.add_option(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print the list, or one environment."""
    from rljob.envs.listing import listed, look_up

    if arguments.id is not None:
        found = values(look_up(arguments.id))
        text = output.serialize(found, arguments.output) if arguments.output else detail(found)
        print(text, end="")
        return 0
    environments, broken = listed()
    for line in broken:
        clusters.note(line)
    if arguments.output:
        found = {"environments": [values(each) for each in environments]}
        print(output.serialize(found, arguments.output), end="")
    else:
        print("\n".join(table(environments)))
    return 0


def values(environment: Listed) -> dict[str, Any]:
    """Output of `-o` for one environment; unknown values are null."""
    from rljob.algorithms import fitting

    spaces = environment.spaces
    return {
        "id": environment.id,
        "group": environment.group,
        "action": str(spaces.action) if spaces is not None else None,
        "masked": spaces.masked if spaces is not None else None,
        "observation": str(spaces.observation) if spaces is not None else None,
        "algorithms": list(fitting(spaces)) if spaces is not None else None,
        "maxEpisodeSteps": environment.max_steps,
        "solvedReturn": environment.solved,
        "problem": environment.problem or None,
        "install": environment.package or None,
    }


def detail(found: dict[str, Any]) -> str:
    """Details of one environment as text."""
    from rljob.show.view.columns import columns

    names = {
        "action": "action",
        "masked": "action masks",
        "observation": "observation",
        "algorithms": "algorithms",
        "maxEpisodeSteps": "maximum episode length",
        "solvedReturn": "solved at mean return",
        "problem": "cannot be used",
    }
    known = [(name, found[key]) for key, name in names.items() if found[key] not in (None, False)]
    texts = [("", name, _text(value)) for name, value in known]
    lines, _ = columns(texts)
    return "\n".join([found["id"], *lines, ""])


def _text(value: object) -> str:
    if value is True:
        return "yes"
    return ", ".join(value) if isinstance(value, list) else str(value)


def table(environments: list[Listed]) -> list[str]:
    """Lines of the installed environments, then of those in packages that are not installed."""
    from rljob.show.view.columns import columns

    here = [each for each in environments if not each.package]
    lines, _ = columns([HEAD, *(_row(each) for each in here)])
    if any(each.spaces is None and not each.problem for each in here):
        lines += ["", f"{NOT_MADE}: not made here; `rljob environments ID` makes one."]
    brought: dict[str, list[str]] = {}
    for each in environments:
        if each.package:
            brought.setdefault(each.package, []).append(each.id)
    if brought:
        rows = [(f"pip install '{name}'", ", ".join(ids)) for name, ids in brought.items()]
        lines += ["", *columns([("INSTALL", "FOR"), *rows])[0]]
    return lines


def _row(environment: Listed) -> tuple[str, ...]:
    from rljob.algorithms import fitting

    spaces = environment.spaces
    if spaces is not None:
        algorithms = ", ".join(fitting(spaces)) or "none"
    elif environment.problem:
        algorithms = f"none: {environment.problem.partition('. ')[0]}"
    else:
        algorithms = NOT_MADE
    return (
        environment.group,
        environment.id,
        _short(spaces.action) if spaces is not None else NOT_MADE,
        _short(spaces.observation) if spaces is not None else NOT_MADE,
        algorithms,
    )


def _short(space: Space) -> str:
    """A space without its bounds."""
    from rljob.envs.spaces import BoxSpace

    return f"Box{space.shape} {space.dtype}" if isinstance(space, BoxSpace) else str(space)
