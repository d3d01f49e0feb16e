"""Runs with hooks: when each method is called, how a hook ends a run, and what its errors do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.checkpoints import checkpoint
from rljob.spec.status import EndReport
from tests.integration.pods import running
from tests.integration.test_run import DEADLINE, ENDLESS, Place, result, trains, until

EXAMPLES = Path(__file__).parents[2] / "examples" / "custom"
MODULE = '''
import json, random
import numpy, torch
import rljob


class Writes:
    """Writes a line for each call, and stops after an evaluation and so many updates."""

    def __init__(self, updates=10**9, wait=False):
        self.updates, self.wait, self.seen = updates, wait, 0

    def write(self, name, event):
        with open(self.folder / "calls.jsonl", "a") as file:
            values = {**vars(event), "call": name, "seen": self.seen}
            if name == "update":
                values["metrics"] = dict(event.metrics)
            print(json.dumps(values, default=str), file=file)

    def on_start(self, event):
        self.folder = event.folder
        self.write("start", event)

    def on_episode(self, event):
        self.seen += 1
        self.write("episode", event)

    def on_update(self, event):
        self.write("update", event)
        random.random(), numpy.random.rand(), torch.rand(1)
        if event.updates >= self.updates and not self.wait:
            return rljob.StopTraining("enough updates")

    def on_evaluation(self, event):
        self.write("evaluation", event)
        self.wait = False

    def on_checkpoint(self, event):
        assert any(event.path.iterdir())
        self.write("checkpoint", event)

    def on_end(self, event):
        self.write("end", event)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class Raises:
    def on_update(self, event):
        raise SystemExit("no token") if event.updates % 2 else ValueError("bad")

    def on_end(self, event):
        return False


class Starts:
    def on_start(self, event):
        raise ConnectionError("no network")


class Unknown:
    def on_training_end(self, event):
        pass
'''


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    yield made
    made.close()


def hooks(name: str, **config: Any) -> dict[str, Any]:
    return {"entryPoint": f"mine:{name}", "config": config}


def calls(folder: Path, name: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    return [line for line in lines if name in (None, line["call"])]


def test_every_method_is_called_and_a_hook_ends_the_run(place: Place) -> None:
    file = place.write(
        hooks=hooks("Writes", updates=3, wait=True),
        evaluation={"interval": "1s", "episodes": 2},
        stop={"steps": 10**12},
    )
    done = place.run("run", file, "--dir", "run")
    assert done.returncode == 0, done.stderr
    folder = place.folder / "run"
    end = result(folder)
    assert (end["outcome"], end["reason"]) == ("Complete", "StoppedByHook")
    assert end["message"] == "mine:Writes.on_update: enough updates"
    assert end["evaluation"]["episodes"] == 2, "the final policy is evaluated as after other ends"
    assert re.search(
        r"Ended after [\d,]+ steps.*: mine:Writes.on_update: enough updates\.", done.stdout
    )
    explained = place.run("explain", "run").stdout
    assert "StoppedByHook: mine:Writes.on_update: enough updates" in explained

    found = calls(folder)
    assert [line["call"] for line in found].count("start") == 1
    assert (found[0]["call"], found[0]["resumed"], found[0]["seed"]) == ("start", False, 0)
    assert found[-1]["call"] == "end"
    assert found[-1]["reason"] == "StoppedByHook"
    assert [line["updates"] for line in calls(folder, "update")] == list(
        range(1, end["updates"] + 1)
    )
    last = calls(folder, "update")[-1]
    assert (last["version"], last["steps"]) == (end["policyVersion"], end["steps"])
    assert {"policy_loss", "entropy"} <= last["metrics"].keys()
    episodes = calls(folder, "episode")
    assert [line["number"] for line in episodes] == list(range(1, end["episodes"] + 1))
    assert all(line["episode_return"] == line["length"] > 0 for line in episodes), "CartPole's"
    saved = calls(folder, "checkpoint")
    assert (saved[0]["version"], saved[-1]["version"]) == (0, end["policyVersion"])
    lines = (folder / "evaluations.jsonl").read_text().splitlines()
    played = {one["policyVersion"]: one["mean"] for one in map(json.loads, lines)}
    assert calls(folder, "evaluation")
    for line in calls(folder, "evaluation"):
        assert played[line["version"]] == line["mean"]


def test_a_hook_goes_on_where_the_checkpoint_is(place: Place) -> None:
    file = place.write(**ENDLESS, hooks=hooks("Writes"))
    folder = place.folder / "run"
    process = place.start("run", file, "--dir", "run")
    until(lambda: trains(folder, 1000))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE)
    before = calls(folder, "end")[-1]
    assert (before["outcome"], before["reason"]) == ("Interrupted", "Interrupted")
    done = place.run(
        "run", "--resume", "--dir", "run", "--set", f"stop.updates={before['updates'] + 1}"
    )
    assert done.returncode == 0, done.stderr
    start = calls(folder, "start")[-1]
    assert start["resumed"] is True
    assert start["updates"] == before["updates"] > 0
    assert start["seen"] == before["seen"] > 0


def test_what_hooks_raise_is_told_and_training_goes_on(place: Place) -> None:
    file = place.write(hooks=hooks("Raises"), stop={"updates": 6})
    done = place.run("run", file, "--dir", "run")
    assert done.returncode == 0, done.stderr
    folder = place.folder / "run"
    end = result(folder)
    assert (end["reason"], end["updates"]) == ("UpdatesReached", 6)
    assert end["hookFailures"]["count"] == 7
    assert (
        "mine:Raises.on_update: SystemExit: sys.exit('no token') was called ("
        in end["hookFailures"]["message"]
    )
    assert (
        done.stdout.count("and training goes on; the first: mine:Raises.on_update")
        + done.stderr.count("and training goes on; the first: mine:Raises.on_update")
        == 1
    )
    log = (folder / "logs" / "learner-0.log").read_text()
    assert log.count("Traceback") == 1
    assert "mine:Raises.on_end: returned False, expected None or rljob.StopTraining(reason)" in log
    assert end["restarts"] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Unknown", "mine:Unknown has on_training_end, which is no hook. Did you mean on_end?"),
        ("Starts", "mine:Starts.on_start: ConnectionError: no network ("),
        ("Missing", "mine:Missing: mine has no Missing"),
    ],
)
def test_a_hook_that_cannot_begin_leaves_nothing(place: Place, name: str, words: str) -> None:
    file = place.write(hooks=hooks(name))
    done = place.run("run", file, "--dir", "run")
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert re.match(r"job\.yaml:\d+: hooks\.entryPoint: ", done.stderr), done.stderr
    assert words in done.stderr
    assert not (place.folder / "run").exists()


def test_hooks_leave_the_bits_of_a_strict_run(place: Place) -> None:
    strict = {
        "strict": True,
        "rollout": {"replicas": 1, "envsPerReplica": 4},
        "stop": {"updates": 4},
    }
    for name, own in (("with", {"hooks": hooks("Writes")}), ("without", {})):
        done = place.run("run", place.write(**strict, **own), "--dir", name)
        assert done.returncode == 0, done.stderr
    first, second = (
        checkpoint.load((place.folder / name / "checkpoints" / "latest").resolve())
        for name in ("with", "without")
    )
    assert calls(place.folder / "with", "update")
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(tensor, second.tensors[name])


def test_check_names_the_methods(place: Place) -> None:
    done = place.run("check", place.write(hooks=hooks("Writes")))
    assert done.returncode == 0, done.stderr
    assert (
        "mine:Writes, on_start, on_episode, on_update, on_evaluation, on_checkpoint, on_end"
        in done.stdout
    )
    assert "has on_evaluation, and the job has no evaluation: it is never called" in done.stdout


def test_in_pods_the_learner_is_told_of_evaluations(tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "hooks": hooks("Writes"),
        "evaluation": {"interval": "1s", "episodes": 2},
        "stop": {"steps": 10**12},
    }
    (tmp_path / "mine.py").write_text(MODULE)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with running(tmp_path, **sections) as job:
        learner = job.start("learner", variables={**os.environ, "PYTHONPATH": path})
        for role in ("buffer", "rollout", "evaluator"):
            job.start(role)
        job.until(lambda: learner.status().get("evaluation"), "an evaluation in the status")
        told = learner.status()["evaluation"]
        assert (told["episodes"], learner.status().get("evaluating")) == (2, None)
        learner.end()
        played = {line["version"]: line["mean"] for line in calls(learner.folder, "evaluation")}
        assert played[told["policyVersion"]] == told["mean"]
        end = EndReport.model_validate(learner.ended())
        assert (end.outcome, end.reason) == ("Interrupted", "Interrupted"), job.tell()


def test_the_example_ends_a_run(tmp_path: Path) -> None:
    for name in ("early_stopping.py", "early_stopping.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    made = Place(tmp_path)
    try:
        options = ("--set", "hooks.config.atLeast=1000", "--dir", "run")
        refused = made.run("run", "early_stopping.yaml", *options)
        assert "hooks.config: got an unexpected keyword argument 'atLeast'" in refused.stderr
        options = ("--set", "hooks.config={patience: 1, at_least: 1000}", "--dir", "run")
        done = made.run("run", "early_stopping.yaml", *options)
        assert done.returncode == 0, done.stderr
        end = result(tmp_path / "run")
        assert end["reason"] == "StoppedByHook"
        assert "1 evaluations were not better than" in end["message"]
        assert len((tmp_path / "run" / "best.csv").read_text().splitlines()) == 1
    finally:
        made.close()
