"""Greedy episodes: how they are counted, from a run's folder, and in a process beside the learner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rljob import spec
from rljob.algorithms import load_config, resolve_algorithm
from rljob.algorithms.base import Acted, Actor, Arrays, Place, Policy, Progress, Seen
from rljob.algorithms.learned_networks import learned_networks
from rljob.algorithms.publishing import policy_arrays
from rljob.checkpoints import checkpoint, policy
from rljob.cli.main import main as command
from rljob.envs.vector import Environments
from rljob.errors import InputError, RunError
from rljob.nets.acting import ActingNetworks
from rljob.process.context import job_number
from rljob.process.multiples import Multiples
from rljob.roles.evaluator import check, loop
from rljob.roles.evaluator.play import (
    GreedyEpisodes,
    Interrupted,
    environments_for,
    evaluate_run,
    play,
)
from rljob.roles.learner.weight_server import Publisher
from rljob.spec.sections import EnvironmentSpec, EvaluationSpec
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.endpoints import weights_endpoint
from rljob.wire.sockets import Wire
from tests.unit.specs import job

DEADLINE = 120.0
"""Seconds after which a process that should have done something is given up."""


class Counted(gymnasium.Env[np.ndarray, np.int64]):
    """The n-th environment that is made has episodes of n steps, or endless ones.

    Args:
        reward: of each step.
        sign: a file that is made at the first step of an endless episode.
    """

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)
    made = 0

    def __init__(self, reward: float = 1.0, sign: str | None = None) -> None:
        type(self).made += 1
        self._length, self._reward, self._step = self.made, reward, 0
        self._sign = sign

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._step = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        over = self._step == self._length and self._sign is None
        if self._sign is not None and self._step == 1:
            Path(self._sign).touch()
        return np.zeros(2, np.float32), self._reward, over, False, {}


class AlwaysActor(Actor):
    """Takes action 0."""

    def act(self, seen: Seen) -> Acted:
        return Acted(np.zeros(len(seen.observation), np.int64))


class Always:
    """An algorithm without networks, whose actors may only be greedy."""

    def actor(self, policy: Policy, place: Place) -> Actor:
        assert place.greedy
        return AlwaysActor(self, policy, place)


@contextmanager
def counted(count: int, **kwargs: Any) -> Iterator[Environments]:
    Counted.made = 0
    environment = EnvironmentSpec(entry_point=f"{__name__}:Counted", kwargs=kwargs)
    environments = Environments(environment, count)
    yield environments
    environments.close()


def test_an_evaluator_reads_no_info() -> None:
    """Nobody takes it there: the rows would be kept for ever."""
    counted = {"entryPoint": f"{__name__}:Counted", "info": ["score"]}
    made = spec.parse(job(environment=counted, algorithm={"entryPoint": f"{__name__}:Always"}))
    with closing(environments_for(made, 4)) as environments:
        assert environments.info is None


def played(count: int, episodes: int, **kwargs: Any) -> GreedyEpisodes:
    with counted(count, **kwargs) as environments:
        return play(environments, ActingNetworks({}), Always(), episodes, 0)  # type: ignore[arg-type]


# ---- which episodes count


@pytest.mark.parametrize(
    ("count", "episodes", "lengths"),
    [
        (2, 6, [1, 1, 1, 2, 2, 2]),
        (3, 4, [1, 1, 2, 3]),
        (4, 2, [1, 2]),
        (1, 3, [1, 1, 1]),
    ],
)
def test_short_episodes_are_not_preferred(count: int, episodes: int, lengths: list[int]) -> None:
    evaluation = played(count, episodes)
    assert sorted(evaluation.lengths.tolist()) == lengths
    assert sorted(evaluation.returns.tolist()) == lengths
    assert evaluation.episodes == episodes
    assert evaluation.mean == pytest.approx(np.mean(lengths))
    assert evaluation.std == pytest.approx(np.std(lengths))
    assert (evaluation.min, evaluation.max) == (min(lengths), max(lengths))


@pytest.mark.parametrize("limit", [{"most_steps": 50}, {"most_seconds": 0.0}])
def test_episodes_that_do_not_end_are_cut_off(tmp_path: Path, limit: dict[str, Any]) -> None:
    with counted(2, sign=str(tmp_path / "sign")) as environments:
        evaluation = play(environments, ActingNetworks({}), Always(), 3, 0, **limit)  # type: ignore[arg-type]
    assert (evaluation.episodes, evaluation.cut) == (2, 2)
    steps = limit.get("most_steps", 1)
    assert evaluation.lengths.tolist() == [steps, steps]
    assert (
        f"2 of 2 episodes did not end by themselves and were cut off after {steps}"
        in evaluation.cut_text
    )
    assert played(2, 2).cut_text == ""


def test_a_return_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(RunError, match="infinite or NaN"):
        played(1, 1, reward=float("inf"))


def test_playing_stops_when_asked_to(tmp_path: Path) -> None:
    asked = iter([False, False, True])
    with counted(1, sign=str(tmp_path / "sign")) as environments, pytest.raises(Interrupted):
        play(environments, ActingNetworks({}), Always(), 1, 0, lambda: next(asked))  # type: ignore[arg-type]


# ---- a run's folder


def make_job(**fields: Any) -> spec.RLJob:
    return spec.parse(job(**fields))


def policy_of(made: spec.RLJob) -> Arrays:
    """What an untrained learner of the job publishes."""
    environments = Environments(made.spec.environment, 1)
    algorithm = resolve_algorithm(made.spec.algorithm)(
        load_config(made.spec.algorithm), environments.spaces
    )
    environments.close()
    networks = learned_networks(made.spec, algorithm, environments.spaces, seed=0)
    learner = algorithm.learner(networks, seed=0)
    return policy_arrays(algorithm, networks, learner, Progress(0, 0.0), copy=True)


def run_folder(folder: Path, versions: tuple[int, ...] = (7,), **fields: Any) -> Path:
    made = make_job(**fields)
    folder.mkdir()
    (folder / "job.yaml").write_text(spec.dump(made))
    arrays = policy_of(made)
    for version in versions:
        snapshot = checkpoint.Snapshot(version, 1, arrays, {}, {})
        checkpoint.save(folder / "checkpoints", snapshot, keep=3)
    return folder


def test_a_run_its_checkpoints_and_one_of_them_are_the_same_policy(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", (3, 7))
    paths = [run, run / "checkpoints", run / "checkpoints" / "latest"]
    first, *others = [evaluate_run(path, 18, seed=5) for path in paths]
    assert first.episodes == 18
    for other in others:
        assert other.returns.tolist() == first.returns.tolist()
    assert evaluate_run(run, 18, seed=6).returns.tolist() != first.returns.tolist()


def test_a_relative_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_folder(tmp_path / "run") / "checkpoints")
    assert evaluate_run(Path(), 1).episodes == 1


def test_a_built_in_network_is_played_without_torch(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from rljob.roles.evaluator.play import evaluate_run; "
        f"evaluate_run(Path({str(run)!r}), 2); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLINE)


def test_a_network_that_the_job_names_is_played(tmp_path: Path) -> None:
    own = {"policy": {"config": {"hidden": [5]}, "learningRate": 1e-3}}
    run = run_folder(tmp_path / "run", networks=own)
    assert evaluate_run(run, 2).episodes == 2


def test_modules_that_came_with_the_job_are_found(tmp_path: Path) -> None:
    entry_point = {"entryPoint": "came_with_it:make"}
    run = run_folder(tmp_path / "run")
    (run / "job.yaml").write_text(spec.dump(make_job(environment=entry_point)))
    (run / "code").mkdir()
    module = "import gymnasium\ndef make():\n    return gymnasium.make('CartPole-v1')\n"
    (run / "code" / "came_with_it.py").write_text(module)
    command = [sys.executable, "-m", "rljob", "eval", str(run / "checkpoints"), "--episodes", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr


def test_continuous_actions_are_played_too(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", environment={"id": "Pendulum-v1"})
    evaluation = evaluate_run(run, 2, seed=0)
    assert evaluation.lengths.tolist() == [200, 200]
    assert evaluation.max < 0


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no whole checkpoint in"):
        evaluate_run(tmp_path, 1)
    run = run_folder(tmp_path / "run")
    (run / "job.yaml").unlink()
    with pytest.raises(InputError, match=r"no job\.yaml in .* or above it"):
        evaluate_run(run, 1)


# ---- the command


def test_the_command_prints_what_was_returned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path / "run")
    assert command(["eval", str(run), "--episodes", "4", "--seed", "1", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["policyVersion"] == 7
    assert numbers["mean"] == pytest.approx(np.mean(numbers["returns"]))
    assert command(["eval", str(run), "--episodes", "4", "--seed", "1"]) == 0
    shown = capsys.readouterr().out
    assert "Policy version 7 of " in shown
    assert "4 greedy episodes of CartPole-v1" in shown
    for name in ("mean", "std", "min", "max"):
        assert f"{numbers[name]:.2f}"[:3] in shown


def test_the_command_refuses_a_folder_without_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["eval", str(tmp_path)]) == 2
    assert "no whole checkpoint in" in capsys.readouterr().err


def test_a_video_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check(EvaluationSpec(video=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "av" else name)
    check(EvaluationSpec())
    message = r"evaluation\.video: needs av, .*: pip install 'rljob\[video\]'"
    with pytest.raises(InputError, match=message):
        check(EvaluationSpec(video=True))


# ---- the process


@contextmanager
def evaluator(folder: Path, made: spec.RLJob) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "job.yaml").write_text(spec.dump(made))
    address = f"ipc://{folder}/learner"
    arguments = [
        *("--job", str(folder / "job.yaml"), "--dir", str(folder)),
        *("--buffer", f"ipc://{folder}/buffer", "--learner", address),
    ]
    code = "import sys; from rljob.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "role", "evaluator", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def learner(folder: Path, made: spec.RLJob) -> Iterator[Publisher]:
    wire = Wire(job_number(made), None, lambda _, reason: None)
    publisher = Publisher(wire, weights_endpoint(f"ipc://{folder}/learner"), LearnerMetrics())
    try:
        yield publisher
    finally:
        publisher.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "evaluations.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_new_version_is_evaluated_once(tmp_path: Path) -> None:
    made = make_job(evaluation={"interval": "100ms", "episodes": 3})
    payload = policy.encode(policy_of(made))
    with learner(tmp_path, made) as publisher, evaluator(tmp_path, made) as process:
        for count, version in enumerate((4, 9), start=1):
            publisher.publish((1, version), payload)
            wait_for(lambda count=count: len(lines(tmp_path)) == count, process)
        wait_for(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) >= 10, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert [(line["lineage"], line["policyVersion"]) for line in lines(tmp_path)] == [
        (1, 4),
        (1, 9),
    ]
    assert set(lines(tmp_path)[0]) == {
        *("time", "policyVersion", "lineage", "mean", "std", "min", "max", "episodes", "seconds"),
        *("cores", "memory"),
    }
    assert all(line["episodes"] == 3 for line in lines(tmp_path))


def test_a_video_is_made_of_each_evaluation(tmp_path: Path) -> None:
    made = make_job(evaluation={"interval": "100ms", "episodes": 1, "video": True})
    payload = policy.encode(policy_of(made))
    video = tmp_path / "videos" / "000000000004.mp4"
    with learner(tmp_path, made) as publisher, evaluator(tmp_path, made) as process:
        publisher.publish((1, 4), payload)
        wait_for(video.exists, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert [path.name for path in video.parent.iterdir()] == [video.name]
    assert len(lines(tmp_path)) == 1


class Arriving:
    """Stands for subscription, wire, health and context: one version at each look."""

    def __init__(self, versions: list[int]) -> None:
        self._versions = iter(versions)
        self.stamp = (1, -1)

    def newest(self, now: float) -> bytes:
        self.stamp = (1, next(self._versions))
        return str(self.stamp[1]).encode()

    receiving = False

    def ask(self, now: float) -> None: ...

    def wait(self, seconds: float) -> None: ...

    def beat(self) -> None: ...

    def stopping(self) -> bool:
        return False


def test_the_policy_with_which_training_starts_is_not_played(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "FRESH_SECONDS", 0.0)
    stub: Any = Arriving([0, 4])
    one = loop.Evaluator(stub, stub, stub, stub, stub, stub, stub, stub, None)
    assert one._newest(float("-inf"), Multiples(EvaluationSpec())) == b"4"


def test_sigterm_ends_an_endless_episode(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    environment = {"entryPoint": f"{__name__}:Counted", "kwargs": {"sign": str(sign)}}
    made = make_job(environment=environment, evaluation={"episodes": 1})
    payload = policy.encode(policy_of(made))
    with learner(tmp_path, made) as publisher, evaluator(tmp_path, made) as process:
        publisher.publish((1, 1), payload)
        wait_for(sign.exists, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert lines(tmp_path) == []
