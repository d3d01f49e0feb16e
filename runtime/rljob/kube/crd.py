"""The CustomResourceDefinition of RLJobs: `python -m rljob.kube.crd` prints crds/rljobs.rljob.dev.yaml.

The schema comes from the models in `rljob.spec`. This module adds the names, the columns of `kubectl get`, and the
settings of the built-in algorithms and networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from rljob import algorithms, nets
from rljob.algorithms.renamed import REPLACED
from rljob.nets.choice import which_networks
from rljob.spec import AlgorithmSpec, Metadata, RLJobSpec
from rljob.spec.cel import VALIDATIONS, Rule, rule, text, texts
from rljob.spec.status import RLJobStatus
from rljob.spec.structural import Schema, lenient, structural

_HEADER = "# Made by `make generate` from runtime/rljob/spec and runtime/rljob/kube/crd.py; change it there.\n"
_NAMES = {
    "kind": "RLJob",
    "listKind": "RLJobList",
    "plural": "rljobs",
    "singular": "rljob",
    "shortNames": ["rlj"],
    "categories": ["all"],
}
_SCALE = {
    "specReplicasPath": ".spec.rollout.replicas",
    "statusReplicasPath": ".status.rollout.replicas",
    "labelSelectorPath": ".status.rollout.selector",
}


def _column(name: str, kind: str, path: str, description: str, *, wide: bool = False) -> Schema:
    shown = {"name": name, "type": kind, "description": description, "jsonPath": path}
    return {**shown, "priority": 1} if wide else shown


_COLUMNS = [
    _column("Phase", "string", ".status.phase", "Summary of the conditions in one word."),
    _column("Rollouts", "string", ".status.rollout.ready", "Ready and desired rollouts."),
    _column(
        "Apps", "integer", ".status.applications.connected", "Processes of applications connected."
    ),
    _column("Learner", "string", ".status.learner.state", "State of the learner's pod."),
    _column("Step", "integer", ".status.progress.steps", "Environment steps trained on."),
    _column("Return", "number", ".status.progress.meanReturn", "Recent mean return."),
    _column(
        "Steps/s", "integer", ".status.progress.stepsPerSecond", "Environment steps per second."
    ),
    _column("Lag", "integer", ".status.policy.lag.p95", "Policy lag, 95th percentile."),
    _column("Restarts", "integer", ".status.restarts", "Restarts of all roles."),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since the job was created."),
    _column("Best", "number", ".status.progress.bestReturn", "Highest mean return.", wide=True),
    _column("Buffer", "number", ".status.buffer.fill", "Share of the buffer in use.", wide=True),
    _column(
        "Checkpoint",
        "integer",
        ".status.lastCheckpoint.step",
        "Steps of the newest one.",
        wide=True,
    ),
    _column(
        "Reason",
        "string",
        '.status.conditions[?(@.type=="Ready")].reason',
        "Why the job is, or is not, ready.",
        wide=True,
    ),
]


def definition(
    algorithm_configs: Mapping[str, type[BaseModel]] | None = None,
) -> dict[str, Any]:
    """The whole CustomResourceDefinition.

    Args:
        algorithm_configs: settings of each algorithm that it knows by name; by default the built-in ones.
    """
    if algorithm_configs is None:
        algorithm_configs = {name: one.Config for name, one in algorithms.BUILT_IN.items()}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "additionalPrinterColumns": _COLUMNS,
        "subresources": {"status": {}, "scale": _SCALE},
        "schema": {"openAPIV3Schema": _schema(algorithm_configs)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rljobs.rljob.dev"},
        "spec": {
            "group": "rljob.dev",
            "scope": "Namespaced",
            "names": _NAMES,
            "versions": [version],
        },
    }


def to_yaml() -> str:
    """The text of crds/rljobs.rljob.dev.yaml."""
    return _HEADER + yaml.dump(definition(), Dumper=_SchemaDumper, sort_keys=False, width=100)


def _schema(algorithm_configs: Mapping[str, type[BaseModel]]) -> Schema:
    spec = structural(RLJobSpec)
    _add_settings(spec, "algorithm", algorithm_configs)
    _add_settings(spec, "network", nets.BUILT_IN, default="mlp")
    spec[VALIDATIONS] += [*_known_networks(), _known_settings_of_networks()]
    entries = spec["properties"]["networks"]["additionalProperties"]
    entries[VALIDATIONS].append(_known_names("network", list(nets.BUILT_IN)))
    status = lenient(RLJobStatus)
    return {
        "type": "object",
        "description": "A reinforcement-learning training job: rollouts step environments, a buffer "
        "stores the experience, and a learner trains the policy on it.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Always `rljob.dev/v1alpha1`."},
            "kind": {"type": "string", "description": "Always `RLJob`."},
            # Declared so that a rule can refer to the name.
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {**spec, "description": "What to train, how, and until when."},
            "status": {**status, "description": "Status of the job on the cluster."},
        },
        VALIDATIONS: [_name_rule()],
    }


def _name_rule() -> Rule:
    name = structural(Metadata)["properties"]["name"]
    longest, pattern = name["maxLength"], text(name["pattern"])
    what = name["description"].partition(". ")[0]
    return rule(
        f"self.metadata.name.size() <= {longest} && self.metadata.name.matches({pattern})",
        f"the name is not allowed; {what}",
        computed=f"self.metadata.name + {text(f' is not allowed; {what}')}",
        at="metadata.name",
    )


def _add_settings(
    spec: Schema, section: str, built_in: Mapping[str, type[BaseModel]], default: str = ""
) -> None:
    """Add rules that reject unknown built-in names and settings."""
    settings = {
        name: list(model.model_json_schema()["properties"]) for name, model in built_in.items()
    }
    spec["properties"][section][VALIDATIONS] += [
        _known_names(section, list(settings)),
        _known_settings(section, settings, default),
    ]


def _known_networks() -> list[Rule]:
    """`networks` and `initFrom.networks` have only names of the built-in algorithm's networks."""
    known = {}
    for name in algorithms.BUILT_IN:
        algorithm = AlgorithmSpec(name=name)
        known[name] = list(algorithms.networks_of(algorithm, algorithms.load_config(algorithm)))
    pairs = [f"{algorithm} {network}" for algorithm, names in known.items() for network in names]
    sentences = _literal({name: text(which_networks(names)) for name, names in known.items()})
    name = "self.algorithm.name"
    places = {
        "networks": "!has(self.networks)",
        "initFrom.networks": "!has(self.initFrom) || !has(self.initFrom.networks)",
    }
    return [
        rule(
            f"{absent} || !has({name}) || self.{place}.all(n, {name} + ' ' + n in {texts(pairs)})",
            "unknown network of the algorithm",
            computed=f"{text('unknown network of the algorithm. ')} + {sentences}[{name}]",
            at=place,
        )
        for place, absent in places.items()
    ]


