"""The applications of a record as a status."""

from __future__ import annotations

from rljob.run_folder.record import Record
from rljob.spec.status import ApplicationsStatus, ApplicationStatus


def applications_status(record: Record) -> ApplicationsStatus:
    """The same numbers, rounded."""
    return ApplicationsStatus(
        connected=record.applications_connected,
        busiest=[
            ApplicationStatus.model_validate(
                {
                    **each,
                    "steps_per_second": round(each.get("steps_per_second", 0.0)),
                    "silent_seconds": round(each.get("silent_seconds", -1.0)),
                }
            )
            for each in record.applications
        ],
    )
