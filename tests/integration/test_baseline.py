"""`evaluation.baseline`: a job whose final policy plays worse fails, on one machine and as pods."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rljob.spec.status import EndReport
from tests.integration.pods import running
from tests.integration.test_run import Place, result

SHORT: dict[str, Any] = {"stop": {"updates": 3}, "rollout": {"replicas": 1, "envsPerReplica": 8}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_a_run_fails_below_its_baseline_and_not_above(place: Place) -> None:
    # No policy reaches 501 in CartPole-v1, and each episode has a step.
    file = place.write(**SHORT, evaluation={"episodes": 3, "baseline": 501})
    below = place.run("run", file, "--dir", "run")
    assert below.returncode == 1, below.stdout
    assert "evaluation.baseline 501 was not reached: the mean return of 3 greedy" in below.stdout
    end = result(place.folder / "run")
    assert (end["outcome"], end["reason"]) == ("Failed", "BelowBaseline")
    assert end["evaluation"]["mean"] < 501
    assert end["evaluation"]["policyVersion"] == end["policyVersion"]

    options = ("--set", "evaluation.baseline=1", "--set", "stop.updates=4")
    above = place.run("run", "--resume", "--dir", "run", *options)
    assert above.returncode == 0, above.stderr
    end = result(place.folder / "run")
    assert (end["outcome"], end["reason"]) == ("Complete", "UpdatesReached")
    assert "message" not in end


def test_a_policy_that_cannot_be_played_reaches_no_baseline(place: Place) -> None:
    module = place.folder / "walks.py"
    # The learner writes the result before the final evaluation.
    broken = "if os.path.exists('run/result.json'): raise OSError('no simulator')"
    module.write_text(f"import os\n{broken}\n{module.read_text()}")
    walk = {"entryPoint": "walks:Walk"}
    file = place.write(**SHORT, environment=walk, evaluation={"episodes": 1, "baseline": 1})
    ended = place.run("run", file, "--dir", "run")
    assert ended.returncode == 1
    end = result(place.folder / "run")
    assert (end["outcome"], end["reason"], end["evaluation"]) == ("Failed", "NotEvaluated", None)
    assert "is not known to be reached" in end["message"]


@pytest.mark.parametrize(
    ("baseline", "outcome", "reason"),
    [
        (501, "Failed", "BelowBaseline"),
        (1, "Complete", "UpdatesReached"),
        (None, "Complete", "UpdatesReached"),
    ],
)
def test_a_learner_in_a_pod_plays_its_final_policy(
    tmp_path: Path, baseline: float | None, outcome: str, reason: str
) -> None:
    evaluation = {"episodes": 3, **({} if baseline is None else {"baseline": baseline})}
    with running(tmp_path, stop={"updates": 3}, evaluation=evaluation) as job:
        learner = job.start("learner")
        for role in ("buffer", "rollout"):
            job.start(role)
        assert learner.wait() == 0, job.tell()
        end = EndReport.model_validate(learner.ended())
        assert (end.outcome, end.reason) == (outcome, reason), job.tell()
        assert end.report is not None
        played = end.report.evaluation
        assert played is not None
        assert (played.episodes, played.policy_version) == (3, end.report.policy.version)
        assert 1 <= played.mean <= 500
        assert end.report.evaluating is None
        written = json.loads((learner.folder / "result.json").read_text())
        assert (written["outcome"], written["evaluation"]["mean"]) == (outcome, played.mean)


def test_a_learner_that_is_asked_to_end_meanwhile_evaluates_when_it_is_back(tmp_path: Path) -> None:
    # The episode of this environment does not end; its evaluation is that of one that does later.
    endless = {"id": "Pendulum-v1", "maxEpisodeSteps": 10**9}
    evaluation = {"episodes": 2, "baseline": -(10.0**9)}
    with running(tmp_path, stop={"updates": 2}, environment=endless, evaluation=evaluation) as job:
        learner = job.start("learner")
        for role in ("buffer", "rollout"):
            job.start(role)
        job.until(lambda: learner.status().get("evaluating"), "the final evaluation")
        assert learner.end(signal.SIGTERM) == 75
        assert learner.ended()["outcome"] == "Interrupted"
        short = {"id": "Pendulum-v1", "maxEpisodeSteps": 5}
        again = job.start("learner", folder=learner.folder, environment=short)
        assert again.wait() == 0, job.tell()
        end = EndReport.model_validate(again.ended())
        assert end.outcome == "Complete"
        assert end.report is not None
        assert end.report.evaluation is not None
        assert end.report.progress.updates == 2
