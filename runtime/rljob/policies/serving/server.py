"""Serves one or two policies over HTTP: batches, newest versions, a share, and metrics.

POST /act      {"observation": …, "mask": …, "memory": …, "deterministic": true, "key": "caller 17"}
               {"action": …, "policy": "first", "version": 104, "memory": …}
POST /return   {"policy": "first", "version": 104, "return": 487.0}
GET  /policies /metrics /healthz
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rljob.envs.values import LARGEST
from rljob.errors import AskedToEnd, InputError, RLJobError, RunError
from rljob.policies.load import find_policy
from rljob.policies.loaded import TrainedPolicy
from rljob.policies.samples import Compared
from rljob.policies.serving.batching import BatchQueue
from rljob.policies.serving.shares import ReturnStatistics, belongs
from rljob.run_folder.names import CHECKPOINTS
from rljob.telemetry.json_http import json_answer, read_object

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

FIRST, SECOND = "first", "second"
ANSWER_SECONDS = 30.0
_TRIED = 8
"""Observations on which a new version acts before it answers."""
MOST_VERSIONS = 256
"""Versions whose returns are kept; older ones are forgotten first."""
_LOG = logging.getLogger("rljob")


@dataclass
class ActRequest:
    """A checked request, and its answer once there is one."""

    stored: np.ndarray
    mask: np.ndarray | None
    memory: np.ndarray | None
    single: bool
    done: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] | None = None
    problem: BaseException | None = None


class ServedPolicy:
    """The newest version of a policy that verifies.

    Args:
        where: as for `rljob.load_policy`.
        load: how it is loaded; told of versions that are damaged and passed over.

    Attributes:
        highest: version that has answered.

    Raises:
        RLJobError: as `rljob.load_policy`, or it cannot act.
    """

    def __init__(
        self,
        where: str | Path,
        load: Callable[[str | Path, Callable[[str], None]], TrainedPolicy] = find_policy,
    ) -> None:
        self.where, self._load = where, load
        self._seen: tuple[str, ...] = ()
        self.policy = load(where, _LOG.warning)
        self.highest = self.policy.version
        _try(self.policy)

    def refresh(self) -> bool:
        """Take a newer version. Whether there was one.

        Raises:
            RLJobError: what is there does not verify, is another kind of policy or cannot act; the one before stays.
        """
        lies_there = _lies_there(self.where)
        if lies_there and lies_there == self._seen:
            return False
        damaged: list[str] = []
        found, now = self._load(self.where, damaged.append), self.policy
        self._seen = lies_there
        if found.stamp > now.stamp:
            if text := _different(found, now):
                raise RunError(f"version {found.version} of {self.where} {text}")
            _try(found)
            self.policy, self.highest = found, max(self.highest, found.version)
        if damaged:
            raise RunError("; ".join(damaged))
        return self.policy is not now


class PolicyServer:
    """Answers requests as a WSGI application.

    Args:
        first: answers who does not belong to the share.
        second: answers the share, if there is one.
        share: of the callers, in [0, 1].
        most: requests in one batch.
        patience: seconds that a request waits for others.
        limit: requests that may wait.

    Raises:
        InputError: the second policy is for other spaces.
    """

    def __init__(
        self,
        first: ServedPolicy,
        second: ServedPolicy | None = None,
        share: float = 0.0,
        *,
        most: int = 64,
        patience: float = 0.001,
        limit: int = 1024,
    ) -> None:
        if second is not None and (text := _different(second.policy, first.policy)):
            raise InputError(f"the second policy, of {second.where}, {text}")
        self.served = {FIRST: first} if second is None else {FIRST: first, SECOND: second}
        self._share = share
        self._queue: BatchQueue[tuple[str, bool], ActRequest] = BatchQueue(most, patience, limit)
        self._changed = threading.Condition()
        self._ended = False
        self._returns: dict[tuple[str, int], ReturnStatistics] = {}
        # Why the version before went on, by policy.
        self._told_of: dict[str, str] = {}
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rljob_serve_requests", "Answered requests", ["path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "rljob_serve_seconds",
            "Time from a request for an action to its answer",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1),
            registry=self.registry,
        )
        self._batch = Histogram(
            "rljob_serve_batch_size",
            "Observations that were computed together",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self._version = Gauge(
            "rljob_serve_policy_version", "Version that answers", ["policy"], registry=self.registry
        )
        self._refused = Counter(
            "rljob_serve_refused_versions",
            "Newer versions that did not verify, so that the one before goes on",
            ["policy"],
            registry=self.registry,
        )
        for name, served in self.served.items():
            self._version.labels(name).set(served.policy.version)
            self._refused.labels(name)
        threading.Thread(target=self._compute, name="rljob-serve", daemon=True).start()

    def close(self) -> None:
        """End the thread that computes."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def refresh(self) -> None:
        """Take newer versions where there are any; what does not verify is logged and counted once."""
        for name, served in self.served.items():
            before, told = served.policy, ""
            try:
                served.refresh()
            except AskedToEnd:
                raise
            except RLJobError as error:
                told = str(error)
            except Exception as error:
                # Whatever lies there, the next look is not its last.
                told = f"{type(error).__name__}: {error}"
            version = served.policy.version
            if served.policy is not before:
                self._version.labels(name).set(version)
                _LOG.info("the %s policy is version %s now", name, version)
            if told and told != self._told_of.get(name):
                self._refused.labels(name).inc()
                _LOG.warning("version %s of the %s policy goes on: %s", version, name, told)
            self._told_of[name] = told

    # ---- HTTP

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        status, kind, body = self._answer(environ["REQUEST_METHOD"], path, environ)
        known = path if path in _PATHS else "other"
        self._requests.labels(known, str(status)).inc()
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", _PATHS[path]))
        start(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> tuple[int, str, bytes]:
        wanted = _PATHS.get(path)
        if wanted is None:
            return json_answer(404, {"error": f"not found; there are {', '.join(_PATHS)}"})
        if method != wanted:
            return json_answer(405, {"error": f"{path} takes {wanted}"})
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4", generate_latest(self.registry)
        if path == "/policies":
            return json_answer(200, self._told())
        try:
            content = read_object(environ)
            if path == "/return":
                return json_answer(200, self._report(content))
            return self._act(content)
        except InputError as error:
            return json_answer(400, {"error": str(error)})
        except RLJobError as error:
            return json_answer(500, {"error": str(error)})
        except AskedToEnd:
            raise
        except Exception as error:
            _LOG.exception("a request to %s failed", path)
            return json_answer(500, {"error": f"this server failed: {error!r:.200}"})

    def _act(self, content: Mapping[str, Any]) -> tuple[int, str, bytes]:
        started = time.monotonic()
        name = self._who(content.get("key"))
        greedy = content.get("deterministic", True)
        if not isinstance(greedy, bool):
            raise InputError(f"deterministic: {greedy!r:.80} is not true or false")
        if "observation" not in content:
            raise InputError("observation: is missing")
        request = self._checked(self.served[name].policy, content)
        with self._changed:
            taken = self._queue.add(request, (name, greedy), started)
            self._changed.notify_all()
        if not taken:
            return json_answer(503, {"error": "too many requests wait; try again"})
        if not request.done.wait(ANSWER_SECONDS):
            return json_answer(503, {"error": f"no answer within {ANSWER_SECONDS:g} s"})
        if isinstance(request.problem, RLJobError):
            raise request.problem
        if request.answer is None:
            return json_answer(500, {"error": f"the policy raised {request.problem!r:.200}"})
        self._seconds.observe(time.monotonic() - started)
        return json_answer(200, request.answer)

    def _checked(self, policy: TrainedPolicy, content: Mapping[str, Any]) -> ActRequest:
        observation: Any = content["observation"]
        found = policy.interface.observations(observation, content.get("mask"))
        stored, mask, single = found
        return ActRequest(
            stored, mask, policy.checked_memory(content.get("memory"), len(stored)), single
        )

    def _who(self, key: Any) -> str:
        if SECOND not in self.served:
            return FIRST
        if key is None:
            key = str(time.monotonic_ns())
        if not isinstance(key, str | int):
            raise InputError(f"key: {repr(key)[:80]} is not a text or whole number")
        return SECOND if belongs(str(key), self._share) else FIRST

    def _report(self, content: Mapping[str, Any]) -> dict[str, Any]:
        found: tuple[Any, ...] = tuple(map(content.get, ("policy", "version", "return")))
        name, version, value = found
        if not isinstance(name, str) or name not in self.served:
            raise InputError(f"policy: {name!r:.80} is none of {', '.join(self.served)}")
        if type(version) is not int:
            raise InputError(f"version: {version!r:.80} is not a whole number")
        if type(value) not in (int, float) or not -LARGEST <= value <= LARGEST:
            raise InputError(f"return: {value!r:.80} is not a finite number up to {LARGEST:g}")
        if not 0 <= version <= self.served[name].highest:
            raise InputError(f"version: {version!r:.80} was never served")
        with self._changed:
            known = self._returns.setdefault((name, version), ReturnStatistics())
            known.add(float(value))
            while len(self._returns) > MOST_VERSIONS:
                del self._returns[next(iter(self._returns))]
            return known.to_json()

    def _told(self) -> dict[str, Any]:
        with self._changed:
            returns = [
                {"policy": name, "version": version, **statistics.to_json()}
                for (name, version), statistics in self._returns.items()
            ]
        shares = {FIRST: 1 - self._share if len(self.served) > 1 else 1.0, SECOND: self._share}
        policies = [
            {
                "policy": name,
                "version": each.policy.version,
                "share": shares[name],
                "from": str(each.where),
            }
            for name, each in self.served.items()
        ]
        return {"policies": policies, "returns": returns}

    # ---- computing

    def _compute(self) -> None:
        while True:
            with self._changed:
                while (taken := self._queue.take(time.monotonic())) is None and not self._ended:
                    due = self._queue.due()
                    self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
            if taken is None:
                return
            (name, greedy), batch = taken
            self._act_on(name, greedy, batch)

    def _act_on(self, name: str, greedy: bool, batch: list[ActRequest]) -> None:
        policy = self.served[name].policy
        try:
            stored = np.concatenate([each.stored for each in batch])
            self._batch.observe(len(stored))
            masks = _masks(batch)
            memories = [each.memory for each in batch if each.memory is not None]
            memory = np.concatenate(memories) if memories else None
            actions, after = policy.choose(stored, masks, memory, deterministic=greedy)
            start = 0
            for each in batch:
                rows = slice(start, start + len(each.stored))
                start = rows.stop
                answer: dict[str, Any] = {
                    "action": (actions[rows][0] if each.single else actions[rows]).tolist(),
                    "policy": name,
                    "version": policy.version,
                }
                if after is not None:
                    answer["memory"] = after[rows].tolist()
                each.answer = answer
            if not _finite(actions, after):
                raise RunError(f"version {policy.version} acts with a number that is not finite")
        except BaseException as error:
            if len(batch) > 1:
                # Only those that it fails for are told.
                for each in batch:
                    self._act_on(name, greedy, [each])
                return
            batch[0].problem = error
        for each in batch:
            each.done.set()


def _lies_there(where: str | Path) -> tuple[str, ...]:
    """Names and times of what a folder or file holds, to load only what is new; empty where nobody knows."""
    path = Path(where)
    inner = path / CHECKPOINTS
    try:
        found = sorted((inner if inner.is_dir() else path).iterdir()) if path.is_dir() else [path]
        return tuple(f"{each} {each.stat().st_mtime_ns} {each.stat().st_ino}" for each in found)
    except OSError:
        return ()


def _try(policy: TrainedPolicy) -> None:
    """Act once on made-up observations; raises RLJobError where that fails."""
    compared = Compared.of(policy, _TRIED, masked=False)
    if not _finite(compared.action, compared.memory):
        raise RunError(f"version {policy.version} acts with a number that is not finite")


def _finite(*arrays: np.ndarray | None) -> bool:
    return all(array is None or bool(np.isfinite(array).all()) for array in arrays)


def _different(one: TrainedPolicy, other: TrainedPolicy) -> str:
    """Why one cannot answer instead of the other; empty if it can."""
    new, old = one.interface, other.interface
    if (one.spaces, new.convert) != (other.spaces, old.convert):
        return f"is for other spaces: {new.observation} to {new.action}, not {old.observation} to {old.action}"
    if one.memory_size != other.memory_size:
        return f"has a memory of {one.memory_size} numbers, not {other.memory_size}"
    return ""


def _masks(batch: list[ActRequest]) -> np.ndarray | None:
    """Of all rows; a request without one allows all."""
    given = next((each.mask for each in batch if each.mask is not None), None)
    if given is None:
        return None
    return np.concatenate(
        [
            np.ones((len(each.stored), given.shape[1]), np.bool_)
            if each.mask is None
            else each.mask
            for each in batch
        ]
    )


_PATHS = {
    "/act": "POST",
    "/return": "POST",
    "/policies": "GET",
    "/metrics": "GET",
    "/healthz": "GET",
}
