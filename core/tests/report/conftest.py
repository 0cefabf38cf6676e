"""Outcomes built from synthetic records, and what the tests of reports look at in a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from penstock.records import Op, RecordBuffer, Recorder, record_dtype
from penstock.report import write_results
from penstock.report.outcome import Interval, Outcome, PhaseOutcome, WorkerOutcome
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


def written(tmp_path, outcome, *, config_text="workload: []\n", plan=None):
    write_results(tmp_path, outcome, config_text=config_text, plan=plan or {"concurrency": 64})
    return {path.name: "" if path.suffix == ".zst" else path.read_text("utf-8") for path in tmp_path.iterdir()}


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
        written=written,
    )
