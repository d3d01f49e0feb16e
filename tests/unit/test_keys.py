"""Key files: who may read them, and what is not a key."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
import zmq

from rljob.errors import InputError, RunError
from rljob.spec.roles import ROLES
from rljob.wire.key_watch import KeyWatch
from rljob.wire.keygen import add_generation, generate, remove_older, write_order
from rljob.wire.keys import ALLOWED, ORDER, generations, read
from rljob.wire.rotation import KeyOrder, KeyReport


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minted") / "keys"
    generate(folder)
    return folder


def test_secrets_are_for_their_owner_only(folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder / "1").iterdir()}
    assert {name for name in modes if name.endswith(".secret")} == {f"{r}.secret" for r in ROLES}
    assert all(modes[f"{role}.secret"] == 0o400 for role in ROLES)
    assert all(modes[f"{role}.public"] & 0o222 == 0 for role in ROLES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_own_pair_and_everybodys_public_key(folder: Path, role: str) -> None:
    keys = read(folder, role).own
    assert zmq.curve_public(keys.secret) == keys.public == keys.others[role]
    assert set(keys.others) == set(ROLES)
    assert len(set(keys.others.values())) == len(ROLES)


def test_who_may_connect_where(folder: Path) -> None:
    ring = read(folder, "buffer")
    others = ring.own.others
    assert ring.allowed("experience") == {others["rollout"]}
    assert ring.allowed("samples") == {others["learner"]}
    assert ring.allowed("weights") == {others["rollout"], others["evaluator"]}
    assert set(ALLOWED) == {"experience", "samples", "weights"}


def test_keys_are_never_overwritten_and_never_half_written(tmp_path: Path) -> None:
    secret = tmp_path / "1" / "learner.secret"
    secret.parent.mkdir()
    secret.write_text("precious")
    with pytest.raises(InputError, match="already holds keys"):
        generate(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "learner.secret"]
    assert secret.read_text() == "precious"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write keys"):
        generate(tmp_path / "file" / "keys")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A folder whose files may be changed."""
    made = tmp_path / "keys"
    (made / "1").mkdir(parents=True)
    (made / ORDER).write_bytes((folder / ORDER).read_bytes())
    for path in (folder / "1").iterdir():
        (made / "1" / path.name).write_bytes(path.read_bytes())
    return made


def test_only_what_a_role_needs_must_be_there(folder: Path, copy: Path) -> None:
    for role in ROLES:
        if role != "rollout":
            (copy / "1" / f"{role}.secret").unlink()
    assert read(copy, "rollout") == read(folder, "rollout")
    with pytest.raises(InputError, match=r"learner\.secret"):
        read(copy, "learner")


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 39, b"x" * 41, b"~" * 40, b" " * 40, b"\xff" * 40, b"#" * 40],
    ids=["empty", "short", "long", "other letters", "blank", "binary", "above 32 bits"],
)
def test_what_is_no_key(copy: Path, content: bytes) -> None:
    (copy / "1" / "buffer.public").write_bytes(content)
    with pytest.raises(InputError, match=r"buffer\.public is not a key"):
        read(copy, "rollout")


@pytest.mark.parametrize(
    "order",
    [
        *("", "{}", "[1, 1]", "[" * 100_000),
        *('{"oldest": 0, "current": 1}', '{"oldest": 2, "current": 1}'),
        *('{"oldest": true, "current": 1}', '{"oldest": 1, "current": 1.0}'),
    ],
)
def test_what_does_not_say_which_generations_are_valid(copy: Path, order: str) -> None:
    (copy / ORDER).write_text(order)
    with pytest.raises(InputError, match=r"keys\.json: .* does not name the generations"):
        read(copy, "rollout")


def test_a_folder_without_an_order(copy: Path) -> None:
    (copy / ORDER).unlink()
    with pytest.raises(InputError, match="`rljob keys` makes it"):
        read(copy, "rollout")


def test_a_generation_that_is_not_there_yet_is_no_bad_input(copy: Path) -> None:
    write_order(copy, KeyOrder(1, 2))
    with pytest.raises(RunError, match="generation 2 of the keys is not in"):
        read(copy, "rollout")


def test_while_keys_change_old_and_new_ones_are_valid(copy: Path) -> None:
    first = read(copy, "buffer")
    assert add_generation(copy) == 2
    both = read(copy, "buffer")
    assert both.own == first.own
    assert both.allowed("experience") > first.allowed("experience")

    write_order(copy, KeyOrder(1, 2))
    changed = read(copy, "buffer")
    assert changed.own != first.own
    assert changed.allowed("experience") == both.allowed("experience")
    assert changed.servers("learner") == (
        changed.own.others["learner"],
        first.own.others["learner"],
    )
    assert changed.report == KeyReport(known=2, current=2, oldest=1)

    write_order(copy, KeyOrder(2, 2))
    last = read(copy, "buffer")
    assert not last.allowed("experience") & first.allowed("experience")
    remove_older(copy, 2)
    assert generations(copy) == [2]
    assert read(copy, "buffer") == last


def test_keys_that_a_kubelet_brings_are_noticed(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes all files into a new folder and turns a link to it, behind links that stay."""
    monkeypatch.setattr("rljob.wire.key_watch.LOOK_EVERY", 0.0)
    volume = tmp_path / "volume"

    def bring(number: int) -> None:
        shutil.copytree(copy, volume / f"..{number}")
        (volume / "..new").symlink_to(f"..{number}")
        (volume / "..new").rename(volume / "..data")
        for path in copy.iterdir():
            link = volume / path.name
            if not link.is_symlink():
                link.symlink_to(f"..data/{path.name}")

    bring(1)
    watch = KeyWatch(volume, "rollout")
    add_generation(copy)
    bring(2)
    ring = watch.changed()
    assert ring is not None
    assert ring.report == KeyReport(known=2, current=1, oldest=1)
    write_order(copy, KeyOrder(2, 2))
    bring(3)
    ring = watch.changed()
    assert ring is not None
    assert ring.report == KeyReport(known=2, current=2, oldest=2)


def test_a_role_notices_new_keys_and_keeps_the_old_ones_while_they_cannot_be_read(
    copy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rljob.wire.key_watch.LOOK_EVERY", 0.0)
    watch = KeyWatch(copy, "rollout")
    assert watch.changed() is None
    write_order(copy, KeyOrder(1, 2))
    for _ in range(3):
        assert watch.changed() is None
    assert watch.ring.order == KeyOrder(1, 1)
    assert caplog.text.count("the keys stay as they are") == 1
    add_generation(copy)
    ring = watch.changed()
    assert ring is not None
    assert ring.order == KeyOrder(1, 2)
    assert watch.changed() is None
