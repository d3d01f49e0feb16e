"""The gateway's requests; `openapi` describes them for programs.

POST   /episodes              {}                                                 {"episode": "…"}
POST   /episodes/ID/act       {"observation": …, "mask": …, "late": false}       {"action": …, "version": 7}
POST   /episodes/ID/reward    {"reward": 1.0, "decision": 3}                     {}
POST   /episodes/ID/end       {"terminated": …, "truncated": …, "observation": …, "mask": …, "info": {…}}   {}
DELETE /episodes/ID           gives the episode up                               {}
GET    /openapi.json /metrics /healthz
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rljob.application.agent import Agent
from rljob.errors import AskedToEnd, InputError, RLJobError
from rljob.gateway.openapi import description
from rljob.gateway.sessions import Session, Sessions
from rljob.gateway.tokens import Tokens
from rljob.telemetry.json_http import json_answer, read_object

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

IDLE_SECONDS = 600.0
_LOG = logging.getLogger("rljob")
_StatusKindBody = tuple[int, str, bytes]


@dataclass(frozen=True)
class _Refused(Exception):
    status: int
    sentence: str


class Gateway:
    """Answers requests as a WSGI application.

    Args:
        agent: acts and reports; the caller closes it.
        tokens: who may ask.
        idle: seconds after which an episode that nobody uses is given up.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        agent: Agent,
        tokens: Tokens,
        idle: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent, self._tokens, self._clock = agent, tokens, clock
        self._sessions = Sessions(idle)
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rljob_gateway_requests",
            "Answered requests, by caller",
            ["caller", "path", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "rljob_gateway_act_seconds",
            "Time in which an action is chosen",
            buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1),
            registry=self.registry,
        )
        self._given_up = Counter(
            "rljob_gateway_episodes_given_up",
            "Episodes that nobody used for the idle time",
            registry=self.registry,
        )
        Gauge("rljob_gateway_episodes", "Episodes that go on", registry=self.registry).set_function(
            lambda: len(self._sessions)
        )
        Gauge(
            "rljob_gateway_policy_version", "Newest policy version", registry=self.registry
        ).set_function(lambda: agent.policy_version)

    def expire(self) -> None:
        """Give up episodes that nobody uses; to be called now and then."""
        self._given_up.inc(self._sessions.expire(self._clock()))

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = [part for part in environ["PATH_INFO"].split("/") if part]
        method, caller = environ["REQUEST_METHOD"], "nobody"
        try:
            answer = self._page(method, path)
            if answer is None:
                caller = self._who(environ)
                answer = self._answer(caller, method, path, environ)
            status, kind, body = answer
        except _Refused as refused:
            status, kind, body = json_answer(refused.status, {"error": refused.sentence})
        except InputError as error:
            status, kind, body = json_answer(400, {"error": str(error)})
        except RLJobError as error:
            status, kind, body = json_answer(503, {"error": str(error)})
        except AskedToEnd:
            raise
        except Exception as error:
            _LOG.exception("a request to %s failed", environ["PATH_INFO"])
            status, kind, body = json_answer(500, {"error": f"the gateway failed: {error!r:.200}"})
        self._requests.labels(caller, _shown(path), str(status)).inc()
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        if status == HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", "Bearer"))
        start(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]

    def _page(self, method: str, path: list[str]) -> _StatusKindBody | None:
        """What everybody may read."""
        if method != "GET":
            return None
        match path:
            case ["healthz"]:
                return 200, "text/plain", b"ok\n"
            case ["metrics"]:
                return 200, "text/plain; version=0.0.4", generate_latest(self.registry)
            case ["openapi.json"]:
                return json_answer(200, description(self._agent.job))
        return None

    def _who(self, environ: Mapping[str, Any]) -> str:
        caller = self._tokens.who(environ.get("HTTP_AUTHORIZATION", ""))
        if caller is None:
            raise _Refused(401, "the header Authorization has no token that is known here")
        return caller

    def _answer(
        self, caller: str, method: str, path: list[str], environ: Mapping[str, Any]
    ) -> _StatusKindBody:
        match (method, path):
            case ("POST", ["episodes"]):
                name = self._sessions.begin(caller, self._agent.episode, self._clock())
                return json_answer(201, {"episode": name})
            case ("POST", ["episodes", name, ("act" | "reward" | "end") as what]):
                session, content = self._find(caller, name), _content(environ)
                with session.lock:
                    if what == "act":
                        return json_answer(200, self._act(session, content))
                    if what == "reward":
                        _reward(session, content)
                    else:
                        _end(session, content)
                        self._sessions.end(name)
                return json_answer(200, {})
            case ("DELETE", ["episodes", name]):
                session = self._find(caller, name)
                with session.lock:
                    session.episode.abandon()
                    self._sessions.end(name)
                return json_answer(200, {})
        allowed = _methods(path)
        if allowed:
            raise _Refused(405, f"/{'/'.join(path)} takes {allowed}")
        raise _Refused(
            404, "not found; there are /episodes, /episodes/ID/act, reward and end, /openapi.json"
        )

    def _find(self, caller: str, name: str) -> Session:
        found = self._sessions.find(caller, name, self._clock())
        if found is None:
            raise _Refused(404, f"there is no episode {name[:40]}; POST /episodes begins one")
        return found

    def _act(self, session: Session, content: Mapping[str, Any]) -> dict[str, Any]:
        if "observation" not in content:
            raise InputError("observation: is missing")
        late = _flag(content, "late", False)
        observation, mask = content["observation"], content.get("mask")
        answer: dict[str, Any] = {}
        started = time.perf_counter()
        if late:
            decision = session.episode.decide(observation, mask)
            answer["decision"], action = session.keep(decision), decision.action
        else:
            action = session.episode.act(observation, mask)
        self._seconds.observe(time.perf_counter() - started)
        answer["action"] = action.tolist() if isinstance(action, np.ndarray) else int(action)
        return answer | {"version": self._agent.policy_version}


