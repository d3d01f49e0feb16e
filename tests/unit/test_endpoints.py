"""Addresses: what is one, what follows from it, and which may go without keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rljob.errors import InputError
from rljob.system import MAX_SOCKET_PATH_BYTES
from rljob.wire.endpoints import buffer_endpoints, is_private, weights_endpoint
from tests.vectors import PATH


@pytest.mark.parametrize(
    "vector", json.loads(PATH.read_text())["endpoints"], ids=lambda v: v["buffer"]
)
def test_endpoints_of_the_vectors(vector: dict[str, Any]) -> None:
    found = buffer_endpoints(vector["buffer"])
    assert (found.experience, found.samples) == (vector["experience"], vector["samples"])
    assert weights_endpoint(vector["learner"]) == vector["weights"]


@pytest.mark.parametrize(
    "address",
    ["tcp://*:7400", "tcp://[::1]:7400", "tcp://a.b.svc.cluster.local.:7400", "tcp://10.0.0.1:1"],
)
def test_addresses(address: str) -> None:
    assert weights_endpoint(address) == address


NO_ADDRESSES = [
    "",
    "buffer",
    "ipc://",
    "ipc://relative/path",
    "ipc:///with\0zero",
    "tcp://",
    "tcp://host",
    "tcp://host:",
    "tcp://:7400",
    "tcp://host:0",
    "tcp://host:-1",
    "tcp://host:65536",
    "tcp://host:7.5",
    "tcp://host:٧٤",
    "tcp://user@localhost:7400",
    "tcp://127.0.0.1:1;example.org:7400",
    "tcp://localhost/x:7400",
    "tcp://ho st:7400",
    "udp://host:7400",
    "inproc://x",
    "TCP://host:7400",
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address(address: str) -> None:
    for read in (buffer_endpoints, weights_endpoint):
        with pytest.raises(InputError, match="is not an address"):
            read(address)


def test_the_buffer_needs_two_ports() -> None:
    assert buffer_endpoints("tcp://h:65534").samples == "tcp://h:65535"
    assert weights_endpoint("tcp://h:65535") == "tcp://h:65535"
    with pytest.raises(InputError, match="65534"):
        buffer_endpoints("tcp://h:65535")


def test_a_path_that_no_socket_can_have() -> None:
    most = MAX_SOCKET_PATH_BYTES - len(".experience") - 1
    assert buffer_endpoints("ipc:///" + "x" * most).experience
    with pytest.raises(InputError, match="shorter folder"):
        buffer_endpoints("ipc:///" + "x" * (most + 1))
    # Bytes count, not letters.
    with pytest.raises(InputError, match="shorter folder"):
        buffer_endpoints("ipc:///" + "ü" * (most // 2 + 1))


@pytest.mark.parametrize(
    "address",
    [
        "ipc:///x",
        "tcp://127.0.0.1:1",
        "tcp://127.8.8.8:1",
        "tcp://localhost:1",
        "tcp://LOCALHOST.:1",
        "tcp://[::1]:1",
    ],
)
def test_this_machine_only(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://*:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
        "tcp://10.0.0.1:1",
        "tcp://127.0.0.1.example.org:1",
        "tcp://localhost.example.org:1",
        *(address for address in NO_ADDRESSES if address.startswith("tcp")),
    ],
)
def test_reachable_by_others(address: str) -> None:
    assert not is_private(address)


@given(st.text(max_size=40) | st.text(max_size=40).map("tcp://".__add__))
def test_noise_is_read_or_refused(address: str) -> None:
    try:
        found = buffer_endpoints(address)
    except InputError:
        return
    assert found.experience != found.samples
