"""Everything that is measured, in the order of the table."""

from __future__ import annotations

from tests.bench import solving, throughput
from tests.bench.group import Group

GROUPS: dict[str, Group] = {
    group.name: group
    for group in (
        *solving.GROUPS,
        throughput.GROUP,
    )
}