def _reward(session: Session, content: Mapping[str, Any]) -> None:
    if "reward" not in content:
        raise InputError("reward: is missing")
    number = content.get("decision")
    if number is None:
        session.episode.reward(content["reward"])
        return
    if type(number) is not int or not 1 <= number <= session.number:
        raise InputError(f"decision: {number!r:.80} is no number that act has answered")
    decision = session.decisions.get(number)
    if decision is None:
        raise InputError(f"decision: {number} is too old; its reward counts as 0")
    decision.reward(content["reward"])


def _end(session: Session, content: Mapping[str, Any]) -> None:
    terminated = _flag(content, "terminated", None)
    truncated = _flag(content, "truncated", False)
    info = content.get("info")
    if info is not None and not isinstance(info, dict):
        raise InputError(f"info: {info!r:.80} is no object")
    session.episode.end(
        terminated, bool(truncated), content.get("observation"), content.get("mask"), info
    )


def _flag(content: Mapping[str, Any], name: str, default: bool | None) -> bool | None:
    value = content.get(name, default)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name}: {value!r:.80} is not true or false")
    return value


def _content(environ: Mapping[str, Any]) -> dict[str, Any]:
    # A page of another site that a browser shows cannot send this type without asking first.
    if environ.get("CONTENT_TYPE", "").split(";")[0].strip() != "application/json":
        raise _Refused(415, "the header Content-Type has to be application/json")
    return read_object(environ)


def _methods(path: list[str]) -> str:
    match path:
        case ["episodes"] | ["episodes", _, "act" | "reward" | "end"]:
            return "POST"
        case ["episodes", _]:
            return "DELETE"
        case ["healthz"] | ["metrics"] | ["openapi.json"]:
            return "GET"
    return ""


def _shown(path: list[str]) -> str:
    """For the metrics: without ids, and one word for whatever is not known."""
    if not _methods(path):
        return "other"
    return "/" + "/".join("ID" if place == 1 else part for place, part in enumerate(path))
