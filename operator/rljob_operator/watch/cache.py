"""Cache of all RLJobs and the objects that belong to them. A data structure, no I/O.

It is written by the watches, by the responses to our own writes (so that the next reconcile sees them), and
by the audit, which corrects it. Of two states of one object the newer one is kept, in any order of arrival.

Objects are kept as JSON text: as dictionaries they would take five times the memory, and they are read
rarely.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rljob.kube import names
from rljob.kube.kinds import EVENT, JOB, POD, Manifest
from rljob_operator.decide.observed import Key

GONE_SECONDS = 300.0
WARNING_SECONDS = 600.0
WARNING_LIMIT = 2000
"""Warnings kept per namespace; the oldest are dropped first."""

Id = tuple[str, str]
"""Namespace and name of any object."""
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class _Kept:
    """One state of one object."""

    __slots__ = ("_text", "uid", "version")

    def __init__(self, found: Manifest) -> None:
        self.uid = _uid(found)
        # Resource versions of one kind are increasing numbers.
        self.version = int(found["metadata"]["resourceVersion"])
        self._text = json.dumps(trim(found), separators=(",", ":")).encode()

    def manifest(self) -> Manifest:
        found: Manifest = json.loads(self._text)
        return found


@dataclass
class _Family:
    """Objects that belong to one RLJob name, whether the RLJob exists or not."""

    job: _Kept | None = None
    children: dict[tuple[str, str], _Kept] = field(default_factory=dict)
    pods: dict[str, _Kept] = field(default_factory=dict)
    gone: list[tuple[float, _Kept]] = field(default_factory=list)

    def empty(self) -> bool:
        return self.job is None and not self.children and not self.pods and not self.gone


class Cache:
    """All known objects. Times are monotonic seconds, given by the caller."""

    def __init__(self) -> None:
        self._families: dict[Key, _Family] = {}
        self._ids: dict[str, dict[Id, Key]] = {}
        self._warnings: dict[str, dict[str, tuple[float, Manifest]]] = {}

    def put(self, found: Manifest, now: float) -> Key | None:
        """Store the current state of an object. Returns the job to reconcile, if any."""
        if found["kind"] == EVENT.kind:
            return self._put_warning(found, now)
        key = _key(found)
        if key is None:
            return None
        new, known = _Kept(found), self._kept(found["kind"], _id(found))
        if known is not None:
            if new.version < known.version:
                return None
            if known.uid != new.uid or self._ids[found["kind"]][_id(found)] != key:
                self._remove(found["kind"], _id(found), known, now)
        family = self._families.setdefault(key, _Family())
        kind, name = found["kind"], found["metadata"]["name"]
        if kind == JOB.kind:
            family.job = new
        elif kind == POD.kind:
            family.pods[name] = new
        else:
            family.children[kind, name] = new
        self._ids.setdefault(kind, {})[_id(found)] = key
        return key

    def drop(self, last: Manifest, now: float) -> Key | None:
        """Remove a deleted object; `last` is its last state. Returns the job to reconcile, if any."""
        kind = last["kind"]
        if kind == EVENT.kind:
            return None
        known = self._kept(kind, _id(last))
        if known is None or known.uid != _uid(last):
            return _key(last)
        newest = _Kept(last)
        return self._remove(kind, _id(last), max(newest, known, key=lambda k: k.version), now)

    def get(self, kind: str, id_: Id) -> Manifest | None:
        """One object, by its namespace and name."""
        kept = self._kept(kind, id_)
        return kept.manifest() if kept else None

    def jobs(self) -> Iterator[tuple[Key, Manifest]]:
        """Every RLJob."""
        for key, family in self._families.items():
            if family.job is not None:
                yield key, family.job.manifest()

    def job_keys(self) -> list[Key]:
        """Keys of all RLJobs."""
        return [key for key, family in self._families.items() if family.job is not None]

    def job(self, key: Key) -> Manifest | None:
        family = self._families.get(key)
        return family.job.manifest() if family and family.job else None

    def children(self, key: Key) -> tuple[Manifest, ...]:
        """Objects with the job's label, except pods."""
        family = self._families.get(key)
        return _manifests(family.children.values()) if family else ()

    def pods(self, key: Key) -> tuple[Manifest, ...]:
        """The job's existing pods."""
        family = self._families.get(key)
        return _manifests(family.pods.values()) if family else ()

    def gone(self, key: Key, now: float) -> tuple[Manifest, ...]:
        """The job's pods deleted within the last `GONE_SECONDS`, in their last known state."""
        self._forget(key, now)
        family = self._families.get(key)
        return _manifests(pod for _, pod in family.gone) if family else ()

    def warnings(self, key: Key, now: float, since: float = -math.inf) -> tuple[Manifest, ...]:
        """Warnings of the last `WARNING_SECONDS` about what is called after the job.

        With `since`, only those that came after it.
        """
        found = self._warnings.get(key[0], {})
        self._expire(found, now)
        return tuple(
            warning
            for at, warning in found.values()
            if at > since and self._concerned(warning) == key
        )

    def sweep(self, now: float) -> None:
        """Forget what is too old to be told; call it now and then."""
        for key in list(self._families):
            self._forget(key, now)
        for namespace, found in list(self._warnings.items()):
            self._expire(found, now)
            if not found:
                del self._warnings[namespace]

    def versions(self, kind: str) -> dict[Id, tuple[str, int]]:
        """Uid and version of every object of a kind."""
        kept = {id_: self._kept(kind, id_) for id_ in self._ids.get(kind, {})}
        return {id_: (one.uid, one.version) for id_, one in kept.items() if one is not None}

    def _kept(self, kind: str, id_: Id) -> _Kept | None:
        key = self._ids.get(kind, {}).get(id_)
        if key is None:
            return None
        family = self._families[key]
        if kind == JOB.kind:
            return family.job
        return family.pods[id_[1]] if kind == POD.kind else family.children[kind, id_[1]]

    def _remove(self, kind: str, id_: Id, last: _Kept, now: float) -> Key:
        key = self._ids[kind].pop(id_)
        family = self._families[key]
        if kind == JOB.kind:
            family.job = None
        elif kind == POD.kind:
            del family.pods[id_[1]]
            family.gone.append((now, last))
        else:
            del family.children[kind, id_[1]]
        self._forget(key, now)
        return key

    def _put_warning(self, found: Manifest, now: float) -> Key | None:
        """Keep a warning even if its job is not known yet: at the start, jobs may arrive later."""
        about = found.get("involvedObject") or {}
        if found.get("type") != "Warning" or about.get("kind") == JOB.kind:
            return None
        kept = self._warnings.setdefault(found["metadata"]["namespace"], {})
        kept.pop(_uid(found), None)
        kept[_uid(found)] = (now, trim(found))
        while len(kept) > WARNING_LIMIT:
            del kept[next(iter(kept))]
        return self._concerned(found)

    def _concerned(self, warning: Manifest) -> Key | None:
        """The job with the longest name that is a prefix of the object's name."""
        namespace = warning["metadata"]["namespace"]
        name = str((warning.get("involvedObject") or {}).get("name", ""))
        ends = [at for at, letter in enumerate(name) if letter == "-"]
        keys = ((namespace, name[:end]) for end in reversed(ends))
        return next((key for key in keys if self._kept(JOB.kind, key) is not None), None)

    @staticmethod
    def _expire(warnings: dict[str, tuple[float, Manifest]], now: float) -> None:
        for uid in [uid for uid, (at, _) in warnings.items() if at < now - WARNING_SECONDS]:
            del warnings[uid]

    def _forget(self, key: Key, now: float) -> None:
        family = self._families.get(key)
        if family is None:
            return
        family.gone = [(at, pod) for at, pod in family.gone if at >= now - GONE_SECONDS]
        if family.empty():
            del self._families[key]


def trim(found: Manifest) -> Manifest:
    """A shallow copy of the object without unused fields."""
    metadata = {k: v for k, v in found["metadata"].items() if k != "managedFields"}
    annotations: dict[str, str] = metadata.get("annotations") or {}
    if _APPLIED in annotations:
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != _APPLIED}
    trimmed = {**found, "metadata": metadata}
    if found["kind"] == POD.kind:
        # The rest of a pod's spec is in the template of its owner.
        trimmed["spec"] = {"nodeName": found.get("spec", {}).get("nodeName")}
    return trimmed


def _key(found: Manifest) -> Key | None:
    metadata = found["metadata"]
    if found["kind"] == JOB.kind:
        return metadata["namespace"], metadata["name"]
    name = (metadata.get("labels") or {}).get(names.JOB_NAME_LABEL)
    return (metadata["namespace"], name) if name else None


def _id(found: Manifest) -> Id:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _uid(found: Manifest) -> str:
    return str(found["metadata"]["uid"])


def _manifests(kept: Iterable[_Kept]) -> tuple[Manifest, ...]:
    return tuple(one.manifest() for one in kept)
