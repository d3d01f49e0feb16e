"""A handle in a notebook: a real kernel, and the messages that a notebook gets from it."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]
PATIENCE = 400.0
"""Seconds until what a test waits for counts as hung."""
CELL = """
import rljob
job = rljob.start({
    "metadata": {"name": "test"},
    "spec": {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "REINFORCE"},
        "stop": {"steps": 60_000},
        "rollout": {"replicas": 1},
    },
})
job
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(startup_timeout=PATIENCE, cwd=str(tmp_path))
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def messages(client: BlockingKernelClient) -> Iterator[tuple[str, dict[str, Any]]]:
    """Type and content of what the kernel sends to the notebook."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        assert message["msg_type"] != "error", message["content"]
        yield message["msg_type"], message["content"]
    raise AssertionError(f"not within {PATIENCE:.0f} s")


def test_what_a_cell_shows_goes_on_moving_until_the_job_has_ended(
    kernel: BlockingKernelClient,
) -> None:
    kernel.execute(CELL)
    shown: dict[str, str] = {}
    for kind, content in messages(kernel):
        if kind not in ("display_data", "update_display_data"):
            continue
        text, place = content["data"]["text/html"], content["transient"]["display_id"]
        if kind == "display_data":
            assert shown == {}
            assert ">Starting<" in text or ">Training<" in text
        else:
            # The output of the cell is replaced.
            assert list(shown) == [place]
            assert shown[place] != text
        shown[place] = text
        if ">Complete (StepsReached)<" in text:
            assert kind == "update_display_data"
            assert "<polyline" in text
            return
