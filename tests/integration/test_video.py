"""Episodes as videos: the files are decoded again, and what stands on them is compared."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from rljob import spec
from rljob.algorithms import load_config, resolve_algorithm
from rljob.algorithms.base import Arrays, Progress
from rljob.algorithms.publishing import policy_arrays
from rljob.checkpoints import checkpoint
from rljob.checkpoints.checkpoint import Snapshot
from rljob.cli.main import main as command
from rljob.envs.vector import Environments
from rljob.errors import InputError
from rljob.nets import build_networks
from rljob.roles.evaluator import recording, videos
from rljob.roles.evaluator.film import writing
from rljob.roles.evaluator.play import Interrupted
from rljob.roles.evaluator.recording import EpisodeRecorder
from rljob.roles.evaluator.videos import Videos
from tests.unit.specs import job

RATE = 20


class Clock(gymnasium.Env[np.ndarray, np.int64]):
    """Twelve steps of reward 1; the picture's shade of red is ten times the step. `masked`, the action that is the
    step modulo 3 is not allowed."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": RATE}  # noqa: RUF012 - as Gymnasium has it
    observation_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(
        self, kind: str = "discrete", wrong: str = "", render_mode: str | None = None
    ) -> None:
        self.render_mode = None if wrong == "deaf" else render_mode
        self._wrong, self._now, self._masked = wrong, 0, kind == "masked"
        self.action_space = {
            "discrete": spaces.Discrete(3),
            "masked": spaces.Discrete(3),
            "many": spaces.MultiDiscrete([2, 12]),
            "box": spaces.Box(-2, 2, (2,), np.float32),
        }[kind]  # type: ignore[assignment]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._now = 0
        return np.zeros(2, np.float32), self._info()

    def step(self, action: Any) -> Any:
        self._now += 1
        observation = np.full(2, self._now / 12, np.float32)
        return observation, 1.0, self._now == 12, False, self._info()

    def _info(self) -> dict[str, Any]:
        return {"action_mask": np.arange(3) != self._now % 3} if self._masked else {}

    def render(self) -> Any:
        if self._wrong == "raises":
            raise RuntimeError("no screen")
        if self._wrong == "text":
            return "a picture"
        size = 31 if self._wrong == "grows" and self._now > 3 else 30
        return np.full((size, 50, 3), (10 * self._now, 0, 0), np.uint8)


def unseen() -> gymnasium.Env[Any, Any]:
    """A factory that takes no render_mode."""
    return Clock()


def make_job(factory: Any = Clock, algorithm: str = "PPO", **kwargs: Any) -> spec.RLJob:
    environment = {"entryPoint": f"{__name__}:{factory.__name__}", "kwargs": kwargs}
    return spec.parse(job(environment=environment, algorithm={"name": algorithm}))


def policy_of(made: spec.RLJob) -> Arrays:
    """Of a learner that has learned nothing."""
    environments = Environments(made.spec.environment, 1)
    algorithm_class = resolve_algorithm(made.spec.algorithm)
    algorithm = algorithm_class(load_config(made.spec.algorithm), environments.spaces)
    environments.close()
    networks = build_networks(made.spec.network, algorithm.networks, environments.spaces, 0)
    learner = algorithm.learner(networks, 0)
    return policy_arrays(algorithm, networks, learner, Progress(0, 0.0), copy=True)


def pictures(path: Path) -> list[np.ndarray]:
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with Image.open(path) as image:
        found = []
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            found.append(np.asarray(image.convert("RGB")))
        return found


def record(made: spec.RLJob, path: Path, **more: Any) -> recording.Recorded:
    recorder = EpisodeRecorder(made)
    try:
        return recorder.record(policy_of(made), path, 0, **more)
    finally:
        recorder.close()


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_each_step_is_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"episode{suffix}"
    recorded = record(make_job(), path)
    assert (recorded.steps, recorded.returned, recorded.whole) == (12, 12.0, True)
    found = pictures(path)
    # Players of GIF merge pictures that are the same: the last second.
    assert len(found) == 12 + (RATE if suffix == ".mp4" else 1)
    shades = [picture[20, 20, 0] for picture in found[:13]]
    np.testing.assert_allclose(shades, np.arange(13) * 10, atol=14)
    height, width = found[0].shape[:2]
    assert width >= 480
    assert height % 2 == width % 2 == 0
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_video_is_as_fast_as_the_environment_says(tmp_path: Path) -> None:
    record(make_job(), tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.codec_context.name) == (RATE, "h264")
        assert stream.codec_context.pix_fmt == "yuv420p"


