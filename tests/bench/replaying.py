"""The buffer as a service against Reverb, and against numpy in one process: transitions in and out."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from pathlib import Path

import gymnasium
import numpy as np

from rljob.envs.spaces import BoxSpace
from rljob.wire.arrays import unpack
from tests.bench import peer
from tests.bench.feeding import (
    ALWAYS,
    BATCH,
    NEVER,
    Feeder,
    Taker,
    buffer_job,
    processes,
    replay_plan,
)
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Measure, Values, plain, ratio
from tests.bench.roles import PATIENCE, roles
from tests.bench.stages import table

ENVS = 8
SECONDS = 3.0
WARM = 1.0
CARTPOLE, PONG = "CartPole-v1", "Pong"
CAPACITY = {CARTPOLE: 65_536, PONG: 8_192}
"""Transitions in a full buffer; 230 MB of frames."""
SHAPE = {CARTPOLE: (256, ENVS), PONG: (16, ENVS)}
"""Steps and environments of a segment: 64 KB and 3.8 MB."""
RECORDED = {CARTPOLE: 2048, PONG: 256}
"""Steps of each environment in the file that both sides read."""
SPACES = {
    CARTPOLE: BoxSpace((4,)),
    PONG: BoxSpace((4, 84, 84), np.dtype(np.uint8), 0, 255),
}

BYTES = {name: int(np.prod(space.shape)) * space.dtype.itemsize for name, space in SPACES.items()}
"""Of one observation."""


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rljob-bench-")


@functools.cache
def recorded(name: str) -> Path:
    """Observations of environments in which actions are random: `[steps + 1, ENVS, ...]` in a file."""
    path = Path(_folder().name) / f"{name}.npy"
    if name == PONG:
        from ale_py.vector_env import AtariVectorEnv

        env: gymnasium.vector.VectorEnv = AtariVectorEnv("pong", num_envs=ENVS)
    else:
        env = gymnasium.make_vec(name, ENVS, vectorization_mode="vector_entry_point")
    space = env.single_action_space
    assert isinstance(space, gymnasium.spaces.Discrete)
    rng = np.random.default_rng(0)
    observations = [env.reset(seed=0)[0].copy()]
    for _ in range(RECORDED[name]):
        actions = rng.integers(space.n, size=ENVS)
        observations.append(env.step(actions)[0].copy())
    env.close()
    np.save(path, np.stack(observations).astype(SPACES[name].dtype))
    return path


class Recording:
    """Writes what was recorded into segments step by step, as a rollout does: for each step what its environments
    gave, all that Reverb is given too. Begins again at the recording's end."""

    def __init__(self, path: Path, length: int) -> None:
        self._observations = np.load(path)
        self._length, self._at = length, 0
        self._actions = np.zeros(ENVS, np.int64)
        self._rewards, self._ended = np.zeros(ENVS, np.float32), np.zeros(ENVS, bool)

    def __call__(self, arrays: dict[str, np.ndarray]) -> None:
        if self._at + self._length >= len(self._observations):
            self._at = 0
        observation, valid = arrays["observation"], arrays["valid"]
        action, reward, terminated = (arrays[name] for name in ("action", "reward", "terminated"))
        observation[0] = self._observations[self._at]
        for t in range(self._length):
            self._at += 1
            action[t] = self._actions
            reward[t] = self._rewards
            terminated[t] = self._ended
            valid[t] = True
            observation[t + 1] = self._observations[self._at]


def _write(name: str) -> Measure:
    """Transitions acknowledged by the buffer, each written into its segment first."""

    def measure(seed: int) -> Values:
        path = recorded(name)
        with roles(buffer_job(CAPACITY[name])) as running, processes(1) as pool:
            running.start("buffer")
            inserting = pool.submit(_inserted, running.buffer, name, path)
            taker = Taker(running.buffer)
            taker.opened()
            value = inserting.result(PATIENCE)
            taker.close()
        return {"transitions/s": value, "MB/s": value * BYTES[name] / 1e6}

    return measure


def _inserted(address: str, name: str, path: Path) -> float:
    length, envs = SHAPE[name]
    feeder = Feeder(address, replay_plan(SPACES[name], SHAPE[name], NEVER))
    fill = Recording(path, length)
    # The arena's pages are touched for the first time while it fills.
    feeder.run(fill, lambda: feeder.stored * length * envs >= CAPACITY[name])
    before, begun = feeder.stored, time.monotonic()
    feeder.run(fill, lambda: time.monotonic() - begun >= SECONDS)
    value = (feeder.stored - before) * length * envs / (time.monotonic() - begun)
    feeder.close()
    return value


def _sample(name: str) -> Measure:
    """Batches of `BATCH` received by a learner and read as arrays, from a full buffer."""

    def measure(seed: int) -> Values:
        path = recorded(name)
        with roles(buffer_job(CAPACITY[name])) as running, processes(1) as pool:
            running.start("buffer")
            filling = pool.submit(_filled, running.buffer, name, path)
            taker = Taker(running.buffer, ahead=2)
            taker.opened()
            filling.result(PATIENCE)
            _batches(taker, WARM)
            cpu = running.cpu()["buffer"], time.process_time()
            begun = time.monotonic()
            count = _batches(taker, SECONDS)
            value = count / (time.monotonic() - begun)
            used = running.cpu()["buffer"] - cpu[0], time.process_time() - cpu[1]
            taker.close()
        return {
            "batches/s": value,
            "MB/s": value * 2 * BATCH * BYTES[name] / 1e6,
            "buffer us": 1e6 * used[0] / count,
            "learner us": 1e6 * used[1] / count,
        }

    return measure


