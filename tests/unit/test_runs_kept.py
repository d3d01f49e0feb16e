"""What a run keeps for its later lives, and what is refused before it starts."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rljob import spec
from rljob.algorithms.settings import check_settings
from rljob.errors import InputError
from rljob.local.stalled import fetch
from rljob.process.context import RoleContext
from rljob.process.servers import Addresses
from rljob.process.stopping import Stopping
from rljob.roles.buffer import snapshot
from rljob.roles.learner.training import device_of
from rljob.run_folder import modules
from rljob.run_folder.ageing import older
from rljob.run_folder.names import CODE
from rljob.spec import RLJob


def job(stop: dict[str, object], **algorithm: object) -> RLJob:
    return spec.parse(
        {
            "metadata": {"name": "x"},
            "spec": {"environment": {"id": "CartPole-v1"}, "algorithm": algorithm, "stop": stop},
        }
    )


def test_the_newest_copy_stays_though_a_resumed_run_goes_back(tmp_path: Path) -> None:
    arena, folder = tmp_path / "arena", tmp_path / "kept"
    arena.write_bytes(b"experience")
    for name in ("000900", "000100"):
        digest = snapshot.save(arena, folder, name, {}, keep=1)
    assert [path.name for path in folder.glob("*.arena")] == ["000100.arena"]
    assert snapshot.restore(folder, "000100", digest, tmp_path / "restored") == {}


def test_files_go_by_the_time_they_were_written_whatever_the_clock_says(tmp_path: Path) -> None:
    for name, seconds in (("3", 10), ("1", 20), ("2", 5)):
        (tmp_path / f"{name}.mp4").touch()
        os.utime(tmp_path / f"{name}.mp4", (seconds, seconds))
    assert [path.stem for path in older(tmp_path, tmp_path / "2.mp4", keep=2)] == ["3"]


def test_places_of_modules_are_remembered(tmp_path: Path) -> None:
    assert modules.search_path(tmp_path) == []
    (tmp_path / CODE).mkdir()
    modules.remember(tmp_path, [tmp_path / "beside"])
    assert modules.search_path(tmp_path) == [str(tmp_path / CODE), str(tmp_path / "beside")]


def test_a_resumed_run_draws_new_numbers() -> None:
    def seed(*, started: int, resume: bool, attempt: int = 0) -> tuple[int, ...]:
        return RoleContext(
            job=job({"steps": 10}, name="PPO"),
            role="rollout",
            given_name=None,
            index=1,
            attempt=attempt,
            buffer="",
            learner="",
            keys=None,
            folder=Path(),
            resume=resume,
            threads=None,
            serves=Addresses(),
            trace=None,
            port_file=None,
            stop=Stopping(),
            started=started,
        ).random_seed

    assert seed(started=1, resume=False) == seed(started=2, resume=False)
    assert seed(started=1, resume=False) != seed(started=1, resume=False, attempt=1)
    lives = {
        seed(started=1, resume=False),
        seed(started=2, resume=True),
        seed(started=3, resume=True),
    }
    assert len(lives) == 3


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"state")

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert fetch(f"127.0.0.1:{server.server_port}", "secret", "state") == b"state"


def test_a_device_that_is_not_there_is_refused() -> None:
    assert device_of("cpu") == "cpu"
    with pytest.raises(InputError, match="this machine has"):
        device_of("cuda:999")


def test_steps_beyond_a_segment_are_refused() -> None:
    with pytest.raises(InputError, match="rolloutLength"):
        check_settings(job({"steps": 10}, name="DQN", config={"nStep": 50, "rolloutLength": 8}))


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_a_schedule_needs_steps_or_time(name: str) -> None:
    config = {"learningRate": {"from": 1e-3, "to": 0}}
    check_settings(job({"duration": "5s"}, name=name, config=config))
    with pytest.raises(InputError, match="stop gives no share of the job"):
        check_settings(job({"meanReturn": 5}, name=name, config=config))
