"""Writes the tables of settings of algorithms and networks into their pages, from their config models.

`python -m website.settings`. A table stands between two marks that name its model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rljob import algorithms, nets

PAGES = Path(__file__).resolve().parents[1] / "docs" / "reference"
MODELS: dict[str, dict[str, type[BaseModel]]] = {
    "algorithms/ppo.md": {"PPO": algorithms.BUILT_IN["PPO"].Config},
    "algorithms/dqn.md": {"DQN": algorithms.BUILT_IN["DQN"].Config},
    "algorithms/a2c.md": {"A2C": algorithms.BUILT_IN["A2C"].Config},
    "algorithms/appo.md": {"APPO": algorithms.BUILT_IN["APPO"].Config},
    "algorithms/reinforce.md": {"REINFORCE": algorithms.BUILT_IN["REINFORCE"].Config},
    "algorithms/c51.md": {"C51": algorithms.BUILT_IN["C51"].Config},
    "algorithms/qr-dqn.md": {"QRDQN": algorithms.BUILT_IN["QRDQN"].Config},
    "algorithms/iqn.md": {"IQN": algorithms.BUILT_IN["IQN"].Config},
    "algorithms/r2d2.md": {"R2D2": algorithms.BUILT_IN["R2D2"].Config},
    "algorithms/impala.md": {"IMPALA": algorithms.BUILT_IN["IMPALA"].Config},
    "algorithms/q-learning.md": {"QLearning": algorithms.BUILT_IN["QLearning"].Config},
    "algorithms/dyna-q.md": {"DynaQ": algorithms.BUILT_IN["DynaQ"].Config},
    "algorithms/ql-agent57.md": {"QLAgent57": algorithms.BUILT_IN["QLAgent57"].Config},
    "algorithms/search-dyna-q.md": {"SearchDynaQ": algorithms.BUILT_IN["SearchDynaQ"].Config},
    "algorithms/vanilla-policy.md": {"VanillaPolicy": algorithms.BUILT_IN["VanillaPolicy"].Config},
    "algorithms/sac.md": {"SAC": algorithms.BUILT_IN["SAC"].Config},
    "algorithms/td3.md": {"TD3": algorithms.BUILT_IN["TD3"].Config},
    "algorithms/ddpg.md": {"DDPG": algorithms.BUILT_IN["DDPG"].Config},
    "algorithms/trpo.md": {"TRPO": algorithms.BUILT_IN["TRPO"].Config},
    "networks.md": dict(nets.BUILT_IN),
}
"""The models whose tables a page has, by the name in the marks."""


def with_tables(text: str, models: Mapping[str, type[BaseModel]]) -> str:
    """The page with the table of each model between its marks.

    Raises:
        ValueError: the marks of a model are not there.
    """
    for name, model in models.items():
        begin = f"<!-- Settings of {name}: made by `make generate` from their model; change them there. -->"
        end = f"<!-- End of the settings of {name}. -->"
        before, start, rest = text.partition(begin)
        _, stop, after = rest.partition(end)
        if not start or not stop:
            raise ValueError(f"no {begin} … {end}")
        text = f"{before}{begin}\n\n{table(model)}\n\n{end}{after}"
    return text


def table(model: type[BaseModel]) -> str:
    """One row for each setting: name in YAML, default, allowed values, meaning."""
    rows = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for name, schema in model.model_json_schema()["properties"].items():
        default = json.dumps(schema["default"]).strip('"').replace("null", "none")
        # A row of a table is one line.
        allowed, meaning = _allowed(schema), " ".join(schema["description"].split())
        rows.append(f"| `{name}` | {default} | {allowed} | {meaning} |")
    return "\n".join(rows)


def _allowed(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return _allowed(schema["anyOf"][0])
    if isinstance(schema["type"], list):
        return (
            f"{_allowed({**schema, 'type': schema['type'][0]})}, or a [schedule](../schedules.md)"
        )
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "boolean":
        return "true, false"
    if schema["type"] == "array":
        return f"a list of {_allowed(schema['items'])}"
    if "exclusiveMinimum" in schema:
        return f"above {schema['exclusiveMinimum']:,}, to {schema['maximum']:,}"
    return f"{schema['minimum']:,} to {schema['maximum']:,}"


def main() -> None:
    for name, models in MODELS.items():
        path = PAGES / name
        path.write_text(with_tables(path.read_text(), models))


if __name__ == "__main__":
    main()
