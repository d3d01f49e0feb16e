"""The keys of a job's applications on a cluster.

Each application has a Secret with its key. A ConfigMap has the public keys of all that may connect; the kubelet brings it
into the pods of buffer and learner, so that a change takes effect while they run. Both belong to the RLJob.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from rljob.client.api import CONFIG_MAPS, SECRETS
from rljob.client.errors import AlreadyExists, Conflict, NotFound
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.errors import InputError, RunError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec.roles import RoleName
from rljob.wire.application import is_application
from rljob.wire.application_keys import IN_FOLDER, ApplicationKey
from rljob.wire.keys import APPLICATIONS, MOST_APPLICATIONS, ORDER, is_key
from rljob.wire.rotation import FIRST, KeyOrder

_Change = Callable[[dict[str, str]], dict[str, str]]
_SERVERS: tuple[RoleName, ...] = ("buffer", "learner")
MADE_SECONDS = 60.0
"""Longest time until an operator has made keys that it was asked for."""
_MOST_TRIES = 10
_LOOK_EVERY = 1.0
_LONGEST_NAME = 253


class ApplicationKeys:
    """The keys of one job's applications.

    Its methods raise ClusterError.

    Raises:
        RunError: the job takes no experience from applications, or has ended.
    """

    def __init__(self, jobs: Jobs, name: str) -> None:
        self._api, self._namespace = jobs.api, jobs.namespace
        self._job = jobs.get(name)
        if self._job.job().spec.rollout.applications is None:
            raise RunError(
                f"{name} takes no experience from applications: rollout.applications is not in its spec"
            )
        if self._job.end is not None:
            raise RunError(f"{name} has ended ({self._job.end.type}); it needs no keys")

    def add(self, application: str, pair: tuple[bytes, bytes]) -> str:
        """Let an application connect; returns the name of the Secret with its key.

        Args:
            pair: a new public and secret key, see `rljob.wire.sockets.new_keypair`.

        Raises:
            InputError: a wrong name, or one that has a key.
            RunError: the operator has not made the job's own keys yet.
        """
        secret = names.application_secret(self._job.name, application)
        if not is_application(application) or len(secret) > _LONGEST_NAME:
            raise InputError(
                f"{application!r:.80} is no name of an application: up to 63 lower-case letters, digits and '-'"
            )
        public, private = pair
        key = ApplicationKey(application, public, private, self._servers(self._order()))
        try:
            self._api.create(SECRETS, self._namespace, self._secret(secret, application, key))
        except AlreadyExists:
            raise InputError(
                f"{application} has a key already, in the Secret {secret}; revoke it first, or choose another name"
            ) from None
        try:
            self._change(lambda known: {**known, application: public.decode()})
        except BaseException:
            with suppress(NotFound):
                self._api.delete(SECRETS, self._namespace, secret)
            raise
        return secret

    def names(self) -> list[str]:
        """Those that may connect."""
        return sorted(self._admitted()[0])

    def revoke(self, application: str) -> None:
        """Let it connect no more, and delete its Secret.

        Raises:
            InputError: there is none of this name.
        """
        known = self._admitted()[0]
        if application not in known:
            there = ", ".join(sorted(known)) or "none"
            raise InputError(f"no application {application} has a key; there are: {there}")
        self._change(
            lambda known: {name: key for name, key in known.items() if name != application}
        )
        with suppress(NotFound):
            secret = names.application_secret(self._job.name, application)
            self._api.delete(SECRETS, self._namespace, secret)

    def renew(self, generation: int, seconds: float) -> int:
        """Tell all applications the servers' keys of a generation that is about to come into use; returns how many.

        Raises:
            RunError: the operator did not make them within so many seconds.
        """
        applications = self.names()
        if not applications:
            return 0
        deadline = time.monotonic() + seconds
        while not self._has(generation):
            if time.monotonic() > deadline:
                raise RunError(
                    f"the operator has not made keys {generation} of {self._job.name} within {seconds:g} s"
                )
            time.sleep(_LOOK_EVERY)
        order = self._order()
        servers = self._servers(KeyOrder(order.oldest, order.current), generation)
        for application in applications:
            secret = names.application_secret(self._job.name, application)
            with suppress(NotFound):
                data = self._api.get(SECRETS, self._namespace, secret)["data"][IN_FOLDER]
                key = ApplicationKey.from_json(json.loads(base64.b64decode(data)))
                told = ApplicationKey(key.name, key.public, key.secret, servers)
                self._api.patch(SECRETS, self._namespace, secret, {"data": _content(told)})
        return len(applications)

    def _secret(self, name: str, application: str, key: ApplicationKey) -> Manifest:
        metadata = {
            "name": name,
            "labels": {
                **self._labels(),
                "app.kubernetes.io/component": application,
            },
            "ownerReferences": [_owner(self._job)],
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": _content(key),
        }

    def _labels(self) -> dict[str, str]:
        return {
            "app.kubernetes.io/name": "rljob-application",
            names.APPLICATION_LABEL: self._job.name,
        }

    def _admitted(self) -> tuple[dict[str, str], str]:
        """Public keys by name, and the version of the ConfigMap; empty when there is none.

        Raises:
            RunError: somebody has written something else into it.
        """
        name = names.applications(self._job.name)
        try:
            found = self._api.get(CONFIG_MAPS, self._namespace, name)
        except NotFound:
            return {}, ""
        try:
            known = json.loads((found.get("data") or {}).get(APPLICATIONS, "{}"))
        except ValueError:
            known = None
        if not isinstance(known, dict) or not all(
            is_application(each) and isinstance(key, str) and is_key(key.encode())
            for each, key in known.items()
        ):
            raise RunError(f"the ConfigMap {name} does not hold the keys of applications")
        return known, str(found["metadata"]["resourceVersion"])

    def _change(self, change: _Change) -> None:
        """Write the public keys, again when somebody else has written meanwhile."""
        name = names.applications(self._job.name)
        for attempt in range(_MOST_TRIES):
            known, version = self._admitted()
            wanted = change(known)
            if len(wanted) > MOST_APPLICATIONS:
                raise InputError(f"{len(wanted)} applications; at most {MOST_APPLICATIONS}")
            data = {APPLICATIONS: json.dumps(dict(sorted(wanted.items())), indent=1) + "\n"}
            made: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "data": data}
            try:
                if version:
                    body: Manifest = {"metadata": {"resourceVersion": version}, "data": data}
                    self._api.patch(CONFIG_MAPS, self._namespace, name, body)
                else:
                    made["metadata"] = {
                        "name": name,
                        "labels": self._labels(),
                        "ownerReferences": [_owner(self._job)],
                    }
                    self._api.create(CONFIG_MAPS, self._namespace, made)
                return
            except (AlreadyExists, Conflict, NotFound):
                if attempt + 1 == _MOST_TRIES:
                    raise

    def _order(self) -> KeyOrder:
        """Which generations of the servers' keys are accepted."""
        try:
            name = names.keys_in_use(self._job.name)
            found = self._api.get(CONFIG_MAPS, self._namespace, name)
        except NotFound:
            return FIRST
        return KeyOrder.from_json((found.get("data") or {}).get(ORDER, ""))

    def _has(self, generation: int) -> bool:
        try:
            self._keys(generation)
        except NotFound:
            return False
        return True

    def _keys(self, generation: int) -> Manifest:
        name = names.keys_secret(self._job.name, generation)
        data: Manifest = self._api.get(SECRETS, self._namespace, name)["data"]
        return data

    def _servers(self, order: KeyOrder, newest: int = 0) -> dict[str, tuple[bytes, ...]]:
        """Public keys of buffer and learner, those in use first.

        Raises:
            RunError: there are none yet.
        """
        found = list(self._generations(order, newest))
        if not found:
            raise RunError(f"{self._job.name} has no keys yet; its operator makes them")
        return {
            role: tuple(base64.b64decode(keys[f"{role}.public"]).strip() for keys in found)
            for role in _SERVERS
        }

    def _generations(self, order: KeyOrder, newest: int) -> Iterator[Manifest]:
        last = max(order.current, newest, self._job.status.keys_generation or 1)
        others = [number for number in range(order.oldest, last + 1) if number != order.current]
        for number in (order.current, *others):
            with suppress(NotFound):
                yield self._keys(number)


def _content(key: ApplicationKey) -> dict[str, str]:
    return {IN_FOLDER: base64.b64encode(json.dumps(key.to_json()).encode()).decode()}


def _owner(job: ClusterJob) -> Manifest:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": job.name,
        "uid": job.uid,
    }


def tell_applications(jobs: Jobs, name: str, generation: int) -> int:
    """Tell all applications of a job the keys that a rotation leads to; returns how many there are.

    Raises:
        ClusterError, RunError: as `ApplicationKeys.renew`.
    """
    if jobs.get(name).job().spec.rollout.applications is None:
        return 0
    return ApplicationKeys(jobs, name).renew(generation, MADE_SECONDS)
