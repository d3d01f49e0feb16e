"""Checkpoints and the report in MLflow and Weights & Biases, and a job that starts with such a checkpoint."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import rljob
from rljob.checkpoints import stored
from rljob.checkpoints.checkpoint import load
from rljob.checkpoints.stored import check_stored, fetch
from rljob.checkpoints.unpack import unpack
from rljob.errors import InputError
from rljob.roles.sinks.children import Sinks

# What the libraries say of their own dependencies is not ours to mend.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1200)]
JOB: dict[str, Any] = {
    "environment": {"id": "CartPole-v1"},
    "algorithm": {"name": "PPO", "config": {"rolloutLength": 32}},
    "stop": {"steps": 1500},
    "seed": 1,
    "rollout": {"replicas": 1, "envsPerReplica": 4},
}


def train(folder: Path, resume: bool = False, **sections: Any) -> rljob.Result:
    job = {"metadata": {"name": "pole"}, "spec": {**JOB, **sections}}
    return rljob.run(job, dir=folder, resume=resume)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> rljob.Result:
    """A run with both sinks, in a folder whose name is not to be put into a URI."""
    folder = tmp_path_factory.mktemp("stored") / "pole ?a=1 #2%20"
    result = train(folder)
    job = yaml.safe_load((folder / "job.yaml").read_text())
    job["spec"]["sinks"] = {"mlflow": {}, "wandb": {"mode": "offline"}}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    failures: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        # A busy machine may take longer to start a sink than a learner waits for it at its end.
        patch.setattr("rljob.roles.sinks.children.FINISH_SECONDS", 900.0)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Sinks(folder, ["mlflow", "wandb"], failures.append).close()
    assert failures == []
    return result


@pytest.fixture
def store(trained: rljob.Result, tmp_path: Path) -> str:
    """The URI of MLflow's store; through a link, as not every path fits into a URI."""
    (tmp_path / "run").symlink_to(trained.folder)
    return f"sqlite:///{tmp_path}/run/mlflow.db"


def identity(result: rljob.Result, sink: str) -> str:
    return str(json.loads((result.folder / "sinks" / f"{sink}.json").read_text())["run"])


def test_mlflow_has_the_last_checkpoint_and_the_page(
    trained: rljob.Result, store: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    client, run = MlflowClient(tracking_uri=store), identity(trained, "mlflow")
    assert {each.path for each in client.list_artifacts(run)} == {"checkpoint.tar", "report.html"}
    page = Path(client.download_artifacts(run, "report.html", str(tmp_path))).read_text()
    assert "(StepsReached)" in page
    fetch(f"runs:/{run}", tmp_path / "fetched", store)
    fetched, ours = load(tmp_path / "fetched" / "checkpoints" / "latest"), trained.policy_path
    assert ours is not None
    assert fetched.version == trained.policy_version == load(ours).version
    assert (tmp_path / "fetched" / "job.yaml").read_text() == (
        trained.folder / "job.yaml"
    ).read_text()


def test_a_job_starts_with_what_mlflow_has(
    trained: rljob.Result, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    uri = f"runs:/{identity(trained, 'mlflow')}"
    result = train(tmp_path / "next", seed=7, initFrom={"run": uri}, stop={"updates": 1})
    assert trained.policy_path is not None
    before = load(trained.policy_path)
    after = load(result.folder / "checkpoints" / f"{0:012d}")
    weights = {name: array for name, array in before.policy.items() if "/" in name[1:]}
    assert weights
    for name, array in weights.items():
        assert (after.policy[name] == array).all()
    assert uri in (result.folder / "logs" / "learner-0.log").read_text()
    with pytest.raises(InputError, match="that of this job is") as error:
        train(tmp_path / "other", initFrom={"run": uri}, network={"config": {"hidden": [8]}})
    assert error.value.path == "initFrom.run"
    assert uri in error.value.message
    assert "/tmp" not in error.value.message
    # A run that is resumed has weights of its own, and needs the store no more.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/gone/mlflow.db")
    again = train(result.folder, resume=True, seed=7, initFrom={"run": uri}, stop={"updates": 2})
    assert again.updates == 2


def test_what_is_missing_foreign_or_damaged_is_refused(
    trained: rljob.Result, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    client, run = MlflowClient(tracking_uri=store), identity(trained, "mlflow")

    def refused(uri: str, words: str, tracking: str | None = store) -> None:
        with pytest.raises(InputError) as error:
            fetch(uri, tmp_path / "into", tracking)
        assert words in str(error.value)
        assert uri in str(error.value)
        assert "\n" not in str(error.value)
        assert not list((tmp_path / "into").glob("checkpoints/*/latest"))
        shutil.rmtree(tmp_path / "into", ignore_errors=True)

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    refused(f"runs:/{run}", "set MLFLOW_TRACKING_URI or sinks.mlflow.trackingUri", None)
    refused("runs:/0123", "cannot be fetched: ")
    empty = client.create_run("0", run_name="empty").info.run_id
    refused(f"runs:/{empty}", "has no checkpoint.tar; only a sink of rljob stores it")
    experiment = client.get_run(run).info.experiment_id
    whole = Path(client.download_artifacts(run, stored.FILE, str(tmp_path))).read_bytes()
    middle = len(whole) // 2
    other = bytes([whole[middle] ^ 1])
    for content, words in (
        (b"no archive at all", "is not a whole checkpoint: "),
        (whole[: middle - middle % 512], "is not a whole checkpoint: "),
        (whole[:middle] + other + whole[middle + 1 :], "is not a whole checkpoint: "),
    ):
        wrong = client.create_run(experiment).info.run_id
        (tmp_path / stored.FILE).write_bytes(content)
        client.log_artifact(wrong, str(tmp_path / stored.FILE))
        refused(f"runs:/{wrong}", words)


def test_wandb_has_both_in_its_files(trained: rljob.Result, tmp_path: Path) -> None:
    """Offline, `wandb sync` sends what lies there; the service itself is not reached by a test."""
    files = [path for path in (trained.folder / "wandb").rglob("*") if path.is_file()]
    found = 0
    for number, path in enumerate(files):
        content = path.read_bytes()
        if content[:8] == b"job.yaml" and content[257:262] == b"ustar":
            unpack(iter([content]), tmp_path / str(number))
            found += 1
    assert found == 1
    run = identity(trained, "wandb")
    (log,) = (trained.folder / "wandb").glob("offline-run-*/run-*.wandb")
    for name in (f"checkpoint-{run}", f"report-{run}", "checkpoint.tar", "report.html"):
        assert name.encode() in log.read_bytes()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("runs:/", "expected runs:/RUN_ID"),
        ("runs:/12/other.tar", "expected runs:/RUN_ID"),
        ("wandb:project", "expected wandb:ENTITY/PROJECT/NAME:VERSION"),
        ("wandb:me/project/name", "expected wandb:ENTITY/PROJECT/NAME:VERSION"),
    ],
)
def test_a_wrong_form_is_refused_before_anything_starts(
    uri: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not ") as error:
        train(tmp_path / "run", initFrom={"run": uri})
    assert error.value.path == "initFrom.run"
    assert words in error.value.message
    assert not (tmp_path / "run").exists()


def test_a_service_that_cannot_be_reached_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    with pytest.raises(InputError, match="wandb:me/pole/checkpoint-1:v0 cannot be fetched: "):
        fetch("wandb:me/pole/checkpoint-1:v0", tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for uri, extra in (("runs:/12", "mlflow"), ("wandb:a/b/c:v1", "wandb")):
        with pytest.raises(InputError, match=rf"pip install 'rljob\[{extra}\]'"):
            check_stored(uri)
