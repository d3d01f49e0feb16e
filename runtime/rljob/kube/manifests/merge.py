"""The user's PodTemplateSpec merged into ours.

Lists of named things are merged by name, resources and security contexts field by field, all else of
the user's replaces ours; `null` takes ours out. What a job cannot work without is ours alone, and a
template that asks for something else there is refused. Whether the rest makes a pod, the API server
finds out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from typing import Any

from rljob.errors import InputError

Tree = dict[str, Any]

RESERVED = "rljob-"
"""How the names of our volumes and init containers begin."""
_NESTED = ("resources", "securityContext")
_OURS = ("command", "args", "terminationMessagePath")
"""Fields of the role's container that are ours."""
_OUR_ENV = ("POD_NAME",)
_CONFIG = "/etc/rljob"
_PATH = "PYTHONPATH"


def merge(ours: Tree, template: Mapping[str, Any], main: str, path: str) -> Tree:
    """Our template with the user's in it.

    Args:
        main: name of the role's container.
        path: of the user's template in the RLJob, for messages, e.g. `rollout.template`.

    Raises:
        InputError: when the user's template has another structure, or asks for what is ours.
    """
    for key in template:
        if key not in ("metadata", "spec"):
            raise InputError(
                f"{key} is not allowed; a PodTemplateSpec has metadata and spec", path=path
            )
    metadata = _mapping(template.get("metadata"), f"{path}.metadata")
    spec = _mapping(template.get("spec"), f"{path}.spec")
    return {
        "metadata": _metadata(ours["metadata"], metadata, f"{path}.metadata"),
        "spec": _pod(ours["spec"], spec, main, f"{path}.spec"),
    }


def _metadata(ours: Tree, user: Mapping[str, Any], path: str) -> Tree:
    merged = {**user, **ours}
    for key in ("labels", "annotations"):
        merged[key] = {**_mapping(user.get(key), f"{path}.{key}"), **ours[key]}
    return merged


def _pod(ours: Tree, user: Mapping[str, Any], main: str, path: str) -> Tree:
    _refuse(user, ours, ("restartPolicy",), path)
    merged = dict(ours)
    for key, value in user.items():
        at = f"{path}.{key}"
        if key == "containers":
            merged[key] = _containers(ours[key][0], _named(value, at), main, at)
        elif key == "initContainers":
            merged[key] = _unreserved(_named(value, at), at)
        elif key == "volumes":
            merged[key] = [*_unreserved(_named(value, at), at), *ours[key]]
        elif key == "imagePullSecrets":
            merged[key] = _by_key(ours.get(key, []), _named(value, at), "name")
        else:
            _put(merged, key, value, at)
    return merged


def _containers(ours: Tree, user: list[Tree], main: str, path: str) -> list[Tree]:
    """Ours first: it is what `kubectl logs` and `exec` take."""
    merged, sidecars = ours, []
    for index, container in enumerate(user):
        if container["name"] == main:
            merged = _container(ours, container, f"{path}.{index}")
        else:
            sidecars.append(container)
    return [merged, *sidecars]


def _container(ours: Tree, user: Tree, path: str) -> Tree:
    _refuse(user, ours, _OURS, path)
    merged = dict(ours)
    for key, value in user.items():
        at = f"{path}.{key}"
        if key == "env":
            merged[key] = _env(ours[key], _named(value, at), at)
        elif key == "ports":
            merged[key] = _ports(ours[key], _list(value, at), at)
        elif key == "volumeMounts":
            merged[key] = _mounts(ours[key], _named(value, at, "mountPath"), at)
        elif key == "resources":
            merged[key] = _resources(ours[key], _mapping(value, at), at)
        else:
            _put(merged, key, value, at)
    return merged


def _env(ours: list[Tree], user: list[Tree], path: str) -> list[Tree]:
    for index, variable in enumerate(user):
        if variable["name"] in _OUR_ENV:
            message = f"{variable['name']} is rljob's own; choose another name"
            raise InputError(message, path=f"{path}.{index}.name")
    merged = _by_key(ours, user, "name")
    before = next((v["value"] for v in ours if v["name"] == _PATH), None)
    for variable in merged:
        given = variable.get("value")
        if before is not None and variable["name"] == _PATH and given not in (None, before):
            variable["value"] = f"{before}:{given}"
    return merged


