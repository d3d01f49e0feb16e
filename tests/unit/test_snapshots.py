"""Copies of the store for checkpoints: the buffer goes on answering while one is made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rljob.errors import RunError
from rljob.roles.buffer import snapshot
from rljob.roles.buffer.core import Outgoing
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json
from tests.unit.experience import Bench, of_kind, on_policy_plan, replay_plan

DEADLINE = 60.0
PLAN = replay_plan()


def ask(bench: Bench, name: str = "000120", lineage: int = 1) -> list[Outgoing]:
    """What the learner gets when it asks for a copy."""
    return bench.ask(
        Header(MessageKind.SNAPSHOT, epoch=lineage), encode_json({"name": name, "keep": 2})
    )


def answers(messages: list[Outgoing]) -> list[dict[str, Any]]:
    return [decode_json(each.payload) for each in of_kind(messages, MessageKind.SNAPSHOT_DONE)]


def turned(bench: Bench) -> list[dict[str, Any]]:
    """The answers of turns until there is one."""
    deadline = time.monotonic() + DEADLINE
    while not (found := answers(bench.turn())):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


class Held:
    """Copies that take until they are let go, of which the first so many are killed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, killed: int = 0) -> None:
        self.copies = 0
        self.go = threading.Event()
        save = snapshot.save

        def slow(*arguments: Any) -> str:
            self.copies += 1
            is_killed = self.copies <= killed
            assert self.go.wait(DEADLINE)
            if is_killed:
                raise RunError("killed")
            return save(*arguments)

        monkeypatch.setattr(snapshot, "save", slow)


def training(path: Path) -> Bench:
    bench = Bench(path)
    bench.hello(PLAN)
    bench.attach()
    for seq in range(4):
        bench.segment(PLAN, seq)
    bench.pull(0, 2)
    bench.turn()
    return bench


def test_rollouts_and_learner_are_answered_while_a_copy_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, bench = Held(monkeypatch), training(tmp_path / "arena")
    before = (tmp_path / "arena").read_bytes()
    assert ask(bench) == []
    # Asked again, it makes no second copy.
    assert ask(bench) == []
    bench.pull(1, 3)
    bench.segment(PLAN, 4)
    messages = bench.turn()
    assert of_kind(messages, MessageKind.STATS)
    assert not of_kind(messages, MessageKind.BATCH)
    # The segment is not acknowledged, so that the rollout offers it again.
    assert of_kind(messages, MessageKind.GRANT)[-1].header.ack == 4
    assert bench.hello(PLAN, actor=2) == []
    assert bench.attach(lineage=2) == []
    assert (tmp_path / "arena").read_bytes() == before

    held.go.set()
    answer = turned(bench)[0]
    assert set(answer) == {"name", "sha256"}
    assert (tmp_path / "snapshots" / "000120.arena").read_bytes() == before
    bench.segment(PLAN, 4)
    messages = bench.turn()
    assert of_kind(messages, MessageKind.GRANT)[-1].header.ack == 5
    assert bench.hello(PLAN, actor=2)
    # The answer may be lost; the same request gets it again, without another copy.
    assert answers(ask(bench)) == [answer]
    assert held.copies == 1


def test_a_restarted_buffer_answers_a_request_that_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, bench = Held(monkeypatch, killed=1), training(tmp_path / "arena")
    assert ask(bench) == []
    bench.restart()
    assert of_kind(ask(bench), MessageKind.WHO)
    held.go.set()
    bench.hello(PLAN)
    bench.attach()
    assert ask(bench) == []
    assert "sha256" in turned(bench)[0]


def test_a_later_life_gets_a_copy_of_its_own_under_the_same_name(tmp_path: Path) -> None:
    bench = training(tmp_path / "arena")
    ask(bench)
    first = turned(bench)[0]
    bench.segment(PLAN, 4)
    bench.attach(lineage=2)
    assert ask(bench, lineage=2) == []
    assert turned(bench)[0]["sha256"] != first["sha256"]


def _full(folder: Path) -> Bench:
    bench = training(folder / "arena")
    (folder / "snapshots").write_text("no folder")
    return bench


def _on_policy(folder: Path) -> Bench:
    bench = Bench(folder / "arena")
    bench.hello(on_policy_plan())
    bench.attach()
    return bench


@pytest.mark.parametrize(
    ("make", "problem"),
    [(_full, "cannot save the replay content"), (_on_policy, "keeps no replay")],
)
def test_what_cannot_be_saved_is_answered_with_the_reason(
    tmp_path: Path, make: Callable[[Path], Bench], problem: str
) -> None:
    bench = make(tmp_path)
    found = answers(ask(bench)) or turned(bench)
    assert problem in found[0]["problem"]
