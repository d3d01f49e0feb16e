"""The code that is sent with a job, to an API server that keeps objects in a dict."""

from __future__ import annotations

import itertools
from copy import deepcopy
from typing import Any

import pytest

from rljob import spec
from rljob.client import sent_code
from rljob.client.api import CONFIG_MAPS, RLJOBS, Resource
from rljob.client.errors import AlreadyExists, NotFound, Unavailable
from rljob.client.jobs import Jobs
from rljob.errors import RunError
from rljob.kube import names
from tests.unit.specs import Job, job

DIGEST = "a" * 64


class Server:
    """Objects by kind and name.

    Attributes:
        fails: number of requests for ConfigMaps from which on they fail.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[Resource, str], Job] = {}
        self.fails = 100
        self._uids = map(str, itertools.count(1))

    def get(self, resource: Resource, namespace: str, name: str) -> Job:
        if (resource, name) not in self.objects:
            raise NotFound(name)
        return deepcopy(self.objects[resource, name])

    def create(self, resource: Resource, namespace: str, body: Job) -> Job:
        if resource is CONFIG_MAPS:
            self.fails -= 1
            if self.fails < 0:
                raise Unavailable("no answer")
        name = body["metadata"]["name"]
        if (resource, name) in self.objects:
            raise AlreadyExists(name)
        made = deepcopy(body)
        made["metadata"] |= {"uid": next(self._uids), "namespace": namespace}
        self.objects[resource, name] = made
        return deepcopy(made)

    def patch(self, resource: Resource, namespace: str, name: str, body: Job) -> Job:
        _merge(self.objects[resource, name], body)
        return self.get(resource, namespace, name)

    def delete(self, resource: Resource, namespace: str, name: str, options: Job) -> None:
        known = self.get(resource, namespace, name)["metadata"]["uid"]
        assert options["preconditions"]["uid"] == known
        del self.objects[resource, name]

    def maps(self) -> list[Job]:
        return [
            found
            for (kind, _), found in sorted(self.objects.items(), key=str)
            if kind is CONFIG_MAPS
        ]


def _merge(target: Job, change: Job) -> None:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def jobs(server: Server) -> Jobs:
    return Jobs(server, "rl")  # type: ignore[arg-type]


def submitted(jobs: Jobs, **fields: Any) -> Any:
    return sent_code.create(jobs, spec.parse(job(**fields)), DIGEST, [b"one", b"two"])


def test_a_job_begins_when_its_code_is_there(server: Server, jobs: Jobs) -> None:
    found = submitted(jobs)
    assert not found.held
    assert "suspend" not in found.raw["spec"]
    assert len(server.maps()) == 2
    for each in server.maps():
        assert each["metadata"]["ownerReferences"][0]["uid"] == found.uid


def test_a_job_that_is_to_be_suspended_stays_so(jobs: Jobs) -> None:
    assert submitted(jobs, suspend=True).suspended


def test_where_the_client_is_killed_no_pod_waits(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Jobs, "release", lambda *_: _killed())
        killed.setattr(Jobs, "delete", lambda *_: None)
        with pytest.raises(SystemExit):
            submitted(jobs)
    name = job()["metadata"]["name"]
    left = jobs.get(name)
    assert (left.suspended, left.held) == (True, True)
    with pytest.raises(RunError, match="was not sent as a whole; delete it and submit it again"):
        jobs.suspend(name, False)
    with pytest.raises(AlreadyExists, match=r"\(its code was not sent as a whole\); delete it"):
        submitted(jobs)


def _killed() -> None:
    raise SystemExit


def test_what_a_deleted_job_of_this_name_left_is_replaced(server: Server, jobs: Jobs) -> None:
    """Kubernetes deletes it some time after the job."""
    submitted(jobs)
    before = {each["metadata"]["uid"] for each in server.maps()}
    jobs.delete(job()["metadata"]["name"])
    found = submitted(jobs)
    assert before.isdisjoint(each["metadata"]["uid"] for each in server.maps())
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in server.maps()} == {found.uid}


def test_what_is_not_of_a_job_is_left_alone(server: Server, jobs: Jobs) -> None:
    name = names.code_part(job()["metadata"]["name"], DIGEST, 1)
    server.create(CONFIG_MAPS, "rl", {"metadata": {"name": name, "labels": {"mine": "yes"}}})
    with pytest.raises(AlreadyExists):
        submitted(jobs)
    assert server.get(CONFIG_MAPS, "rl", name)["metadata"]["labels"] == {"mine": "yes"}
    assert (RLJOBS, job()["metadata"]["name"]) not in server.objects


def test_a_job_whose_code_is_not_taken_is_not_left(server: Server, jobs: Jobs) -> None:
    server.fails = 1
    with pytest.raises(Unavailable):
        submitted(jobs)
    assert (RLJOBS, job()["metadata"]["name"]) not in server.objects
