"""The order of rows, and the plan that workers share."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.analysis.values import Moment
from penstock.errors import OpLogError, UsageError
from penstock.oplog import COLUMNS
from penstock.records import Op
from penstock.replay.part import look_ahead, make_parts
from penstock.replay.planning import Concurrency, Planner
from penstock.replay.roots import Roots
from penstock.replay.rows import Entry, LogRows, measure, ordered
from penstock.replay.rules import Many, Match, Rule
from penstock.replay.settings import Settings, Window, parse_operations


def plan(settings, rank=0, workers=1, first=None):
    first = measure(settings.log, settings.window, skip_bad_rows=True).first_ns if first is None else first
    return Planner(settings=settings, roots=Roots({}, 1), first_ns=first, rank=rank, workers=workers)


def entry(start, line=0):
    return Entry(start, line, 1, "", 1, 0, "", "f", False, 0, 0, -1, -1, "")


def displaced(starts):
    """The most rows, and the longest time, that any row has to be moved over."""
    rows = seconds = 0
    for place, start in enumerate(starts):
        later = [other for other in starts[:place] if other > start]
        rows, seconds = max(rows, len(later)), max([seconds, *(other - start for other in later)])
    return rows, seconds


@given(st.lists(st.integers(0, 30), min_size=1, max_size=25), st.integers(1, 6), st.sampled_from([4, 1000]))
def test_rows_are_ordered_within_the_window_and_refused_beyond(starts, rows, nanoseconds):
    window = Window(rows=rows, seconds=nanoseconds / 1e9)
    entries = [entry(start, line) for line, start in enumerate(starts)]
    moved, ahead = displaced(starts)
    try:
        found = list(ordered(entries, window, "log"))
    except OpLogError:
        assert moved >= rows or ahead > nanoseconds
    else:
        assert found == sorted(entries, key=lambda each: (each.start, each.line))
        assert moved <= rows


@settings(max_examples=50)
@given(st.data())
def test_measuring_finds_what_ordering_refuses(log, row, data):
    starts = data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=25))
    window = Window(rows=data.draw(st.integers(1, 6)), seconds=data.draw(st.sampled_from([4e-9, 1.0])))
    path = log([row("GET", "b/k", at=start / 1e9) for start in starts])
    said = []
    for read in (
        lambda: measure(path, window, skip_bad_rows=False),
        lambda: list(ordered(LogRows(path, skip_bad_rows=False), window, path)),
    ):
        try:
            read()
        except OpLogError as error:
            said.append(str(error).partition(";")[2])
        else:
            said.append("")
    assert said[0] == said[1]
    assert said[0] in ("", f" sort it first: penstock oplog sort {path} SORTED.tsv.zst")


def test_the_line_that_is_out_of_order_is_named(log, row):
    path = log([row("GET", "b/k", at=at) for at in (5, 6, 7, 1)])
    with pytest.raises(OpLogError, match=r"log.tsv:5: this row started 4.00 s before one .*2 rows"):
        list(ordered(LogRows(path, skip_bad_rows=False), Window(rows=2), path))
    with pytest.raises(OpLogError, match=r"row 4 started 4.00 s before"):
        measure(path, Window(rows=2), skip_bad_rows=False)
    assert len(list(ordered(LogRows(path, skip_bad_rows=False), Window(rows=3), path))) == 4


def test_what_a_log_is_is_measured(log, row, begin):
    path = log([row("GET", "b/k", at=2), row("HEAD", "b/k", at=1), row("STAT", "b/k", at=4)])
    extent = measure(path, Window(), skip_bad_rows=False)
    assert (extent.rows, extent.first_ns, extent.last_ns) == (3, begin + 10**9, begin + 4 * 10**9)
    assert (extent.displaced_ns, extent.operations) == (10**9, {"GET": 1, "STAT": 2})


def test_a_bad_row_is_refused_with_its_line_or_skipped(log, row):
    path = log([row("GET", "b/k"), row("PUT", "b/k")])
    with open(path, "a") as file:
        file.write("3\t1\tGRAB\t\t1\t1\tmem://\tb/k\t\tnow\t\t\t1\n")
    with pytest.raises(OpLogError, match=r"log.tsv:4: unknown operation 'GRAB'"):
        measure(path, Window(), skip_bad_rows=False)
    assert measure(path, Window(), skip_bad_rows=True).bad_rows == 1
    planner = plan(Settings(log=path, target="mem://t", skip_bad_rows=True))
    assert len(list(planner.tasks())) == 2
    assert (planner.rows, planner.bad_rows) == (2, 1)


def test_operations_are_due_at_their_offset_over_the_speed(log, row):
    path = log([row("GET", f"b/{at}", at=at) for at in (10, 10.5, 12)])
    for speed in (0.1, 0.5, 1, 10, 100):
        due = [task.due for task in plan(Settings(log=path, target="mem://t", speed=speed)).tasks()]
        assert due == [0, round(0.5e9 / speed), round(2e9 / speed)]
    assert [task.due for task in plan(Settings(log=path, target="mem://t", speed=None)).tasks()] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"operations": frozenset({"PUT", "STAT"})}, [1, 3, 5]),
        ({"limit": 2}, [0, 1]),
        ({"begin": Moment(3 * 10**9, relative=True)}, [3, 4, 5]),
        ({"end": Moment(3 * 10**9, relative=True)}, [0, 1, 2]),
        ({"begin": Moment(10**9, relative=True), "operations": frozenset({"PUT"}), "limit": 1}, [1]),
    ],
)
def test_rows_can_be_selected(log, row, change, expected):
    ops = ["GET", "PUT", "GET", "PUT", "GET", "HEAD"]
    path = log([row(op, f"b/{at}", at=at) for at, op in enumerate(ops)])
    tasks = list(plan(attrs.evolve(Settings(log=path, target="mem://t"), **change)).tasks())
    assert [int(task.key) for task in tasks] == expected
    assert tasks[0].due == 0


def test_the_names_of_operations_are_checked():
    assert parse_operations("get, HEAD") == {"GET", "STAT"}
    for text in ("GRAB", ",", ""):
        with pytest.raises(UsageError, match="--ops"):
            parse_operations(text)


_ROWS = st.lists(
    st.tuples(st.sampled_from(["GET", "PUT", "COPY"]), st.integers(0, 20), st.integers(0, 4), st.sampled_from("abc")),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25)
@given(_ROWS, st.integers(1, 4), st.sampled_from([None, 1.0]))
def test_several_processes_replay_what_one_does(log, row, rows, workers, speed):
    made = [
        row(op, f"b/{name}", at=at, thread=thread, source="b/z" if op == "COPY" else "")
        for op, at, thread, name in rows
    ]
    path = log(made, (*COLUMNS, "source"))
    rule = Rule(match=Match(), map_to_many=Many(targets=("mem://x/", "mem://y/", "mem://z/")))
    asked = Settings(log=path, rules=(rule,), speed=speed)
    whole = list(plan(asked).tasks())
    parts = [list(plan(asked, rank, workers).tasks()) for rank in range(workers)]
    assert sorted(itertools.chain(*parts), key=lambda task: task.number) == whole
    if speed is None:
        # A recorded thread stays together.
        owners = defaultdict(set)
        for rank, part in enumerate(parts):
            for task in part:
                owners[task.entry.thread].add(rank)
        assert all(len(ranks) == 1 for ranks in owners.values())


def test_what_can_not_be_replayed_is_counted(log, row):
    path = log(
        [
            row("CREATE_CONTAINER", "bucket"),
            row("GET", "bucket"),
            row("DELETE_PREFIX", "bucket"),
            row("GET_RANGE", "bucket/k", nbytes=5),
            row("GET_RANGE", "bucket/k"),
            row("COPY", "bucket/k"),
            row("LIST", "bucket/"),
            row("DELETE_BATCH", "bucket/k", n_objects=3),
            row("DELETE_BATCH", "bucket/k", n_objects=200_000),
            row("DELETE_BATCH", "bucket/k", n_objects=1),
        ]
    )
    planner = plan(Settings(log=path, target="mem://t"))
    assert len(list(planner.tasks())) == 7
    assert planner.left_out == {"container_of_target": 1, "no_name": 1, "delete_everything": 1}
    assert planner.approximated == {
        "range_spread": 2,
        "range_of_nothing": 1,
        "copy_without_source": 1,
        "list_without_delimiter": 1,
        "batch_names": 2,
        "batch_too_large": 1,
    }
    in_place = plan(Settings(log=path, in_place=True))
    first, *_ = in_place.tasks()
    assert first.op == Op.DELETE_PREFIX
    assert in_place.left_out == {"container_without_service": 1, "no_name": 1}


def test_offsets_and_sources_come_from_the_log_where_it_has_them(log, row):
    columns = (*COLUMNS, "offset", "length", "source")
    path = log(
        [
            row("GET_RANGE", "b/k", nbytes=7, offset="100", length="8", source=""),
            row("COPY", "b/k", offset="", length="", source="b/from"),
            row("COPY", "b/k", offset="", length="", source="mem://c/from"),
        ],
        columns,
    )
    rules = (Rule(match=Match(bucket="c"), map_to="mem://elsewhere/"),)
    planner = plan(Settings(log=path, target="mem://t/", rules=rules))
    tasks = list(planner.tasks())
    assert (tasks[0].entry.offset, tasks[0].entry.length) == (100, 8)
    assert [task.source for task in tasks] == ["", "from", ""]
    assert planner.approximated == {"copy_from_elsewhere": 1}


def test_a_name_without_a_place_is_refused_with_its_line(log, row):
    path = log([row("GET", "b/k"), row("GET", "other/k")])
    asked = Settings(log=path, rules=(Rule(match=Match(bucket="b"), map_to="mem://t/"),))
    with pytest.raises(UsageError, match=r"log.tsv:3: 'mem://other/k' would be replayed on the recorded storage"):
        look_ahead(asked, 0)


@pytest.mark.parametrize(
    ("rate", "target", "asked", "expected"),
    [(10, "file:///t", None, 1), (9000, "file:///t", None, 2), (9000, "mem://t", None, 1), (10, "file:///t", 3, 3)],
)
def test_processes_are_as_many_as_the_load_needs(log, row, monkeypatch, rate, target, asked, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    path = log([row("STAT", "b/k", at=number / rate) for number in range(rate)])
    wanted = Settings(log=path, target=target, processes=asked)
    parts = make_parts(wanted, look_ahead(wanted, 0), first_ns=0, run_id="id")
    assert len(parts) == expected
    assert sum(part.lanes for part in parts) == 1000
    ranges = [set(range(part.first_lane, part.first_lane + part.lanes + 1)) for part in parts]
    assert len(set().union(*ranges)) == sum(map(len, ranges))
    assert all(Settings.from_message(part.settings) == wanted for part in parts)


def test_objects_in_memory_allow_one_process(log, row):
    wanted = Settings(log=log([row("STAT", "b/k")]), target="mem://t", processes=2)
    with pytest.raises(UsageError, match="objects of mem:// live in one process; write 1"):
        make_parts(wanted, look_ahead(wanted, 0), first_ns=0, run_id="id")


def test_settings_travel_with_their_rules():
    made = Settings(
        log="log",
        speed=None,
        rules=(Rule(match=Match(bucket="b"), map_to="mem://t/"),),
        begin=Moment(5, relative=True),
        end=Moment(7),
        operations=frozenset({"GET"}),
        options={"a": "b"},
    )
    assert Settings.from_message(made.to_message()) == made


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=30))
def test_the_most_calls_at_once_are_counted(calls):
    counted = Concurrency()
    for start, took in sorted(calls):
        counted.add(start, took)
    points = Counter(start for start, _ in calls)
    most = max(points[at] + sum(1 for start, took in calls if start < at < start + took) for at in points)
    assert counted.peak == most or any(not took for _, took in calls)