def _batches(taker: Taker, seconds: float) -> int:
    """How many came and were read in so many seconds."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        arrays = unpack(taker.batch().payload)
        assert arrays["next_observation"].shape[1] == BATCH
        count += 1
    return count


def _filled(address: str, name: str, path: Path) -> None:
    length, envs = SHAPE[name]
    steps = CAPACITY[name] - 2 * length * envs
    feeder = Feeder(address, replay_plan(SPACES[name], SHAPE[name], ALWAYS, least=steps))
    feeder.run(Recording(path, length), lambda: feeder.stored * length * envs >= steps)
    feeder.close()


def _numpy(name: str) -> Measure:
    """The same batches taken in this process: `np.take` with `out`, observations and those that follow."""

    def measure(seed: int) -> Values:
        some = np.load(recorded(name)).reshape(-1, *SPACES[name].shape)
        stored = np.concatenate([some] * (-(-CAPACITY[name] // len(some))))[: CAPACITY[name]]
        rng = np.random.default_rng(seed)
        one, two = (np.empty((BATCH, *stored.shape[1:]), stored.dtype) for _ in range(2))
        count, begun = 0, time.monotonic()
        while time.monotonic() - begun < SECONDS:
            rows = rng.integers(0, len(stored) - ENVS, BATCH)
            np.take(stored, rows, axis=0, out=one, mode="clip")
            np.take(stored, rows + ENVS, axis=0, out=two, mode="clip")
            count += 1
        return {"batches/s": count / (time.monotonic() - begun)}

    return measure


def _reverb(task: str, name: str, unit: str) -> Measure:
    def measure(seed: int) -> Values:
        command = [str(peer.ENVIRONMENTS / "reverb" / "bin" / "python")]
        command += ["-m", "tests.bench.peers.reverb", task, str(recorded(name))]
        command += ["--capacity", str(CAPACITY[name]), "--seconds", str(SECONDS)]
        output, costs = peer.watched(command, peer.GRACE, peer.ITS_OWN)
        rate = json.loads(output.strip().splitlines()[-1])["rate"]
        # Its server is killed and has no parent that could count it.
        return {unit: rate, "cpu": costs["cpu"]}

    return measure


def _against(task: str, name: str, label: str, unit: str, aim: float) -> Figure:
    ours, its = f"{task} {name} rljob", f"{task} {name} reverb"
    return ratio(f"{label} / Reverb's", (ours, unit), (its, unit), aim, f" {unit}")


GROUP = Group(
    "replay",
    "Buffer as a service",
    {
        f"{task} {name} {who}": make
        for name in (CARTPOLE, PONG)
        for task, who, make in (
            ("write", "rljob", _write(name)),
            ("write", "reverb", _reverb("insert", name, "transitions/s")),
            ("sample", "rljob", _sample(name)),
            ("sample", "reverb", _reverb("sample", name, "batches/s")),
            ("sample", "numpy", _numpy(name)),
        )
    },
    [
        _against(
            "write", CARTPOLE, "Transitions of CartPole written step by step", "transitions/s", 20.0
        ),
        _against("sample", CARTPOLE, "Batches of 256 of CartPole sampled", "batches/s", 10.0),
        _against(
            "write",
            PONG,
            "Transitions of Pong, 4x84x84, written step by step",
            "transitions/s",
            3.0,
        ),
        _against("sample", PONG, "Batches of 256 of Pong sampled", "batches/s", 3.0),
        *(
            ratio(
                f"Batches of 256 of {label} sampled / numpy's in one process",
                (f"sample {name} rljob", "batches/s"),
                (f"sample {name} numpy", "batches/s"),
                aim,
                " batches/s",
            )
            for name, label, aim in ((CARTPOLE, "CartPole", None), (PONG, "Pong", 0.5))
        ),
        plain("Bytes of Pong sampled", (f"sample {PONG} rljob", "MB/s"), None, " MB/s"),
    ],
    note=(
        "One process inserts, one samples, the service is a third; 65,536 transitions of CartPole or 8,192 "
        "of Pong are held, and each can be sampled by itself with the observation that follows. Ours is "
        "`rljob role buffer` over ipc, with a rollout's and a learner's connections: segments of 256 steps "
        "of 8 environments of CartPole, 16 steps of 8 of Pong. It writes a step of all 8 environments at a time; "
        "Reverb's writers take one step of one environment, and have no call for more. Reverb has an "
        "item for each transition, its fastest writer (`StructuredWriter` for CartPole, `Writer` with "
        "chunks of 20 for Pong), eight `TrajectoryDataset`s side by side and batches prefetched: what was "
        "fastest of a short search, see `tests/bench/peers/reverb.py`. Observations are what the "
        "environments gave to random actions, the same file for both; Pong's are real frames, which Reverb "
        "can compress. Numpy is `np.take` into arrays that are there, without any service."
    ),
    stages=lambda results: table(
        results,
        {
            "MB/s": "MB/s",
            "buffer us": "buffer, CPU µs a batch",
            "learner us": "learner, CPU µs a batch",
        },
    ),
    limit=findings(
        (
            "Numpy reads and writes a batch of Pong once",
            "14 MB, about 1 ms",
        ),
        (
            "The buffer does the same into memory that it shares with the learner",
            "what remains is the request, the answer, and drawing",
        ),
        (
            "A socket would copy the batch into the kernel and out of it",
            "ZeroMQ alone moves 270 such messages/s from one idle loop to another; the buffer moved 225/s before they shared memory",
        ),
        (
            "Inserting copies frames three times",
            "into the segment, through the kernel, into the arena",
        ),
    ),
)
