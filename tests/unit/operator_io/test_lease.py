"""Who may act: told from changes of the Lease and from our own clock alone."""

from __future__ import annotations

import pytest

from rljob.kube.kinds import Manifest
from rljob_operator.act.lease import LEASE_SECONDS, STOP_SECONDS, Election, look, turn
from rljob_operator.api.errors import NotLeading


def lease(holder: str, version: str, seconds: int | None = LEASE_SECONDS) -> Manifest:
    spec = {"holderIdentity": holder, "renewTime": "1970-01-01T00:00:00.000000Z"}
    if seconds is not None:
        spec["leaseDurationSeconds"] = str(seconds)
    return {"metadata": {"resourceVersion": version}, "spec": spec}


def test_ours_is_renewed() -> None:
    assert turn(look(lease("me", "1"), None, 0.0), "me", 100.0) == "renew"


def test_that_of_somebody_who_renews_is_waited_for() -> None:
    """However old its own time is: clocks of two machines need not agree."""
    seen = None
    for now in range(0, 100, 10):
        seen = look(lease("other", str(now)), seen, float(now))
        assert turn(seen, "me", now + LEASE_SECONDS - 0.1) == "wait"


def test_that_of_somebody_who_does_not_is_taken_after_its_time() -> None:
    seen = look(lease("other", "1"), None, 0.0)
    seen = look(lease("other", "1"), seen, 10.0)
    assert turn(seen, "me", LEASE_SECONDS - 0.1) == "wait"
    assert turn(seen, "me", float(LEASE_SECONDS)) == "take"


def test_one_that_was_released_is_taken_at_once() -> None:
    assert turn(look(lease("", "2"), None, 0.0), "me", 0.0) == "take"


def test_without_a_duration_ours_counts() -> None:
    assert look(lease("other", "1", None), None, 0.0).seconds == LEASE_SECONDS


def test_the_fence_is_shut_when_the_last_renewal_is_too_old() -> None:
    now = 100.0
    election = Election("lease", "ns", "me", lambda: now)
    with pytest.raises(NotLeading):
        election.fence()
    election._renewed = 100.0
    # A write that begins now is over when another one may begin.
    assert election.fence() == LEASE_SECONDS
    now = 100.0 + STOP_SECONDS - 1.0
    assert election.fence() == pytest.approx(LEASE_SECONDS - STOP_SECONDS + 1.0)
    now = 100.0 + STOP_SECONDS
    with pytest.raises(NotLeading):
        election.fence()
