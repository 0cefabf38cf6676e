"""The live view on terminals and elsewhere, and the summary at the end."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from penstock.records import Op, record_dtype
from penstock.report.crew import WorkerState
from penstock.report.live import LineView, open_view, print_summary
from penstock.report.outcome import Interval, Outcome, WorkerOutcome
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally


class Terminal(io.StringIO):
    def isatty(self):
        return True


def tally(op=Op.GET, count=100, errors=0):
    rows = np.zeros(count + errors, record_dtype())
    rows["op"], rows["start"], rows["nbytes"], rows["attempts"] = op, 10**9, 1 << 20, 1
    rows["end"] = 10**9 + 2_000_000
    rows["error"][count:] = 1
    made = Tally()
    made.add(rows)
    return made


def play(view):
    view.phase("prepare", 1000, None)
    for done in (0, 10, 11, 12, 500, 1000):
        view.progress(done, done << 10)
    view.phase("warm-up", None, 2.0)
    view.interval(Interval(start_s=-1.0, seconds=1.0, tally=Tally()), Tally())
    view.phase("run", None, 10.0)
    first = tally(errors=3)
    view.interval(Interval(start_s=0.0, seconds=1.0, tally=first, client_cpu_pct=42.0), first)
    view.note("worker [bold]2[/] was\n\x1b[31mlost")
    view.close()
    view.close()


def test_lines_for_a_stream_that_is_no_terminal():
    stream = io.StringIO()
    play(open_view(stream=stream))
    lines = stream.getvalue().splitlines()
    assert lines == [
        "prepare: 1000",
        "  10 objects, 10.0 KiB",
        "  500 objects, 500 KiB",
        "  1000 objects, 1000 KiB",
        "warm-up: 2.00 s",
        "       -1.0 s  warming up, 0 operations so far",
        "run: 10.0 s",
        "        1.0 s  GET 100 ops/s 100 MiB/s p50 2.00 ms p99 2.00 ms | errors 3 | client CPU 42 %",
        "  note: worker [bold]2[/] was\\n\\x1b[31mlost",
    ]


def test_a_terminal_is_redrawn_and_left_as_it_was(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    play(open_view(stream=stream))
    shown = stream.getvalue()
    for text in ("prepare", "warm-up", "9.00 s left", "GET", "100 MiB/s", "client CPU 42 %"):
        assert text in shown
    assert "note: worker [bold]2[/] was\\n\\x1b[31mlost" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


@pytest.mark.parametrize("terminal", [io.StringIO, Terminal])
def test_quiet_shows_nothing_and_logs_everything(tmp_path, terminal):
    stream = terminal()
    play(open_view(tmp_path / "console.log", quiet=True, stream=stream))
    assert stream.getvalue() == ""
    plain = io.StringIO()
    play(LineView(plain))
    assert (tmp_path / "console.log").read_text() == plain.getvalue() != ""


def crew(count, **odd):
    """So many workers at work, each a little faster than the one before; ``odd`` are fields of some, by rank."""
    states = []
    for rank in range(count):
        known = {"state": "running", "rate": 1000.0 + rank, "speed": 2.0**20, "count": 10 * rank, "host": f"h{rank}"}
        states.append(WorkerState(rank=rank, p99_ns=3_000_000, **known | odd.get(f"of_{rank}", {})))
    return states


LOST = {"state": "lost", "lost": "killed by SIGKILL"}
SILENT = {"state": "silent", "silent_s": 4.0}


def test_lines_name_each_of_a_few_workers_and_those_that_stand_out_of_many():
    stream = io.StringIO()
    view = open_view(stream=stream)
    view.workers(crew(3, of_1=SILENT, of_2=LOST))
    view.workers(crew(3, of_1=SILENT, of_2=LOST))
    view.workers(crew(64, of_7=LOST, of_8=SILENT, of_9={"state": "done"}))
    few, many = stream.getvalue().splitlines()
    assert few == "  workers  0 h0 1000 ops/s | 1 h1 silent for 4.00 s | 2 h2 lost"
    assert many.split("; ") == [
        "  64 workers: 61 running, 1 done, 1 silent, 1 lost",
        "slowest 0 h0 1000 ops/s",
        "fastest 63 h63 1063 ops/s",
        "lost: 7 h7",
        "silent: 8 h8",
    ]


@pytest.mark.parametrize("count", [1, 4, 64, 512])
def test_a_terminal_shows_all_workers_that_fit_and_else_the_odd_ones(monkeypatch, count):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    view = open_view(stream=stream)
    odd = {} if count < 4 else {"of_1": LOST | {"host": "host[b]"}, "of_2": SILENT}
    view.phase("run", None, 10.0)
    view.workers(crew(count, **odd))
    view.interval(Interval(start_s=0.0, seconds=1.0, tally=tally()), tally())
    view.close()
    shown_at_all = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", stream.getvalue())
    last = shown_at_all[shown_at_all.rindex("worker ") :]
    shown = {int(found) for found in re.findall(r"^ +(\d+) +h", last, re.MULTILINE)}
    assert len(shown) <= 40
    if count <= 4:
        assert shown == set(range(count))
    else:
        assert {0, 1, 2, count - 1} <= shown
        assert f"{count} workers: {count - 2} running, 1 silent, 1 lost" in last
    if odd:
        assert "host[b]" in last
        assert "lost: killed by SIGKILL" in last
        assert "silent for 4.00 s" in last


def outcome(**fields):
    known = {
        "name": "demo",
        "version": "1",
        "command_line": "",
        "target": "mem://x",
        "started_ns": 1,
        "ended_ns": 2,
        "measured_from_ns": 1,
        "measured_seconds": 2.0,
        "status": "done",
    }
    return Outcome(**(known | fields))


def summary(made, report=None):
    stream = io.StringIO()
    print_summary(made, report, stream=stream)
    return stream.getvalue()


def test_summary_of_a_run():
    totals = tally(count=200, errors=5)
    totals.merge(tally(Op.PUT, 100))
    errors = ErrorTable.from_message(
        [{"operation": "GET", "text": f"E: {n} [red]\x1b[31m", "count": 9 - n, "example": "k\udc80"} for n in range(7)]
    )
    lost = WorkerOutcome(rank=3, host="h", pid=1, lanes=1, tally=Tally(), lost="killed")
    text = summary(outcome(totals=totals, errors=errors, workers=[lost], notes=["a note"]), "/some/where/report.html")
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert rows["GET"][1:5] == ["200", "100", "100", "MiB/s"]
    assert rows["GET"][-1] == "5"
    assert rows["ALL"][1:5] == ["300", "150", "150", "MiB/s"]
    assert "9 times GET E: 0 [red]\\x1b[31m (such as k\\udc80)" in text
    assert "and 2 other errors" in text
    assert "worker 3 on h was lost: killed" in text
    assert "note: a note" in text
    assert text.endswith("report: /some/where/report.html\n")


@pytest.mark.parametrize(
    ("status", "word"),
    [("done", "Done"), ("failed", "Failed"), ("interrupted", "Partial"), ("errors", "Too many errors")],
)
def test_summary_says_how_it_ended(status, word):
    text = summary(outcome(status=status, reason="" if status == "done" else "because"))
    assert word in text
    assert ("because" in text) == (status != "done")
    assert "Nothing was measured." in text


def test_the_summary_names_the_spread_of_hosts_and_the_lost(synth):
    text = summary(synth.make_hosts(4, seconds=6, lost=(2,), slow=(3,)))
    assert "workers: 4 with 16 processes" in text
    assert "3 workers did 81 ops/s (worker 3 on node-003) to 120 ops/s (worker 0 on node-000)" in text
    assert "worker 3 on node-003 did 81 ops/s, 70 % of the median" in text
    assert "off the agreed instant" in text
    assert "worker 2 on node-002 was lost after 3.00 s of the window: killed by SIGKILL" in text
    assert "worker 1 on node-001 lost process 5 (pid 9): exit code 1" in text
    many = summary(synth.make_hosts(64, seconds=2, lost=range(4, 44)))
    assert many.count(" was lost ") == 9
    assert "and 31 more, in workers.tsv" in many


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")

    close = flush


def test_a_log_that_can_not_be_written_ends_and_the_run_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr("penstock.report.live.open", lambda *arguments, **given: Full(), raising=False)
    stream = io.StringIO()
    play(open_view(tmp_path / "console.log", stream=stream))
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if "console.log" in line] == [
        f"  note: {tmp_path}/console.log ends here: [Errno 28] No space left on device"
    ]
    assert len(lines) > 8, "what is shown goes on"


def test_a_reader_that_is_gone_stops_nothing():
    view = LineView(Full())
    play(view)
