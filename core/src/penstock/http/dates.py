"""The times that HTTP speaks of: dates in headers, and the wall clock for signatures."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from penstock import clocks

__all__ = ["now_s", "parse_date"]


def now_s() -> int:
    """Whole seconds since 1970 by the wall clock, for signatures and expiry; durations are not measured by it."""
    return clocks.wall_ns() // 1_000_000_000


def parse_date(text: str) -> int | None:
    """An HTTP date (RFC 9110, 5.6.7) in nanoseconds since 1970; None when the text is no date."""
    # The longest form has 33 characters; what is remembered must not be large.
    return _parse(text) if len(text) < 64 else None


@functools.lru_cache(4096)
def _parse(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000_000
