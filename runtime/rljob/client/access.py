"""Selects kubeconfig, context and namespace by the rules of kubectl."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rljob.errors import InputError

DEFAULT_KUBECONFIG = Path("~/.kube/config")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder of a pod's service account credentials."""
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


@dataclass(frozen=True)
class Choice:
    """Cluster options of the command line; None selects the kubeconfig's value."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None

    @property
    def flags(self) -> str:
        """The same options for another command, with a leading space; empty without options."""
        chosen = (
            ("--kubeconfig", self.kubeconfig),
            ("--context", self.context),
            ("-n", self.namespace),
        )
        words = [word for flag, value in chosen if value is not None for word in (flag, str(value))]
        return " " + shlex.join(words) if words else ""


@dataclass(frozen=True)
class Access:
    """Access to a cluster.

    Attributes:
        files: kubeconfigs; the first value found is used. Empty inside a pod.
        context: the context in use; None inside a pod.
        namespace: namespace of the commands.
    """

    files: tuple[Path, ...]
    context: str | None
    namespace: str


def find(
    choice: Choice,
    environment: Mapping[str, str] | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> Access:
    """Find the cluster that kubectl would use.

    The order is: `--kubeconfig`, the files in `KUBECONFIG`, `~/.kube/config`, and inside a pod the
    pod's own cluster.

    Raises:
        InputError: no cluster is configured, a kubeconfig cannot be read, or the context does not exist.
    """
    environment = os.environ if environment is None else environment
    files = _files(choice.kubeconfig, environment)
    configs = [_read(file) for file in files]
    current = next((c["current-context"] for c in configs if c.get("current-context")), None)
    name = choice.context or current
    if name is None:
        return _without_context(choice, files, environment, service_account)
    contexts = {
        context["name"]: context for config in reversed(configs) for context in config["contexts"]
    }
    if name not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        where = ", ".join(map(str, files)) or "any kubeconfig"
        raise InputError(f"there is no context {name!r} in {where}; available: {known}")
    namespace = choice.namespace or contexts[name]["context"].get("namespace") or "default"
    return Access(tuple(files), name, namespace)


def _files(chosen: Path | None, environment: Mapping[str, str]) -> list[Path]:
    if chosen is not None:
        if not chosen.is_file():
            raise InputError("no such file", file=str(chosen))
        return [chosen]
    named = environment.get("KUBECONFIG")
    if named:
        paths = [Path(name).expanduser() for name in named.split(os.pathsep) if name]
    else:
        paths = [DEFAULT_KUBECONFIG.expanduser()]
    # Like kubectl, skip missing files of KUBECONFIG.
    return [path for path in paths if path.is_file()]


def _read(file: Path) -> dict[str, Any]:
    """Contexts and current context of a kubeconfig."""
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        contexts = [
            {"name": str(entry["name"]), "context": dict(entry.get("context") or {})}
            for entry in config.get("contexts") or ()
        ]
        return {"current-context": config.get("current-context"), "contexts": contexts}
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(file)) from None
    except (yaml.YAMLError, ValueError, AttributeError, KeyError, TypeError):
        raise InputError("not a kubeconfig", file=str(file)) from None


def _without_context(
    choice: Choice,
    files: Sequence[Path],
    environment: Mapping[str, str],
    service_account: Path,
) -> Access:
    if IN_CLUSTER in environment and (service_account / "token").is_file():
        own = service_account / "namespace"
        inside = own.read_text(encoding="utf-8").strip() if own.is_file() else ""
        return Access((), None, choice.namespace or inside or "default")
    if files:
        where = ", ".join(map(str, files))
        raise InputError(f"{where}: no current context is set; select one with --context")
    named = environment.get("KUBECONFIG")
    lacking = (
        f"KUBECONFIG is {named}, which does not exist"
        if named
        else f"{DEFAULT_KUBECONFIG} does not exist"
    )
    raise InputError(f"no cluster is configured: {lacking}; select a kubeconfig with --kubeconfig")
