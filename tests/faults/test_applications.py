"""Programs that act by themselves, with what they can suffer: the job dies, they die, the process that sends dies, keys go."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gymnasium import spaces

import rljob
from rljob.errors import InputError, RunError
from rljob.local import applications
from rljob.run_folder.names import APPLICATION_ACCESS, KEYS
from rljob.run_folder.write_whole import replacing
from rljob.wire.keys import APPLICATIONS
from tests.faults.runs import PATIENCE, Run

pytestmark = pytest.mark.timeout(900)

CARTPOLE: dict[str, Any] = {
    "metadata": {"name": "applied"},
    "spec": {
        "environment": {
            "spaces": {
                "observation": {"type": "Box", "shape": [4]},
                "action": {"type": "Discrete", "choices": 2},
            }
        },
        "algorithm": {
            "name": "PPO",
            "config": {"learningRate": 3.0e-3, "rolloutLength": 64, "segmentsPerBatch": 8},
        },
        "stop": {"meanReturn": 475, "steps": 3_000_000},
        "seed": 1,
        "rollout": {"applications": {"flushAfter": "1s", "rewardTimeout": "1s"}},
        "checkpoint": {"interval": "1s"},
    },
}

PROGRAM = """
import sys
import gymnasium
import rljob

agent = rljob.Agent(sys.argv[1], name="cart")
environment = gymnasium.make("CartPole-v1")
try:
    while True:
        observation, _ = environment.reset()
        with agent.episode() as episode:
            while True:
                step = environment.step(episode.act(observation))
                observation, reward, terminated, truncated, _ = step
                episode.reward(reward)
                if terminated or truncated:
                    episode.end(terminated, truncated, observation)
                    break
finally:
    print(agent.counted)
"""


@contextlib.contextmanager
def started(folder: Path, content: dict[str, Any], *options: str) -> Iterator[Run]:
    """A run that waits for applications."""
    path, output = folder / "job.yaml", folder / "output"
    path.write_text(yaml.safe_dump(content))
    trace = folder / "trace"
    command = [sys.executable, "-m", "rljob", "run", str(path), "--plain"]
    command += ["--dir", str(folder / "run"), "--trace", str(trace), *options]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder)
    run = Run(process, folder / "run", trace, output)
    try:
        run.until((run.folder / APPLICATION_ACCESS).exists, "the run's start")
        yield run
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        process.kill()
        process.wait()


@contextlib.contextmanager
def program(run: Run) -> Iterator[subprocess.Popen[bytes]]:
    path, log = run.folder.parent / "program.py", run.folder.parent / "program.log"
    path.write_text(PROGRAM)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, str(path), str(run.folder)], stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def steps(run: Run) -> int:
    records = run.records()
    return int(records[-1]["steps"]) if records else 0


def stored(run: Run) -> list[str]:
    """The segments that the buffer has stored."""
    lines = [line for path in run.trace.glob("buffer-0.*") for line in path.read_text().split("\n")]
    return [line for line in lines if line.startswith("stored")]


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def test_a_program_trains_to_the_end_while_buffer_and_learner_are_killed(tmp_path: Path) -> None:
    with started(tmp_path, CARTPOLE) as run, program(run) as first:
        run.progress(5)
        run.kill("buffer-0")
        run.progress(5)
        run.kill("learner-0")
        run.progress(5)
        # What the program handed over arrives; another one goes on.
        first.kill()
        with program(run) as second:
            run.process.wait(PATIENCE * 4)
            assert run.process.returncode == 0, run.tell()
            assert second.poll() is None, (tmp_path / "program.log").read_text()
    assert (run.folder / "result.json").read_text().find('"MeanReturnReached"') >= 0
    assert not (run.folder / APPLICATION_ACCESS).exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run over tcp, without an end."""
    endless = {**CARTPOLE, "spec": {**CARTPOLE["spec"], "stop": {"duration": "1h"}}}
    with started(tmp_path_factory.mktemp("run"), endless, "--transport", "tcp") as made:
        yield made


def play(agent: rljob.Agent, decisions: int) -> None:
    """Episodes of 64 steps, which are all different."""
    for start in range(0, decisions, 64):
        with agent.episode() as episode:
            for step in range(start, min(start + 64, decisions)):
                episode.act(np.full(4, step % 7, np.float32))
                episode.reward(1)


