"""What applications do, by name: counted in the buffer, told to the learner, and shown."""

from __future__ import annotations

from typing import Any

import pytest

from rljob import spec
from rljob.diagnosis.page import page
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.samples import Samples
from rljob.diagnosis.situation import RoleCount, Situation
from rljob.diagnosis.verdict import explain
from rljob.roles.buffer.applications import MOST_KEPT, RATE_SECONDS, ApplicationCounts
from rljob.roles.buffer.rollouts import ConnectedRollout
from rljob.run_folder.applications import applications_status
from rljob.run_folder.record import Record
from rljob.show.view.panel import text
from rljob.spec.status import ApplicationsStatus, ProgressStatus
from rljob.telemetry.role_state import RoleState
from rljob.wire.application_figures import (
    MOST_TOLD,
    ApplicationFigures,
    busiest,
    figure_fields,
    take_figures,
    write_figures,
)
from rljob.wire.arrays import Layout, unpack
from rljob.wire.delivery import Receiver
from tests.unit import specs

ALONE = spec.parse(specs.application_job()).spec


def connected(name: str) -> ConnectedRollout:
    return ConnectedRollout(b"x", Receiver(1), 0.0, 0, application=name)


def one(counts: ApplicationCounts, now: float, *names: str) -> ApplicationFigures:
    (found,) = counts.figures([connected(name) for name in names], now)
    return found


def test_what_an_application_did_is_counted_under_its_name() -> None:
    counts = ApplicationCounts()
    assert one(counts, 0.0, "shop", "shop") == ApplicationFigures("shop", 2)
    counts.arrived("shop", 100, 7, 9, 2.0)
    counts.lost("shop", {"evicted": 2, "stale": 1, "no_reward": 5}, 2.0)
    found = one(counts, 5.0, "shop")
    assert (found.steps, found.steps_per_second) == (100, 20.0)
    assert (found.lag, found.version, found.evicted, found.silent_seconds) == (2, 7, 3, 3.0)
    # It stays known when it has gone, and its rate falls.
    gone = one(counts, 5.0 + RATE_SECONDS)
    assert (gone.connected, gone.steps, gone.steps_per_second) == (0, 100, 0.0)


def test_a_rate_is_that_of_the_last_seconds() -> None:
    counts = ApplicationCounts()
    for second in range(40):
        counts.arrived("shop", 10 if second < 20 else 30, 1, None, float(second))
        one(counts, float(second), "shop")
    assert one(counts, 40.0, "shop").steps_per_second == pytest.approx(30.0)


def test_names_are_bounded() -> None:
    counts = ApplicationCounts()
    for index in range(MOST_KEPT + 5):
        counts.arrived(f"a{index}", 1, 0, None, float(index))
    names = {each.name for each in counts.figures([], 2000.0)}
    assert len(names) == MOST_KEPT
    assert "a4" not in names
    assert "a5" in names


def test_figures_go_through_a_payload() -> None:
    figures = (
        ApplicationFigures("a" * 63, 2, 10**12, 1.5, 3, 10**9, 4, 0.25),
        ApplicationFigures("b"),
    )
    payload, arrays = Layout(figure_fields(2)).allocate()
    write_figures(arrays, figures)
    found = dict(unpack(payload.data))
    assert take_figures(found) == figures
    assert found == {}
    assert take_figures({}) == ()
    assert figure_fields(0) == ()


def test_the_busiest_are_told() -> None:
    every = [ApplicationFigures(f"a{index}", steps_per_second=float(index)) for index in range(40)]
    assert [each.name for each in busiest(every)][:2] == ["a39", "a38"]
    assert len(busiest(every)) == MOST_TOLD


RECORD = Record.from_json(
    {
        "applicationsConnected": 12,
        "applications": [
            {"name": "shop", "connected": 12, "steps_per_second": 1840.4, "lag": 2, "version": 7, "silent_seconds": 0.4}
        ],
    }
)  # fmt: skip


def test_a_record_becomes_a_status() -> None:
    status = applications_status(RECORD)
    assert status.connected == 12
    (shop,) = status.busiest
    assert (shop.name, shop.steps_per_second, shop.lag, shop.version) == ("shop", 1840, 2, 7)
    assert applications_status(Record.from_json(RECORD.to_json())) == status
    assert applications_status(Record()) == ApplicationsStatus()


def situation(status: ApplicationsStatus | None, waits: float = 0.71, **fields: Any) -> Situation:
    stage = "rljob_learner_stage_seconds_total"
    numbers = {
        (stage, (("stage", "data_wait"),)): waits,
        (stage, (("stage", "update"),)): 1 - waits,
    }
    samples = Samples(dict.fromkeys(numbers, 0.0), numbers, 1.0)
    state = RoleState(role="learner", name="learner-0", doing="data")
    given: dict[str, Any] = {
        "name": "scheduler",
        "place": "rl",
        "local": False,
        "phase": "Training",
        "spec": ALONE,
        "roles": (RoleCount("buffer", 1, 1), RoleCount("learner", 1, 1)),
        "processes": (RoleProbe("learner", "learner-0", state, samples),),
        "progress": ProgressStatus(steps=5, steps_per_second=1840),
        "applications": status,
    }
    return Situation(**{**given, **fields})


def test_a_job_says_how_many_applications_feed_it_and_what_bounds_it() -> None:
    found = explain(situation(applications_status(RECORD)))
    assert found.well
    assert found.verdict == (
        "scheduler trains at 1,840 steps/s from 12 applications; the learner waits for data 71 % of its time: "
        "more applications would make it faster."
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "none is connected, no segment has come yet"),
        (ApplicationsStatus(connected=1), "1 is connected, no segment has come yet"),
        (
            {"connected": 3, "busiest": [{"name": "a", "silent_seconds": 120}, {"name": "b", "silent_seconds": 900}]},
            "3 are connected, the last segment came 2m 00s ago",
        ),
        ({"connected": 0, "busiest": [{"name": "a", "silent_seconds": 1}]}, "none is connected, the last segment came 1"),
    ],
)  # fmt: skip
def test_a_job_that_waits_for_applications_says_so(status: Any, words: str) -> None:
    told = ApplicationsStatus.model_validate(status) if isinstance(status, dict) else status
    for phase in ("Training", "Starting"):
        found = explain(situation(told, phase=phase))
        assert found.well
        assert found.verdict.startswith(f"scheduler waits for applications: {words}")


def test_a_role_that_is_missing_comes_first() -> None:
    roles = (RoleCount("buffer", 1, 0), RoleCount("learner", 1, 1))
    found = explain(situation(None, phase="Starting", roles=roles))
    assert "it waits for the buffer (0 of 1 ready)" in found.verdict


def test_explain_lists_applications_by_name() -> None:
    shown = situation(applications_status(RECORD))
    lines = [text(line) for line in page(shown, explain(shown))]
    row = next(line for line in lines if "shop" in line)
    assert row.split()[:6] == ["shop", "12", "1,840", "2", "0", "7"]