def _known_settings_of_networks() -> Rule:
    """Each `config` of `networks` has only settings of its network, which is that of `network` if it names none."""
    settings = {
        name: list(model.model_json_schema()["properties"]) for name, model in nets.BUILT_IN.items()
    }
    table = _literal({name: texts(names) for name, names in settings.items()})
    knows = "; ".join(f"{name} knows: {', '.join(names)}" for name, names in settings.items())
    own = "self.networks[n]"
    common = (
        "has(self.network.name) ? self.network.name : has(self.network.entryPoint) ? '' : 'mlp'"
    )
    name = f"(has({own}.name) ? {own}.name : has({own}.entryPoint) ? '' : {common})"
    return rule(
        f"!has(self.networks) || self.networks.all(n, [{table}].all(table, !({name} in table) || "
        f"dyn({own}).config.all(k, k in table[{name}])))",
        f"unknown setting of a network. {knows}",
        at="networks",
    )


def _known_names(section: str, names: list[str]) -> Rule:
    known = f". Known: {', '.join(names)}"
    return rule(
        f"!has(self.name) || self.name in {texts(names)}",
        f"unknown {section}{known}",
        computed=f"{text(f'unknown {section} ')} + self.name + {text(known)}",
        at="name",
    )


def _known_settings(section: str, settings: Mapping[str, list[str]], default: str) -> Rule:
    """One rule for all built-in ones: `config` has only settings of the one that is named.

    CEL sees the names in a free-form mapping but not the values: the roles check those.
    `dyn` is needed because a mapping to values of any type has no type. A list of one names the chosen row. The API
    server's estimate of costs allows it in an expression that goes over `config`, and not beside it.
    """
    table = _literal({name: texts(names) for name, names in settings.items()})
    sentences = _literal(
        {name: text(f"{name} knows: {', '.join(names)}") for name, names in settings.items()}
    )
    name = f"(has(self.name) ? self.name : {text(default)})" if default else "self.name"
    chosen = "!has(self.entryPoint)" if default else "has(self.name)"
    hint = (
        f"(k in {_REPLACED} ? ' It is part of a schedule now; write ' + {_REPLACED}[k] + '.' : "
        "known.filter(n, n.lowerAscii() == k.replace('_', '').lowerAscii())"
        ".map(n, ' Did you mean ' + n + '?').join(''))"
    )
    wrong = f"k in known ? '' : k + ': unknown setting of ' + {name} + '.' + {hint} + ' '"
    return rule(
        f"!({chosen}) || !has(dyn(self).config) || [{table}].all(table, "
        f"!({name} in table) || dyn(self).config.all(k, k in table[{name}]))",
        f"unknown setting of the {section}",
        computed=f"dyn(self).config.map(k, [{table}[{name}]].map(known, {wrong}).join('')).join('') + "
        f"{sentences}[{name}]",
        at="config",
    )


def _literal(values: Mapping[str, str]) -> str:
    """A CEL literal of a mapping whose values are CEL."""
    return "{" + ", ".join(f"{text(key)}: {value}" for key, value in values.items()) + "}"


_REPLACED = _literal({name: text(line) for name, line in REPLACED.items()})


class _SchemaDumper(yaml.SafeDumper):
    """Writes no aliases: a repeated value is written in full each time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    print(to_yaml(), end="")
