"""Metrics of a run while it runs, for Prometheus to scrape: ``http://HOST:PORT/metrics``.

Where there are several legs (stages, repeats), counters and histograms have a label ``leg``, and those of earlier legs
stay. Of a run on several hosts there are metrics by ``worker`` (its rank) and ``host`` too. They come from the
snapshots that the live view gets, once for each interval, and never from the threads that run operations; a scrape in
between sees the last one. What is counted is the measured window: warm-up has a counter of its own. All times are
seconds, and all sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIServer

import attrs
import numpy as np

from penstock.errors import UsageError
from penstock.report.crew import WorkerState
from penstock.report.outcome import Interval
from penstock.stats.histogram import Histogram
from penstock.stats.tally import Cell, Tally

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Exporter", "open_exporter", "parse_address"]

_LOOPBACK: Final = "127.0.0.1"
_LAST_PORT: Final = 65_535
#: Upper bounds of the histograms in microseconds: 10 µs to 100 s.
_BOUNDS: Final = tuple(step * 10**power for power in range(1, 9) for step in (1, 2, 5))[:-2]

_COUNTERS: Final[Sequence[tuple[str, str, Callable[[Cell], int]]]] = (
    ("penstock_operations", "Calls that succeeded.", lambda cell: cell.count),
    ("penstock_errors", "Calls that failed.", lambda cell: cell.errors),
    ("penstock_bytes", "Bytes moved by calls that succeeded.", lambda cell: cell.nbytes),
    ("penstock_retries", "Attempts of calls beyond the first.", lambda cell: cell.retries),
)
_TIMES: Final[Sequence[tuple[str, str, Callable[[Cell], Histogram]]]] = (
    ("penstock_service_seconds", "From start to end, of calls that succeeded.", lambda cell: cell.service),
    ("penstock_first_byte_seconds", "From the start of a read to its first byte.", lambda cell: cell.first_byte),
    ("penstock_response_seconds", "From when a planned call was due to its end.", lambda cell: cell.response),
    ("penstock_lag_seconds", "How late planned calls started.", lambda cell: cell.lag),
)  # fmt: skip


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``PORT``, which is on loopback alone, ``HOST:PORT`` or ``[ADDRESS]:PORT``. Port 0 stands for
    any free one. Raises UsageError.
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not port.isdecimal() or int(port) > _LAST_PORT or (colon and not host):
        raise UsageError(f"--prometheus {text}: write PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100")
    return host or _LOOPBACK, int(port)


def open_exporter(address: str) -> Exporter:
    """Serve metrics at an address as :func:`parse_address` takes it. Raises UsageError where that is not possible."""
    host, port = parse_address(address)
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise UsageError(
            "--prometheus needs the package prometheus-client; install penstock[prometheus], or leave the option out"
        ) from error
    exporter = Exporter()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--prometheus {address}: can't listen there: {reason}; name another port or host") from error
    exporter.serve(server, thread)
    return exporter


@attrs.frozen
class _Snapshot:
    """What is known at one moment; the thread that serves reads it as a whole."""

    phase: str = "start"
    leg: str = ""
    past: Mapping[str, Mapping[str, Mapping[str, Any]]] = attrs.Factory(dict)
    objects: int = 0
    nbytes: int = 0
    elapsed: float = 0.0
    warmup: int = 0
    workers: int | None = None
    processors: float | None = None
    in_flight: Mapping[str, float] = attrs.Factory(dict)
    cells: Mapping[str, Mapping[str, Any]] = attrs.Factory(dict)
    crew: Sequence[WorkerState] = ()


class Exporter:
    """A view of a run (:class:`penstock.report.live.LiveView`) that serves what it sees until it is closed."""

    def __init__(self) -> None:
        self._now = _Snapshot()
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def serve(self, server: WSGIServer, thread: Thread) -> None:
        """Take over the server that runs in ``thread``; it ends when this is closed."""
        self._server, self._thread = server, thread

    @property
    def url(self) -> str:
        """Where the metrics are; empty once it is closed."""
        if self._server is None:
            return ""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/metrics"

    def leg(self, label: str, number: int, of: int) -> None:
        now = self._now
        past = {**now.past, now.leg: now.cells} if now.leg else {}
        self._now = attrs.evolve(now, leg=label, past=past, cells={}, in_flight={}, elapsed=0.0)

    def phase(self, name: str, total: int | None, seconds: float | None) -> None:
        self._now = attrs.evolve(self._now, phase=name, objects=0, nbytes=0)

    def progress(self, done: int, nbytes: int) -> None:
        self._now = attrs.evolve(self._now, objects=done, nbytes=nbytes)

    def interval(self, interval: Interval, total: Tally) -> None:
        seconds = interval.seconds
        share = interval.client_cpu_pct
        recent = {name: interval.tally.operation(name).service.total / 1e9 for name in interval.tally.operations()}
        self._now = attrs.evolve(
            self._now,
            elapsed=max(interval.start_s + seconds, 0.0),
            warmup=total.warmup,
            workers=interval.active_workers,
            processors=None if share is None else share / 100,
            in_flight={name: busy / seconds if seconds > 0 else 0.0 for name, busy in recent.items()},
            cells={name: _frozen(total.operation(name)) for name in total.operations()},
        )

    def workers(self, states: Sequence[WorkerState]) -> None:
        self._now = attrs.evolve(self._now, crew=tuple(states))

    def note(self, text: str) -> None:
        """Notes are for people."""

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()

    def collect(self) -> Iterator[Metric]:
        """The metrics of the last snapshot, for ``prometheus_client``; any thread may ask."""
        now = self._now
        yield from _gauges(now)
        every = {**now.past, now.leg: now.cells}
        yield from _sums(every)
        yield from _times(every)
        if now.crew:
            yield from _crew(now.crew)


def _frozen(cell: Cell) -> dict[str, Any]:
    """Of a cell, which goes on growing, what is exported."""
    fields: dict[str, Any] = {name: read(cell) for name, _, read in _COUNTERS}
    for name, _, read in _TIMES:
        histogram = read(cell)
        if histogram.count:
            fields[name] = (_cumulated(histogram), histogram.total / 1e9)
    return fields


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    """For each bound how many values don't exceed it; as exact as the histogram, so within 0.1 % of the bound."""
    fractions, values = histogram.distribution()
    places = np.searchsorted(values, np.array(_BOUNDS, dtype=np.int64) * 1000, side="right")
    counts = np.concatenate([[0], np.rint(fractions * histogram.count).astype(np.int64)])[places]
    bounds = [(repr(bound / 1e6), float(count)) for bound, count in zip(_BOUNDS, counts, strict=True)]
    return [*bounds, ("+Inf", float(histogram.count))]


