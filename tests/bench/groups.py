"""Everything that is measured, in the order of the table."""

from __future__ import annotations

from tests.bench import (
    algorithms,
    cluster,
    lag,
    operator,
    path,
    pixels,
    planning,
    process,
    replaying,
    resilience,
    solving,
    threads,
    throughput,
    weights,
    wire,
)
from tests.bench.group import Group

GROUPS: dict[str, Group] = {
    group.name: group
    for group in (
        *solving.GROUPS,
        throughput.GROUP,
        algorithms.GROUP,
        path.GROUP,
        lag.GROUP,
        resilience.GROUP,
        process.GROUP,
        pixels.GROUP,
        planning.GROUP,
        cluster.GROUP,
        operator.GROUP,
        wire.GROUP,
        weights.GROUP,
        replaying.GROUP,
        threads.GROUP,
    )
}
