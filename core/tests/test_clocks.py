"""The anchor between the two clocks of a process."""

from __future__ import annotations

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
