"""HTTP/1.1 for backends: lean, strict, straight into and out of the caller's memory.

A backend builds the head of a request as one bytes object, for it knows what of it changes from call to call, and
:meth:`HTTPClient.send` exchanges it for an :class:`Answer`, whose body goes directly to a sink. What the transport
does and backends therefore need not: connections that are kept, one for each concurrent caller, tried in turn over
all addresses of the host; TLS, always verified; proxies; time-outs; and an answer that is truncated, ambiguous or
malformed is an error, never a short success (RFC 9110, RFC 9112). Limits: heads and chunk lines are bounded, no
pipelining, no content codings, no redirects.
"""

from __future__ import annotations

from penstock.http.answers import Answer
from penstock.http.client import HTTPClient
from penstock.http.dates import now_s, parse_date
from penstock.http.statuses import status_class
from penstock.http.values import Origin, Settings

__all__ = ["Answer", "HTTPClient", "Origin", "Settings", "now_s", "parse_date", "status_class"]
