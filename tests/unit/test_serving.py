"""Serving a policy: batches, versions, shares, and what a caller may send."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym

import rljob
from rljob.checkpoints import policy as checkpoint_policy
from rljob.cli.main import main
from rljob.envs.spaces import Spaces
from rljob.errors import InputError, RunError
from rljob.policies.export import export
from rljob.policies.load import load_file
from rljob.policies.serving.batching import BatchQueue
from rljob.policies.serving.http import PolicyHttp
from rljob.policies.serving.server import PolicyServer, ServedPolicy
from rljob.policies.serving.shares import ReturnStatistics, belongs
from rljob.telemetry import json_http
from rljob.telemetry.json_http import BODY_BYTES
from tests.unit.saved_policies import save_run

BOX = gym.Box(-4, 4, (3,))
SPACES = Spaces.from_gymnasium(BOX, gym.Discrete(4, start=2))


def test_a_batch_is_due_when_it_is_full_or_was_waited_for() -> None:
    queue: BatchQueue[str, int] = BatchQueue(most=2, patience=1.0, limit=4)
    assert queue.due() is None
    assert queue.add(1, "a", 10.0)
    assert queue.due() == 11.0
    assert queue.take(10.9) is None
    assert queue.add(2, "b", 10.2)
    assert queue.add(3, "a", 10.3)
    assert queue.due() == 10.0
    assert queue.take(10.3) == ("a", [1, 3])
    assert queue.due() == 11.2
    assert queue.take(11.2) == ("b", [2])
    assert [queue.add(n, "c", 20.0) for n in range(5)] == [True] * 4 + [False]
    assert queue.take(20.0) == ("c", [0, 1])
    assert len(queue) == 2


def test_a_caller_has_one_policy_and_the_share_is_kept() -> None:
    keys = [str(n) for n in range(4000)]
    mine = {key for key in keys if belongs(key, 0.25)}
    assert 900 < len(mine) < 1100
    assert mine <= {key for key in keys if belongs(key, 0.3)}
    assert not any(belongs(key, 0.0) for key in keys)
    assert all(belongs(key, 1.0) for key in keys)


def test_returns_are_summed_exactly() -> None:
    found, values = ReturnStatistics(), [1.0, 4.0, -2.0, 1e3]
    assert found.to_json() == {"episodes": 0, "mean": None, "standardError": None}
    for value in values:
        found.add(value)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / 2)


@contextmanager
def serving(server: PolicyServer) -> Iterator[http.client.HTTPConnection]:
    served = PolicyHttp(server, "127.0.0.1", 0, threads=8, every=3600)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()
        served.close()


def ask(connection: http.client.HTTPConnection, path: str, content: Any = None) -> tuple[int, Any]:
    body = (
        None if content is None else content if isinstance(content, bytes) else json.dumps(content)
    )
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if "json" in answer.headers[
        "Content-Type"
    ] else text.decode()


def test_answers_are_those_of_the_policy(tmp_path: Path) -> None:
    save_run(tmp_path, SPACES, {"name": "PPO"})
    policy = rljob.load_policy(tmp_path)
    batch = np.stack([BOX.sample() for _ in range(20)])
    expected = policy.act(batch).tolist()
    server = PolicyServer(ServedPolicy(tmp_path), patience=0.05)
    with serving(server) as connection:
        assert ask(connection, "/act", {"observation": batch.tolist()})[1] == {
            "action": expected, "policy": "first", "version": 7,
        }  # fmt: skip
        found: dict[int, Any] = {}

        def one(index: int) -> None:
            other = http.client.HTTPConnection("127.0.0.1", connection.port, timeout=60)
            found[index] = ask(other, "/act", {"observation": batch[index].tolist()})[1]["action"]
            other.close()

        threads = [threading.Thread(target=one, args=(index,)) for index in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found[index] for index in range(20)] == expected
        masked = {
            "observation": batch[0].tolist(),
            "mask": [False, True, False, False],
            "deterministic": False,
        }
        assert ask(connection, "/act", masked)[1]["action"] == 3
        metrics = ask(connection, "/metrics")[1]
        assert 'rljob_serve_requests_total{path="/act",status="200"} 22.0' in metrics
        assert 'rljob_serve_policy_version{policy="first"} 7.0' in metrics
        assert ask(connection, "/healthz") == (200, "ok\n")


def test_a_memory_goes_with_the_caller(tmp_path: Path) -> None:
    save_run(tmp_path, SPACES, {"name": "IMPALA"}, network={"name": "gru", "config": {"size": 4}})
    episode = rljob.load_policy(tmp_path).episode()
    with serving(PolicyServer(ServedPolicy(tmp_path))) as connection:
        memory = None
        for _ in range(4):
            observation = BOX.sample()
            content = {"observation": observation.tolist(), "memory": memory}
            answer = ask(connection, "/act", content)[1]
            memory = answer["memory"]
            assert answer["action"] == int(episode.act(observation))
        status, answer = ask(connection, "/act", {"observation": [0, 0, 0], "memory": [[1, 2]]})
        assert (status, answer) == (
            400,
            {"error": "memory: has the shape [1, 2]; this policy needs [1, 4]"},
        )
        nan = {"observation": [0, 0, 0], "memory": [[0, 0, 0, float("nan")]]}
        status, answer = ask(connection, "/act", nan)
        assert (status, answer) == (
            400,
            {"error": "memory: has a number that is infinite or NaN"},
        )


def test_newer_versions_are_taken_when_they_verify(tmp_path: Path) -> None:
    save_run(tmp_path, SPACES, {"name": "PPO"}, version=3)
    server = PolicyServer(ServedPolicy(tmp_path))
    zeros = {"observation": [0, 0, 0]}
    with serving(server) as connection:
        save_run(tmp_path, SPACES, {"name": "PPO"}, version=4)
        server.refresh()
        assert ask(connection, "/act", zeros)[1]["version"] == 4
        save_run(tmp_path, SPACES, {"name": "PPO"}, version=5)
        weights = tmp_path / "checkpoints" / "000000000005" / "policy.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        server.refresh()
        assert ask(connection, "/act", zeros)[1]["version"] == 4
        other = Spaces.from_gymnasium(gym.Box(-1, 1, (2,)), gym.Discrete(4, start=2))
        save_run(tmp_path, other, {"name": "PPO"}, version=6)
        server.refresh()
        assert ask(connection, "/act", zeros)[1]["version"] == 4
        assert (
            'rljob_serve_refused_versions_total{policy="first"} 2.0'
            in ask(connection, "/metrics")[1]
        )


class Shelf:
    """Policies that a test puts there, or what loading them raises."""

    def __init__(self, *found: Any) -> None:
        self.found = list(found)

    def __call__(self, where: Any, on_damaged: Any) -> Any:
        each = self.found.pop(0)
        if isinstance(each, BaseException):
            raise each
        return each


def changed(policy: rljob.TrainedPolicy, version: int, factor: float) -> rljob.TrainedPolicy:
    """The same policy as another version, with other weights."""
    made = load_file(policy.path)
    arrays = checkpoint_policy.decode(policy.path.read_bytes())
    made.networks.load({n: a * np.float32(factor) if a.ndim else a for n, a in arrays.items()})
    made.version = version
    return made


def test_no_other_policy_replaces_a_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Spaces.from_gymnasium(BOX, gym.Box(-1, 1, (2,)))
    save_run(tmp_path / "run", box, {"name": "PPO"}, version=5)
    export(rljob.load_policy(tmp_path / "run"), "safetensors", tmp_path / "p.safetensors")
    good = rljob.load_policy(tmp_path / "p.safetensors")
    others = Spaces.from_gymnasium(BOX, gym.Box(-2, 2, (2,)))
    save_run(tmp_path / "other", others, {"name": "PPO"}, version=9)
    shelf = Shelf(
        good,
        changed(good, 4, 1.0),
        changed(good, 5, 2.0),
        ValueError("not what was expected"),
        rljob.load_policy(tmp_path / "other"),
        changed(good, 6, np.nan),
        RunError("damaged"),
        RunError("damaged"),
        changed(good, 7, 1.0),
    )
    server = PolicyServer(ServedPolicy("there", load=shelf))
    found = []
    for _ in range(8):
        server.refresh()
        found.append(server.served["first"].policy.version)
    server.close()
    assert found == [5] * 7 + [7]
    told = [each.getMessage() for each in caplog.records if "goes on" in each.getMessage()]
    assert [each.partition("goes on: ")[2] for each in told] == [
        "ValueError: not what was expected",
        (
            "version 9 of there is for other spaces: Box(-4.0, 4.0, (3,), float32) to Box(-2.0, 2.0, (2,), float32), "
            "not Box(-4.0, 4.0, (3,), float32) to Box(-1.0, 1.0, (2,), float32)"
        ),
        "version 6 acts with a number that is not finite",
        "damaged",
    ]


def test_a_second_policy_of_other_spaces_is_refused(tmp_path: Path) -> None:
    save_run(tmp_path / "one", SPACES, {"name": "PPO"})
    save_run(tmp_path / "two", Spaces.from_gymnasium(BOX, gym.Discrete(3)), {"name": "PPO"})
    with pytest.raises(InputError, match=r"the second policy, of .*two, is for other spaces"):
        PolicyServer(ServedPolicy(tmp_path / "one"), ServedPolicy(tmp_path / "two"), share=0.5)


def test_a_request_that_fails_disturbs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(tmp_path, SPACES, {"name": "PPO"})
    server = PolicyServer(ServedPolicy(tmp_path), patience=0.2)
    choose = rljob.TrainedPolicy.choose

    def fails(self: rljob.TrainedPolicy, stored: np.ndarray, *rest: Any, **named: Any) -> Any:
        if (stored == 1).any():
            raise RunError("MyActor.act raised ValueError: 1")
        return choose(self, stored, *rest, **named)

    monkeypatch.setattr(rljob.TrainedPolicy, "choose", fails)
    found: dict[int, Any] = {}
    with serving(server) as connection:

        def one(value: int) -> None:
            other = http.client.HTTPConnection("127.0.0.1", connection.port, timeout=60)
            found[value] = ask(other, "/act", {"observation": [value] * 3, "key": "\ud800"})
            other.close()

        threads = [threading.Thread(target=one, args=(value,)) for value in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [found[value][0] for value in range(3)] == [200, 500, 200]
    assert found[1][1] == {"error": "MyActor.act raised ValueError: 1"}


def test_clients_that_are_slow_or_speak_no_http_do_not_keep_others_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(tmp_path, SPACES, {"name": "PPO"})
    monkeypatch.setattr(json_http, "CONNECTIONS", 20)
    monkeypatch.setattr(json_http, "REQUEST_SECONDS", 0.5)
    head = b"POST /act HTTP/1.1\r\nContent-Length: 40\r\n\r\n"
    with serving(PolicyServer(ServedPolicy(tmp_path))) as connection:
        assert ask(connection, "/healthz")[0] == 200
        with socket.create_connection(("127.0.0.1", connection.port), timeout=60) as client:
            client.sendall(b"POST /act HTTP/1.1\r\nContent-Length: x\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
        assert answer.startswith("HTTP/1.1 400 Bad Request")
        assert json.loads(answer.splitlines()[-1])["error"].startswith("this is no request of HTTP")
        with socket.create_connection(("127.0.0.1", connection.port), timeout=60) as slow:
            slow.sendall(head + b"{")
            assert slow.recv(1) == b"", "it was hung up on"
        # Idle between two requests, a client may be for longer.
        assert ask(connection, "/act", {"observation": [0, 0, 0]})[0] == 200
        many = [
            socket.create_connection(("127.0.0.1", connection.port), timeout=60) for _ in range(60)
        ]
        for each in many:
            each.sendall(head)
        other = http.client.HTTPConnection("127.0.0.1", connection.port, timeout=60)
        assert ask(other, "/act", {"observation": [0, 0, 0]})[0] == 200
        for each in (*many, other):
            each.close()


def test_a_resumed_run_goes_on_from_where_it_went_back_to(tmp_path: Path) -> None:
    save_run(tmp_path, SPACES, {"name": "PPO"}, version=9)
    server = PolicyServer(ServedPolicy(tmp_path))
    policy = server.served["first"].policy
    server.refresh()
    assert server.served["first"].policy is policy, "nothing new lies there"
    for lineage, version, expected in ((1, 8, 9), (2, 4, 4), (2, 5, 5)):
        save_run(tmp_path, SPACES, {"name": "PPO"}, version=version, lineage=lineage)
        server.refresh()
        assert server.served["first"].policy.version == expected
    for version, status in ((9, 200), (10, 400)):
        content = json.dumps({"policy": "first", "version": version, "return": 1.0}).encode()
        environ = {"wsgi.input": io.BytesIO(content)}
        assert server._answer("POST", "/return", environ)[0] == status
    server.close()


def test_two_policies_have_their_callers_and_returns(tmp_path: Path) -> None:
    for name, version in (("one", 1), ("two", 2)):
        save_run(tmp_path / name, SPACES, {"name": "PPO"}, version=version)
    server = PolicyServer(ServedPolicy(tmp_path / "one"), ServedPolicy(tmp_path / "two"), share=0.5)
    with serving(server) as connection:
        for key in range(20):
            answer = ask(connection, "/act", {"observation": [0, 0, 0], "key": key})[1]
            second = belongs(str(key), 0.5)
            assert answer["policy"] == ("second" if second else "first")
            assert answer["version"] == (2 if second else 1)
        for value in (10, 30):
            report = {"policy": "second", "version": 2, "return": value}
            told = ask(connection, "/return", report)[1]
        assert told == {"episodes": 2, "mean": 20.0, "standardError": 10.0}
        found = ask(connection, "/policies")[1]
        assert [each["share"] for each in found["policies"]] == [0.5, 0.5]
        assert found["returns"] == [{"policy": "second", "version": 2, **told}]


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("/act", b"{", 400, "the body is no JSON"),
        ("/act", [1], 400, "the body is no JSON object"),
        ("/act", {}, 400, "observation: is missing"),
        ("/act", {"observation": [1, 2]}, 400, "the observation has the shape [2]"),
        ("/act", {"observation": [1, 2, None]}, 400, "the observation has dtype object"),
        ("/act", {"observation": [1, 2, 3], "mask": [1]}, 400, "mask: has the shape [1]"),
        ("/act", {"observation": [1, 2, 3], "deterministic": 1}, 400, "deterministic: 1 is not true or false"),
        ("/return", {"policy": "x", "version": 1, "return": 1}, 400, "policy: 'x' is none of first"),
        ("/return", {"policy": "first", "version": 7, "return": "a"}, 400, "return: 'a' is not a finite number"),
        ("/act", {"observation": [1, 2, 1e39]}, 400, "the observation has a number that is infinite or NaN"),
        ("/act", b'{"observation": [1, 2, NaN]}', 400, "the observation has a number that is infinite or NaN"),
        ("/act", b'{"observation": [1, 2, 1' + b"0" * 400 + b"]}", 400, "the observation has dtype object"),
        ("/act", b"[" * 100_000, 400, "the body is no JSON"),
        ("/act", b"\xff{}", 400, "the body is no JSON"),
        ("/act", bytes(BODY_BYTES + 1), 413, "the body is larger than 16,777,216 bytes"),
        ("/return", {"policy": "first", "version": 7, "return": 10**400}, 400, "return: 1000"),
        ("/return", {"policy": "first", "version": 7, "return": 1e300}, 400, "return: 1e+300 is not a finite number up to"),
        ("/return", {"policy": "first", "version": 8, "return": 1}, 400, "version: 8 was never served"),
        ("/return", {"policy": ["first"], "version": 8, "return": 1}, 400, "policy: ['first'] is none of first"),
        ("/act", None, 405, "/act takes POST"),
        ("/other", None, 404, "not found; there are /act, /return, /policies, /metrics, /healthz"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_one_sentence(
    path: str, content: Any, status: int, message: str, tmp_path: Path
) -> None:
    save_run(tmp_path, SPACES, {"name": "PPO"})
    with serving(PolicyServer(ServedPolicy(tmp_path))) as connection:
        found, answer = ask(connection, path, content)
        assert found == status
        assert answer["error"].startswith(message)
        assert "\n" not in answer["error"]
        assert ask(connection, "/healthz")[0] == 200


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "often"])
def test_looks_that_would_take_all_time_are_refused(
    every: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "run", f"--every={every}"])
    told = f"argument --every: {every!r} is not a number of seconds from 0.1 to 86400"
    assert told in capsys.readouterr().err
