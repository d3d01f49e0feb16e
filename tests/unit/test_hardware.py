"""What processes use of their machines, and how the learner comes to know it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rljob.process.hardware import HardwareMeter, HardwareUse
from rljob.roles.buffer.rollouts import FORGET_AFTER, SILENT_AFTER
from rljob.roles.learner.gpu import gpu_use
from rljob.roles.learner.progress import TrainingProgress
from rljob.roles.learner.report import RecordWriter
from rljob.system import resident_memory
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.messages import Header, MessageKind
from tests.unit.experience import Bench, numbers, on_policy_plan, told


def test_a_process_measures_itself() -> None:
    before = resident_memory()
    held = np.ones(30_000_000)
    assert 150e6 < resident_memory() - before < 400e6
    meter = HardwareMeter()
    while not (used := meter.measure()).cores:
        held.sum()
    assert used.cores > 0
    assert used.memory > 200e6


def status(bench: Bench, actor: int, **told: Any) -> None:
    header = Header(MessageKind.STATUS, actor=actor, epoch=1)
    bench.say(f"rollout-{actor}", header, json.dumps(told).encode())


def test_the_learner_hears_what_rollouts_and_buffer_use() -> None:
    bench, plan = Bench(), on_policy_plan()
    for actor in (1, 2):
        bench.hello(plan, actor)
    bench.attach()
    status(bench, 1, cores=0.75, memory=2**40)
    status(bench, 2, cores=1.5, memory=100)
    status(bench, 2, cores=0.5, memory=200)
    bench.buffer.used = HardwareUse(0.25, 300)
    found = numbers(told(bench, 0, 0))
    assert (found["rollouts_cores"], found["rollouts_memory"]) == (1.25, 2**40 + 200)
    assert (found["buffer_cores"], found["buffer_memory"]) == (0.25, 300)
    bench.now += SILENT_AFTER / 2
    status(bench, 2, leaving=True)
    bench.now += SILENT_AFTER
    found = numbers(told(bench, 0, 0))
    assert (found["rollouts_cores"], found["rollouts_memory"]) == (0, 0), "none is there"
    bench.now += FORGET_AFTER
    assert numbers(told(bench, 0, 0))["rollouts_memory"] == 0


@pytest.mark.parametrize(
    "odd",
    [{"cores": -1}, {"cores": True}, {"cores": 10**6}, {"memory": 1.5}, {"memory": 2**50}],
    ids=str,
)
def test_an_odd_report_is_rejected(odd: dict[str, Any]) -> None:
    bench = Bench()
    bench.hello(on_policy_plan())
    status(bench, 1, **odd)
    assert bench.told.reasons == ["json"]


def test_a_gpu_is_told_where_torch_uses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(device: str | None) -> int:
        raise ModuleNotFoundError("pynvml")

    memory, busy = {None: 4096, "cuda:1": 8192}, {None: 25, "cuda:1": 50}
    cuda = SimpleNamespace(
        is_initialized=lambda: True, memory_reserved=memory.get, utilization=busy.get
    )
    monkeypatch.setitem(__import__("sys").modules, "torch", SimpleNamespace(cuda=cuda))
    assert gpu_use("auto") == {"gpuMemory": 4096, "gpuUse": 0.25}
    assert gpu_use("cuda:1") == {"gpuMemory": 8192, "gpuUse": 0.5}, "not the current one"
    assert gpu_use("cpu") == {}, "something else uses it"
    monkeypatch.setattr(cuda, "utilization", missing)
    assert gpu_use("auto") == {"gpuMemory": 4096}
    monkeypatch.setattr(cuda, "is_initialized", lambda: False)
    assert gpu_use("auto") == {}


def test_each_record_has_the_use_of_all_roles(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, LearnerMetrics())
    progress = TrainingProgress()
    writer.start(progress, None)
    writer.statistics({"rollouts_cores": 1.5, "rollouts_memory": 7.0, "buffer_cores": 0.5})
    record = writer.write(1e9, progress, 0, None)
    writer.close()
    assert record.hardware["rollouts.cores"] == 1.5
    assert record.hardware["rollouts.memory"] == 7
    assert record.hardware["buffer.cores"] == 0.5
    assert record.hardware["learner.memory"] > 10e6
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["hardware"] == record.hardware
