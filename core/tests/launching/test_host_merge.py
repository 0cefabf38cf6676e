"""What the processes of a host say of a leg becomes one stream, exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.collector import COOLING
from penstock.engine.hostmerge import LegMerge, sum_reports
from penstock.records import Op, record_dtype
from penstock.report.outcome import EndpointUse
from penstock.stats.errors import ErrorTable
from penstock.stats.histogram import Histogram
from penstock.stats.tally import Tally
from penstock.stats.verification import Verification

#: Snapshots of one process as a collector numbers them: some before the window, intervals of which some may be left
#: out, and perhaps some of a cool-down.
NUMBERS = st.tuples(
    st.integers(1, 3),
    st.lists(st.integers(0, 6), unique=True, max_size=5).map(sorted),
    st.integers(0, 2),
).map(lambda parts: [-1] * parts[0] + parts[1] + [COOLING] * parts[2])


def rows_of(draw, count):
    rows = np.zeros(count, record_dtype())
    rows["op"] = [draw(st.sampled_from([Op.GET, Op.PUT])) for _ in range(count)]
    rows["start"] = 1_000
    rows["end"] = [draw(st.integers(1_001, 10**10)) for _ in range(count)]
    rows["nbytes"] = [draw(st.integers(0, 1 << 30)) for _ in range(count)]
    rows["error"] = [draw(st.integers(0, 1)) for _ in range(count)]
    rows["n_objects"] = rows["attempts"] = 1
    return rows


@st.composite
def processes(draw):
    """For each process its snapshots, with the rows that each is of."""
    return [
        [(number, rows_of(draw, draw(st.integers(0, 3)))) for number in draw(NUMBERS)]
        for _ in range(draw(st.integers(1, 4)))
    ]


def snapshot(number, rows, *, place, cpu, endpoints):
    tally = Tally()
    tally.add(rows)
    errors = ErrorTable.from_message(
        [{"operation": "GET", "text": "gone", "count": int((rows["error"] != 0).sum()), "example": "k"}]
        if (rows["error"] != 0).any()
        else []
    )
    return {
        "number": number,
        "start": max(number, 0) * 10**9,
        "end": max(number + 1, 0) * 10**9,
        "start_s": float(max(number, 0)),
        "end_s": float(max(number + 1, 0)),
        "tally": tally.to_message(),
        "errors": errors.to_message(),
        "cpu_ns": cpu,
        "verification": Verification("content", reads=place + 1).to_message(),
        **({"endpoint": endpoints} if len(rows) else {}),
    }


def tally_of(*all_rows):
    tally = Tally()
    for rows in all_rows:
        tally.add(rows)
    return tally


@settings(max_examples=60)
@given(processes(), st.randoms(use_true_random=False), st.data())
def test_merged_snapshots_are_those_of_all_rows(parts, order, data):
    merge = LegMerge({rank: 100 + rank for rank in range(len(parts))})
    names = [data.draw(st.sampled_from(["a", "b"])) for _ in parts]
    left = {rank: list(enumerate(snapshots)) for rank, snapshots in enumerate(parts)}
    merged = []
    while left:
        rank = order.choice(sorted(left))
        if not left[rank]:
            merge.leave(rank, data.draw(st.sampled_from([None, "killed"])))
            del left[rank]
        else:
            place, (number, rows) = left[rank].pop(0)
            merge.take(rank, snapshot(number, rows, place=place, cpu=10 * (place + 1), endpoints=names[rank]))
        merged.extend(merge.ready())
    # Nothing is left, and what is there comes in order, each interval once.
    numbers = [item["number"] for item in merged]
    counted = [number for number in numbers if number >= 0]
    assert counted == sorted({number for part in parts for number, _ in part if number >= 0})
    assert numbers == sorted(numbers, key=lambda number: 100 if number == COOLING else number)
    rows_by_number = {
        wanted: [rows for part in parts for number, rows in part if number == wanted] for wanted in {*numbers}
    }
    for wanted, all_rows in rows_by_number.items():
        total = Tally()
        for item in merged:
            if item["number"] == wanted:
                total.merge(Tally.from_message(item["tally"]))
        assert total == tally_of(*all_rows)
    every = list(itertools.chain(*rows_by_number.values()))
    assert merge.totals.tally == tally_of(*every)
    # What is counted from the beginning is that of the last snapshot of each.
    assert merged[-1]["cpu_ns"] == sum(10 * len(part) for part in parts)
    checked = sum(number != COOLING for part in parts for number, _ in part)
    assert merge.totals.verification.reads == checked
    failed = sum(int((rows["error"] != 0).sum()) for part in parts for number, rows in part if number != COOLING)
    assert merge.totals.errors.count == failed
    for wanted in {*names}:
        own = [part for name, part in zip(names, parts, strict=True) if name == wanted]
        expected = tally_of(*(rows for part in own for number, rows in part if number != COOLING))
        assert merge.totals.endpoints.get(wanted, Tally()) == expected


def plain(number, **more):
    return snapshot(number, np.zeros(0, record_dtype()), place=0, cpu=1, endpoints="a") | more


def test_an_interval_waits_for_everybody_who_is_at_work():
    merge = LegMerge({4: 104, 5: 105})
    merge.take(4, plain(-1))
    assert list(merge.ready()) == []
    merge.take(5, plain(-1))
    assert [item["number"] for item in merge.ready()] == [-1]
    merge.take(4, plain(0))
    merge.take(4, plain(1))
    assert list(merge.ready()) == []
    merge.take(5, plain(1))
    # It has left one out, and so is past it.
    assert [item["number"] for item in merge.ready()] == [0, 1]
    merge.take(4, plain(2))
    merge.leave(5, "killed by SIGKILL")
    (last,) = merge.ready()
    assert [(each["rank"], each["lost"]) for each in last["processes"]] == [(4, None), (5, "killed by SIGKILL")]


def test_what_is_of_one_kind_of_jobs_is_passed_on_by_process():
    merge = LegMerge({0: 100, 3: 103})
    merge.take(0, plain(-1, started=2, changes=[[1, True]]))
    merge.take(0, plain(-1, started=1, changes=[]))
    merge.take(3, plain(-1, started=4, changes=[]))
    (item,) = merge.ready()
    assert item["more"] == [
        {"rank": 0, "started": 2, "changes": [[1, True]]},
        {"rank": 0, "started": 1, "changes": []},
        {"rank": 3, "started": 4, "changes": []},
    ]
    for rank in (0, 3):
        merge.take(rank, {"done": True, "reason": "", "rows": rank, "began_ns": None})
        merge.leave(rank)
    assert merge.end()["more"] == [{"rank": 0, "rows": 0}, {"rank": 3, "rows": 3}]
    assert merge.end()["began_ns"] is None


def use(uri, requests):
    return EndpointUse(
        uri=uri,
        requests=requests,
        errors=1,
        bytes_read=2,
        bytes_written=3,
        ejections=0,
        healthy=True,
        latency=Histogram(),
    ).to_message()


def test_the_end_is_the_sum_of_all_ends():
    merge = LegMerge({0: 100, 1: 101})
    merge.take(
        0,
        {
            "done": True,
            "reason": "",
            "missed": 2,
            "generating_ns": 5,
            "starved_ns": 30,
            "began_ns": 70,
            "endpoints": [use("a", 1), use("b", 2)],
        },
    )
    merge.leave(0)
    merge.take(
        1,
        {
            "done": True,
            "reason": "interrupted",
            "missed": 3,
            "generating_ns": 6,
            "starved_ns": 12,
            "began_ns": 60,
            "endpoints": [use("a", 4)],
        },
    )
    merge.leave(1)
    end = merge.end()
    assert (end["reason"], end["missed"], end["generating_ns"], end["began_ns"]) == ("interrupted", 5, 11, 60)
    assert end["starved_ns"] == 42
    assert {each["uri"]: each["requests"] for each in end["endpoints"]} == {"a": 5, "b": 2}
    assert "more" not in end


@pytest.mark.parametrize(
    ("reports", "whole"),
    [
        ([], {}),
        ([{"made": 1, "example": ""}, {"made": 2, "example": "k"}], {"made": 3, "example": "k"}),
        ([{"made": 1, "smaller": 2}, {"made": 1}], {"made": 2, "smaller": 2}),
    ],
)
def test_progress_is_added_up(reports, whole):
    assert sum_reports(reports) == whole
