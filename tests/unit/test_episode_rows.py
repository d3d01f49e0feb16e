"""Rows of episodes in the run's folder: written once, removed as far as training goes back, read in pieces."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rljob.local import history
from rljob.run_folder import episodes
from rljob.run_folder.episodes import EpisodePosition, EpisodeTable, read_episodes


def add(table: EpisodeTable, *lengths: int, steps: int = 7, info: tuple[float, ...] = ()) -> None:
    records = np.array([[length / 3, length, 0.5, *info] for length in lengths])
    names = np.array(["rollout-0"] * len(lengths))
    count = len(lengths)
    table.append(
        np.full(count, steps), np.full(count, 4), names, records.reshape(count, 3 + len(info))
    )


def lengths(folder: Path) -> list[int]:
    return [int(each) for piece in read_episodes(folder) for each in piece["length"]]


def test_a_row_has_what_is_known_of_an_episode(tmp_path: Path) -> None:
    table = EpisodeTable(tmp_path, ("score", "lives left"), None)
    add(table, 500, info=(3.0, float("nan")))
    table.append(
        np.array([9]), np.array([5]), np.array(["a,b\n"]), np.array([[-0.1, 2, 1e300, 2**40, -1.5]])
    )
    table.close()
    assert (tmp_path / "episodes.csv").read_text() == (
        "steps,policy_version,rollout,return,length,discounted_return,info.score,info.lives left\n"
        "7,4,rollout-0,166.666666666667,500,0.5,3,nan\n"
        "9,5,a_b_,-0.1,2,1e+300,1099511627776,-1.5\n"
    )
    columns = history.episodes(tmp_path)
    assert columns["rollout"].tolist() == ["rollout-0", "a_b_"]
    assert columns["steps"].tolist() == [7, 9]
    assert [columns[name].dtype for name in ("steps", "length", "return")] == ["i8", "i8", "f8"]
    assert columns["info.score"].tolist() == [3, 2**40]
    assert np.isnan(columns["info.lives left"]).tolist() == [True, False]


def test_rows_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    table = EpisodeTable(tmp_path, (), None)
    add(table, 1, 2)
    checkpoint = table.position
    add(table, 3, 4)
    table.close()
    table = EpisodeTable(tmp_path, (), checkpoint)
    add(table, 5)
    table.close()
    assert lengths(tmp_path) == [1, 2, 5]
    # A run that begins at step 0 again has no rows yet.
    EpisodeTable(tmp_path, (), None).close()
    assert lengths(tmp_path) == []


def test_what_a_killed_process_or_machine_left_spoils_no_row(tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    table = EpisodeTable(tmp_path, (), None)
    add(table, 1, 2)
    end = table.position
    table.close()
    with path.open("a") as file:
        file.write("7,4,rollout-0,0.3")
    assert lengths(tmp_path) == [1, 2], "a reader leaves out a row that is being written"
    far = EpisodePosition(0, end.size + 500)
    table = EpisodeTable(tmp_path, (), far)
    assert table.position == end
    add(table, 3)
    table.close()
    assert lengths(tmp_path) == [1, 2, 3]


def test_the_newest_parts_are_kept_and_a_checkpoint_can_be_in_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes, "PART_BYTES", 150)
    monkeypatch.setattr(episodes, "READ_ROWS", 2)
    table, ends = EpisodeTable(tmp_path, (), None), {}
    for number in range(1, 31):
        add(table, number)
        ends[number] = table.position
    table.close()
    kept = lengths(tmp_path)
    assert kept == list(range(kept[0], 31))
    assert 1 < kept[0] < 25
    names = sorted(path.name for path in tmp_path.iterdir())
    last = ends[30].part
    assert names == sorted(["episodes.csv", *(f"episodes.{last - n}.csv" for n in (1, 2, 3))])
    assert all(path.stat().st_size < 250 for path in tmp_path.iterdir())
    # Three parts back.
    back = next(number for number, end in ends.items() if end.part == last - 2)
    table = EpisodeTable(tmp_path, (), ends[back])
    add(table, 99)
    assert table.position.part == ends[back].part
    table.close()
    assert lengths(tmp_path) == [*range(kept[0], back + 1), 99]


def test_other_keys_of_info_begin_another_part(tmp_path: Path) -> None:
    table = EpisodeTable(tmp_path, (), None)
    add(table, 1)
    end = table.position
    table.close()
    table = EpisodeTable(tmp_path, ("score",), end)
    add(table, 2, info=(8.0,))
    table.close()
    columns = history.episodes(tmp_path)
    assert columns["length"].tolist() == [1, 2]
    np.testing.assert_array_equal(columns["info.score"], [np.nan, 8])


def test_a_full_disk_loses_rows_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = EpisodeTable(tmp_path, (), None)
    add(table, 1)
    real, left = os.write, [5]

    def write(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        taken, left[0] = data[: left[0]], 0
        return real(descriptor, taken)

    monkeypatch.setattr(os, "write", write)
    add(table, 2)
    add(table, 3)
    monkeypatch.undo()
    add(table, 4)
    table.close()
    assert lengths(tmp_path) == [1, 4]
    assert table.position.size == (tmp_path / "episodes.csv").stat().st_size
    assert len(caplog.records) == 1, "told once"


@pytest.mark.parametrize("call", ["open", "close", "ftruncate", "write"])
def test_a_disk_that_fails_anywhere_ends_nothing(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where one part ends and the next begins."""
    monkeypatch.setattr(episodes, "PART_BYTES", 100)
    table = EpisodeTable(tmp_path, (), None)
    add(table, 1)

    def fails(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, call, fails)
        for number in range(2, 8):
            add(table, number)
    for number in range(8, 12):
        add(table, number)
    table.close()
    table.close()
    found = lengths(tmp_path)
    assert found == sorted(found)
    assert found[-4:] == [8, 9, 10, 11]
    assert len(caplog.records) == (call in ("open", "write")), "told once"


def test_a_run_without_episodes_has_empty_columns(tmp_path: Path) -> None:
    assert [each.tolist() for each in history.episodes(tmp_path).values()] == [[]] * 6


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "episodes.csv").write_text("steps,return\n1,2\nx,y\n")
    with pytest.raises(ValueError, match=r"episodes\.csv is damaged"):
        list(read_episodes(tmp_path))
