"""RLJobs as the API server of the tests is asked for them."""

from __future__ import annotations

from tests.apiserver import Answer, ApiServer
from tests.unit.specs import Job

MERGE = "application/merge-patch+json"


def path_of(namespace: str, name: str = "", subresource: str = "") -> str:
    parts = ["/apis/rljob.dev/v1alpha1/namespaces", namespace, "rljobs", name, subresource]
    return "/".join(part for part in parts if part) + "?fieldValidation=Strict"


def try_to_create(server: ApiServer, content: Job, namespace: str = "default") -> Answer:
    body = {"apiVersion": "rljob.dev/v1alpha1", "kind": "RLJob", **content}
    return server.call("POST", path_of(namespace) + "&dryRun=All", body)


def create(server: ApiServer, content: Job, namespace: str) -> Job:
    answer = server.call("POST", path_of(namespace), content)
    assert answer.status == 201, answer.body
    return answer.body


def message_of(answer: Answer) -> str:
    assert answer.status in (400, 422), answer.body
    return str(answer.body["message"])


def update_status(server: ApiServer, namespace: str, status: Job, name: str = "test") -> Answer:
    return server.call("PATCH", path_of(namespace, name, "status"), {"status": status}, MERGE)
