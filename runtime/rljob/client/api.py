"""Requests to a Kubernetes API server. Only this module and `forward` import the Kubernetes client."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from rljob.client import access, forward
from rljob.client.access import Access, Choice
from rljob.client.errors import (
    Call,
    ClusterError,
    NotFound,
    ServerAddress,
    Unavailable,
    refused,
    unreachable,
)
from rljob.client.forward import ForwardFailed, HandshakeRefused
from rljob.errors import InputError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.version import __version__

if TYPE_CHECKING:
    import urllib3
    from kubernetes.client import ApiClient, Configuration

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0
MOST_CONNECTIONS = 1000
"""Size of the connection pool: following logs takes one connection per pod."""
MOST_TRIES, LONGEST_PAUSE = 6, 5.0
"""Tries of a request with `Retry-After` in the response, and the longest pause in seconds."""
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Resource:
    """A resource as named in URLs and RBAC."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", sub: str = "") -> str:
        """URL path; an empty namespace means all namespaces."""
        root = ["apis", self.group, self.version] if self.group else ["api", self.version]
        within = ["namespaces", quote(namespace)] if namespace else []
        tail = [self.plural, quote(name, safe=":"), sub]
        return "/" + "/".join(filter(None, [*root, *within, *tail]))

    def named(self, sub: str = "") -> str:
        """`rljobs.rljob.dev`, `pods/log`."""
        whole = f"{self.plural}.{self.group}" if self.group else self.plural
        return f"{whole}/{sub.partition('/')[0]}" if sub else whole


RLJOBS = Resource(names.GROUP, names.VERSION, names.PLURAL)
PODS = Resource("", "v1", "pods")
EVENTS = Resource("", "v1", "events")
SECRETS = Resource("", "v1", "secrets")
CONFIG_MAPS = Resource("", "v1", "configmaps")
BATCH_JOBS = Resource("batch", "v1", "jobs")


