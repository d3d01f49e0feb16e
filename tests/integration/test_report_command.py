"""`rljob report` as a command: what it writes, and where."""

from __future__ import annotations

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rljob import spec
from rljob.cli.main import main as command
from tests.unit.specs import job


class Without(MetaPathFinder):
    """Makes a package one that is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == self._name:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "pole-1"
    folder.mkdir()
    (folder / "job.yaml").write_text(spec.dump(spec.parse(job(seed=1))))
    lines = [
        {"time": 1.0 + k, "seconds": k, "steps": 10 * k, "meanReturn": k, "lagP50": 1, "lagP95": 2}
        for k in range(1, 9)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_page_lies_in_the_runs_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    assert "pole-1" in (run / "report.html").read_text()


def test_that_of_several_lies_here(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["report", str(run), str(run)]) == 0
    assert "2 runs" in (tmp_path / "report.html").read_text()


def test_single_plots_are_pictures(run: Path, tmp_path: Path) -> None:
    assert command(["report", str(run), "--png", str(tmp_path / "plots")]) == 0
    found = {path.name: path for path in (tmp_path / "plots").iterdir()}
    assert set(found) == {"return.png", "return-time.png", "lag.png"}
    for path in found.values():
        with Image.open(path) as image:
            assert min(image.size) > 500
            # Not a blank sheet.
            assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 20


def test_the_page_needs_none_of_what_pictures_need(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "rljob.show.report.picture", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Without("matplotlib"), *sys.meta_path])
    assert command(["report", str(run)]) == 0
    assert command(["report", str(run), "--png", str(run / "plots")]) == 2
    assert "pip install 'rljob[report]'" in capsys.readouterr().err


def test_what_is_no_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert command(["report", str(tmp_path / "no" / "run")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert command(["report", "pole"]) == 2
    assert capsys.readouterr().err.startswith("pole: there is no such folder, and no cluster")


def test_a_page_that_cannot_be_written_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["report", str(run), "--out", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot write" in capsys.readouterr().err
