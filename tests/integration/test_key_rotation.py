"""Keys change under real sockets: nothing that is repeated is lost, and old keys open nothing afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rljob.wire.key_watch import KeyWatch
from rljob.wire.keygen import add_generation, generate, write_order
from rljob.wire.keys import read
from rljob.wire.messages import Header, MessageKind
from rljob.wire.rotation import KeyOrder
from rljob.wire.sockets import Wire
from tests.integration.test_sockets import JOB, Side, Sides, sent, tcp, until


class Rotating(Sides):
    """Sides whose keys are read again from their folder."""

    def watching(self, folder: Path, role: str) -> Wire:
        watch = KeyWatch(folder, role)
        wire = Wire(JOB, watch.ring, lambda *_: None, watch.changed)
        self._stack.callback(wire.close)
        return wire


@pytest.fixture
def sides() -> Iterator[Rotating]:
    with Rotating() as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("rljob.wire.key_watch.LOOK_EVERY", 0.0)
    generate(tmp_path / "keys")
    return tmp_path / "keys"


def connected(sides: Rotating, keys: Path, client_keys: Path | None = None) -> tuple[Side, Side]:
    address = tcp()
    server_wire = sides.watching(keys, "buffer")
    server = Side(server_wire, [], server_wire.serve(address, "experience"))
    client_wire = sides.watching(client_keys or keys, "rollout")
    client = Side(client_wire, [], client_wire.connect(address, "rollout-0", "buffer"))
    client.endpoint._silence.after = 1.0
    return server, client


def delivered(server: Side, client: Side, seq: int) -> None:
    """A message that is repeated arrives, and an answer to it."""
    client.messages.clear()

    def repeat() -> None:
        client.endpoint.send(b"", Header(MessageKind.STATUS, seq=seq))

    until(lambda: seq in server.seqs, repeat, client.take, server.take)

    def answer() -> None:
        server.endpoint.send(b"rollout-0", Header(MessageKind.GRANT))

    until(lambda: client.messages, answer, client.take, server.take)


def test_messages_go_on_in_every_step_and_old_keys_open_nothing_afterwards(
    sides: Rotating, keys: Path
) -> None:
    server, client = connected(sides, keys)
    address = server.endpoint.socket.LAST_ENDPOINT.decode()
    before = read(keys, "rollout")
    delivered(server, client, 1)
    add_generation(keys)
    delivered(server, client, 2)
    write_order(keys, KeyOrder(1, 2))
    delivered(server, client, 3)

    # Somebody with an old key is connected while the keys are changed.
    old = sides.client(address, before, "old")
    old.endpoint.socket.curve_serverkey = read(keys, "rollout").own.others["buffer"]
    old.endpoint.connect_again()
    sent(old, Header(MessageKind.STATUS, seq=666))
    until(lambda: 666 in server.seqs, server.take)
    write_order(keys, KeyOrder(2, 2))
    delivered(server, client, 4)
    server.messages.clear()
    until(lambda: not old.endpoint.send(b"", Header(MessageKind.STATUS, seq=667)), server.take)
    for _ in range(50):
        old.endpoint.send(b"", Header(MessageKind.STATUS, seq=668))
        server.take()
    delivered(server, client, 5)
    assert 668 not in server.seqs


@pytest.mark.parametrize("late", ["server", "client"])
def test_a_role_that_learns_later_than_the_other_is_reached(
    late: str, sides: Rotating, keys: Path, tmp_path: Path
) -> None:
    """A cluster brings files to each node at a time of its own."""
    add_generation(keys)
    other = shutil.copytree(keys, tmp_path / "other")
    server, client = connected(sides, keys, other)
    delivered(server, client, 1)
    order = (other, keys) if late == "server" else (keys, other)
    for seq, folder in enumerate(order, start=2):
        write_order(folder, KeyOrder(1, 2))
        delivered(server, client, seq)
    for seq, folder in enumerate(order, start=4):
        write_order(folder, KeyOrder(2, 2))
        delivered(server, client, seq)


def rotate(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rljob", "rotate-keys", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_cannot_be_rotated_is_said(tmp_path: Path) -> None:
    refused = rotate(tmp_path)
    assert refused.returncode == 2
    assert "is not a run's folder" in refused.stderr
    (tmp_path / "job.yaml").write_text("")
    refused = rotate(tmp_path)
    assert refused.returncode == 2
    assert "is not training" in refused.stderr
