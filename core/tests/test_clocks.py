"""The anchor between the two clocks of a process."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import clocks
from penstock.clocks import Anchor


def scripted(monkeypatch, monotonic: list[int], wall: list[int]) -> None:
    monkeypatch.setattr(clocks, "monotonic_ns", iter(monotonic).__next__)
    monkeypatch.setattr(clocks, "wall_ns", iter(wall).__next__)


def test_the_tightest_reading_counts(monkeypatch):
    scripted(monkeypatch, [0, 900, 1000, 1010, 2000, 2400, 3000, 3300, 4000, 4500], [7, 51_005, 8, 9, 10])
    assert Anchor.now() == Anchor(50_000)


def test_the_wall_is_read_in_the_middle(monkeypatch):
    scripted(monkeypatch, [100, 200] * 5, [1_000_150] * 5)
    assert Anchor.now().wall(150) == 1_000_150


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**62), st.integers(0, 2**62))
def test_durations_are_kept(offset, one, two):
    anchor = Anchor(offset)
    assert anchor.wall(two) - anchor.wall(one) == two - one


def test_a_real_anchor_maps_now_to_now():
    anchor, before = Anchor.now(), clocks.wall_ns()
    assert abs(anchor.wall(clocks.monotonic_ns()) - before) < 60 * 10**9


def shifted(text):
    """How wrong the clock of a process is that was told so, in nanoseconds, and what it printed where it ended."""
    script = (
        "from penstock.clocks import Anchor, monotonic_ns, wall_ns; print(wall_ns(), Anchor.now().wall(monotonic_ns()))"
    )
    begun = time.time_ns()
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PENSTOCK_CLOCK_SHIFT": text},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, begun, time.time_ns()


@pytest.mark.parametrize(
    ("text", "by"), [("+3600s", 3600 * 10**9), ("-7200s", -7200 * 10**9), ("900000ms", 900 * 10**9)]
)
def test_a_process_can_be_told_to_have_another_time(text, by):
    done, begun, ended = shifted(text)
    assert all(begun <= int(shown) - by <= ended for shown in done.stdout.split())
    assert len(done.stdout.split()) == 2


@pytest.mark.parametrize("text", ["5", "soon", "1h", "+-1s"])
def test_a_shift_that_can_not_be_read_is_refused(text):
    done, _, _ = shifted(text)
    assert done.returncode == 2
    assert done.stderr == f"penstock: PENSTOCK_CLOCK_SHIFT={text}: write seconds or milliseconds, +5s or -250ms\n"
