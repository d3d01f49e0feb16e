"""Sinks as processes of their own, and what they wrote read back with the libraries of each."""

from __future__ import annotations

import json
import logging
import signal
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import rljob
from rljob import spec
from rljob.errors import InputError
from rljob.roles.sinks import check
from rljob.roles.sinks.children import Sinks
from rljob.spec.sinks import SINKS, SinkName, SinksSpec

EXPERIMENT = "pole"


class Run:
    """A run's folder as a learner fills it."""

    def __init__(self, folder: Path, **sinks: dict[str, Any]) -> None:
        folder.mkdir()
        self.folder = folder
        self.failures: Counter[str] = Counter()
        wanted = sinks or {
            "tensorboard": {},
            "mlflow": {"experiment": EXPERIMENT},
            "wandb": {"mode": "offline", "project": EXPERIMENT},
        }
        values = {
            "environment": {"id": "CartPole-v1"},
            "algorithm": {"name": "PPO", "config": {"learningRate": 0.125}},
            "stop": {"steps": 1000},
            "sinks": wanted,
        }
        job = spec.parse({"metadata": {"name": "pole"}, "spec": values})
        (folder / "job.yaml").write_text(spec.dump(job))

    def train(self, steps: Sequence[int]) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            for step in steps:
                record = {
                    "time": 1e9 + step,
                    "seconds": step / 10,
                    "steps": step,
                    "policyVersion": step // 10,
                    "meanReturn": step / 2 if step > 10 else None,
                    "lagBound": 4,
                    "checkpoint": {"policyVersion": 1, "path": "x"},
                    "metrics": {"entropy": 1 / step},
                }
                file.write(json.dumps(record) + "\n")

    def evaluate(self, version: int, mean: float) -> None:
        line = {"time": 1e9, "policyVersion": version, "mean": mean, "std": 1.5, "episodes": 3}
        with (self.folder / "evaluations.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def end(self, outcome: str) -> None:
        result = {"outcome": outcome, "reason": "StepsReached", "steps": 40}
        (self.folder / "result.json").write_text(json.dumps(result))

    def live(self, names: Sequence[SinkName]) -> None:
        """One life of a learner's sinks, from start to end."""
        Sinks(self.folder, names, self._failed).close()

    def _failed(self, name: SinkName) -> None:
        self.failures[name] += 1


@pytest.fixture
def run(tmp_path: Path) -> Run:
    # Its name is not to be put into a URI.
    return Run(tmp_path / "pole ?a=1 #2%20")


Curve = list[tuple[int, float]]
Read = Callable[[Path], tuple[dict[str, Curve], str]]


def read_tensorboard(folder: Path) -> tuple[dict[str, Curve], str]:
    """Curves by name, and everything else as text."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    tags = found.Tags()
    curves = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in tags["scalars"]}
    texts = [str(e.tensor_proto.string_val) for tag in tags["tensors"] for e in found.Tensors(tag)]
    return curves, "\n".join(texts)


def read_mlflow(folder: Path) -> tuple[dict[str, Curve], str]:
    from mlflow import MlflowClient

    # A link, as not every path fits into a URI.
    with tempfile.TemporaryDirectory() as place:
        link = Path(place, "run")
        link.symlink_to(folder)
        client = MlflowClient(tracking_uri=f"sqlite:///{link}/mlflow.db")
        return _read_mlflow(client, folder.name)


def _read_mlflow(client: Any, name: str) -> tuple[dict[str, Curve], str]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == name
    curves = {
        name: [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    return curves, f"{found.data.params} {found.data.tags} {found.info.status}"


def read_wandb(folder: Path) -> tuple[dict[str, Curve], str]:
    """From the offline runs' own files, oldest first."""
    from wandb.proto import wandb_internal_pb2 as protocol

    curves: dict[str, Curve] = {}
    rest, runs = [], set()
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        runs.add(file.stem)
        for data in wandb_records(file.read_bytes()):
            record = protocol.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") != "history":
                rest.append(str(record))
                continue
            values = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for name, value in values.items():
                curves.setdefault(name, []).append((values["steps"], value))
    assert len(runs) == 1
    return curves, "\n".join(rest)


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Of W&B's file: a header, then LevelDB's log: blocks of 32 KiB with parts of checksum, length, kind."""
    assert data[:4] == b":W&B"
    block, part, at, parts = 32768, struct.Struct("<IHB"), 7, b""
    while at + part.size <= len(data):
        if block - at % block < part.size:
            at += block - at % block
            continue
        _, length, kind = part.unpack_from(data, at)
        at += part.size
        parts += data[at : at + length]
        at += length
        if kind in (1, 4):  # All of a record, or its last part.
            yield parts
            parts = b""


READ: dict[SinkName, Read] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "wandb": read_wandb,
}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer to start a sink than a learner waits for it at its end."""
    monkeypatch.setattr("rljob.roles.sinks.children.FINISH_SECONDS", 240.0)


@pytest.fixture(autouse=True)
def _quiet_libraries() -> Iterator[None]:
    """What libraries that are read with say of their own dependencies is not ours to mend."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", SINKS)
def test_what_was_written_can_be_read_back(run: Run, name: SinkName) -> None:
    run.train([10, 20, 30])
    run.evaluate(2, 77.5)
    run.end("Complete")
    run.live([name])
    curves, rest = READ[name](run.folder)
    assert curves["meanReturn"] == [(20, 10.0), (30, 15.0)]
    assert dict(curves["metrics/entropy"]) == pytest.approx({10: 0.1, 20: 0.05, 30: 1 / 30})
    # Where its policy was made.
    assert curves["evaluation/mean"] == [(20, 77.5)]
    assert "lagBound" not in curves
    for word in ("learningRate", "0.125", "CartPole-v1", "StepsReached"):
        assert word in rest
    assert run.failures == Counter()


@pytest.mark.parametrize("name", SINKS)
def test_a_learner_that_goes_on_goes_on_with_the_same_run(run: Run, name: SinkName) -> None:
    run.train([10, 20])
    run.live([name])
    # Nothing new came: nothing is written twice.
    run.live([name])
    run.train([30, 40])
    run.end("Stopped")
    run.live([name])
    curves, rest = READ[name](run.folder)
    assert [step for step, _ in curves["seconds"]] == [10, 20, 30, 40]
    assert "Stopped" in rest


def test_what_a_learner_lost_is_hidden_by_tensorboard(run: Run) -> None:
    run.train([10, 20, 30])
    run.live(["tensorboard"])
    run.train([20, 40])
    run.live(["tensorboard"])
    curves, _ = read_tensorboard(run.folder)
    assert [step for step, _ in curves["seconds"]] == [10, 20, 40]


def test_a_run_that_is_interrupted_is_told_as_such_and_goes_on(run: Run) -> None:
    run.train([10])
    run.end("Stopped")
    run.live(["mlflow"])
    assert "KILLED" in read_mlflow(run.folder)[1]
    (run.folder / "result.json").unlink()
    run.train([20])
    run.live(["mlflow"])
    assert "RUNNING" in read_mlflow(run.folder)[1]


def test_a_line_that_was_cut_off_comes_when_it_is_whole(run: Run) -> None:
    run.train([10])
    path = run.folder / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    run.live(["tensorboard"])
    path.write_bytes(whole)
    run.live(["tensorboard"])
    assert [step for step, _ in read_tensorboard(run.folder)[0]["seconds"]] == [10]


def test_a_sink_that_cannot_be_reached_is_told_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = Run(tmp_path / "pole-1", mlflow={"trackingUri": "http://127.0.0.1:9"}, tensorboard={})
    run.train([10])
    with caplog.at_level(logging.WARNING, "rljob"):
        run.live(["mlflow", "tensorboard"])
    assert run.failures["mlflow"] >= 1
    assert run.failures["tensorboard"] == 0
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("sink mlflow: ")
    assert "training continues" in line
    # Nothing is forgotten: it comes with the next life that reaches it.
    job = (run.folder / "job.yaml").read_text()
    store = f"sqlite:///{run.folder}/mlflow.db"
    job = job.replace("http://127.0.0.1:9", store).replace("experiment: rljob", "experiment: pole")
    (run.folder / "job.yaml").write_text(job)
    run.live(["mlflow"])
    assert read_mlflow(run.folder)[0]["seconds"] == [(10, 1.0)]


def test_a_sink_that_dies_is_told_and_nobody_waits(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.train([10])
    (run.folder / "sinks").write_text("in the way")
    with caplog.at_level(logging.WARNING, "rljob"):
        run.live(["tensorboard"])
    assert run.failures == Counter(tensorboard=1)
    assert "its process ended with exit code 1" in caplog.text


KILLED = """
import os, pathlib, signal, sys
from rljob.roles.sinks.children import Sinks

Sinks(pathlib.Path(sys.argv[1]), ["tensorboard"], lambda _: None)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_learner_that_is_killed_leaves_nothing_behind(run: Run) -> None:
    run.train([10])
    # A process of its own and no fork: this one may have threads.
    child = subprocess.run([sys.executable, "-c", KILLED, str(run.folder)], check=False)
    assert child.returncode == -signal.SIGKILL
    # The next life waits for the one before, and has nothing left to bring.
    run.live(["tensorboard"])
    assert [step for step, _ in read_tensorboard(run.folder)[0]["seconds"]] == [10]


def test_a_run_writes_to_its_sinks(tmp_path: Path) -> None:
    job = {
        "metadata": {"name": "pole"},
        "spec": {
            "environment": {"id": "CartPole-v1"},
            "algorithm": {"name": "PPO", "config": {"rolloutLength": 32}},
            "stop": {"steps": 3000},
            "sinks": {"tensorboard": {}},
        },
    }
    result = rljob.run(job, dir=tmp_path / "run")
    curves, rest = read_tensorboard(result.folder)
    assert curves["meanReturn"][-1] == (result.steps, pytest.approx(result.mean_return))
    assert "StepsReached" in rest


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check(SinksSpec())
    with pytest.raises(InputError, match=r"needs wandb.*pip install 'rljob\[wandb\]'") as error:
        check(SinksSpec.model_validate({"wandb": {}}, by_alias=True))
    assert error.value.path == "sinks.wandb"
