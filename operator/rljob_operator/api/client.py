"""Calls to the API server: few verbs, no state, no retries. Every failure is an `ApiError`."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from rljob.kube import names
from rljob.kube.kinds import BY_NAME, JOB, Manifest, ResourceKind
from rljob_operator.api.errors import ApiError, from_status

READ_SECONDS = 30.0
WRITE_SECONDS = 30.0
CONNECT_SECONDS = 10.0
PAGE = 100
"""Objects per page of a list; bounds the memory of a list."""
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_METADATA = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
Query = Sequence[tuple[str, str]]
_FORCE: Query = [("force", "true")]
WriteGuard = Callable[[], float]
"""Returns the seconds for which writing is allowed; raises NotLeading if it is not."""


class CallCounter(Protocol):
    """Called for each request with its verb, resource, and HTTP status or failure."""

    def __call__(self, verb: str, resource: str, code: str) -> None: ...


class OperatorApi:
    """A connection to the API server.

    Args:
        configuration: address and credentials.
        fence: called before each write; limits the duration of the write.
        counts: called after each request.
    """

    def __init__(
        self, configuration: Configuration, fence: WriteGuard, counts: CallCounter
    ) -> None:
        self._client = ApiClient(configuration)
        self._client.user_agent = names.FIELD_MANAGER
        self._fence = fence
        self._counts = counts

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def apply(self, manifest: Manifest, namespace: str) -> Manifest:
        """Server-side apply of an object. Returns the new object."""
        kind = BY_NAME[manifest["kind"]]
        path = kind.path(namespace, manifest["metadata"]["name"])
        return await self._write("apply", kind, "PATCH", path, manifest, _APPLY, _FORCE)

    async def apply_status(self, job: Manifest, status: dict[str, Any]) -> Manifest:
        """Server-side apply of an RLJob's whole status; refused if the RLJob was replaced."""
        metadata = job["metadata"]
        body = {
            "apiVersion": JOB.api_version,
            "kind": JOB.kind,
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "status": status,
        }
        path = JOB.path(metadata["namespace"], metadata["name"], "status")
        return await self._write("apply", JOB, "PATCH", path, body, _APPLY, _FORCE)

    async def create(self, manifest: Manifest, namespace: str, dry_run: bool = False) -> bool:
        """Create an object. Returns False if the name is taken. A dry run stores nothing."""
        kind = BY_NAME[manifest["kind"]]
        query = [("dryRun", "All")] if dry_run else []
        try:
            path = kind.path(namespace)
            await self._write("create", kind, "POST", path, manifest, query=query)
        except ApiError as error:
            if error.word == "AlreadyExists":
                return False
            raise
        return True

    async def delete(
        self, kind: ResourceKind, namespace: str, name: str, uid: str, propagation: str
    ) -> Manifest | None:
        """Delete the object with that uid. Returns the object if it still exists, else None."""
        body = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        path = kind.path(namespace, name)
        try:
            answer = await self._write("delete", kind, "DELETE", path, body)
        except ApiError as error:
            if error.reason == "not_found":
                return None
            raise
        return answer if answer.get("kind") == kind.kind else None

    async def list(
        self, kind: ResourceKind, namespace: str | None, metadata_only: bool = False
    ) -> AsyncIterator[Manifest]:
        """All objects of a kind that match its selectors, as stored at the first call."""
        query = [("limit", str(PAGE))]
        query += [("labelSelector", kind.selector)] if kind.selector else []
        query += [("fieldSelector", kind.fields)] if kind.fields else []
        accept = _METADATA if metadata_only else _JSON
        path, more = kind.path(namespace), ""
        while True:
            page = [*query, ("continue", more)] if more else query
            answer = await self.call("list", kind, "GET", path, page, accept=accept)
            for item in answer["items"] or ():
                yield {**item, "apiVersion": kind.api_version, "kind": kind.kind}
            more = answer["metadata"].get("continue", "")
            if not more:
                return

    async def call(
        self,
        verb: str,
        kind: ResourceKind,
        method: str,
        path: str,
        query: Query = (),
        body: Manifest | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        seconds: float = READ_SECONDS,
    ) -> Manifest:
        """One request without the write guard; raises ApiError."""
        code = "error"
        try:
            headers = {"Accept": accept, "Content-Type": content_type}
            async with self._answer(method, path, query, headers, body, seconds) as response:
                code = str(response.status)
                text = await response.text()
                if response.status >= 400:
                    raise _error(response, text)
                return _parsed(text)
        except TimeoutError as error:
            code = "timeout"
            raise ApiError("timeout", f"no answer within {seconds:g} s") from error
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            code = "connection"
            raise ApiError("connection", str(error) or type(error).__name__) from error
        finally:
            self._counts(verb, kind.plural, code)

    async def _write(
        self,
        verb: str,
        kind: ResourceKind,
        method: str,
        path: str,
        body: Manifest,
        content_type: str = _JSON,
        query: Query = (),
    ) -> Manifest:
        if method != "DELETE":
            query = [("fieldManager", names.FIELD_MANAGER), *query]
        seconds = min(WRITE_SECONDS, self._fence())
        return await self.call(verb, kind, method, path, query, body, content_type, seconds=seconds)

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Query,
        headers: dict[str, str],
        body: Manifest | None,
        seconds: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        method, url, sent, data, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        answer = await self._client.call_api(
            method, url, header_params=sent, body=data, _request_timeout=timeout
        )
        async with answer.response as response:
            yield response


def _parsed(text: str) -> Manifest:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ApiError("server", f"the response is not a JSON object: {text[:200]!r}")
    return answer


def _error(response: aiohttp.ClientResponse, text: str) -> ApiError:
    """The error in a Status; for any other body, its beginning is the message."""
    try:
        status = _parsed(text)
    except ApiError:
        status = {}
    message, word = str(status.get("message") or text[:500]), str(status.get("reason") or "")
    return from_status(response.status, message, word, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
