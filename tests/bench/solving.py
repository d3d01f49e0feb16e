"""Time until an environment is solved: CartPole-v1, LunarLander-v3 and Pendulum-v1."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import gymnasium

from tests.bench import matched, ours, peer
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Measure, Results, Values, plain, ratio
from tests.bench.roles import Roles, roles

CAP = 60.0
"""Seconds after which a run on CartPole counts as not solved."""
LANDER_CAP = 400.0
"""Those on LunarLander: Stable-Baselines3's settings take up to a million steps."""
PENDULUM_CAP = 120.0
FORMS = {"vector": "in the vector form", "scalar": "stepped in Python"}
"""How CartPole is stepped."""
MATCHED = "Stable-Baselines3 PPO with our settings"
TUNED = "Stable-Baselines3 PPO with its tuned settings"


def single() -> gymnasium.Env[Any, Any]:
    """CartPole without its vector form, stepped in Python as the peers do."""
    return gymnasium.make("CartPole-v1")


def _ours(name: str, cap: float, **environment: Any) -> Measure:
    return lambda seed: ours.train(ours.example(name, **environment), seed, cap)


def _peer(name: str, task: str, cap: float) -> Measure:
    return lambda seed: peer.run(name, task, seed, cap)


def _matched(name: str, task: str, cap: float) -> Measure:
    """Stable-Baselines3 with the settings of one of our examples."""
    settings = matched.settings(ours.example(name))
    return lambda seed: peer.run("sb3", task, seed, cap, settings=settings)


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


def _steps_of(name: str) -> tuple[tuple[str, str, str], ...]:
    """Environment steps of a measurement, beside a time of it, as they are counted there."""
    if name == "sample factory":
        return ((name, "steps", " steps trained on"),)
    if not name.startswith("rljob"):
        return ((name, "steps", " steps collected"),)
    return ((name, "steps", " steps trained on"), (name, "collected", " collected"))


def _faster(
    name: str, against: str, label: str, first: float | None, command: float | None
) -> list[Figure]:
    """Times by which `name` is faster than `against`: aims from the first step and the command."""
    beside = (*_steps_of(against), *_steps_of(name))
    return [
        ratio(
            f"Times faster than {label}, from {since}",
            (against, value),
            (name, value),
            aim,
            " s",
            beside=beside,
        )
        for since, value, aim in (
            ("the first step", "seconds", first),
            ("the command", "reached", command),
        )
    ]


def _solved(name: str, label: str) -> Figure:
    return plain(f"Every seed solves: {label}", (name, "solved"), 1.0, every=True)


def _memory(against: str, label: str, aim: float) -> Figure:
    return ratio(
        f"Memory of the whole job / {label}'s",
        ("rljob scalar", "memory MiB"),
        (against, "memory MiB"),
        aim,
        " MiB",
        least=False,
    )


def _one_process(form: str) -> Figure:
    ours, reference = f"rljob {form}", f"reference {form}"
    return ratio(
        f"Time of three processes / of one process that does it all, {FORMS[form]}",
        (ours, "seconds"),
        (reference, "seconds"),
        2.0,
        " s",
        least=False,
        beside=(*_steps_of(ours), *_steps_of(reference)),
    )


def _tuned() -> list[Figure]:
    """CartPole against every peer with its own settings; all step the environment in Python."""
    peers = (
        ("sb3", TUNED, 5.0, 3.5),
        ("rllib ppo", "RLlib PPO", 10.0, 8.0),
        ("sample factory", "Sample Factory APPO", 15.0, None),
        ("cleanrl", "CleanRL PPO", 15.0, None),
        ("tianshou", "Tianshou PPO", None, None),
        ("rllib impala", "RLlib IMPALA", None, None),
        ("rllib appo", "RLlib APPO", None, None),
    )
    return [
        figure
        for name, label, first, command in peers
        for figure in _faster(
            "rljob scalar", name, f"{label}, both {FORMS['scalar']}", first, command
        )
    ]


def _steps(*names: str) -> list[Figure]:
    """Steps of each measurement until it solved, a line for each way of counting them."""

    def of(name: str, value: str, unit: str) -> Figure:
        parts = ((name, "seconds", " s"), (name, "solved", " solved"), (name, "memory MiB", " MiB"))
        label = f"Environment steps {unit.removeprefix(' steps').strip()}, {name}"
        return Figure(label, (name,), lambda lookup: lookup(name, value), parts)

    return [of(*each) for name in names for each in _steps_of(name)]


