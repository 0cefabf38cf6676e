"""Conditions of regression: what can be written, and when they are met."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.analysis.comparing_rules import MODES, check, parse_rule
from penstock.analysis.comparing_values import METRICS, Change, Comparison, Side
from penstock.errors import UsageError
from penstock.stats.buckets import LABELS


def change(operation="GET", bucket=None, metric="p99", **further):
    values = {
        "a": 5000.0, "b": 5600.0, "a_calls": 900, "b_calls": 900, "a_errors": 0, "b_errors": 3,
        "change": 12.0, "low": 8.0, "high": 16.0, "p_value": 0.001, "verdict": "worse",
    }  # fmt: skip
    return Change(operation=operation, bucket=bucket, metric=metric, **values | further)


def comparison(*changes):
    side = Side(runs=())
    return Comparison(
        a=side, b=side, changes=changes, differences=(), notes=(), verdict="worse", sentence="", level=0.95,
        replicates=1, seed=0,
    )  # fmt: skip


def met(text, *changes, mode="shown"):
    found = check(comparison(*changes or (change(),)), [parse_rule(text)], mode)
    return [finding.change.label for finding in found if not finding.undecided]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99 > +10%", (None, None, "p99", True, 10.0, "change")),
        ("p99.9>+10 %", (None, None, "p99.9", True, 10.0, "change")),
        ("ops/s < -5%", (None, None, "ops/s", False, -5.0, "change")),
        ("get.mib/s < -2.5%", ("GET", None, "MiB/s", False, -2.5, "change")),
        ("GET_RANGE.4MiB-32MiB.p50 > +1%", ("GET_RANGE", 5, "p50", True, 1.0, "change")),
        ("GET.>2GiB.p99.9 > 2s", ("GET", 8, "p99.9", True, 2e6, "figure")),
        ("GET.*.mean > 250us", ("GET", -1, "mean", True, 250.0, "figure")),
        ("p99 > 20ms", (None, None, "p99", True, 20_000.0, "figure")),
        ("ALL.ops/s < 12_500", ("ALL", None, "ops/s", False, 12_500.0, "figure")),
        ("MiB/s < 500 MiB/s", (None, None, "MiB/s", False, 500.0, "figure")),
        ("errors > +1%", (None, None, "errors", True, 1.0, "change")),
        ("errors > 0.5%", (None, None, "errors", True, 0.5, "figure")),
        ("errors > 0", (None, None, "errors", True, 0.0, "count")),
    ],
)
def test_what_can_be_written(text, expected):
    rule = parse_rule(text)
    assert attrs.astuple(rule)[1:] == expected
    assert rule.text == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "is no condition"),
        ("p98 > +10%", "METRIC is one of ops/s"),
        ("p99 >= +10%", "is no condition"),
        ("p99 + 10%", "is no condition"),
        ("GET.5MiB.p99 > +10%", "is no condition"),
        ("p99 > 10%", r"has a sign, such as \+10% or -5%"),
        ("p99 > 20", "Write 20us, 20ms or 20s"),
        ("p99 > fast", "not a duration"),
        ("ops/s < 5ms", "write a number of ops/s"),
        ("MiB/s < 500 MB/s", "write a number of MiB/s"),
        ("errors > many", "a share of calls"),
    ],
)
def test_what_can_t_be_written(text, remedy):
    with pytest.raises(UsageError, match=remedy):
        parse_rule(text)


@given(
    st.sampled_from([None, "GET", "ALL"]),
    st.sampled_from([None, *range(len(LABELS))]),
    st.sampled_from(sorted(METRICS)),
    st.sampled_from("<>"),
    st.integers(-999, 999),
)
def test_every_combination_is_read_as_it_was_meant(operation, bucket, metric, sign, percent):
    size = "" if operation is None or bucket is None else f".{LABELS[bucket]}"
    text = f"{'' if operation is None else operation + size + '.'}{metric} {sign} {percent:+d}%"
    rule = parse_rule(text)
    assert (rule.operation, rule.metric, rule.above, rule.threshold) == (operation, metric, sign == ">", percent)
    assert rule.bucket == (None if operation is None else bucket)


@pytest.mark.parametrize(
    ("threshold", "modes"),
    [("+7%", {"estimate", "shown", "certain"}), ("+11%", {"estimate", "shown"}), ("+12%", set()), ("+13%", set())],
)
def test_how_sure_a_change_must_be(threshold, modes):
    assert {mode for mode in MODES if met(f"p99 > {threshold}", mode=mode)} == modes


def test_a_change_that_is_not_shown_counts_only_as_an_estimate():
    vague = change(low=-2.0, verdict="no difference shown")
    assert {mode for mode in MODES if met("p99 > +10%", vague, mode=mode)} == {"estimate"}


@pytest.mark.parametrize(
    ("threshold", "modes"),
    [("-7%", {"estimate", "shown", "certain"}), ("-11%", {"estimate", "shown"}), ("-12%", set())],
)
def test_a_fall(threshold, modes):
    fallen = change(metric="ops/s", change=-12.0, low=-16.0, high=-8.0)
    assert {mode for mode in MODES if met(f"ops/s < {threshold}", fallen, mode=mode)} == modes
    assert met(f"ops/s > {threshold}", change(metric="ops/s")) == ["GET ops/s"]


def test_figures_of_b():
    assert met("p99 > 5599us", mode="certain") == ["GET p99"]
    assert met("p99 > 5600us") == []
    assert met("p99 < 6ms") == ["GET p99"]
    failing = change(metric="errors", a=0.0, b=0.33, change=0.33)
    assert met("errors > 0.3%", failing) == met("errors > 2", failing) == ["GET errors"]
    assert met("errors > 3", failing) == met("errors > 0.4%", failing) == []


def test_what_a_condition_is_about():
    changes = [
        change(),
        change(bucket=1),
        change(bucket=5),
        change("PUT"),
        change("PUT", metric="p50"),
        change("META"),
        change("ALL"),
    ]
    assert met("p99 > +1%", *changes) == ["GET p99", "PUT p99"]
    assert met("GET.p99 > +1%", *changes) == ["GET p99"]
    assert met("GET.*.p99 > +1%", *changes) == ["GET 1B-8KiB p99", "GET 4MiB-32MiB p99"]
    assert met("GET.4MiB-32MiB.p99 > +1%", *changes) == ["GET 4MiB-32MiB p99"]
    assert met("ALL.p99 > +1%", *changes) == ["ALL p99"]
    with pytest.raises(UsageError, match="they both have GET, PUT, META, ALL"):
        met("STAT.p99 > +1%", *changes)
    with pytest.raises(UsageError, match="do not both have that figure"):
        met("GET.p50 > +1%", *changes)


def test_too_few_data_are_undecided():
    rare = change(low=None, high=None, p_value=None, verdict="too few data", reason="9 calls, and at least 30")
    rules = [parse_rule("p99 > +10%")]
    for mode in ("shown", "certain"):
        (finding,) = check(comparison(rare), rules, mode)
        assert finding.undecided
        assert finding.text == "p99 > +10%: GET p99 can't be judged: 9 calls, and at least 30"
    (finding,) = check(comparison(rare), rules, "estimate")
    assert not finding.undecided
    (finding,) = check(comparison(attrs.evolve(rare, change=None)), rules, "estimate")
    assert finding.undecided


def test_a_finding_says_what_was_found():
    (finding,) = check(comparison(change()), [parse_rule("p99 > +10%")])
    assert finding.text == "p99 > +10%: GET p99 +12.0 % (+8.0 to +16.0), 5.00 ms in A, 5.60 ms in B"
    (finding,) = check(comparison(change()), [parse_rule("p99 > 1ms")])
    assert finding.text == "p99 > 1ms: GET p99 of B is 5.60 ms"
    failing = change(metric="errors", a=0.0, b=0.333, change=0.333)
    (finding,) = check(comparison(failing), [parse_rule("errors > 0")])
    assert finding.text == "errors > 0: GET errors of B is 3 calls"
    (finding,) = check(comparison(change(metric="ops/s", b=1234.5)), [parse_rule("ops/s > 5")])
    assert finding.text == "ops/s > 5: GET ops/s of B is 1,234 ops/s"
