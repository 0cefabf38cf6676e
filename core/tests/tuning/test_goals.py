"""Goals: what can be written, what it is held against, and what a person reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.quantities import parse_duration
from penstock.stats.tally import Tally
from penstock.tuning.goals import parse_goal


def tally(*, service=(), response=(), errors=0, operation="GET"):
    made = Tally()
    cell = made.cell(operation, 2)
    cell.count, cell.errors = len(service), errors
    cell.service.record(np.array(service, dtype=np.int64))
    cell.response.record(np.array(response, dtype=np.int64))
    return made


@pytest.mark.parametrize(
    ("text", "of", "metric", "limit"),
    [
        ("get.p99 < 20ms", "GET", "p99", 20e6),
        ("p99.9<1s", "ALL", "p99.9", 1e9),
        (" GET_RANGE.p99_9 < 250us ", "GET_RANGE", "p99.9", 250e3),
        ("errors < 0.1%", "ALL", "errors", 0.001),
        ("put.errors < 2 %", "PUT", "errors", 0.02),
        ("meta.max < 2", "META", "max", 2e9),
    ],
)
def test_goals_are_understood(text, of, metric, limit):
    goal = parse_goal(text)
    assert (goal.of, goal.metric) == (of, metric)
    assert goal.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("get.p99", "write one such as"),
        ("get.p99 > 20ms", "write one such as"),
        ("get.p98 < 20ms", "p99.9"),
        ("fetch.p99 < 20ms", "known: all, get"),
        ("p99 < soon", "soon"),
        ("p99 < 0ms", "nothing is below"),
        ("errors < 5", "percentage"),
        ("errors < x%", "percentage"),
        ("errors < 5ms", "percentage"),
    ],
)
def test_what_is_no_goal_is_refused_with_the_remedy(text, remedy):
    with pytest.raises(UsageError, match=remedy):
        parse_goal(text)


def test_latency_is_the_response_where_arrivals_were_planned():
    goal = parse_goal("get.max < 5ms")
    assert goal.is_met(tally(service=[1_000_000]))
    assert not goal.is_met(tally(service=[1_000_000], response=[9_000_000]))
    assert goal.show(tally(service=[1_000_000], response=[9_000_000])) == "get.max 9.00 ms"


def test_a_family_has_all_its_operations():
    assert not parse_goal("get.max < 5ms").is_met(tally(service=[9_000_000], operation="GET_RANGE"))
    assert parse_goal("get_range.max < 10ms").is_met(tally(service=[9_000_000], operation="GET_RANGE"))


def test_what_did_not_happen_meets_no_goal():
    assert not parse_goal("put.p50 < 1s").is_met(tally(service=[1]))
    assert not parse_goal("get.p50 < 1s").is_met(tally(errors=3))
    assert "no PUT" in parse_goal("put.p50 < 1s").show(tally(service=[1]))


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.1, 99.9))
def test_errors_are_a_share_of_all_calls(good, bad, percent):
    goal = parse_goal(f"errors < {percent}%")
    found = tally(service=[1] * good, errors=bad)
    assert goal.is_met(found) == (good + bad > 0 and bad / (good + bad) < percent / 100)


@given(st.sampled_from(["10ms", "0.5s", "250us", "3"]), st.lists(st.integers(1, 2**31), min_size=1, max_size=20))
def test_the_limit_itself_is_not_below_it(limit, values):
    goal = parse_goal(f"max < {limit}")
    assert goal.is_met(tally(service=values)) == (max(values) < parse_duration(limit) * 1e9)