def _gauges(now: _Snapshot) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    phase = GaugeMetricFamily("penstock_phase", "1 for the phase that is under way.", labels=("phase",))
    phase.add_metric((now.phase,), 1)
    yield phase
    yield GaugeMetricFamily("penstock_phase_objects", "Objects dealt with by a prepare or a cleanup.", now.objects)
    yield GaugeMetricFamily("penstock_phase_bytes", "Bytes moved by a prepare.", now.nbytes)
    yield GaugeMetricFamily("penstock_measured_seconds", "How long has been measured so far.", now.elapsed)
    yield CounterMetricFamily("penstock_warmup_operations", "Calls of the warm-up, failed ones too.", now.warmup)
    if now.workers is not None:
        yield GaugeMetricFamily("penstock_workers", "Worker processes at work.", now.workers)
    if now.processors is not None:
        about = "Processors that the run's own processes used in the last interval."
        yield GaugeMetricFamily("penstock_client_processors", about, now.processors)
    about = "Calls in flight in the last interval, on average."
    in_flight = GaugeMetricFamily("penstock_operations_in_flight", about, labels=("operation",))
    for operation, mean in now.in_flight.items():
        in_flight.add_metric((operation,), mean)
    yield in_flight


#: Of each worker that is a host: those of one worker are told apart by its rank, whatever its host is called.
_CREW: Final[Sequence[tuple[str, str, Callable[[WorkerState], float | None]]]] = (
    ("penstock_worker_up", "1 while a worker is heard of, 0 when it is silent or lost.", lambda one: float(one.up)),
    ("penstock_worker_silent_seconds", "How long ago a worker was last heard of.", lambda one: one.silent_s),
    ("penstock_worker_operations_per_second", "Its rate in the last interval.", lambda one: one.rate),
    ("penstock_worker_bytes_per_second", "Its throughput in the last interval.", lambda one: one.speed),
    ("penstock_worker_p50_seconds", "Its median service time in the last interval.", lambda one: _seconds(one.p50_ns)),
    ("penstock_worker_p99_seconds", "The 99th percentile of it.", lambda one: _seconds(one.p99_ns)),
)  # fmt: skip
_CREW_COUNTERS: Final[Sequence[tuple[str, str, Callable[[WorkerState], float]]]] = (
    ("penstock_worker_operations", "A worker's calls that succeeded.", lambda one: one.count),
    ("penstock_worker_errors", "A worker's calls that failed.", lambda one: one.errors),
    ("penstock_worker_bytes", "Bytes moved by a worker's calls that succeeded.", lambda one: one.nbytes),
)


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _crew(states: Sequence[WorkerState]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, about, read in _CREW:
        gauge = GaugeMetricFamily(name, about, labels=("worker", "host"))
        for state in states:
            value = read(state)
            if value is not None:
                gauge.add_metric((str(state.rank), state.host), value)
        yield gauge
    for name, about, count in _CREW_COUNTERS:
        counter = CounterMetricFamily(name, about, labels=("worker", "host"))
        for state in states:
            counter.add_metric((str(state.rank), state.host), count(state))
        yield counter


def _labels(legs: Iterable[str]) -> Sequence[str]:
    """A run of one leg has no label for it."""
    return ("leg", "operation") if any(legs) else ("operation",)


def _sums(legs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    for name, about, _ in _COUNTERS:
        family = CounterMetricFamily(name, about, labels=_labels(legs))
        for leg, cells in legs.items():
            for operation, fields in cells.items():
                family.add_metric([*filter(None, (leg, operation))], fields[name])
        yield family


def _times(legs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    for name, about, _ in _TIMES:
        family = HistogramMetricFamily(name, about, labels=_labels(legs))
        for leg, cells in legs.items():
            for operation, fields in cells.items():
                if name in fields:
                    buckets, total = fields[name]
                    family.add_metric([*filter(None, (leg, operation))], buckets, total)
        yield family
