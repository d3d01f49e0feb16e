"""What is refused is tried again ever more seldom, and at once when it is another one."""

from __future__ import annotations

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob_operator.act.reconcile_cache import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    ReconcileCache,
    ReconcileCaches,
)

CHILD = ("Job", "x-learner")


def job(digest: str = "h") -> Manifest:
    return {
        "kind": "Job",
        "metadata": {"name": "x-learner", "annotations": {names.HASH_ANNOTATION: digest}},
    }


def test_refusals_are_spaced() -> None:
    memory, now, delays = ReconcileCache("u"), 0.0, []
    for _ in range(10):
        assert memory.may_try(job(), now)
        memory.refuse(job(), "no", now)
        assert not memory.may_try(job(), now)
        until = memory.next_attempt()
        assert until is not None
        delays.append(until - now)
        now = until
    assert delays[:3] == [FIRST_RETRY_SECONDS, 10.0, 20.0]
    assert delays[-1] == LONGEST_RETRY_SECONDS
    assert memory.refused() == {CHILD: "no"}


def test_another_manifest_is_tried_at_once_and_spaced_anew() -> None:
    memory = ReconcileCache("u")
    for _ in range(5):
        memory.refuse(job(), "no", 0.0)
    assert memory.may_try(job("other"), 0.0)
    memory.refuse(job("other"), "no", 0.0)
    assert memory.next_attempt() == FIRST_RETRY_SECONDS


def test_a_success_is_remembered_as_the_api_server_keeps_it() -> None:
    memory = ReconcileCache("u")
    memory.refuse(job(), "no", 0.0)
    memory.settle(job(), {"metadata": {"generation": 3}})
    assert memory.refused() == {}
    assert memory.settled == {CHILD: ("h", 3)}


def test_without_a_generation_nothing_is_settled() -> None:
    """Else an edit of a ConfigMap would be taken for what the API server made of ours."""
    memory = ReconcileCache("u")
    memory.settle(job(), {"metadata": {}})
    assert memory.settled == {}


def test_a_refusal_of_what_nobody_wants_any_more_is_forgotten() -> None:
    memory = ReconcileCache("u")
    memory.refuse(job(), "no", 0.0)
    memory.keep_refusals({CHILD})
    assert memory.refused() == {CHILD: "no"}
    memory.keep_refusals(set())
    assert memory.refused() == {}
    assert memory.next_attempt() is None


def test_a_passing_failure_is_no_refusal_and_a_lasting_one_is() -> None:
    memory = ReconcileCache("u")
    assert [memory.strike(job()) for _ in range(2)] == [False, False]
    memory.accept(job())
    assert [memory.strike(job()) for _ in range(4)] == [False, False, True, True]
    memory.keep_refusals(set())
    assert memory.strike(job()) is False


def test_another_job_of_the_same_name_begins_anew() -> None:
    memories = ReconcileCaches()
    first = memories.of(("ns", "x"), "u")
    assert memories.of(("ns", "x"), "u") is first
    assert memories.of(("ns", "x"), "v") is not first
