"""Reverb: transitions inserted and sampled each second, on this machine, server and client apart.

Every transition is an item of its own: two observations that follow each other, and what is between.
Its documentation of `TrajectoryDataset` says two to three times the batch in flight, and about as many
workers as the CPU has threads; https://github.com/google-deepmind/reverb shows the writers. What is set
here was the fastest of a short search on two cores: for CartPole `StructuredWriter` (before
`TrajectoryWriter`, chunks of 50 or chosen by itself, and `Writer`), for frames `Writer` with chunks of 20
(before chunks of 2, and both others).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import reverb
import tensorflow as tf
from reverb import structured_writer

BATCH = 256
TABLE = "transitions"
WARM = 1.0
FLUSH_EVERY = 500
"""Items after which what is on its way is waited for, as its documentation asks."""
CHUNK = 20
IN_FLIGHT = 1000
"""Of `Writer`, in items."""
WORKERS, STREAMS, AHEAD = 1, 8, 4
"""Of sampling: threads of each dataset, datasets side by side, batches prefetched."""

Step = dict[str, np.ndarray]


def _serve(connection: Connection, step: Step, whole: bool, capacity: int) -> None:
    """A server with one table; `whole` where an item has two of everything, not of observations only."""

    def spec(name: str, array: np.ndarray) -> Any:
        lead = (2,) if whole or name == "observation" else ()
        return tf.TensorSpec((*lead, *array.shape), array.dtype)

    table = reverb.Table(
        TABLE,
        sampler=reverb.selectors.Uniform(),
        remover=reverb.selectors.Fifo(),
        max_size=capacity,
        rate_limiter=reverb.rate_limiters.MinSize(1),
        signature={name: spec(name, array) for name, array in step.items()},
    )
    server = reverb.Server([table], port=None)
    connection.send(server.port)
    connection.recv()
    server.stop()


def steps(path: str) -> list[Step]:
    """Of the first environment, then of the second: `[steps, environments, ...]` are in the file."""
    observations = np.load(path).swapaxes(0, 1)
    shared = {
        "action": np.zeros((), np.int64),
        "reward": np.zeros((), np.float32),
        "terminated": np.zeros((), bool),
    }
    return [{"observation": one, **shared} for env in observations for one in env]


def structured(client: reverb.Client, data: list[Step]) -> Iterator[int]:
    """Insert for ever; gives how many are confirmed, now and then."""
    step = structured_writer.create_reference_step(dict.fromkeys(data[0]))
    pattern = {name: step[name][-2] for name in data[0]} | {"observation": step["observation"][-2:]}
    writer = client.structured_writer([structured_writer.create_config(pattern, TABLE, [])])
    count = 0
    while True:
        for one in data:
            writer.append(one)
            count += 1
            if count % FLUSH_EVERY == 0:
                writer.flush(block_until_num_items=FLUSH_EVERY)
                yield count - FLUSH_EVERY


def legacy(client: reverb.Client, data: list[Step]) -> Iterator[int]:
    """The same with `Writer`."""
    with client.writer(CHUNK, chunk_length=CHUNK, max_in_flight_items=IN_FLIGHT) as writer:
        writer.append(data[0])
        count = 0
        while True:
            for one in data[1:]:
                writer.append(one)
                writer.create_item(TABLE, 2, 1.0)
                count += 1
                if count % FLUSH_EVERY == 0:
                    yield max(0, count - IN_FLIGHT)


def batches(port: int) -> Iterator[Any]:
    """Batches as tensors."""

    def one(_: Any) -> Any:
        return reverb.TrajectoryDataset.from_table_signature(
            f"localhost:{port}",
            TABLE,
            max_in_flight_samples_per_worker=3 * BATCH,
            num_workers_per_iterator=WORKERS,
        )

    dataset = one(0)
    if STREAMS > 1:
        dataset = tf.data.Dataset.range(STREAMS).interleave(
            one, cycle_length=STREAMS, num_parallel_calls=STREAMS, deterministic=False
        )
    yield from dataset.batch(BATCH, drop_remainder=True).prefetch(AHEAD)


def rate(counts: Iterator[int], seconds: float) -> float:
    """Of what is counted, each second, once warm."""
    begun, first, since = time.monotonic(), 0, 0.0
    for count in counts:
        now = time.monotonic()
        if not since and now - begun >= WARM:
            first, since = count, now
        if since and now - since >= seconds:
            return (count - first) / (now - since)
    raise AssertionError("unreachable")


def main() -> None:
    """Insert or sample what the file holds, and print how many of it each second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("insert", "sample"))
    parser.add_argument("path")
    parser.add_argument("--capacity", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    told = parser.parse_args()
    data = steps(told.path)
    frames = data[0]["observation"].ndim > 1
    ours, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(its, data[0], frames, told.capacity)
    )
    server.start()
    port = ours.recv()
    inserting = (legacy if frames else structured)(reverb.Client(f"localhost:{port}"), data)
    if told.task == "insert":
        value = rate(inserting, told.seconds)
    else:
        next(count for count in inserting if count >= told.capacity)
        inserting.close()
        value = rate((index for index, _ in enumerate(batches(port))), told.seconds)
    print("\n" + json.dumps({"rate": value}), flush=True)
    # Its threads do not end by themselves while a stream is open.
    server.kill()
    os._exit(0)


if __name__ == "__main__":
    main()
