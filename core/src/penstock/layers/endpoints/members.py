"""The endpoints, what is known of each, and which of them can be asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs

from penstock.errors import StoreError, ThrottledError
from penstock.store import ObjectStore

if TYPE_CHECKING:
    from penstock.stats.histogram import Histogram

__all__ = ["EndpointStatistics", "Member", "Members"]

#: The share of the newest latency in the moving mean.
_NEWEST = 0.2
_BATCH = 1024
#: The longest ejection is reached after so many doublings at the latest; a float of 2**1024 does not exist.
_DOUBLINGS = 64


@attrs.frozen(slots=True, kw_only=True)
class EndpointStatistics:
    """What went through one endpoint so far.

    ``requests`` are calls that were begun, also those that failed; of a writer its opening, each write and its end.
    ``latency`` counts the nanoseconds of those that succeeded.
    """

    uri: str
    requests: int
    errors: int
    active: int
    bytes_read: int
    bytes_written: int
    healthy: bool
    ejections: int
    latency: Histogram


class Member:
    """One endpoint. The lock of its :class:`Members` guards everything that changes."""

    def __init__(self, uri: str, store: ObjectStore, place: int) -> None:
        # numpy is for those who have several endpoints.
        from penstock.stats.histogram import Histogram

        self.uri = uri
        self.store = store
        self.mark = blake2b(uri.encode(errors="surrogatepass"), digest_size=16).digest()
        self.chosen_at = place - 2**62
        self.credit = 0.0
        self.active = 0
        self.mean_ns = 0.0
        self.requests = 0
        self.errors = 0
        self.bytes_read = 0
        self.bytes_written = 0
        self.failures = 0
        self.ejections = 0
        self.ejected_at = 0
        #: When it may be probed; 0 while it is healthy.
        self.until = 0
        self.in_a_row = 0
        self.probing = False
        self._latency = Histogram()
        self._pending: list[int] = []

    def took(self, nanoseconds: int) -> None:
        """Count the latency of a call that succeeded."""
        self.mean_ns += (nanoseconds - self.mean_ns) * (_NEWEST if self.mean_ns else 1.0)
        self._pending.append(nanoseconds)
        if len(self._pending) >= _BATCH:
            self._settle()

    def statistics(self) -> EndpointStatistics:
        """As it is now."""
        from penstock.stats.histogram import Histogram

        self._settle()
        latency = Histogram()
        latency.merge(self._latency)
        return EndpointStatistics(
            uri=self.uri,
            requests=self.requests,
            errors=self.errors,
            active=self.active,
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
            healthy=not self.until,
            ejections=self.ejections,
            latency=latency,
        )

    def _settle(self) -> None:
        if self._pending:
            self._latency.record(self._pending)
            self._pending.clear()


class Members:
    """All endpoints of one store. Threads share it."""

    def __init__(
        self,
        members: Sequence[Member],
        *,
        eject_after: int,
        base_delay: float,
        max_delay: float,
        clock: Callable[[], int],
    ) -> None:
        self.all = tuple(members)
        self.clock = clock
        self._eject_after = eject_after
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._lock = threading.Lock()
        self._turn = 0

    def begin(self, choose: Callable[[Sequence[Member]], Member], tried: Collection[Member]) -> Member:
        """Choose a member for a call that begins now. Those that were tried are taken only if there are no others."""
        now = self.clock()
        with self._lock:
            member = self._choose(choose, [one for one in self.all if one not in tried] or list(self.all), now)
            self._turn += 1
            member.chosen_at = self._turn
            self._count(member)
        return member

    def again(self, member: Member) -> None:
        """Another call on a member that was chosen before."""
        with self._lock:
            self._count(member)

    def end(
        self, member: Member, begun: int, error: BaseException | None, *, bytes_read: int = 0, bytes_written: int = 0
    ) -> None:
        """A call that began at ``begun`` has ended."""
        now = self.clock()
        with self._lock:
            member.active -= 1
            member.bytes_read += bytes_read
            member.bytes_written += bytes_written
            if error is not None:
                member.errors += 1
            if _is_its_fault(error):
                self._failed(member, begun, now)
            else:
                self._answered(member, begun)
            if error is None:
                member.took(now - begun)

    def statistics(self) -> tuple[EndpointStatistics, ...]:
        """Of each member, in order."""
        with self._lock:
            return tuple(member.statistics() for member in self.all)

    def _choose(self, choose: Callable[[Sequence[Member]], Member], members: Sequence[Member], now: int) -> Member:
        for member in members:
            if member.until and member.until <= now and not member.probing:
                member.probing = True
                return member
        healthy = [member for member in members if not member.until]
        return choose(healthy) if healthy else min(members, key=lambda member: member.until)

    def _count(self, member: Member) -> None:
        member.active += 1
        member.requests += 1

    def _failed(self, member: Member, begun: int, now: int) -> None:
        member.failures += 1
        if member.until:
            # Calls that were under way when it was ejected say nothing new.
            if begun >= member.ejected_at:
                self._eject(member, now)
        elif member.failures >= self._eject_after:
            self._eject(member, now)

    def _eject(self, member: Member, now: int) -> None:
        delay = min(self._max_delay, self._base_delay * 2.0 ** min(member.in_a_row, _DOUBLINGS))
        member.in_a_row += 1
        member.ejections += 1
        member.ejected_at = now
        member.until = now + max(round(delay * 1e9), 1)
        member.probing = False

    def _answered(self, member: Member, begun: int) -> None:
        if member.until and begun < member.ejected_at:
            return
        member.failures = member.in_a_row = member.until = 0
        member.probing = False


def _is_its_fault(error: BaseException | None) -> bool:
    """Whether an endpoint that fails so may be broken: it did not answer, or not in a way that lasts."""
    return isinstance(error, StoreError) and error.retryable and not isinstance(error, ThrottledError)