@pytest.mark.parametrize(
    ("kind", "algorithm", "rows"),
    [
        ("discrete", "PPO", 3),
        ("many", "PPO", 8),
        ("box", "PPO", 2),
        ("discrete", "DQN", 3),
        ("masked", "PPO", 3),
        ("masked", "DQN", 3),
    ],
)
def test_what_the_policy_chose_by_stands_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, algorithm: str, rows: int
) -> None:
    panels = []
    drawn = recording.FrameCanvas.draw

    def draw(self: Any, picture: np.ndarray, panel: Any) -> np.ndarray:
        panels.append(panel)
        return drawn(self, picture, panel)

    monkeypatch.setattr(recording.FrameCanvas, "draw", draw)
    record(make_job(kind=kind, algorithm=algorithm), tmp_path / "a.gif")
    *steps, last = panels
    assert [panel.step for panel in panels] == list(range(13))
    assert [panel.returned for panel in panels] == list(range(13))
    assert not last.bars
    for panel in steps:
        assert len(panel.bars) == rows
        assert all(0 <= bar.start <= 1 and 0 <= bar.end <= 1 for bar in panel.bars)
        values = [bar.value for bar in panel.bars]
        chosen = [index for index, bar in enumerate(panel.bars) if bar.chosen]
        if kind == "box":
            assert (panel.label, chosen) == ("mean", [])
        elif kind == "many":
            assert (panel.label, panel.more) == ("probability", 6)
            assert chosen[0] == int(np.argmax(values[:2]))
        else:
            assert chosen == [int(np.nanargmax(values))]
            assert panel.label == ("advantage" if algorithm == "DQN" else "probability")
        if kind == "masked":
            # No probability, and no bar at all where values are shown.
            forbidden = panel.bars[panel.step % 3]
            assert forbidden.start == forbidden.end
            assert (forbidden.value == 0) if algorithm == "PPO" else np.isnan(forbidden.value)
        if panel.label == "probability" and not panel.more:
            assert sum(values) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("factory", "wrong", "said"),
    [
        (unseen, None, "unseen cannot be recorded: .*render_mode"),
        (Clock, "deaf", "Clock cannot be recorded: .* has render_mode None"),
        (Clock, "raises", "render raised RuntimeError: no screen"),
        (Clock, "text", "render returned str, expected an array"),
        (Clock, "grows", "its pictures have "),
    ],
)
def test_an_environment_that_cannot_be_recorded_is_named(
    tmp_path: Path, factory: Any, wrong: str | None, said: str
) -> None:
    made = make_job(factory, **({"wrong": wrong} if wrong else {}))
    with pytest.raises(InputError, match=said) as error:
        record(made, tmp_path / "a.mp4")
    assert error.value.path == "environment"
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        record(make_job(), tmp_path / "a.mp4", stopping=lambda: next(asked))
    assert list(tmp_path.iterdir()) == []


def test_an_episode_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_STEPS", 5)
    recorded = record(make_job(), tmp_path / "a.mp4")
    assert (recorded.steps, recorded.whole) == (5, False)


@pytest.mark.parametrize("size", [(3000, 200), (7, 5), (640, 480)])
def test_a_picture_of_any_size_can_be_filmed(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    canvas = recording.FrameCanvas((height, width, 3), 2)
    with writing(tmp_path / "a.mp4", canvas.size, 30.0) as film:
        for _ in range(2):
            picture = np.zeros((height, width, 3), np.uint8)
            film.add(canvas.draw(picture, recording.Panel(1, 2.0)))
    (first, _) = pictures(tmp_path / "a.mp4")
    assert first.shape[:2] == canvas.size[::-1]
    assert 480 <= canvas.size[0] <= 1280


def test_a_long_gif_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rljob.roles.evaluator.film.GIF_MOST_PICTURES", 10)
    with writing(tmp_path / "a.gif", (20, 10), 50.0) as film:
        for step in range(100):
            film.add(np.full((10, 20, 3), step, np.uint8))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames <= 11  # type: ignore[attr-defined]
        # As long as it was meant to be.
        assert image.info["duration"] * image.n_frames == pytest.approx(2000, rel=0.2)  # type: ignore[attr-defined]


# ---- a run's folder, and the command


def test_the_newest_videos_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "KEPT", 2)
    made = make_job()
    kept = Videos(made, tmp_path)
    for version in (1, 2, 10):
        kept.add(version, policy_of(made), 0, lambda: False)
    kept.close()
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == ["000000000002.mp4", "000000000010.mp4"]


def test_a_video_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "videos").write_text("in the way")
    made = make_job()
    kept = Videos(made, tmp_path)
    with caplog.at_level(logging.WARNING, "rljob"):
        kept.add(1, policy_of(made), 0, lambda: False)
    kept.close()
    assert "no video of policy version 1" in caplog.text


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    made = make_job()
    state = {"w": np.zeros(1, np.float32)}
    snapshot = Snapshot(3, 0, policy_of(made), state, {}, steps=64)
    checkpoint.save(folder / "checkpoints", snapshot, keep=1)
    (folder / "job.yaml").write_text(spec.dump(made))
    return folder


def test_the_command_records_an_episode(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "a.mp4"
    assert command(["eval", str(run), "--episodes", "2", "--video", str(path)]) == 0
    assert f"{path}: 12 steps, return 12.0" in capsys.readouterr().out
    assert len(pictures(path)) == 12 + RATE


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.avi", "the file's name must end in .mp4 or .gif"),
        ("none/a.mp4", "there is no folder"),
    ],
)
def test_the_command_refuses_other_files(
    run: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert command(["eval", str(run), "--video", str(run / name)]) == 2
    assert said in capsys.readouterr().err
