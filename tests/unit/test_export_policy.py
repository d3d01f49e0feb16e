"""Exported files act as the policy does; what differs is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym

import rljob
from rljob.checkpoints import policy as checkpoint_policy
from rljob.cli.main import main
from rljob.envs.spaces import Arrays, Spaces
from rljob.errors import InputError, RLJobError, RunError
from rljob.policies import export as exporting
from rljob.policies.export import SUFFIXES, export
from rljob.policies.samples import Compared
from tests.unit import saved_policies
from tests.unit.saved_policies import save_run

BOX = gym.Box(-4, 4, (4,))
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"


def saved(
    folder: Path, observation: gym.Space[Any], action: gym.Space[Any], algorithm: str, **fields: Any
) -> rljob.TrainedPolicy:
    masked = fields.pop("masked", False)
    config = fields.pop("config", {})
    spaces = replace(Spaces.from_gymnasium(observation, action), masked=masked)
    save_run(folder, spaces, {"name": algorithm, "config": config}, **fields)
    return rljob.load_policy(folder, seed=0)


PIXELS = {
    "observation": {"name": "cnn", "config": {"kernels": [4], "strides": [2], "channels": [4]}}
}
CASES: list[tuple[gym.Space[Any], gym.Space[Any], str, dict[str, Any]]] = [
    (gym.Discrete(6), gym.MultiDiscrete([3, 2]), "IMPALA", {"network": {"name": "lstm"}, "masked": True}),
    (gym.MultiDiscrete([2, 3]), gym.Box(-2, 3, (2,)), "SAC", {}),
    (gym.Box(0, 255, (12, 12, 3), np.uint8), gym.Discrete(3, start=1), "IQN", {"networks": PIXELS}),
    (BOX, gym.Discrete(3), "C51", {"config": {"dueling": True, "atoms": 5}, "masked": True}),
    (BOX, gym.Box(-2, 9, (1,), np.int32), "TD3", {}),
    (gym.Box(-1, 1, (3, 2)), gym.Discrete(3), "DQN", {"network": {"name": "candidates"}, "config": {"noisy": True, "epsilon": 0}}),
]  # fmt: skip


@pytest.mark.parametrize(("observation", "action", "algorithm", "fields"), CASES)
def test_programs_of_torch_act_the_same(
    observation: gym.Space[Any],
    action: gym.Space[Any],
    algorithm: str,
    fields: dict[str, Any],
    tmp_path: Path,
) -> None:
    policy = saved(tmp_path / "run", observation, action, algorithm, **fields)
    written = export(policy, "torch", tmp_path / "policy.pt2")
    assert written.difference < 1e-4
    assert written.outputs["action"][1] == action.shape
    assert ("mask" in written.inputs) is fields.get("masked", False)
    assert ("next_memory" in written.outputs) is (policy.memory_size > 0)


def test_files_of_safetensors_are_loaded_again(tmp_path: Path) -> None:
    policy = saved(tmp_path / "run", gym.Discrete(5), gym.Discrete(4), "QLearning")
    export(policy, "safetensors", tmp_path / "table.safetensors")
    again = rljob.load_policy(tmp_path / "table.safetensors")
    assert again.act(np.arange(5)).tolist() == policy.act(np.arange(5)).tolist()
    (tmp_path / "table.json").unlink()
    with pytest.raises(
        InputError, match=r"table\.json beside it is missing or describes no policy"
    ):
        rljob.load_policy(tmp_path / "table.safetensors")


def test_every_use_on_the_page_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = saved(tmp_path / "run", BOX, gym.Discrete(2), "PPO")
    monkeypatch.chdir(tmp_path)
    for kind in SUFFIXES:
        assert main(["export", "run", "--format", kind]) == 0
    told = capsys.readouterr().out
    assert "policy.onnx: policy version 7, " in told
    assert "  inputs   observation float32 [N, 4]\n" in told
    assert "  outputs  action int64 [N], logits float32 [N, 2]\n" in told
    assert told.count("equal on 1,000 observations") == len(SUFFIXES)
    expected = policy.act(np.zeros((3, 4), np.float32)).tolist()
    uses = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(uses) == len(SUFFIXES)
    for use in uses:
        names: dict[str, Any] = {}
        exec(use, names)
        assert names["actions"].tolist() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "policy.json", "policy.onnx", "policy.pt2", "policy.safetensors", "run",
    ]  # fmt: skip


def test_what_acts_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = saved(tmp_path / "run", BOX, gym.Discrete(2), "PPO")

    def wrong(loaded: rljob.TrainedPolicy, path: Path) -> tuple[exporting.ActsOn, bool]:
        run, masked = exporting._write_safetensors(loaded, path)

        def other(inputs: Any) -> Any:
            found = dict(run(inputs))
            action = found["action"].copy()
            action[7] = 1 - action[7]
            return {**found, "action": action, "values": np.array([[0.0, 1.0]] * len(action))}

        return other, masked

    monkeypatch.setattr(exporting, "_WRITERS", {"safetensors": wrong})
    with pytest.raises(RunError, match="refused: the written file chooses other actions on 1,000"):
        export(policy, "safetensors", tmp_path / "policy.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("algorithm", "observation", "action"),
    [
        ("PPO", BOX, gym.Discrete(2)),
        ("QLearning", gym.Discrete(50), gym.Discrete(3)),
        ("PPO", BOX, gym.MultiDiscrete([2, 3])),
        ("SAC", BOX, gym.Box(-1, 1, (2,))),
    ],
)
def test_weights_that_are_written_wrongly_are_found(
    algorithm: str,
    observation: gym.Space[Any],
    action: gym.Space[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = saved(tmp_path / "run", observation, action, algorithm)
    encode = checkpoint_policy.encode

    def wrong(arrays: Arrays) -> bytes:
        return encode({n: -array if array.ndim else array for n, array in arrays.items()})

    monkeypatch.setattr(checkpoint_policy, "encode", wrong)
    with pytest.raises(RunError, match="refused: the written file"):
        export(policy, "safetensors", tmp_path / "policy.safetensors")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert export(policy, "safetensors", tmp_path / "policy.safetensors").difference == 0


def test_a_table_of_equal_values_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_policies, "randomise", lambda *_: None)
    policy = saved(tmp_path / "run", gym.Discrete(5), gym.Discrete(4), "QLearning")
    assert len(set(policy.act(np.zeros(100, np.int64)).tolist())) == 4, "drawn among equal values"
    export(policy, "safetensors", tmp_path / "table.safetensors")


def test_differences_are_found(tmp_path: Path) -> None:
    policy = saved(tmp_path, BOX, gym.Box(-1, 1, (2,)), "SAC")
    compared = Compared.of(policy, 50, masked=False)
    same = {"action": compared.action}
    assert compared.difference(policy, same) == 0
    moved = compared.action.copy()
    moved[3, 1] += 0.25
    assert compared.difference(policy, {"action": moved}) == pytest.approx(0.25, rel=1e-5)
    assert compared.difference(policy, {"action": moved[:, :1]}) == np.inf
    assert compared.difference(policy, {"action": moved.astype(np.float64)}) == np.inf


@pytest.mark.parametrize(
    ("algorithm", "observation", "kind", "out", "message"),
    [
        ("QLearning", gym.Discrete(4), "torch", "p.pt2", "this policy is a table and no network; --format safetensors writes it"),
        ("VanillaPolicy", gym.Discrete(4), "torch", "p.pt2", "is a table"),
        ("PPO", BOX, "torch", "p.onnx", r"p\.onnx: the name of a file for torch ends in \.pt2"),
        ("PPO", BOX, "torch", "there.pt2", r"there\.pt2: there\.pt2 already exists"),
        ("PPO", BOX, "safetensors", "mine.safetensors", r"mine\.safetensors: mine\.json already exists"),
        ("PPO", BOX, "tf", "p.tf", "--format tf: unknown; allowed are onnx, torch, safetensors"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_refused(
    algorithm: str, observation: gym.Space[Any], kind: str, out: str, message: str, tmp_path: Path
) -> None:
    policy = saved(tmp_path / "run", observation, gym.Discrete(2), algorithm)
    (tmp_path / "there.pt2").touch()
    (tmp_path / "mine.json").touch()
    with pytest.raises(RLJobError, match=message):
        export(policy, kind, tmp_path / out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine.json", "run", "there.pt2",
    ]  # fmt: skip