class ClusterApi:
    """A connection. Its methods raise the errors of `rljob.client.errors`."""

    def __init__(self, client: ApiClient, server: ServerAddress) -> None:
        self._client = client
        self.server = server

    def get(self, resource: Resource, namespace: str, name: str, sub: str = "") -> Manifest:
        call = Call("get", resource.named(sub), namespace, name)
        return self._json(call, "GET", resource.path(namespace, name, sub))

    def get_all(
        self, resource: Resource, namespace: str, query: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        """All objects of a namespace; an empty namespace means all namespaces."""
        call = Call("list", resource.named(), namespace)
        found = self._json(call, "GET", resource.path(namespace), query)
        items: list[Manifest] = found.get("items") or []
        return items

    def create(self, resource: Resource, namespace: str, body: Manifest) -> Manifest:
        call = Call("create", resource.named(), namespace, body["metadata"].get("name", ""))
        query = {"fieldValidation": "Strict", "fieldManager": "rljob"}
        return self._json(call, "POST", resource.path(namespace), query, body)

    def patch(
        self, resource: Resource, namespace: str, name: str, body: Manifest, sub: str = ""
    ) -> Manifest:
        """Apply a JSON merge patch."""
        call = Call("patch", resource.named(sub), namespace, name)
        path, query = resource.path(namespace, name, sub), {"fieldManager": "rljob"}
        return self._json(call, "PATCH", path, query, body, MERGE_PATCH)

    def delete(
        self, resource: Resource, namespace: str, name: str, options: Manifest | None = None
    ) -> None:
        call = Call("delete", resource.named(), namespace, name)
        self._json(call, "DELETE", resource.path(namespace, name), body=options or {})

    @contextmanager
    def stream(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        sub: str,
        query: Mapping[str, str] | None = None,
        patience: float | None = ANSWER_SECONDS,
    ) -> Iterator[Iterator[bytes]]:
        """Stream the body of a response.

        Args:
            patience: read timeout in seconds; None for no limit.
        """

        call = Call("get", resource.named(sub), namespace, name)
        path = resource.path(namespace, name, sub)
        response = self._send(call, "GET", path, query, patience=patience)
        try:
            yield self._chunks(response)
        finally:
            response.close()

    @contextmanager
    def page(
        self, namespace: str, pod: str, port: int, path: str, patience: float = ANSWER_SECONDS
    ) -> Iterator[Iterator[bytes]]:
        """Stream a page that a pod serves on its loopback, through a port-forward.

        Args:
            patience: seconds for each part of the answer.

        Raises:
            NotFound: there is no such pod, or it has no such page.
            Unavailable: the pod does not answer.
        """
        call = Call("create", PODS.named("portforward"), namespace, pod)
        url, headers = self._client.param_serialize(
            "GET",
            PODS.path(namespace, pod, "portforward"),
            query_params=[("ports", port)],
            auth_settings=["BearerToken"],
        )[1:3]
        try:
            made = forward.open_websocket(self._client.configuration, url, headers, patience)
            with forward.get(made, path) as (status, chunks):
                if status != 200:
                    raise _unserved(pod, path, status, b"".join(chunks))
                yield chunks
        except HandshakeRefused as error:
            raise refused(call, self.server, error.code, error.body) from error
        except ForwardFailed as error:
            raise Unavailable(f"pod {pod} does not answer: {error}") from error

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        import urllib3

        try:
            yield from response.stream(1 << 16)
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(self.server, error) from error

    def _json(
        self,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content: str = "application/json",
    ) -> Manifest:
        response = self._send(call, method, path, query, body, content)
        found: Manifest = json.loads(b"".join(self._chunks(response)))
        return found

    def _send(
        self,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content: str = "application/json",
        patience: float | None = ANSWER_SECONDS,
    ) -> urllib3.BaseHTTPResponse:
        """Send the request and return a successful response with an unread body."""
        import urllib3
        from kubernetes.client import ApiException

        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content
        request = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        for attempt in range(MOST_TRIES):
            try:
                answer = self._client.call_api(
                    *request, _request_timeout=(CONNECT_SECONDS, patience)
                )
                response: urllib3.BaseHTTPResponse = answer.response
                if 200 <= response.status < 300:
                    return response
                text = response.data
            except (urllib3.exceptions.HTTPError, ApiException) as error:
                raise unreachable(self.server, error) from error
            # The server did not execute the request, so a retry is safe.
            pause = response.headers.get("Retry-After", "")
            if not pause.isdecimal() or attempt + 1 == MOST_TRIES:
                break
            time.sleep(min(float(pause), LONGEST_PAUSE))
        raise refused(call, self.server, response.status, text)


def _unserved(pod: str, path: str, status: int, body: bytes) -> ClusterError:
    text = body.decode("utf-8", "replace").strip()[:500]
    kind = NotFound if status == 404 else Unavailable
    return kind(f"pod {pod} does not serve {path}: {text} ({status})")


def connect(choice: Choice) -> tuple[ClusterApi, Access]:
    """Make a connection to the selected cluster. No request is sent yet.

    Raises:
        InputError: see `rljob.client.access.find`; or the kubeconfig cannot be used.
    """
    import urllib3
    from kubernetes.client import ApiClient, Configuration

    found = access.find(choice)
    configuration = Configuration()
    # Callers decide on retries. TCP keepalive detects stale connections.
    configuration.retries = False
    configuration.keep_alive = True
    configuration.connection_pool_maxsize = MOST_CONNECTIONS
    _load(configuration, found)
    if not configuration.verify_ssl:
        # The kubeconfig disables verification; kubectl prints no warning either.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    client = ApiClient(configuration)
    client.user_agent = f"rljob/{__version__}"
    return ClusterApi(client, ServerAddress(configuration.host, found.context)), found


def _load(configuration: Configuration, found: Access) -> None:
    from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

    try:
        if found.files:
            load_kube_config(  # type: ignore[no-untyped-call]
                config_file=os.pathsep.join(map(str, found.files)),
                context=found.context,
                client_configuration=configuration,
            )
        else:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, ValueError) as error:
        where = ", ".join(map(str, found.files)) or "the pod's service account"
        raise InputError(f"cannot use {where}: {error}") from None
