"""What a process does not import or build when it starts; each such thing is paid by every role of every job."""

from __future__ import annotations

import subprocess
import sys


def run(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_buffer_of_a_job_without_applications_loads_no_algorithm() -> None:
    run(
        "import sys\n"
        "import rljob.roles.buffer.server as server\n"
        "from rljob import spec\n"
        "server.Describer(spec.load('examples/cartpole-ppo.yaml'), 'tcp://127.0.0.1:1')\n"
        "assert not {'torch', 'rljob.algorithms.registry', 'gymnasium'} & set(sys.modules)\n"
    )


def test_settings_of_an_algorithm_are_built_at_their_first_use() -> None:
    run(
        "from rljob.algorithms import BUILT_IN, load_config\n"
        "from rljob.spec.sections import AlgorithmSpec\n"
        "load_config(AlgorithmSpec(name='DQN'))\n"
        "built = [name for name, each in BUILT_IN.items() if each.Config.__pydantic_complete__]\n"
        "assert built == ['DQN'], built\n"
    )