def test_experience_arrives_whole_and_once(run: Run) -> None:
    before = stored(run)
    with rljob.Agent(run.folder) as agent:
        threads = [threading.Thread(target=play, args=(agent, 256)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not any(agent.counted.values()), agent.counted
    after = stored(run)
    assert len(after) == len(before) + 16
    assert len(set(after)) == len(after)


def test_other_modes_report_nothing(run: Run) -> None:
    with rljob.Agent(run.folder, mode="random") as agent:
        with agent.episode() as episode:
            drawn = {episode.act(np.zeros(4, np.float32)) for _ in range(64)}
        assert drawn == {0, 1}
    with rljob.Agent(run.folder, mode="act") as agent:
        with agent.episode() as episode:
            best = {episode.act(np.ones(4, np.float32)) for _ in range(64)}
        assert len(best) == 1


def test_what_is_wrong_is_told_at_once(run: Run, tmp_path: Path) -> None:
    box, choice = spaces.Box(-np.inf, np.inf, (5,), np.float32), spaces.Discrete(2)
    with pytest.raises(InputError, match=r"the program's observation space is .*\(5,\)"):
        rljob.Agent(run.folder, spaces=(box, choice))
    with pytest.raises(InputError, match="mode is 'learn'"):
        rljob.Agent(run.folder, mode="learn")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="neither an address"):
        rljob.Agent(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        rljob.Agent(run.folder, keys=tmp_path / "none")


def test_a_key_that_is_revoked_or_of_another_job_is_refused(run: Run, tmp_path: Path) -> None:
    path = applications.add(run.folder, "shop")
    stolen = tmp_path / "stolen.json"
    shutil.copy(path, stolen)
    with rljob.Agent(run.folder, keys=path) as agent, agent.episode() as episode:
        assert agent.name == "shop"
        episode.act(np.zeros(4))
        applications.withdraw(run.folder, "shop")

        def refused() -> bool:
            try:
                episode.act(np.zeros(4))
            except RunError as error:
                return "does not admit the key" in str(error)
            return False

        until(refused, "the refusal")
        episode.abandon()
    with pytest.raises(RunError, match="does not admit the key"):
        rljob.Agent(run.folder, keys=stolen, timeout=5)
    with rljob.Agent(run.folder) as agent:
        play(agent, 64)


def test_a_program_waits_until_its_new_key_is_known(run: Run, tmp_path: Path) -> None:
    """On a cluster, buffer and learner hear of a new key up to a minute later."""
    path = applications.add(run.folder, "new")
    admitted = run.folder / KEYS / APPLICATIONS
    whole = admitted.read_text()
    without = {name: key for name, key in json.loads(whole).items() if name != "new"}

    def write(text: str) -> None:
        with replacing(admitted) as temporary:
            temporary.write_text(text)

    write(json.dumps(without))
    with pytest.raises(RunError, match="does not admit the key"):
        rljob.Agent(run.folder, keys=path, timeout=4)
    late = threading.Timer(4, write, [whole])
    late.start()
    with rljob.Agent(run.folder, keys=path) as agent:
        assert not late.is_alive()
        play(agent, 64)
    late.join()


def test_a_program_goes_on_while_the_buffer_is_away(run: Run) -> None:
    with rljob.Agent(run.folder) as agent:
        before = steps(run)
        pid = run.pid("buffer-0")
        os.kill(pid, signal.SIGSTOP)
        try:
            # More than is kept for later.
            play(agent, 64 * 400)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert agent.counted["evicted"] > 0
        run.until(lambda: steps(run) > before, "training on the rest")


def test_a_courier_that_is_killed_is_replaced(run: Run) -> None:
    with rljob.Agent(run.folder) as agent:
        play(agent, 64)
        before = steps(run)
        os.kill(agent._link._process.pid, signal.SIGKILL)

        def trained() -> bool:
            play(agent, 64)
            return steps(run) > before + 256

        run.until(trained, "training", every=0.2)


def test_applications_that_do_nothing_keep_no_other_waiting(run: Run) -> None:
    with contextlib.ExitStack() as stack:
        # As many as could hold the credit for all that the learner wants to have ahead.
        for number in range(5):
            stack.enter_context(rljob.Agent(run.folder, name=f"idle-{number}"))
        agent = stack.enter_context(rljob.Agent(run.folder))
        before = steps(run)

        def trained() -> bool:
            play(agent, 64)
            return steps(run) > before + 64 * 24

        run.until(trained, "training", every=0.05)


FORKS = """
import os, sys, time
import rljob

agent = rljob.Agent(sys.argv[1], name="forks")
with agent.episode() as episode:
    episode.act([0.0] * 4)
    if os.fork() == 0:
        try:
            episode.act([0.0] * 4)
        except rljob.RunError as error:
            print(error, flush=True)
        time.sleep(600)
print(agent._link._process.pid, flush=True)
os._exit(0)
"""


def test_a_child_of_a_program_does_not_act_nor_keep_its_courier(run: Run) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS, str(run.folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(2)]
        courier = int(next(line for line in told if line.strip().isdecimal()))
        assert any("make one in each process" in line for line in told)
        until(lambda: not Path(f"/proc/{courier}/cmdline").exists(), "the end of its courier")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("name", ["PPO", "R2D2"])
def test_a_memory_is_learned_from_segments_that_are_cut(name: str, tmp_path: Path) -> None:
    configs = {
        "PPO": {"rolloutLength": 16, "segmentsPerBatch": 8},
        "R2D2": {"rolloutLength": 16, "period": 4, "burnIn": 4, "length": 8, "minSize": 200},
    }
    changed = {
        "algorithm": {"name": name, "config": configs[name]},
        "network": {"name": "lstm", "config": {"size": 8, "hidden": [8]}},
        "stop": {"steps": 3000},
    }
    content = {**CARTPOLE, "spec": {**CARTPOLE["spec"], **changed}}
    with started(tmp_path, content) as run, program(run):
        run.until(lambda: run.process.poll() is not None, "the end")
        assert run.process.returncode == 0, run.output.read_text()
    assert steps(run) >= 3000
