"""`rljob algorithms`: the built-in algorithms, the settings of one of them or of one's own, or the course of a setting."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rljob.cli import output
from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.algorithms.base import Algorithm
    from rljob.envs.spaces import Spaces
    from rljob.spec import AlgorithmSpec


KINDS = 3
"""Of spaces."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="show the settings of this algorithm: a built-in one, or MODULE:CLASS",
    )
    shown = parser.add_mutually_exclusive_group()
    output.add_option(shown)
    shown.add_argument(
        "--plot", metavar="SETTING", help="draw how this setting of NAME changes while training"
    )
    parser.add_argument(
        "-f", "--file", type=Path, metavar="JOB", help="with --plot: the settings of this job"
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print the list, one algorithm with its settings, or one setting over the job."""
    if arguments.plot is not None:
        from rljob.cli.schedule_plot import plot

        return plot(arguments.name, arguments.plot, arguments.file)
    if arguments.file is not None:
        raise InputError("--file is only used with --plot SETTING")
    from rljob.algorithms import BUILT_IN

    if arguments.name is not None:
        found = _values_of(arguments.name)
        text = output.serialize(found, arguments.output) if arguments.output else detail(found)
        print(text, end="")
        return 0
    algorithms = [values(name, algorithm) for name, algorithm in BUILT_IN.items()]
    if arguments.output:
        print(output.serialize({"algorithms": algorithms}, arguments.output), end="")
    else:
        print(table(algorithms), end="")
    return 0


def chosen(name: str) -> AlgorithmSpec:
    """The section of a job that names this algorithm.

    Args:
        name: of a built-in one, or an import path, which is looked for in the current folder first.

    Raises:
        InputError: it is neither in form.
    """
    from rljob.spec import AlgorithmSpec
    from rljob.spec.invalid import checked

    if ":" not in name:
        return checked(AlgorithmSpec, {"name": name}, path="algorithm")
    sys.path.insert(0, str(Path().resolve()))
    return checked(AlgorithmSpec, {"entryPoint": name}, path="algorithm")


def _values_of(name: str) -> dict[str, Any]:
    from rljob.algorithms import resolve_algorithm
    from rljob.user_code.host import hosting
    from rljob.user_code.output import own_output

    with hosting("rljob algorithms"), own_output():
        return values(name, resolve_algorithm(chosen(name)))


def values(name: str, algorithm: type[Algorithm]) -> dict[str, Any]:
    """Output of `-o` for one algorithm. What cannot be known without a job's settings is None."""
    from rljob.algorithms import EXAMPLES
    from rljob.algorithms.base import OnPolicy
    from rljob.envs.spaces import Spaces

    fits = {
        (seen, taken): made
        for seen in EXAMPLES
        for taken in EXAMPLES
        if (made := _made(algorithm, Spaces(EXAMPLES[seen], EXAMPLES[taken]))) is not None
    }
    first = next(iter(fits.values()), None)
    known: dict[str, Any] = dict.fromkeys(("data", "observations", "actions", "networks"))
    if first is not None:
        known = {
            "data": "on-policy" if isinstance(first.data, OnPolicy) else "replay",
            "observations": list(dict.fromkeys(seen for seen, _ in fits)),
            "actions": list(dict.fromkeys(taken for _, taken in fits)),
            "networks": list(first.networks),
        }
    return {
        "name": name,
        "about": _about(algorithm),
        **known,
        "settings": settings(algorithm.Config.model_json_schema()),
    }


def _made(algorithm: type[Algorithm], spaces: Spaces) -> Algorithm | None:
    """The algorithm with its defaults; None where it cannot be made with these spaces."""
    try:
        return algorithm(algorithm.Config(), spaces)
    except Exception:
        # One of the user's own may need settings, or refuse spaces in its own way.
        return None


def _about(algorithm: type[Algorithm]) -> str:
    """The first paragraph of its description: of a built-in one that of the module."""
    from rljob.algorithms import BUILT_IN

    own = algorithm.__doc__ if algorithm not in BUILT_IN.values() else None
    text = inspect.cleandoc(own or inspect.getdoc(inspect.getmodule(algorithm)) or "")
    return " ".join(text.split("\n\n")[0].split())


def settings(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, type, default, allowed values and meaning of each field of a model.

    Args:
        schema: JSON schema of the model.
    """
    from rljob.spec.invalid import allowed

    found = []
    for name, field in schema.get("properties", {}).items():
        types = [kind for each in field.get("anyOf", [field]) for kind in _kinds(each)]
        found.append(
            {
                "name": name,
                "type": " or ".join(types),
                "default": field.get("default"),
                "required": name in schema.get("required", ()),
                "allowed": allowed(field, schema) + (" or null" if "null" in types else ""),
                "meaning": " ".join(field.get("description", "").split()),
            }
        )
    return found


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind: str | list[str] = schema.get("type", "any")
    return kind if isinstance(kind, list) else [kind]


def table(algorithms: list[dict[str, Any]]) -> str:
    """Table of all algorithms."""
    from rljob.show.view.columns import columns

    rows = [
        (
            each["name"],
            each["data"],
            _spaces(each["observations"]),
            _spaces(each["actions"]),
            each["about"],
        )
        for each in algorithms
    ]
    lines, _ = columns([("NAME", "DATA", "OBSERVATIONS", "ACTIONS", "ABOUT"), *rows])
    return "\n".join([*lines, ""])


def _spaces(names: list[str]) -> str:
    return "any" if len(names) == KINDS else ", ".join(names)


def detail(algorithm: Mapping[str, Any]) -> str:
    """One algorithm and its settings as text."""
    from rljob.show.view.columns import columns
    from rljob.spec.invalid import show

    rows = [
        (
            each["name"],
            "required" if each["required"] else str(show(each["default"])).strip('"'),
            each["allowed"],
            each["meaning"],
        )
        for each in algorithm["settings"]
    ]
    lines, _ = columns([("SETTING", "DEFAULT", "ALLOWED", "MEANING"), *rows])
    about = ": ".join(filter(None, [algorithm["name"], algorithm["about"]]))
    if algorithm["data"] is None:
        facts = "Data, spaces and networks are known in a job alone."
    else:
        observations, actions = (_spaces(algorithm[name]) for name in ("observations", "actions"))
        networks = ", ".join(algorithm["networks"]) or "none"
        facts = (
            f"Data: {algorithm['data']}. Observations: {observations}. Actions: {actions}. "
            f"Networks: {networks}."
        )
    return "\n".join([about, facts, "", *lines, ""])
