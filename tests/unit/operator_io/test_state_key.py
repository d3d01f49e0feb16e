"""The key of the operator from which the tokens of jobs are derived."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rljob.kube.kinds import Manifest
from rljob_operator.api.errors import ApiError
from rljob_operator.ask import state_key
from rljob_operator.ask.state_key import StateKey
from rljob_operator.config import Config


class Api:
    """Takes what is created, or answers so."""

    def __init__(self, *answers: bool | ApiError, then: Callable[[], object] = object) -> None:
        self.answers, self.then = list(answers), then
        self.created: list[Manifest] = []

    async def create(self, manifest: Manifest, namespace: str) -> bool:
        assert namespace == manifest["metadata"]["namespace"] == "rljob-system"
        answer = self.answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        if answer:
            self.created.append(manifest)
        self.then()
        return answer


def config(path: Path | None) -> Config:
    return Config(
        lease_namespace="rljob-system", state_key_file=None if path is None else str(path)
    )


def load(path: Path | None, api: Any) -> StateKey:
    key = StateKey(config(path))
    asyncio.run(asyncio.wait_for(key.load(api), 60))
    return key


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_key, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(state_key, "RETRY_SECONDS", 0.0)


def test_each_job_has_its_own_token_and_it_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.key"
    path.write_bytes(b"key")
    one, again = load(path, Api()), load(path, Api())
    assert one.token("uid-1") == again.token("uid-1") != one.token("uid-2")
    assert len(one.token("uid-1")) == 64
    path.write_bytes(b"other")
    assert load(path, Api()).token("uid-1") != one.token("uid-1")


def test_the_first_operator_makes_the_key_and_uses_it_at_once(tmp_path: Path) -> None:
    path, api = tmp_path / "state.key", Api(True)
    made = load(path, api)
    (secret,) = api.created
    assert secret["immutable"] is True
    path.write_bytes(base64.b64decode(secret["data"]["state.key"]))
    assert len(path.read_bytes()) == 32
    assert load(path, Api()).token("uid") == made.token("uid"), "the next one reads the same"


def test_a_key_that_another_made_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "state.key"
    api = Api(False, then=lambda: path.write_bytes(b"of the other"))
    path_2 = tmp_path / "same"
    path_2.write_bytes(b"of the other")
    assert load(path, api).token("uid") == load(path_2, Api()).token("uid")
    assert api.created == []


def test_an_error_is_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    api = Api(ApiError("forbidden", "no"), ApiError("timeout", "slow"), True)
    assert load(tmp_path / "state.key", api).token("uid")
    assert len(caplog.records) == 2


def test_without_a_file_the_key_is_of_this_process(caplog: pytest.LogCaptureFixture) -> None:
    assert load(None, Api()).token("uid") != load(None, Api()).token("uid")
    assert "--state-key-file" in caplog.text
