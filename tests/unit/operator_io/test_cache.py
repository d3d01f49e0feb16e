"""What the operator knows: newer states win, in whatever order they come."""

from __future__ import annotations

import itertools

from rljob_operator.watch.cache import GONE_SECONDS, WARNING_LIMIT, WARNING_SECONDS, Cache
from tests.unit.operator_io.worlds import made, warning

KEY = ("ns", "x")


def test_an_object_belongs_to_the_job_that_its_label_names() -> None:
    cache = Cache()
    assert cache.put(made("RLJob", "x"), 0.0) == KEY
    assert cache.put(made("Service", "anything", job="x"), 0.0) == KEY
    assert cache.put(made("Pod", "p", job="x"), 0.0) == KEY
    assert cache.put(made("Service", "other"), 0.0) is None
    assert cache.job(KEY) is not None
    assert [child["metadata"]["name"] for child in cache.children(KEY)] == ["anything"]
    assert [pod["metadata"]["name"] for pod in cache.pods(KEY)] == ["p"]
    assert [key for key, _ in cache.jobs()] == [KEY]


def test_children_may_come_before_their_job() -> None:
    cache = Cache()
    assert cache.put(made("Service", "s", job="x"), 0.0) == KEY
    assert cache.job(KEY) is None
    cache.put(made("RLJob", "x"), 0.0)
    assert len(cache.children(KEY)) == 1


def test_the_newest_state_stays_in_whatever_order_states_come() -> None:
    states = [made("Service", "s", version, job="x", spec=version) for version in (9, 10, 11)]
    for order in itertools.permutations(states):
        cache = Cache()
        for state in order:
            cache.put(state, 0.0)
        assert cache.children(KEY)[0]["spec"] == 11


def test_an_old_state_asks_for_no_look() -> None:
    cache = Cache()
    cache.put(made("Service", "s", 2, job="x"), 0.0)
    assert cache.put(made("Service", "s", 1, job="x"), 0.0) is None
    # The same one does: it may be the answer to our own write, after which we look again.
    assert cache.put(made("Service", "s", 2, job="x"), 0.0) == KEY


def test_the_end_of_an_object_does_not_end_its_successor() -> None:
    cache = Cache()
    cache.put(made("Job", "j", 1, uid="old", job="x"), 0.0)
    cache.put(made("Job", "j", 5, uid="new", job="x"), 0.0)
    assert cache.drop(made("Job", "j", 4, uid="old", job="x"), 0.0) == KEY
    assert [child["metadata"]["uid"] for child in cache.children(KEY)] == ["new"]
    cache.put(made("Job", "j", 3, uid="old", job="x"), 0.0)
    assert [child["metadata"]["uid"] for child in cache.children(KEY)] == ["new"]


def test_an_object_that_is_given_to_another_job_leaves_the_first() -> None:
    cache = Cache()
    cache.put(made("Service", "s", 1, job="x"), 0.0)
    assert cache.put(made("Service", "s", 2, job="y"), 0.0) == ("ns", "y")
    assert cache.children(KEY) == ()
    assert len(cache.children(("ns", "y"))) == 1


def test_a_pod_that_is_gone_is_told_of_for_a_while_in_its_last_state() -> None:
    cache = Cache()
    cache.put(made("Pod", "p", 1, job="x", status={"phase": "Running"}), 0.0)
    assert cache.drop(made("Pod", "p", 2, job="x", status={"phase": "Failed"}), 10.0) == KEY
    assert cache.pods(KEY) == ()
    assert [pod["status"]["phase"] for pod in cache.gone(KEY, 10.0 + GONE_SECONDS)] == ["Failed"]
    assert cache.gone(KEY, 10.1 + GONE_SECONDS) == ()


def test_nothing_is_kept_of_what_nobody_reads() -> None:
    cache = Cache()
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    job = made("RLJob", "x")
    job["metadata"]["annotations"] = {applied: "{}", "team": "blue"}
    cache.put(job, 0.0)
    cache.put(made("Pod", "p", job="x", spec={"nodeName": "n", "containers": [{}]}), 0.0)
    found = cache.job(KEY)
    assert found is not None
    assert found["metadata"]["annotations"] == {"team": "blue"}
    assert "managedFields" not in found["metadata"]
    assert cache.pods(KEY)[0]["spec"] == {"nodeName": "n"}
    # What was given is not changed: it belongs to somebody else.
    assert applied in job["metadata"]["annotations"]


def test_sweeping_leaves_nothing_of_what_is_gone() -> None:
    cache = Cache()
    cache.put(made("RLJob", "x"), 0.0)
    cache.put(made("Pod", "p", job="x"), 0.0)
    cache.put(warning("x-rollout"), 0.0)
    cache.drop(made("Pod", "p", job="x"), 0.0)
    cache.drop(made("RLJob", "x"), 0.0)
    assert len(cache._families) == 1
    cache.sweep(max(GONE_SECONDS, WARNING_SECONDS) + 1.0)
    assert not cache._families
    assert not cache._warnings


class TestWarnings:
    def test_concern_the_job_with_the_longest_fitting_name(self) -> None:
        cache = Cache()
        for name in ("a", "a-b"):
            cache.put(made("RLJob", name), 0.0)
        assert cache.put(warning("a-b-learner-x7", "one"), 0.0) == ("ns", "a-b")
        assert cache.put(warning("a-learner", "two"), 0.0) == ("ns", "a")
        assert cache.put(warning("another", "three"), 0.0) is None
        assert [w["metadata"]["name"] for w in cache.warnings(("ns", "a"), 0.0)] == ["two"]
        assert [w["metadata"]["name"] for w in cache.warnings(("ns", "a-b"), 0.0)] == ["one"]

    def test_may_come_before_their_job(self) -> None:
        cache = Cache()
        assert cache.put(warning("x-learner"), 0.0) is None
        cache.put(made("RLJob", "x"), 0.0)
        assert len(cache.warnings(KEY, 0.0)) == 1

    def test_about_the_job_itself_are_our_own(self) -> None:
        cache = Cache()
        cache.put(made("RLJob", "a"), 0.0)
        assert cache.put(warning("a-b", kind="RLJob"), 0.0) is None
        assert cache.warnings(("ns", "a"), 0.0) == ()

    def test_are_told_of_for_a_while_and_since_a_time(self) -> None:
        cache = Cache()
        cache.put(made("RLJob", "x"), 0.0)
        cache.put(warning("x-learner"), 5.0)
        assert len(cache.warnings(KEY, 6.0, since=4.0)) == 1
        assert cache.warnings(KEY, 6.0, since=5.0) == ()
        assert cache.warnings(KEY, 5.1 + WARNING_SECONDS) == ()

    def test_of_a_noisy_namespace_do_not_fill_the_memory(self) -> None:
        cache = Cache()
        cache.put(made("RLJob", "x"), 0.0)
        for number in range(WARNING_LIMIT + 5):
            cache.put(warning("x-learner", f"w{number}"), float(number))
        found = cache.warnings(KEY, 0.0)
        assert len(found) == WARNING_LIMIT
        assert found[0]["metadata"]["name"] == "w5"
