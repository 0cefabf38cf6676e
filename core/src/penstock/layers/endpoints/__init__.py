"""Several endpoints that show one namespace, used as one store.

Each call goes to the endpoint that the policy chooses among the healthy ones:

``round_robin``
    one after the other; the numbers of calls differ by one at most while all are healthy.
``random``
    drawn, from the seed.
``least_connections``
    the one with the fewest calls under way; of several the one that has waited longest.
``latency_weighted``
    in turn, each as often as it is quick: shares go by the inverse of the moving mean of its latencies.
``sticky_key``
    the same for one key as long as it is healthy; when endpoints come or go few keys move.

A call that fails in a way that may pass (``error.retryable``) moves to another endpoint where it may be repeated;
:mod:`penstock.layers.retry` says when that is. A read does while no byte was delivered, a listing goes on after its
last entry where the store lists in order. A writer stays where it was opened. Each endpoint is tried once.

An endpoint is ejected after some failures in a row, throttling not among them, for a time that doubles from ejection to
ejection. When it is over, one call probes it: its success brings the endpoint back. If none is healthy, the one whose
time ends first is asked all the same.

All endpoints must show the same objects with the same etags, as the gateways of one storage do. Where they are copies
of one another with etags of their own, only ``sticky_key`` keeps conditions and ranges true.
"""

from __future__ import annotations

from penstock.layers.endpoints.members import EndpointStatistics
from penstock.layers.endpoints.naming import expand, read_endpoints, split_endpoints
from penstock.layers.endpoints.policy import POLICIES, Endpoints
from penstock.layers.endpoints.store import Balanced

__all__ = [
    "POLICIES",
    "Balanced",
    "EndpointStatistics",
    "Endpoints",
    "expand",
    "read_endpoints",
    "split_endpoints",
]
