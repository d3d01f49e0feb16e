"""Time until an environment is solved: CartPole-v1, LunarLander-v3 and Pendulum-v1."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import gymnasium

from tests.bench import ours, peer
from tests.bench.group import Figure, Group, Lookup, Measure, Results, Values, plain, ratio
from tests.bench.roles import Roles, roles

CAP = 60.0
"""Seconds after which a run on CartPole counts as not solved."""
LANDER_CAP = 400.0
"""Those on LunarLander: Stable-Baselines3's settings take up to a million steps."""
PENDULUM_CAP = 120.0


def single() -> gymnasium.Env[Any, Any]:
    """CartPole without its vector form, stepped in Python as the peers do."""
    return gymnasium.make("CartPole-v1")


def _ours(name: str, cap: float, **environment: Any) -> Measure:
    return lambda seed: ours.train(ours.example(name, **environment), seed, cap)


def _peer(name: str, task: str, cap: float) -> Measure:
    return lambda seed: peer.run(name, task, seed, cap)


def _where(name: str) -> Measure:
    """Where learner and one of two rollouts spend their time while an example trains on, in shares of 1."""

    def measure(seed: int) -> Values:
        content = ours.example(name)
        content["spec"] |= {"stop": {"duration": "1h"}, "seed": seed, "evaluation": None}
        with roles(content) as running:
            for role in ("learner", "buffer", "rollout"):
                running.start(role)
            running.start("rollout", index=1)
            running.until(1.0)
            first, before = _spent(running), time.monotonic()
            running.until(running.records()[-1]["seconds"] + 4.0)
            last, seconds = _spent(running), time.monotonic() - before
        return {name: (last[name] - first[name]) / seconds for name in last}

    return measure


def _spent(running: Roles) -> Values:
    return {
        f"{role} {stage}": seconds
        for role in ("learner", "rollout")
        for stage, seconds in running.stages(role).items()
    }


def _shares(results: Results) -> str:
    taken = [one["values"] for one in results.get("stages", ())]
    if not taken:
        return ""
    rows = [
        f"| {name.replace('_', ' ')} | {statistics.median(one[name] for one in taken):.0%} |"
        for name in taken[0]
    ]
    head = "| While the example trains | share of time |\n| --- | --- |"
    return "\n".join([head, *rows])


def _reference(task: str) -> Measure:
    def measure(seed: int) -> Values:
        command = [sys.executable, "-m", "tests.bench.reference", task]
        command += ["--seed", str(seed), "--cap", str(CAP)]
        started = time.time()
        output, costs = peer.watched(command, CAP + peer.GRACE)
        said = json.loads(output.strip().splitlines()[-1])
        reached, ended = said["reached"] - started, time.time() - started
        times = peer.solving(said["solved"], said["seconds"], reached, ended, CAP)
        return costs | times | {"steps": said["steps"]}

    return measure


def _faster(name: str, against: str, label: str, first: float, command: float) -> list[Figure]:
    """Times by which `name` is faster than `against`: aims from the first step and the command."""
    return [
        ratio(
            f"Times faster than {label}, from the first step",
            (against, "seconds"),
            (name, "seconds"),
            first or None,
            " s",
        ),
        ratio(
            f"Times faster than {label}, from the command",
            (against, "reached"),
            (name, "reached"),
            command or None,
            " s",
        ),
    ]


def _solved(name: str, label: str) -> Figure:
    return plain(f"Every seed solves: {label}", (name, "solved"), 1.0, every=True)


def _memory(against: str, label: str, aim: float) -> Figure:
    return ratio(
        f"Memory of the whole job / {label}'s",
        ("rljob vector", "memory MiB"),
        (against, "memory MiB"),
        aim,
        " MiB",
        least=False,
    )


def _against(form: str, env: str) -> list[Figure]:
    """CartPole against every peer; aims where the environment is the vectorised one."""
    aims = form == "vector"
    peers = (
        ("sb3", "Stable-Baselines3 PPO", 5.0, 3.5),
        ("rllib ppo", "RLlib PPO", 10.0, 8.0),
        ("sample factory", "Sample Factory APPO", 15.0, 0.0),
        ("cleanrl", "CleanRL PPO", 15.0, 0.0),
        ("tianshou", "Tianshou PPO", 0.0, 0.0),
        ("rllib impala", "RLlib IMPALA", 0.0, 0.0),
        ("rllib appo", "RLlib APPO", 0.0, 0.0),
    )
    ours = f"rljob {form}"
    figures = [_solved(ours, f"rljob, {env}")]
    figures.append(
        ratio(
            f"Time of three processes / of one process that does it all, {env}",
            (ours, "seconds"),
            (f"reference {form}", "seconds"),
            2.0,
            " s",
            least=False,
        )
    )
    for name, label, first, command in peers:
        label = f"{label} ({env})"
        figures += _faster(ours, name, label, first if aims else 0, command if aims else 0)
    return figures


