"""A test whose return is below its bar is repeated once; other failures are final."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
from pathlib import Path
from tests.learning.bars import by_chance, reach

@by_chance
def test_it():
    tries = Path({tries!r})
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    {body}
"""


@pytest.mark.parametrize(
    ("body", "tries", "passes"),
    [
        ("reach(len(tries.read_text()), 1)", 1, True),
        ("reach(len(tries.read_text()), 2)", 2, True),
        ("reach(len(tries.read_text()), 3)", 2, False),
        ("reach(float('nan'), 0)", 2, False),
        ("reach(None, 0)", 2, False),
        ("assert tries is None", 1, False),
        ("raise RuntimeError('crashed')", 1, False),
    ],
)
def test_one_more_try(body: str, tries: int, passes: bool, tmp_path: Path) -> None:
    file, count = tmp_path / "test_it.py", tmp_path / "tries"
    file.write_text(TEST.format(tries=str(count), body=body))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-c", root / "pyproject.toml", file],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) is passes, done.stdout + done.stderr
    assert len(count.read_text()) == tries
