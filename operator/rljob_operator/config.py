"""Configuration of an operator: flags, each with an environment variable `RLJOB_…`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rljob.errors import InputError
from rljob.kube.settings import OperatorSettings
from rljob.version import __version__
from rljob_operator.telemetry import logs

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True)
class Config:
    """One operator process.

    Attributes:
        namespaces: namespaces to serve; all when empty.
        kubeconfig: file to connect with; None for the in-cluster configuration or kubectl's default.
        context: context of that file; the current one when None.
        lease: whether to act only while holding the Lease, so that only one of several processes acts.
        lease_name, lease_namespace: the Lease.
        identity: name of this process in the Lease.
        state_key_file, state_key_secret: see `StateKey`; None for a key of this process.
        host, port: address of `/metrics`, `/healthz` and `/readyz`; port 0 uses any free port.
        workers: jobs that are reconciled at once.
        polls: learners that are polled at once.
        resync_seconds: interval between full resyncs of all jobs.
        audit_seconds: interval between audits, which compare the cache with lists of the API server.
        stale_seconds: time after which a missed change makes the process unhealthy.
        silence_seconds: time without events after which a watch is reconnected.
        log_level: one of `rljob_operator.telemetry.logs.LEVELS`.
        settings: settings for the manifests of children.
    """

    namespaces: tuple[str, ...] = ()
    kubeconfig: str | None = None
    context: str | None = None
    lease: bool = True
    lease_name: str = "rljob-operator"
    lease_namespace: str = "default"
    identity: str = ""
    state_key_file: str | None = None
    state_key_secret: str = "rljob-operator-state"
    host: str = ""
    port: int = 8080
    workers: int = 4
    polls: int = 32
    resync_seconds: float = 600.0
    audit_seconds: float = 300.0
    stale_seconds: float = 90.0
    silence_seconds: float = 70.0
    log_level: str = "info"
    settings: OperatorSettings = field(default_factory=OperatorSettings)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """The configuration; a flag overrides its variable. Exits for `--help`.

    Raises:
        InputError: naming the flag or the variable, the value, and what is allowed.
    """
    parser = _parser()
    given = {k: v for k, v in vars(parser.parse_args(arguments)).items() if v is not None}
    values = {}
    for option in _OPTIONS:
        text, origin = given.get(option.name), option.flag
        if text is None:
            text, origin = environment.get(option.variable), option.variable
        if text is not None:
            values[option.name] = _read(option, text, origin)
    settings = {o.name: values.pop(o.name) for o in _OPTIONS if o.setting and o.name in values}
    values.setdefault("lease_namespace", _own_namespace())
    values.setdefault("identity", f"{os.uname().nodename}-{os.urandom(4).hex()}")
    settings["namespace"] = values["lease_namespace"]
    return Config(**values, settings=OperatorSettings(**settings))


@dataclass(frozen=True)
class _Option:
    name: str
    help: str
    read: Callable[[str], Any]
    allowed: str
    setting: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "RLJOB_" + self.name.upper()


def _read(option: _Option, text: str, origin: str) -> Any:
    try:
        return option.read(text)
    except ValueError:
        raise InputError(f"{text!r} is not allowed; {option.allowed}", path=origin) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rljob_operator",
        description="The rljob operator: creates and maintains the pods of RLJobs.",
        epilog="Each option can also be set by an environment variable, e.g. RLJOB_LOG_LEVEL for "
        "--log-level.",
    )
    parser.add_argument("--version", action="version", version=f"rljob-operator {__version__}")
    defaults = {**vars(Config()), **vars(OperatorSettings())}
    for option in _OPTIONS:
        default = defaults[option.name]
        shown = "" if default in ("", None, ()) else f" (default: {_show(default)})"
        parser.add_argument(
            option.flag, metavar="VALUE", help=f"{option.help}; {option.allowed}{shown}"
        )
    return parser


def _show(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "default"


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return text.strip()


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(part.strip()) for part in text.split(",") if part.strip()))


def _yes(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(text)
    return text.lower() in _TRUE


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def _count(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return read


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 86_400:
        raise ValueError(text)
    return value


_SECONDS = "seconds from 0.05 to 86400"
_BOOLEAN = "true or false"
_A_NAME = "a name of lowercase letters, digits and '-'"
_LEVELS = ", ".join(logs.LEVELS)
_PULLS = ("Always", "IfNotPresent", "Never")
_OPTIONS = (
    _Option("namespaces", "namespaces to serve", _names, "names with commas; all when absent"),
    _Option("kubeconfig", "file to connect with", _text, "a path"),
    _Option("context", "context of the kubeconfig", _text, "a name in it"),
    _Option("lease", "act only while holding the Lease", _yes, _BOOLEAN),
    _Option("lease_name", "name of the Lease", _name, _A_NAME),
    _Option("lease_namespace", "namespace of the Lease; the pod's when absent", _name, _A_NAME),
    _Option(
        "identity", "name of this process in the Lease; generated when absent", _text, "any text"
    ),
    _Option(
        "state_key_file",
        "file of the key for the tokens of jobs; a new one in each process when absent",
        _text,
        "a path",
    ),
    _Option(
        "state_key_secret", "name of the Secret with that file, made when absent", _name, _A_NAME
    ),
    _Option("host", "address to serve metrics and health on", _text, "an address; all when absent"),
    _Option("port", "port of metrics and health", _count(0, 65_535), "0 (any) to 65535"),
    _Option("workers", "jobs reconciled at once", _count(1, 256), "1 to 256"),
    _Option("polls", "learners polled at once", _count(1, 1024), "1 to 1024"),
    _Option("resync_seconds", "interval between full resyncs", _seconds, _SECONDS),
    _Option("audit_seconds", "interval between audits of the watches", _seconds, _SECONDS),
    _Option("stale_seconds", "unhealthy when a change is missed for", _seconds, _SECONDS),
    _Option("silence_seconds", "reconnect a watch without events after", _seconds, _SECONDS),
    _Option(
        "log_level", "minimum severity of log messages", _one_of(*logs.LEVELS), f"one of {_LEVELS}"
    ),
    _Option("worker_image", "image of rollouts and buffers", _text, "a reference", True),
    _Option("learner_image", "image of learners", _text, "a reference", True),
    _Option(
        "image_pull_policy",
        "pull policy of every container; Kubernetes' default when absent",
        _one_of(*_PULLS),
        f"one of {', '.join(_PULLS)}",
        True,
    ),
    _Option("image_pull_secrets", "Secrets for pulling images", _names, "names with commas", True),
    _Option("checkpoint_size", "size of the claim for checkpoints", _text, "a quantity", True),
    _Option(
        "storage_class",
        "StorageClass of claims; the default one when absent",
        _text,
        "a name",
        True,
    ),
    _Option("restrict_egress", "allow pods to reach only each other and DNS", _yes, _BOOLEAN, True),
    _Option("poll_seconds", "interval between polls of a learner", _seconds, _SECONDS, True),
    _Option("status_seconds", "minimum interval between progress writes", _seconds, _SECONDS, True),
    _Option("pending_grace_seconds", "grace period of a pending pod", _seconds, _SECONDS, True),
)
