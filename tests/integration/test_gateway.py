"""A gateway of a real job, and programs that know nothing but HTTP and JSON."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import yaml

from rljob.run_folder.names import APPLICATION_ACCESS
from tests.faults.runs import PATIENCE, Run
from tests.integration.programs import rljob_command
from tests.unit.specs import application_job

TOKEN = "of-the-shop-0123456789"
JOB = application_job(
    algorithm={
        "name": "PPO",
        "config": {"learningRate": 3.0e-3, "rolloutLength": 32, "segmentsPerBatch": 4},
    },
    stop={"updates": 20},
    seed=1,
    rollout={"applications": {"flushAfter": "1s", "rewardTimeout": "60s"}},
)


class Caller:
    """A program without rljob."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def close(self) -> None:
        self._connection.close()

    def ask(self, path: str, content: Any = None, method: str = "POST") -> tuple[int, Any]:
        body = content if isinstance(content, str) else json.dumps(content or {})
        self._connection.request(
            method, path, None if method == "GET" else body, headers=self._headers
        )
        answer = self._connection.getresponse()
        text = answer.read().decode()
        plain = "json" not in str(answer.headers["Content-Type"])
        return answer.status, text if plain else json.loads(text)

    def begin(self) -> str:
        status, answer = self.ask("/episodes")
        assert status == 201
        return f"/episodes/{answer['episode']}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, int]]:
    """A run, and the port of the gateway beside it."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
    (folder / "tokens.json").write_text(
        json.dumps({"shop": TOKEN, "till": "of-the-till-0123456789"})
    )
    told = folder / "gateway.log"
    with rljob_command("run", "job.yaml", "--plain", "--dir", "run", folder=folder) as process:
        run = Run(process, folder / "run", folder / "trace", folder / "run.log")
        run.until((run.folder / APPLICATION_ACCESS).exists, "the run's start")
        options = ("--tokens", "tokens.json", "--port", "0")
        with rljob_command("gateway", "run", *options, folder=folder) as beside:
            run.until(lambda: "/episodes of test" in told.read_text(), "the gateway's start")
            yield run, int(told.read_text().split(":")[2].split("/")[0])
            beside.send_signal(signal.SIGTERM)
            assert beside.wait(PATIENCE) == 0, told.read_text()


Call = Callable[..., Caller]


@pytest.fixture
def call(gateway: tuple[Run, int]) -> Iterator[Call]:
    """Makes callers with a token."""
    with ExitStack() as stack:

        def made(*token: str) -> Caller:
            caller = Caller(gateway[1], *token)
            stack.callback(caller.close)
            return caller

        yield made


def test_what_is_wrong_is_one_sentence_and_changes_nothing(call: Call) -> None:
    caller = call()
    episode = caller.begin()
    assert caller.ask(f"{episode}/act", {"observation": [0, 0, 0, 0]})[0] == 200
    for path, content, status, message in (
        (f"{episode}/act", {}, 400, "observation: is missing"),
        (f"{episode}/act", {"observation": [1]}, 400, "shape"),
        (f"{episode}/act", {"observation": [1, 2, 3, float("nan")]}, 400, "finite"),
        (f"{episode}/act", {"observation": [0] * 4, "mask": [1, 1]}, 400, "mask"),
        (f"{episode}/act", {"observation": [0] * 4, "late": 1}, 400, "late: 1 is not true"),
        (f"{episode}/act", "{", 400, "the body is no JSON"),
        (f"{episode}/act", "[1]", 400, "the body is no JSON object"),
        (f"{episode}/reward", {}, 400, "reward: is missing"),
        (f"{episode}/reward", {"reward": "x"}, 400, "reward"),
        (f"{episode}/reward", {"reward": 1, "decision": 9}, 400, "decision: 9 is no number"),
        (f"{episode}/end", {"terminated": "yes"}, 400, "terminated: 'yes' is not true"),
        (f"{episode}/end", {"truncated": True}, 400, "final_observation"),
        ("/episodes/none/act", {"observation": [0] * 4}, 404, "there is no episode none"),
        ("/other", {}, 404, "not found"),
    ):
        answered, answer = caller.ask(path, content)
        assert (answered, message in answer["error"]) == (status, True), answer
    assert caller.ask("/episodes", method="GET")[0] == 405
    stranger = call("of-somebody-else-01234")
    assert stranger.ask(f"{episode}/act", {"observation": [0] * 4})[0] == 401
    other = call("of-the-till-0123456789")
    assert other.ask(f"{episode}/act", {"observation": [0] * 4})[0] == 404
    plain = call()
    plain._headers["Content-Type"] = "text/plain"
    assert plain.ask(f"{episode}/act", {"observation": [0] * 4})[0] == 415

    assert caller.ask(f"{episode}/act", {"observation": [0, 0, 0, 0]})[0] == 200
    assert caller.ask(episode, method="DELETE") == (200, {})
    assert caller.ask(f"{episode}/act", {"observation": [0] * 4})[0] == 404


def test_a_late_reward_finds_its_decision_after_the_end(call: Call) -> None:
    caller = call()
    episode = caller.begin()
    numbers = [
        caller.ask(f"{episode}/act", {"observation": [0] * 4, "late": True})[1]["decision"]
        for _ in range(2)
    ]
    assert numbers == [1, 2]
    assert caller.ask(f"{episode}/end", {"terminated": True})[0] == 200
    assert caller.ask(f"{episode}/reward", {"reward": 1.0, "decision": 2}) == (200, {})
    assert caller.ask(f"{episode}/reward", {"reward": -1.0, "decision": 1}) == (200, {})
    # Both have their rewards, so they have left.
    status, answer = caller.ask(f"{episode}/reward", {"reward": 1.0, "decision": 1})
    assert (status, "left" in answer["error"]) == (400, True)


def test_a_job_learns_from_a_program_that_knows_only_http(
    gateway: tuple[Run, int], call: Call
) -> None:
    run, _ = gateway
    caller, environment = call(), gymnasium.make("CartPole-v1")
    versions = set()
    result = run.folder / "result.json"
    while not result.exists():
        assert run.process.poll() in (None, 0), run.tell()
        observation, _ = environment.reset()
        episode, over = caller.begin(), False
        while not over:
            status, answer = caller.ask(f"{episode}/act", {"observation": observation.tolist()})
            assert status == 200, answer
            versions.add(answer["version"])
            step = environment.step(answer["action"])
            observation, reward, terminated, truncated, _ = step
            assert caller.ask(f"{episode}/reward", {"reward": reward})[0] == 200
            over = terminated or truncated
        end = {
            "terminated": terminated,
            "truncated": truncated,
            "observation": observation.tolist(),
        }
        assert caller.ask(f"{episode}/end", end)[0] == 200
    assert json.loads(result.read_text())["reason"] == "UpdatesReached"
    assert max(versions) >= 15
    _, metrics = caller.ask("/metrics", method="GET")
    assert (
        'rljob_gateway_requests_total{caller="shop",path="/episodes/ID/act",status="200"}'
        in metrics
    )
    assert caller.ask("/openapi.json", method="GET")[1]["openapi"] == "3.1.0"


def test_other_machines_are_let_in_with_tokens_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rljob", "gateway", str(tmp_path), "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "--tokens FILE says who may ask" in done.stderr
