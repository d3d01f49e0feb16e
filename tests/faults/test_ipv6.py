"""Roles find each other where there is IPv6 alone, and where a name has addresses of both families."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rljob.kube.names import METRICS_PORT
from rljob.wire.keygen import generate
from tests.faults import network as networks
from tests.faults.judging import PPO, judged
from tests.faults.network import network
from tests.faults.spread import BUFFER, LEARNER, ROLLOUTS, spread

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(networks.why_not() is not None, reason=str(networks.why_not())),
]

FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).status)"
LISTEN = """
import sys
from pathlib import Path
from rljob.wire.keys import read
from rljob.wire.sockets import Wire
from rljob.wire.messages import Header, MessageKind
_, keys, address = sys.argv
wire = Wire(1, read(Path(keys), "buffer"), print)
endpoint = wire.serve(address, "experience")
print("listens", flush=True)
while True:
    wire.wait(1.0)
    for message in endpoint.receive():
        endpoint.send(message.client, Header(MessageKind.WHO))
"""
ASK = """
import sys
from pathlib import Path
from rljob.wire.keys import read
from rljob.wire.sockets import Wire
from rljob.wire.messages import Header, MessageKind
_, keys, address = sys.argv
wire = Wire(1, read(Path(keys), "rollout"), print)
endpoint = wire.connect(address, "me", "buffer")
endpoint._silence.after = 1.0
while not list(endpoint.receive()):
    wire.wait(0.1)
    endpoint.send(b"", Header(MessageKind.STATUS))
print(endpoint.traffic.reconnects)
wire.close()
"""


def test_a_job_trains_where_there_is_ipv6_alone(tmp_path: Path) -> None:
    with spread(tmp_path, PPO, versions=(6,)) as run:
        for role in (BUFFER, LEARNER):
            url = f"http://[{run.net.address(role, 6)}]:{METRICS_PORT}/metrics"
            fetch = run.net.inside(ROLLOUTS, [sys.executable, "-c", FETCH, url])
            done = subprocess.run(fetch, capture_output=True, text=True, timeout=120, check=False)
            assert done.stdout == "200\n", done.stderr
        assert all(each.poll() is None for each in run.roles.values()), run.tell()
        judged(run)


def test_a_name_has_both_addresses_and_its_server_the_second(tmp_path: Path) -> None:
    generate(tmp_path / "keys")
    with network(("one", "other"), versions=(4, 6)) as net:

        def command(space: str, code: str, where: str) -> list[str]:
            return net.inside(space, [sys.executable, "-c", code, str(tmp_path / "keys"), where])

        listener = subprocess.Popen(
            command("one", LISTEN, f"tcp://[{net.address('one', 6)}]:7400"),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listens\n"
            ask = command("other", ASK, "tcp://one:7400")
            done = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            assert int(done.stdout) > 0, "IPv4 is tried first"
        finally:
            listener.kill()
            listener.wait()
            listener.stdout.close()
