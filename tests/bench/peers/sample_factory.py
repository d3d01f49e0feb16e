"""Sample Factory 2: APPO on CartPole-v1.

`example` are the settings of its own example, sf_examples/train_gym_env.py (the command in its text,
https://github.com/alex-petrenko/sample-factory/blob/master/sf_examples/train_gym_env.py). `matched` has
the network, batch, epochs and rollout length of the throughput comparison, and the one worker of 32
environments and single policy worker that were fastest on two cores. It gives each of its processes one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
from sample_factory.algo.runners.runner import AlgoObserver, Runner
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner

from tests.bench.peers.watch import Watch, arguments, watch

ENVIRONMENT = "CartPole-v1"
COMMON = [
    "--algo=APPO",
    f"--env={ENVIRONMENT}",
    "--experiment=bench",
    "--device=cpu",
    "--use_rnn=False",
    "--recurrence=1",
    "--batch_size=512",
    "--with_vtrace=False",
    "--reward_scale=0.1",
    "--train_for_env_steps=100000000",
    "--num_workers=2",
    "--log_to_file=False",
]
TASKS = {
    "example": ["--num_envs_per_worker=20", "--policy_workers_per_policy=2"],
    "matched": [
        "--num_workers=1",
        "--num_envs_per_worker=32",
        "--policy_workers_per_policy=1",
        "--encoder_mlp_layers",
        "64",
        "64",
        "--nonlinearity=tanh",
        "--rollout=32",
        "--num_epochs=1",
        "--num_batches_per_epoch=1",
    ],
}


class FirstStep(gymnasium.Wrapper):  # type: ignore[misc,type-arg]
    """Leaves a file when the environment is stepped for the first time, in whatever process."""

    def __init__(self, env: gymnasium.Env[Any, Any], file: Path) -> None:
        super().__init__(env)
        self._file: Path | None = file

    def step(self, action: Any) -> Any:
        if self._file is not None:
            if not self._file.exists():
                self._file.write_text(str(time.time()))
            self._file = None
        return self.env.step(action)


def make(name: str, cfg: Any = None, env_config: Any = None, render_mode: str | None = None) -> Any:
    """The example's environment."""
    return FirstStep(gymnasium.make(name, render_mode=render_mode), Path(cfg.train_dir) / "began")


class Follow(AlgoObserver):  # type: ignore[misc]
    """Tells the watch how it goes; ends the run when it is over."""

    def __init__(self, watch: Watch, first_step: Path) -> None:
        self._watch, self._first_step = watch, first_step
        self._began = False

    def on_training_step(self, runner: Runner, training_iteration_since_resume: int) -> None:
        if not self._began:
            self._watch.began(float(self._first_step.read_text()))
            self._began = True
        returns = runner.policy_avg_stats.get("reward")
        if returns is not None and len(returns[0]) == returns[0].maxlen:
            self._watch.mean(sum(returns[0]) / len(returns[0]))
        if self._watch.over(_steps(runner)):
            runner.cfg.train_for_env_steps = 0


def _steps(runner: Runner) -> int:
    return int(sum(runner.env_steps.values()))


def main() -> None:
    """Run one task."""
    told = arguments(*TASKS)
    sys.argv = sys.argv[:1]
    register_env(ENVIRONMENT, make)
    following = watch(told, ENVIRONMENT if told.task == "example" else None)
    with tempfile.TemporaryDirectory(prefix="sf-") as folder:
        given = [*COMMON, f"--seed={told.seed}", f"--train_dir={folder}", *TASKS[told.task]]
        parser, _ = parse_sf_args(argv=given)
        cfg: Any = parse_full_cfg(parser, given)
        _, runner = make_runner(cfg)
        runner.register_observer(Follow(following, Path(folder) / "began"))
        runner.init()
        runner.run()
    following.print(_steps(runner))


if __name__ == "__main__":
    main()