def _ports(ours: list[Tree], user: list[Any], path: str) -> list[Tree]:
    taken = {port[key] for port in ours for key in ("name", "containerPort")}
    for index, port in enumerate(user):
        for key in ("name", "containerPort"):
            if _mapping(port, f"{path}.{index}").get(key) in taken:
                message = f"{port[key]} is rljob's own; choose another one"
                raise InputError(message, path=f"{path}.{index}.{key}")
    return [*ours, *user]


def _mounts(ours: list[Tree], user: list[Tree], path: str) -> list[Tree]:
    """A volume of the user's takes the place of our writable folders at and below it."""
    theirs = [posixpath.normpath(str(mount["mountPath"])) for mount in user]
    for index, place in enumerate(theirs):
        if _within(place, _CONFIG):
            message = f"{place} is not allowed; {_CONFIG} is rljob's own"
            raise InputError(message, path=f"{path}.{index}.mountPath")
    kept = [
        mount
        for mount in ours
        if mount.get("readOnly") or not any(_within(mount["mountPath"], at) for at in theirs)
    ]
    return [*kept, *user]


def _resources(ours: Tree, user: Mapping[str, Any], path: str) -> Tree:
    """Where the user gives a limit only, the request is that limit, as it is without us."""
    limits = _mapping(user.get("limits"), f"{path}.limits")
    requests = {key: value for key, value in ours["requests"].items() if key not in limits}
    merged = _deep({**ours, "requests": requests}, user)
    return {key: value for key, value in merged.items() if value}


def _put(merged: Tree, key: str, value: Any, path: str) -> None:
    if value is None:
        merged.pop(key, None)
    elif key in _NESTED and key in merged:
        merged[key] = _deep(merged[key], _mapping(value, path))
    else:
        merged[key] = value


def _deep(ours: Mapping[str, Any], user: Mapping[str, Any]) -> Tree:
    merged = dict(ours)
    for key, value in user.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _deep(merged[key], value)
        else:
            merged[key] = value
    return merged


def _by_key(ours: list[Tree], user: list[Tree], key: str) -> list[Tree]:
    """Ours in our order, each replaced by the user's of the same key; then the user's others."""
    theirs = {entry[key]: entry for entry in user}
    kept = [dict(theirs.pop(entry[key], entry)) for entry in ours]
    return [*kept, *(dict(entry) for entry in theirs.values())]


def _refuse(user: Mapping[str, Any], ours: Tree, keys: Collection[str], path: str) -> None:
    for key in keys:
        if key in user and user[key] != ours.get(key):
            message = f"{user[key]!r} is not allowed; it is rljob's own and {ours.get(key)!r}"
            raise InputError(message, path=f"{path}.{key}")


def _unreserved(user: list[Tree], path: str) -> list[Tree]:
    for index, entry in enumerate(user):
        if entry["name"].startswith(RESERVED):
            message = f"{entry['name']} is not allowed; names with {RESERVED} are rljob's own"
            raise InputError(message, path=f"{path}.{index}.name")
    return user


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{value!r} is not allowed; a mapping of fields", path=path)
    return value


def _list(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{value!r} is not allowed; a list", path=path)
    return value


def _named(value: Any, path: str, key: str = "name") -> list[Tree]:
    """A list of mappings that each have another `key`."""
    seen: set[str] = set()
    for index, entry in enumerate(_list(value, path)):
        name = _mapping(entry, f"{path}.{index}").get(key)
        if not isinstance(name, str) or not name:
            shown = "is required" if name is None else f"{name!r} is not allowed"
            raise InputError(f"{shown}; text that names it", path=f"{path}.{index}.{key}")
        if name in seen:
            raise InputError(f"{name} is given twice", path=f"{path}.{index}.{key}")
        seen.add(name)
    return _list(value, path)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
