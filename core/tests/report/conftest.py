"""Outcomes built from synthetic records, and what the tests of reports look at in a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

from penstock.records import Op, RecordBuffer, Recorder, record_dtype
from penstock.report import write_results
from penstock.report.crew import ClockReading, WorkerClock
from penstock.report.outcome import Interval, Outcome, PhaseOutcome, WorkerOutcome
from penstock.report.series import Series
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

STARTED = 1_795_225_925 * 10**9 + 123_456_789
NASTY = "k/</script><script>alert(1)</script>&amp;'\"\t\udc80é"

LATENCIES = {  # nanoseconds of the median, spread, and bytes per operation
    Op.GET: (900_000, 0.5, (4096, 65_536, 1_048_576)),
    Op.GET_RANGE: (450_000, 0.4, (65_536,)),
    Op.PUT: (2_400_000, 0.7, (1_048_576, 8_388_608)),
    Op.LIST: (5_000_000, 0.4, (0,)),
    Op.STAT: (300_000, 0.3, (0,)),
    Op.DELETE: (600_000, 0.5, (0,)),
    Op.DELETE_BATCH: (9_000_000, 0.5, (0,)),
    Op.COPY: (3_500_000, 0.9, (0,)),
    Op.MKDIR: (150_000, 0.3, (0,)),
    Op.RMDIR: (180_000, 0.3, (0,)),
}


def rows_of(rng, ops, count, second=0, failing=0.0, planned=False):
    rows = np.zeros(count, record_dtype())
    rows["op"] = rng.choice([int(op) for op in ops], count)
    rows["start"] = 10**12 + second * 10**9 + np.sort(rng.integers(0, 10**9, count))
    rows["attempts"] = rows["n_objects"] = 1
    for op in ops:
        mine = rows["op"] == op
        median, spread, sizes = LATENCIES[op]
        slow = 1 + 0.4 * np.sin(second / 9) + (8 if second % 47 == 46 else 0)
        latency = rng.lognormal(np.log(median * slow), spread, mine.sum()).astype(np.int64)
        latency[rng.random(len(latency)) < 0.003] *= 15
        rows["end"][mine] = rows["start"][mine] + latency
        rows["nbytes"][mine] = rng.choice(sizes, mine.sum())
        if op in (Op.GET, Op.GET_RANGE):
            rows["first"][mine] = rows["start"][mine] + latency // 2
    if planned:
        rows["due"] = rows["start"] - rng.integers(1, 3_000_000, count)
    rows["error"] = rng.random(count) < failing
    rows["nbytes"][rows["error"] > 0] = 0
    return rows


def tally_of(rows):
    tally = Tally()
    tally.add(rows)
    return tally


def error_table(texts, key="data/object-000017"):
    buffer = RecordBuffer(len(texts) + 1)
    recorder = Recorder(0, lambda filled: buffer)
    for text in texts:
        recorder.add(Op.GET, key, 1, 0, 2, 0, error=text)
    table = ErrorTable()
    table.add(buffer, 0, buffer.count)
    return table


def make_outcome(ops=(Op.GET, Op.PUT), *, seconds=60, rate=200, failing=0.0, planned=False, workers=4, **fields):
    """A run of ``seconds`` intervals of one second, of which the workers did a share each."""
    rng = np.random.default_rng(7)
    totals, intervals, texts = Tally(), [], []
    shares = [Tally() for _ in range(workers)]
    for second in range(seconds):
        rows = rows_of(rng, ops, rate, second, failing, planned)
        texts += ["ThrottledError: slow down", f"ObjectNotFoundError: {NASTY}"] * int(np.count_nonzero(rows["error"]))
        for worker, share in enumerate(shares):
            share.add(rows[worker::workers])
        interval = tally_of(rows)
        totals.merge(interval)
        intervals.append(
            Interval(
                start_s=float(second),
                seconds=1.0,
                tally=interval,
                cpu_user_pct=40 + 10 * np.sin(second / 5),
                cpu_system_pct=15.0,
                cpu_iowait_pct=3.0,
                client_cpu_pct=150 + 20 * np.sin(second / 5),
                active_workers=workers,
            )
        )
    known = {
        "name": "mixed-s3",
        "version": "0.1.0",
        "command_line": "penstock run mixed.yaml --set concurrency=64",
        "target": "s3://bench-bucket/run/",
        "started_ns": STARTED,
        "ended_ns": STARTED + (seconds + 14) * 10**9,
        "measured_from_ns": STARTED + 12 * 10**9 if seconds else 0,
        "measured_seconds": float(seconds),
        "status": "done",
        "totals": totals,
        "intervals": intervals,
        "workers": [
            WorkerOutcome(
                rank=rank, host=f"client-{rank % 2}", pid=4000 + rank, lanes=16, tally=share, cpu_seconds=38.2
            )
            for rank, share in enumerate(shares)
        ],
        "errors": error_table(texts),
        "phases": [PhaseOutcome(name="prepare", seconds=9.3, objects_made=9000, objects_found=1000, nbytes=9000 << 20)],
        "environment": {"host": "client-0", "kernel": "6.1.0", "cpus": 32, "packages": {"numpy": "2.4.6"}},
    }
    return Outcome(**(known | fields))


def make_hosts(count, *, seconds=20, rate=120, lost=(), slow=(), ops=(Op.GET, Op.PUT, Op.STAT), **fields):
    """A run on ``count`` hosts. ``lost`` ranks end in the middle, ``slow`` ones take twice as long from then on.

    What a host does is one of a few kinds, so that hundreds are made in no time.
    """
    rng = np.random.default_rng(11)
    kinds = min(count, 5)
    rows = [[rows_of(rng, ops, rate - 4 * kind, second) for second in range(seconds)] for kind in range(kinds)]
    done = [[tally_of(each) for each in kind] for kind in rows]
    for kind in rows:
        for each in kind:
            each["end"] += each["end"] - each["start"]
    late = [[tally_of(each[: len(each) // 2]) for each in kind] for kind in rows]
    workers, merged, totals = [], [Tally() for _ in range(seconds)], Tally()
    for rank in range(count):
        series, tally = Series.one_of(count), Tally()
        last = seconds // 2 if rank in lost else seconds
        for second in range(last):
            slowed = rank in slow and second >= seconds // 2
            each = (late if slowed else done)[rank % kinds][second]
            series.add(float(second), 1.0, each, 400_000_000, {"user": 40.0, "system": 10.0, "iowait": 1.0})
            tally.merge(each)
            merged[second].merge(each)
        totals.merge(tally)
        readings = [
            ClockReading(at_ns=STARTED + at, offset_ns=1_500_000 * (rank - 1) + drift, uncertainty_ns=90_000, probes=15)
            for at, drift in ((0, 0), (seconds * 10**9, 4_000))
        ]
        workers.append(
            WorkerOutcome(
                rank=rank,
                host=f"node-{rank:03}",
                pid=100 + rank,
                lanes=16,
                tally=tally,
                lost="killed by SIGKILL" if rank in lost else None,
                cpu_seconds=0.4 * last,
                processes=4,
                processes_lost=("process 5 (pid 9): exit code 1",) if rank == 1 else (),
                address=f"10.0.0.{rank % 250}:7167",
                cpus=8,
                facts={"python": "3.11.7", "plugins": {"s3": "0.1.0"}},
                seconds=float(last),
                clock=WorkerClock(readings=readings, start_skew_ns=(rank % 7) * 150_000 - 300_000),
                series=series,
                errors=error_table(["ThrottledError: slow down"]) if rank == 0 else ErrorTable(),
                op_log={"path": f"workers/{rank}/oplog.tsv.zst", "accepted": tally.count, "written": tally.count},
            )
        )
    intervals = [
        Interval(start_s=float(second), seconds=1.0, tally=tally, client_cpu_pct=40.0 * count, active_workers=count)
        for second, tally in enumerate(merged)
    ]
    reason = f"{len(lost)} of {count} workers were lost" if lost else ""
    known = {
        "totals": totals,
        "intervals": intervals,
        "measured_seconds": float(seconds),
        "measured_from_ns": STARTED,
        "status": "degraded" if lost else "done",
        "exit_code": 1 if lost else 0,
        "reason": reason,
    }
    return attrs.evolve(make_outcome(seconds=0, **(known | fields)), workers=workers)


def written(tmp_path, outcome, *, config_text="workload: []\n", plan=None):
    write_results(tmp_path, outcome, config_text=config_text, plan=plan or {"concurrency": 64})
    return {
        path.name: "" if path.suffix == ".zst" else path.read_text("utf-8")
        for path in tmp_path.iterdir()
        if path.is_file()
    }


class Page(HTMLParser):
    """What of a page matters here: its elements with their attributes, and its text outside scripts and styles."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.text, self._inside = [], [], "", ""
        self.tables: list[list[list[str]]] = []
        self._cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._inside = ""
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data
            if self._cell:
                self.tables[-1][-1][-1] += data

    def charts(self):
        return {chart["id"]: chart for chart in json.loads(self.scripts[0])}

    def rows(self, *cells):
        """The rows of all tables that begin with these cells."""
        return [row for table in self.tables for row in table if tuple(row[: len(cells)]) == cells]

    def check_contained(self, html):
        """Nothing is loaded from elsewhere, and no script runs but the report's own."""
        for tag, attributes in self.elements:
            assert tag not in ("link", "img", "iframe", "object", "embed", "base", "a", "image", "use")
            assert not {"src", "href", "srcset", "onload", "onerror"} & set(attributes)
        assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket", html)
        policy = next(attributes["content"] for tag, attributes in self.elements if "http-equiv" in attributes)
        assert "default-src 'none'" in policy


@pytest.fixture(scope="session")
def synth():
    """The functions and constants above, by name."""
    return SimpleNamespace(
        STARTED=STARTED,
        NASTY=NASTY,
        LATENCIES=LATENCIES,
        Page=Page,
        rows_of=rows_of,
        tally_of=tally_of,
        error_table=error_table,
        make_outcome=make_outcome,
        make_hosts=make_hosts,
        written=written,
    )
