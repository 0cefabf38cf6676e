"""Analyses made by hand, for those who show them."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest

from penstock.analysis.values import Analysis, LogFacts, Selection, Slice, Span, Window
from penstock.stats.buckets import bucket_of
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

SECOND = 10**9
BEGIN = 1_800_000_000 * SECOND


def call(operation="GET", at=0.0, took_us=1000.0, nbytes=0, **further):
    values = {"thread": 0, "client": "", "endpoint": "mem://", "first_us": None, "error": "", "file": "k"}
    return {"operation": operation, "at": at, "took_us": took_us, "nbytes": nbytes} | values | further


def tally_of(calls):
    tally = Tally()
    for each in calls:
        if each["error"]:
            tally.cell(each["operation"], 0).errors += 1
            continue
        cell = tally.cell(each["operation"], int(bucket_of(each["nbytes"])))
        cell.count += 1
        cell.nbytes += each["nbytes"]
        cell.objects += 1
        cell.service.record([round(each["took_us"] * 1000)])
        if each["first_us"] is not None:
            cell.first_byte.record([round(each["first_us"] * 1000)])
    return tally


def analysis_of(calls, *, seconds=None, path="a.tsv"):
    """What the calls add up to, in slices of one second."""
    begins = [BEGIN + round(each["at"] * SECOND) for each in calls]
    ends = [begin + round(each["took_us"] * 1000) for begin, each in zip(begins, calls, strict=True)]
    end = max(ends) if seconds is None else BEGIN + round(seconds * SECOND)
    spans = {}
    sliced, clients, endpoints = defaultdict(list), defaultdict(list), defaultdict(list)
    errors = []
    for begin, last, each in zip(begins, ends, calls, strict=True):
        key = each["operation"], 0 if each["error"] else int(bucket_of(each["nbytes"]))
        span = Span(begin, last, 1 << each["thread"])
        spans[key] = spans[key].joined(span) if key in spans else span
        sliced[(last - BEGIN) // SECOND].append(each)
        clients[each["client"]].append(each)
        endpoints[each["endpoint"]].append(each)
        if each["error"]:
            errors.append({"operation": each["operation"], "text": each["error"], "count": 1, "example": each["file"]})
    slices = [
        Slice(
            begin_ns=BEGIN + place * SECOND,
            end_ns=min(end, BEGIN + (place + 1) * SECOND),
            tally=tally_of(sliced[place]),
        )
        for place in range(-(-(end - BEGIN) // SECOND))
    ]
    log = LogFacts(
        path=path,
        rows=len(calls),
        bad_rows=0,
        selected=len(calls),
        cut_off=False,
        columns=("idx", "op"),
        first_start_ns=min(begins),
        last_end_ns=max(ends),
    )
    return Analysis(
        selection=Selection(),
        logs=(log,),
        window=Window(begin_ns=BEGIN, end_ns=end),
        tally=tally_of(calls),
        spans=spans,
        by_client={name: tally_of(each) for name, each in clients.items()},
        by_endpoint={name: tally_of(each) for name, each in endpoints.items()},
        errors=ErrorTable.from_message(errors),
        series=tuple(slices),
    )


@pytest.fixture
def building():
    return SimpleNamespace(call=call, analysis_of=analysis_of, tally_of=tally_of, begin_ns=BEGIN)
