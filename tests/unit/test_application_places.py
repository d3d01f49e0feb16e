"""Where an application finds its job."""

from __future__ import annotations

from pathlib import Path

import pytest

from rljob.application import places
from rljob.application.places import JobPlace, find_job
from rljob.errors import InputError


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod's Secret, at its usual place; the working folder is another."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "application.json").write_text("{}")
    monkeypatch.setattr(places, "MOUNTED", folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_a_name_is_a_job_on_the_cluster(mounted: Path) -> None:
    experience, weights = "tcp://shop-applications:5555", "tcp://shop-applications:5557"
    assert find_job("shop", None) == JobPlace(experience, weights, mounted)
    own = mounted / "application.json"
    assert find_job("shop", own) == JobPlace(experience, weights, own)
    found = find_job("shop", None, "rl")
    assert found.address == "tcp://shop-applications.rl:5555"
    assert found.weights == "tcp://shop-applications.rl:5557"


def test_an_address_is_taken_as_it_is(mounted: Path) -> None:
    assert find_job("tcp://10.0.0.1:5555", mounted) == JobPlace("tcp://10.0.0.1:5555", keys=mounted)


def test_without_keys_a_name_says_how_to_get_them(tmp_path: Path, mounted: Path) -> None:
    (mounted / "application.json").unlink()
    with pytest.raises(
        InputError, match=r"no folder shop here; .* `rljob applications add shop NAME`"
    ):
        find_job("shop", None)


@pytest.mark.usefixtures("mounted")
@pytest.mark.parametrize(
    ("job", "namespace", "message"),
    [
        ("here", None, "nor a run's folder: it has no job.yaml"),
        ("runs/shop-1", None, "nor a run's folder: it has no job.yaml"),
        ("Shop", None, "nor a run's folder: it has no job.yaml"),
        (Path("shop"), None, "nor a run's folder: it has no job.yaml"),
        ("here", "rl", "it belongs to the name of a job on a cluster"),
        ("tcp://10.0.0.1:5555", "rl", "it belongs to the name of a job on a cluster"),
        ("shop", "r/l", "namespace is 'r/l'"),
        (b"shop", None, "an address, a run's folder or a job's name is expected"),
    ],
)
def test_what_is_no_job_is_told(job: object, namespace: str | None, message: str) -> None:
    Path("here").mkdir()
    with pytest.raises(InputError, match=message):
        find_job(job, None, namespace)  # type: ignore[arg-type]