def _steps(names: tuple[str, ...]) -> list[Figure]:
    def of(name: str) -> Figure:
        def steps(value: Lookup) -> float:
            return value(name, "steps")

        parts = ((name, "seconds", " s"), (name, "solved", " solved"), (name, "memory MiB", " MiB"))
        return Figure(f"Environment steps, {name}", (name,), steps, parts)

    return [of(name) for name in names]


CARTPOLE = Group(
    "cartpole",
    "CartPole-v1 to 475",
    {
        "rljob vector": _ours("cartpole-ppo.yaml", CAP),
        "rljob scalar": _ours("cartpole-ppo.yaml", CAP, entryPoint="tests.bench.solving:single"),
        "reference vector": _reference("vector"),
        "reference scalar": _reference("scalar"),
        "stages": _where("cartpole-ppo.yaml"),
        "sb3": _peer("sb3", "CartPole-v1", CAP),
        "rllib ppo": _peer("rllib", "ppo", CAP),
        "sample factory": _peer("sample_factory", "example", CAP),
        "cleanrl": _peer("cleanrl", "ppo", CAP),
        "tianshou": _peer("tianshou", "ppo", CAP),
        "rllib impala": _peer("rllib", "impala", CAP),
        "rllib appo": _peer("rllib", "appo", CAP),
    },
    [
        *_against("vector", "vectorised environment"),
        *_against("scalar", "environment stepped in Python"),
        _memory("rllib ppo", "RLlib PPO", 0.5),
        _memory("sample factory", "Sample Factory", 1.0),
        *_steps(
            (
                "rljob vector",
                "rljob scalar",
                "reference vector",
                "reference scalar",
                "sb3",
                "rllib ppo",
            )
        ),
        *_steps(("sample factory", "cleanrl", "tianshou", "rllib impala", "rllib appo")),
    ],
    slow=frozenset({"rllib impala", "rllib appo"}),
    stages=_shares,
    warm=("rljob vector", "sb3"),
    note=(
        "Until the mean return of the last 100 training episodes is 475. Ours is "
        "`examples/cartpole-ppo.yaml`: learner, buffer and two rollouts as processes. *Vectorised* is "
        "Gymnasium's own vector form of CartPole, which rljob takes where there is one; *stepped in "
        "Python* is the environment that the peers step. Networks, epochs and batches are each one's own. "
        "*One process that does it all* is `tests/bench/reference.py`."
    ),
    limit=(
        "The learner updates nearly all of the time, and its rollouts wait for credit about half of "
        "theirs: the learner's arithmetic is the bound, and it is the same that one process would do; that "
        "environments are stepped beside it is what makes three processes faster than one. From the command "
        "to the first step it is start-up, most of it the import of PyTorch in the learner, during which the "
        "rollouts get ready. Of its memory, the learner has 560 MiB, nearly all of it what PyTorch is by "
        "itself; the buffer 57 and a rollout 63, which never import it."
    ),
)

LANDER = Group(
    "lunarlander",
    "LunarLander-v3 to 200",
    {
        "rljob": _ours("lunarlander-ppo.yaml", LANDER_CAP),
        "stages": _where("lunarlander-ppo.yaml"),
        "sb3": _peer("sb3", "LunarLander-v3", LANDER_CAP),
    },
    [
        _solved("rljob", "rljob"),
        *_faster("rljob", "sb3", "Stable-Baselines3 PPO", 3.0, 0.0),
        *_steps(("rljob", "sb3")),
    ],
    quick=0,
    stages=_shares,
    limit=(
        "Stepping the environment is the bound: two rollouts do nothing else for four fifths of their time, and "
        "the learner waits for them. More cores for rollouts is what would make it faster."
    ),
    note=(
        "Ours is `examples/lunarlander-ppo.yaml`, with two rollouts; Stable-Baselines3 has the settings of its "
        f"zoo, which take up to a million steps. A run ends at {LANDER_CAP:.0f} s and then counts as that long."
    ),
)

PENDULUM = Group(
    "pendulum",
    "Pendulum-v1 to -300, a continuous task",
    {
        "rljob": _ours("pendulum-ppo.yaml", PENDULUM_CAP),
        "stages": _where("pendulum-ppo.yaml"),
        "sb3": _peer("sb3", "Pendulum-v1", PENDULUM_CAP),
    },
    [
        _solved("rljob", "rljob"),
        *_faster("rljob", "sb3", "Stable-Baselines3 PPO", 3.0, 0.0),
        *_steps(("rljob", "sb3")),
    ],
    stages=_shares,
    limit="As with CartPole, the learner's arithmetic is the bound.",
)

GROUPS = (CARTPOLE, LANDER, PENDULUM)
