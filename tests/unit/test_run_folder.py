"""Files in the folder of a run: written whole, and read with what is broken in them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rljob.run_folder import json_files
from rljob.run_folder.write_whole import replacing


def write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("half")


def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    json_files.write(path, {"a": 1})
    with pytest.raises(ValueError, match="half"):
        write_half(path)
    assert json_files.read(path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"]


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    json_files.write(path, {"a": math.nan, "b": {"c": -math.inf, "d": 1.5}})
    assert json_files.read(path) == {"a": None, "b": {"c": None, "d": 1.5}}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_file_without_an_object_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content)
    assert json_files.read(path) is None


def test_broken_lines_are_counted() -> None:
    data = b'{"a": 1}\n\nnoise\n[2]\n{"b": 2}\n{"c"'
    assert json_files.parse_lines(data) == ([{"a": 1}, {"b": 2}], 3)
