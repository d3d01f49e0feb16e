"""`rljob algorithms`: the built-in algorithms, the settings of one of them, or the course of one setting."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rljob.cli import output
from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.algorithms.base import Algorithm


KINDS = 3
"""Of spaces."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="show the settings of this algorithm"
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
    from rljob.algorithms import BUILT_IN, resolve_algorithm
    from rljob.spec import AlgorithmSpec
    from rljob.spec.invalid import checked

    if arguments.name is not None:
        spec = checked(AlgorithmSpec, {"name": arguments.name}, path="algorithm")
        found = values(arguments.name, resolve_algorithm(spec))
        text = output.serialize(found, arguments.output) if arguments.output else detail(found)
        print(text, end="")
        return 0
    algorithms = [values(name, algorithm) for name, algorithm in BUILT_IN.items()]
    if arguments.output:
        print(output.serialize({"algorithms": algorithms}, arguments.output), end="")
    else:
        print(table(algorithms), end="")
    return 0


def values(name: str, algorithm: type[Algorithm]) -> dict[str, Any]:
    """Output of `-o` for one algorithm."""
    from rljob.algorithms import EXAMPLES, fitting
    from rljob.algorithms.base import OnPolicy
    from rljob.envs.spaces import Spaces

    fits = [
        (seen, taken)
        for seen in EXAMPLES
        for taken in EXAMPLES
        if name in fitting(Spaces(EXAMPLES[seen], EXAMPLES[taken]))
    ]
    observations, actions = (list(dict.fromkeys(each)) for each in zip(*fits, strict=True))
    first_seen, first_taken = fits[0]
    made = algorithm(algorithm.Config(), Spaces(EXAMPLES[first_seen], EXAMPLES[first_taken]))
    text = inspect.getdoc(inspect.getmodule(algorithm)) or ""
    return {
        "name": name,
        "about": " ".join(text.split("\n\n")[0].split()),
        "data": "on-policy" if isinstance(made.data, OnPolicy) else "replay",
        "observations": observations,
        "actions": actions,
        "networks": list(made.networks),
        "settings": settings(algorithm.Config.model_json_schema()),
    }


def settings(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, type, default, allowed values and meaning of each field of a model.

    Args:
        schema: JSON schema of the model.
    """
    from rljob.spec.invalid import allowed

    found = []
    for name, field in schema["properties"].items():
        types = [kind for each in field.get("anyOf", [field]) for kind in _kinds(each)]
        found.append(
            {
                "name": name,
                "type": " or ".join(types),
                "default": field.get("default"),
                "allowed": allowed(field, schema) + (" or null" if "null" in types else ""),
                "meaning": " ".join(field.get("description", "").split()),
            }
        )
    return found


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind: str | list[str] = schema["type"]
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
        (each["name"], str(show(each["default"])).strip('"'), each["allowed"], each["meaning"])
        for each in algorithm["settings"]
    ]
    lines, _ = columns([("SETTING", "DEFAULT", "ALLOWED", "MEANING"), *rows])
    observations, actions = (_spaces(algorithm[name]) for name in ("observations", "actions"))
    about = f"{algorithm['name']}: {algorithm['about']}"
    networks = ", ".join(algorithm["networks"]) or "none"
    facts = f"Data: {algorithm['data']}. Observations: {observations}. Actions: {actions}. Networks: {networks}."
    return "\n".join([about, facts, "", *lines, ""])