CARTPOLE = Group(
    "cartpole",
    "CartPole-v1 to 475",
    {
        "rljob vector": _ours("cartpole-ppo.yaml", CAP),
        "rljob scalar": _ours("cartpole-ppo.yaml", CAP, entryPoint="tests.bench.solving:single"),
        "reference vector": _reference("vector"),
        "reference scalar": _reference("scalar"),
        "stages": _where("cartpole-ppo.yaml"),
        "sb3 matched": _matched("cartpole-ppo.yaml", "CartPole-v1", CAP),
        "sb3": _peer("sb3", "CartPole-v1", CAP),
        "rllib ppo": _peer("rllib", "ppo", CAP),
        "sample factory": _peer("sample_factory", "example", CAP),
        "cleanrl": _peer("cleanrl", "ppo", CAP),
        "tianshou": _peer("tianshou", "ppo", CAP),
        "rllib impala": _peer("rllib", "impala", CAP),
        "rllib appo": _peer("rllib", "appo", CAP),
    },
    [
        *(_solved(f"rljob {form}", f"rljob, {how}") for form, how in FORMS.items()),
        *_faster("rljob vector", "sb3 matched", f"{MATCHED}, both {FORMS['vector']}", 5.0, 2.5),
        *_tuned(),
        *(_one_process(form) for form in FORMS),
        _memory("rllib ppo", "RLlib PPO", 0.5),
        _memory("sample factory", "Sample Factory", 1.0),
        *_steps("rljob vector", "rljob scalar", "reference vector", "reference scalar"),
        *_steps("sb3 matched", "sb3", "rllib ppo", "sample factory", "cleanrl", "tianshou"),
        *_steps("rllib impala", "rllib appo"),
    ],
    slow=frozenset({"rllib impala", "rllib appo"}),
    stages=_shares,
    warm=("rljob vector", "sb3"),
    note=(
        "A run ends when the mean return of the last 100 training episodes is 475. rljob has the settings of "
        "`examples/cartpole-ppo.yaml`: learner, buffer and two rollouts as processes. *In the vector form*: both "
        "step Gymnasium's vector form of CartPole, and Stable-Baselines3 has our settings (64 environments, 32 "
        "steps of each, 2 epochs, batches of 512, the same network, learning rate and scaling of rewards). "
        "*Stepped in Python*: both step one environment after the other, and each peer has its own network, epochs "
        "and batches. Steps are those that were collected, or where it says so those that were trained on; of "
        "rljob, *collected* are all that its buffer stored. *One process that does it all* is `tests/bench/reference.py`."
    ),
    limit=findings(
        (
            "The learner's arithmetic is the bound",
            "it updates nearly all of the time, and its rollouts wait for credit about half of theirs; one process would do the same arithmetic",
        ),
        (
            "Three processes are faster than one",
            "environments are stepped beside the learner",
        ),
        (
            "Start-up is the time from the command to the first step",
            "most of it is the import of PyTorch in the learner; the rollouts get ready meanwhile",
        ),
        (
            "Memory",
            "learner 560 MiB, nearly all of it PyTorch; buffer 57 MiB and a rollout 63 MiB, which never import it",
        ),
    ),
)

LANDER = Group(
    "lunarlander",
    "LunarLander-v3 to 200",
    {
        "rljob": _ours("lunarlander-ppo.yaml", LANDER_CAP),
        "stages": _where("lunarlander-ppo.yaml"),
        "sb3 matched": _matched("lunarlander-ppo.yaml", "LunarLander-v3", LANDER_CAP),
        "sb3": _peer("sb3", "LunarLander-v3", LANDER_CAP),
    },
    [
        _solved("rljob", "rljob"),
        *_faster("rljob", "sb3 matched", MATCHED, 3.0, None),
        *_faster("rljob", "sb3", TUNED, 3.0, None),
        *_steps("rljob", "sb3 matched", "sb3"),
    ],
    quick=0,
    stages=_shares,
    limit=findings(
        (
            "Stepping the environment is the bound",
            "two rollouts do nothing else for four fifths of their time, and the learner waits for them",
        ),
        (
            "More cores for rollouts would make it faster",
            "inferred",
        ),
    ),
    note=(
        "rljob has the settings of `examples/lunarlander-ppo.yaml`, with two rollouts. Stable-Baselines3 has the "
        "same settings in one row, and in the other the tuned settings of its zoo, which are for up to a million "
        f"steps. A run is stopped at {LANDER_CAP:.0f} s."
    ),
)

PENDULUM = Group(
    "pendulum",
    "Pendulum-v1 to -300, a continuous task",
    {
        "rljob": _ours("pendulum-ppo.yaml", PENDULUM_CAP),
        "stages": _where("pendulum-ppo.yaml"),
        "sb3 matched": _matched("pendulum-ppo.yaml", "Pendulum-v1", PENDULUM_CAP),
        "sb3": _peer("sb3", "Pendulum-v1", PENDULUM_CAP),
    },
    [
        _solved("rljob", "rljob"),
        *_faster("rljob", "sb3 matched", MATCHED, 3.0, None),
        *_faster("rljob", "sb3", TUNED, 3.0, None),
        *_steps("rljob", "sb3 matched", "sb3"),
    ],
    stages=_shares,
    note=(
        "rljob has the settings of `examples/pendulum-ppo.yaml`, with two rollouts. Stable-Baselines3 has the same "
        "settings in one row, and in the other the tuned settings of its zoo."
    ),
    limit=findings(
        (
            "The learner's arithmetic is the bound",
            "as with CartPole",
        ),
    ),
)

GROUPS = (CARTPOLE, LANDER, PENDULUM)
