"""`rljob run` and `rljob.run` with real processes: what they leave behind, however they end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rljob import system

DEADLINE = 120.0
# As the command: the working folder is not among the paths by itself (-P).
RLJOB = [sys.executable, "-P", "-m", "rljob"]
MODULE = '''
import gymnasium, numpy


class Walk(gymnasium.Env):
    """Ten steps; what goes wrong is chosen."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, wrong=""):
        self.wrong = wrong
        if wrong == "make":
            raise RuntimeError("the simulator is not running")
        if wrong == "space":
            self.observation_space = gymnasium.spaces.Text(3)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return numpy.zeros(3, numpy.float32), {}

    def step(self, action):
        self.now += 1
        if self.wrong == "step":
            raise RuntimeError("the robot fell over")
        return numpy.full(3, self.now / 10, numpy.float32), 1.0, self.now == 10, False, {}
'''


def job(**sections: Any) -> dict[str, Any]:
    spec = {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "PPO", "config": {"rolloutLength": 32}},
        "stop": {"steps": 3000},
        "seed": 0,
        "rollout": {"replicas": 2, "envsPerReplica": 8},
        **sections,
    }
    return {"metadata": {"name": "small"}, "spec": spec}


ENDLESS = {"stop": {"steps": 10**12}, "checkpoint": {"interval": "200ms"}}


class Place:
    """A folder to run commands in, and the processes that they start anywhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.umask = 0o022
        self.temporary = Path(tempfile.mkdtemp(prefix="rt-"))
        self.mark = f"RLJOB_TEST={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.environment = {**os.environ, name: value, "TMPDIR": str(self.temporary)}
        (folder / "walks.py").write_text(MODULE)

    def write(self, **sections: Any) -> str:
        (self.folder / "job.yaml").write_text(yaml.safe_dump(job(**sections), sort_keys=False))
        return "job.yaml"

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*RLJOB, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=self.umask,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def processes(self) -> dict[str, int]:
        """Pid by name of all processes that descend from ours."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                # A process that has ended and waits for its parent has no environment any more.
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    found[_process_name(entry)] = int(entry.name)
        return found

    def assert_clean(self) -> None:
        """No process, socket, temporary folder or buffer is left, now or in a few seconds."""
        until(lambda: not self.processes(), lambda: f"still there: {self.processes()}")
        until(lambda: not list(self.temporary.iterdir()))
        assert not list(self.folder.rglob("arena"))

    def close(self) -> None:
        for pid in self.processes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.temporary)


def _process_name(entry: Path) -> str:
    """Name of a role; that of the program for other processes."""
    words = (entry / "cmdline").read_text().split("\0")
    if "-c" in words and "rljob.local.programs" in words[words.index("-c") + 1]:
        return words[words.index("-c") + 2]
    return (entry / "comm").read_text().strip()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def until(true: Any, message: Any = lambda: "", seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, message()
        time.sleep(0.02)


def records(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]


def trains(folder: Path, beyond: int = 0) -> bool:
    seen = records(folder)
    return bool(seen) and bool(seen[-1]["steps"] > beyond)


def result(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return value


def test_trains_and_leaves_what_it_promised(place: Place) -> None:
    file = place.write(evaluation={"episodes": 2})
    ended = place.run("run", file, "--seed", "7", "--set", "algorithm.config.learningRate=2e-3")
    assert ended.returncode == 0, ended.stderr
    assert "runs/small-1" in ended.stdout
    assert ended.stderr == ""
    folder = place.folder / "runs" / "small-1"
    written = yaml.safe_load((folder / "job.yaml").read_text())["spec"]
    assert (written["seed"], written["algorithm"]["config"]["learningRate"]) == (7, 2e-3)
    assert written["checkpoint"]["keep"] == 3  # Defaults are written down.
    used = json.loads((folder / "provenance.json").read_text())["settings"]
    assert (used["algorithm"]["learningRate"], used["algorithm"]["gamma"]) == (2e-3, 0.99)
    assert used["networks"]["policy"]["config"]["hidden"] == [64, 64], "all defaults"
    end = result(folder)
    assert (end["outcome"], end["reason"], end["seed"]) == ("Complete", "StepsReached", 7)
    assert end["steps"] >= 3000
    assert end["restarts"] == 0
    assert end["evaluation"]["episodes"] == 2
    assert set(end["versions"]) == {"python", "rljob", "torch", "gymnasium", "numpy"}
    assert records(folder)[-1]["steps"] == end["steps"]
    assert (folder / "checkpoints" / "latest" / "policy.safetensors").is_file()
    assert {path.name for path in (folder / "logs").iterdir()} == {
        *("learner-0.log", "buffer-0.log", "rollout-0.log", "rollout-1.log"),
        *("evaluator-0.log", "evaluation.log"),
    }
    place.assert_clean()


def test_without_a_file_over_tcp(place: Place) -> None:
    options = [
        "--env",
        "CartPole-v1",
        "--set",
        "stop.steps=3000",
        "--dir",
        "a/b",
        "--transport",
        "tcp",
    ]
    place.umask = 0o027
    ended = place.run("run", *options)
    assert ended.returncode == 0, ended.stderr
    assert result(place.folder / "a/b")["outcome"] == "Complete"
    assert isinstance(result(place.folder / "a/b")["seed"], int)
    # As the umask says: the group may read, others may not.
    modes = {path: path.stat().st_mode for path in (place.folder / "a").rglob("*")}
    assert {path for path, mode in modes.items() if mode & 0o027 or not mode & 0o040} == set()
    assert not list(place.folder.rglob("*.secret"))
    place.assert_clean()
    again = place.run("run", *options)
    assert again.returncode == 2
    assert "--resume --dir a/b" in again.stderr


WALK = "walks:Walk"
BAD: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "unknown field": ({"learnerr": {}}, [], r"job\.yaml:\d+: learnerr: .*learner\?"),
    "wrong type": ({"seed": "x"}, [], r"job\.yaml:\d+: seed: "),
    "unknown algorithm": (
        {"algorithm": {"name": "POP"}},
        [],
        r"job\.yaml:\d+: algorithm\.name: unknown algorithm POP\. Did you mean PPO\?",
    ),
    "unknown setting": (
        {"algorithm": {"name": "PPO", "config": {"learning_rate": 1}}},
        [],
        r"job\.yaml:\d+: algorithm\.config\.learning_rate: unknown setting of PPO.*learningRate\?",
    ),
    "unknown network": ({"network": {"name": "mpl"}}, [], r"job\.yaml:\d+: network\.name: .*mlp"),
    "bad override": ({}, ["--set", "stop.steps=-1"], r"--set stop\.steps=-1: stop\.steps: -1 "),
    "negative seed": ({}, ["--seed", "-3"], r"--set seed=-3: seed: -3 is not allowed"),
    "unknown environment": (
        {"environment": {"id": "CartPol-v1"}},
        [],
        r"job\.yaml:\d+: environment\.id: .*CartPole-v1",
    ),
    "absent module": (
        {"environment": {"entryPoint": "wlaks:Walk"}},
        [],
        r"job\.yaml:\d+: environment\.entryPoint: .*wlaks",
    ),
    "raising factory": (
        {"environment": {"entryPoint": WALK, "kwargs": {"wrong": "make"}}},
        [],
        r"job\.yaml:\d+: environment.*the simulator is not running",
    ),
    "unusable space": (
        {"environment": {"entryPoint": WALK, "kwargs": {"wrong": "space"}}},
        [],
        r"job\.yaml:\d+: environment.*Text",
    ),
    "more experience than memory": (
        {"algorithm": {"name": "DQN"}, "buffer": {"capacity": 10**10}},
        [],
        r"job\.yaml:\d+: buffer\.capacity: \d+ steps of \d+ bytes need [\d,]+ MiB.* is [\d,]+ MiB",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_once_and_leaves_nothing(place: Place, case: str) -> None:
    sections, options, message = BAD[case]
    ended = place.run("run", place.write(**sections), *options)
    assert ended.returncode == 2, (ended.stdout, ended.stderr)
    assert re.match(message, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not (place.folder / "runs").exists()
    place.assert_clean()


def test_ctrl_c_saves_and_resume_goes_on(place: Place) -> None:
    # The only checkpoints are the first and the last one.
    own = {"policy": {"config": {"hidden": [32]}, "learningRate": {"from": 1e-3, "to": 0}}}
    file = place.write(stop=ENDLESS["stop"], networks=own)
    folder = place.folder / "runs" / "small-1"
    process = place.start("run", file)
    until(lambda: trains(folder, 2000))
    second = place.run("run", "--resume", "--dir", str(folder))
    assert second.returncode == 2
    assert "another rljob run uses this folder" in second.stderr
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, err
    assert "--resume --dir" in out
    place.assert_clean()
    before = result(folder)
    assert (before["outcome"], before["reason"]) == ("Stopped", "Interrupted")

    steps = before["steps"] + 2000
    ended = place.run("run", "--resume", "--dir", str(folder), "--set", f"stop.steps={steps}")
    assert ended.returncode == 0, ended.stderr
    after = result(folder)
    assert after["steps"] >= steps
    assert after["updates"] > before["updates"]
    resumed = [one["steps"] for one in records(folder)]
    assert resumed == sorted(resumed)  # Nothing was lost: the last checkpoint is that of the end.
    place.assert_clean()

    complete = place.run("run", "--resume", "--dir", str(folder))
    assert complete.returncode == 2
    assert "is complete: stop.steps" in complete.stderr
    assert result(folder) == after

    kept = {path: path.read_bytes() for path in (folder / "job.yaml", folder / "result.json")}
    further = ("--set", f"stop.steps={steps + 10**6}", "--set")
    for change, message in (
        (
            "network.config.hidden=[8]",
            r"network\.config: .* the checkpoints in .* were trained with",
        ),
        ("networks.policy.config.hidden=[8]", r"networks: .* were trained with"),
        ("algorithm={name: IMPALA}", r"algorithm: .*IMPALA.* were trained with .*PPO"),
        ("environment={id: CartPole-v9}", r"environment\.id: .*CartPole-v9"),
        (
            "environment={id: MountainCar-v0}",
            r"environment: the observations of this environment are",
        ),
    ):
        refused = place.run("run", "--resume", "--dir", str(folder), *further, change)
        assert refused.returncode == 2, (change, refused.stdout, refused.stderr)
        assert re.search(message, refused.stderr), (change, refused.stderr)
        assert {path: path.read_bytes() for path in kept} == kept
        place.assert_clean()


USERS = """
import os
import subprocess

import gymnasium
import rljob
from rljob.algorithms.distributions import DistributionActor
from rljob.algorithms.built_in.ppo import PPO, PPOLearner


class FailingLearner(PPOLearner):
    def update(self, *arguments):
        raise ValueError("no gradient")


class Failing(PPO):
    def learner(self, *arguments):
        made = super().learner(*arguments)
        made.__class__ = FailingLearner
        return made


class CluelessActor(DistributionActor):
    def act(self, *arguments):
        raise KeyboardInterrupt


class Clueless(PPO):
    def actor(self, *arguments):
        made = super().actor(*arguments)
        made.__class__ = CluelessActor
        return made


class AnsweringLearner(PPOLearner):
    def update(self, *arguments):
        return {"loss": 1.0}


class Answering(PPO):
    def learner(self, *arguments):
        made = super().learner(*arguments)
        made.__class__ = AnsweringLearner
        return made


class InTheWay(gymnasium.Wrapper):
    def __init__(self):
        super().__init__(gymnasium.make("CartPole-v1"))

    def step(self, action):
        os.makedirs("run/result.json", exist_ok=True)
        return super().step(action)


class Simulated(gymnasium.Wrapper):
    def __init__(self):
        super().__init__(gymnasium.make("CartPole-v1"))
        subprocess.Popen(["sleep", "1000"], start_new_session=True)


class Nested(gymnasium.Wrapper):
    def __init__(self):
        super().__init__(gymnasium.make("CartPole-v1"))

    def step(self, action):
        rljob.run({"spec": {"environment": {"id": "CartPole-v1"}}})
"""


@pytest.mark.parametrize(
    ("name", "role", "message"),
    [
        (
            "Failing",
            "learner",
            r"user code raised ValueError: no gradient \(.*users\.py:13, in update\)",
        ),
        ("Clueless", "rollout", r"user code raised KeyboardInterrupt \(.*users\.py:25, in act\)"),
    ],
)
def test_what_an_algorithm_raises_is_told_with_its_place(
    place: Place, name: str, role: str, message: str
) -> None:
    (place.folder / "users.py").write_text(USERS)
    file = place.write(algorithm={"entryPoint": f"users:{name}"}, backoffLimit=0)
    done = place.run("run", file, "--dir", "run")
    assert done.returncode == 1
    assert re.search(rf"Failed .*{role}.*{message}", done.stdout + done.stderr)
    # The frames of the user's code alone.
    logs = (place.folder / "run" / "logs").glob(f"{role}-*.log")
    text = "".join(log.read_text() for log in logs)
    assert 'users.py", line' in text
    assert "roles/" not in text
    place.assert_clean()


def test_what_a_learner_answers_wrongly_is_told(place: Place) -> None:
    (place.folder / "users.py").write_text(USERS)
    file = place.write(algorithm={"entryPoint": "users:Answering"}, backoffLimit=0)
    done = place.run("run", file, "--dir", "run")
    assert done.returncode == 1
    assert "AnsweringLearner.update returned a dict, expected Update(metrics)" in done.stdout


@pytest.mark.skipif(
    not system.processes_with("PATH", os.environ["PATH"]),
    reason="this system does not tell what processes were started with",
)
def test_a_simulator_in_a_session_of_its_own_ends_with_its_role(place: Place) -> None:
    (place.folder / "users.py").write_text(USERS)
    done = place.run(
        "run", place.write(environment={"entryPoint": "users:Simulated"}), "--dir", "run"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    place.assert_clean()


def test_a_result_that_cannot_be_written_is_told(place: Place) -> None:
    (place.folder / "users.py").write_text(USERS)
    done = place.run(
        "run", place.write(environment={"entryPoint": "users:InTheWay"}), "--dir", "run"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "result.json cannot be written" in done.stdout
    assert "(StepsReached)" in done.stdout
    place.assert_clean()


def test_an_environment_that_starts_a_run_is_refused(place: Place) -> None:
    (place.folder / "users.py").write_text(USERS)
    done = place.run("run", place.write(environment={"entryPoint": "users:Nested"}))
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert re.search(r"users\.py:\d+ starts a run in rollout-\d: an environment", said)
    place.assert_clean()


def test_sigterm_before_anything_was_trained(place: Place) -> None:
    process = place.start("run", place.write(**ENDLESS))
    until(lambda: "learner-0" in place.processes())
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 143, err
    assert result(place.folder / "runs" / "small-1")["outcome"] == "Stopped"
    place.assert_clean()


def test_a_killed_supervisor_leaves_nothing_behind(place: Place) -> None:
    folder = place.folder / "runs" / "small-1"
    process = place.start("run", place.write(**ENDLESS))
    until(lambda: trains(folder))
    process.kill()
    process.communicate(timeout=DEADLINE)
    place.assert_clean()
    assert result(folder)["outcome"] == "Stopped"  # The learner had time for a last checkpoint.


def test_killed_roles_come_back(place: Place) -> None:
    folder = place.folder / "runs" / "small-1"
    process = place.start("run", place.write(**ENDLESS))
    for name in ("rollout-1", "buffer-0", "learner-0"):
        until(lambda: trains(folder))
        reached, pid = records(folder)[-1]["steps"], place.processes()[name]
        os.kill(pid, signal.SIGKILL)
        until(lambda: place.processes().get(name, pid) != pid)  # noqa: B023 - called at once
        until(lambda: trains(folder, reached))  # noqa: B023
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, err
    assert result(folder)["restarts"] == 3
    for name in ("rollout-1", "buffer-0", "learner-0"):
        assert f"{name} was killed (SIGKILL)" in out
        assert f"{name} is back" in out
    place.assert_clean()


def test_a_crash_loop_ends_with_the_last_words(place: Place) -> None:
    # Beside the YAML, a module is found from wherever the command is given.
    beside = place.folder / "beside"
    beside.mkdir()
    (place.folder / "walks.py").rename(beside / "walks.py")
    file = place.write(environment={"entryPoint": WALK, "kwargs": {"wrong": "step"}})
    (place.folder / file).rename(beside / file)
    ended = place.run("run", f"beside/{file}")
    assert ended.returncode == 1
    assert "the robot fell over" in ended.stderr
    end = result(place.folder / "runs" / "small-1")
    assert (end["outcome"], end["reason"]) == ("Failed", "CrashLoop")
    assert "the robot fell over" in end["message"] + end["lastLines"]
    place.assert_clean()


SCRIPT = """
import threading, sys
with open("executed", "a") as file:
    file.write("x")
import rljob

heavy = {"torch", "gymnasium", "numpy", "zmq", "pydantic", "yaml"} & set(sys.modules)
assert not heavy, heavy
seen, threads, ends = [], set(), []


def note(progress):
    seen.append(progress.steps)
    threads.add(threading.current_thread())


job = rljob.RLJob.model_validate(JOB)
main = rljob.run(job, dir="main", seed=5, overrides=["stop.steps=2000"], on_progress=note)
assert (main.outcome, main.seed, main.folder.name) == ("Complete", 5, "main"), main
assert seen[-1] == main.steps >= 2000
assert threads == {threading.main_thread()}
assert main.policy_path.is_dir()

thread = threading.Thread(target=lambda: ends.append(rljob.run(JOB, dir="thread")))
thread.start()
thread.join()
assert ends[0].outcome == "Complete"

try:
    rljob.run(JOB, overrides=["algorithm.config.clop=1"])
except rljob.InputError as error:
    assert error.path == "algorithm.config.clop", error
else:
    raise AssertionError
assert "torch" not in sys.modules
"""


def test_from_python_without_a_main_guard(place: Place) -> None:
    assert_script(place, f"JOB = {job(environment={'entryPoint': WALK})!r}\n{SCRIPT}")
    assert (place.folder / "executed").read_text() == "x"


FAILING = """
import rljob
try:
    rljob.run(JOB, dir="run")
except rljob.RunFailed as failure:
    assert isinstance(failure, rljob.RunError)
    assert "activeDeadlineSeconds" in str(failure)
    end = failure.result
    assert (end.outcome, end.reason) == ("Failed", "DeadlineExceeded"), end
else:
    raise AssertionError
"""


def test_a_deadline_fails_the_run(place: Place) -> None:
    assert_script(place, f"JOB = {job(**ENDLESS, activeDeadlineSeconds=1)!r}\n{FAILING}")


INTERRUPTED = """
import json, os, pathlib, rljob, signal
interrupts = iter([signal.SIGINT])


def interrupt(progress):
    for number in interrupts:
        os.kill(os.getpid(), number)


try:
    rljob.run(JOB, dir="run", on_progress=interrupt)
except KeyboardInterrupt:
    assert json.loads(pathlib.Path("run/result.json").read_text())["outcome"] == "Stopped"
else:
    raise AssertionError
assert rljob.run(JOB, dir="run", resume=True, overrides=["stop.steps=1"]).outcome == "Complete"
"""


def test_interrupting_python_saves_first(place: Place) -> None:
    own = {"environment": {"entryPoint": "coded:Walk"}, "code": {"coded.py": MODULE}}
    assert_script(place, f"JOB = {job(**ENDLESS, **own)!r}\n{INTERRUPTED}")


def assert_script(place: Place, text: str) -> None:
    (place.folder / "train.py").write_text(text)
    ended = subprocess.run(
        [sys.executable, "train.py"],
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout + ended.stderr == ""
    place.assert_clean()


ODD = """
import math
from dataclasses import replace

from rljob.algorithms.built_in.ppo import PPO


class Odd(PPO):
    \"\"\"Reports a metric that is no number.\"\"\"

    def learner(self, networks, seed):
        made = super().learner(networks, seed)
        update = made.update

        def odd(arrays, progress):
            done = update(arrays, progress)
            return replace(done, metrics={**done.metrics, "odd": math.nan})

        made.update = odd
        return made
"""


def test_a_metric_that_is_no_number_ends_nothing(place: Place) -> None:
    (place.folder / "odd.py").write_text(ODD)
    config = {"rolloutLength": 32}
    ended = place.run("run", place.write(algorithm={"entryPoint": "odd:Odd", "config": config}))
    assert ended.returncode == 0, ended.stderr
    folder = place.folder / "runs" / "small-1"
    assert result(folder)["outcome"] == "Complete"
    assert records(folder)[-1]["metrics"]["odd"] is None
    place.assert_clean()
