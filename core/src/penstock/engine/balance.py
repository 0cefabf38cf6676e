"""What went through each endpoint of a store that spreads its calls, as messages and results have it."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.layers.endpoints import EndpointStatistics
from penstock.report.outcome import EndpointUse

__all__ = ["merge_uses", "use_of"]


def use_of(statistics: EndpointStatistics) -> EndpointUse:
    """Of one endpoint, as one worker sees it."""
    return EndpointUse(
        uri=statistics.uri,
        requests=statistics.requests,
        errors=statistics.errors,
        bytes_read=statistics.bytes_read,
        bytes_written=statistics.bytes_written,
        ejections=statistics.ejections,
        healthy=statistics.healthy,
        latency=statistics.latency,
    )


def merge_uses(uses: Iterable[EndpointUse]) -> list[EndpointUse]:
    """Those of all workers, by endpoint."""
    found: dict[str, EndpointUse] = {}
    for use in uses:
        found[use.uri] = use if use.uri not in found else found[use.uri].plus(use)
    return list(found.values())
