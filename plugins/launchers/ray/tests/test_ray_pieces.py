"""Frames in pieces, and options."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock_ray.host import PIECE, _HostLink, split
from penstock_ray.plugin import RayOptions

from penstock.errors import UsageError
from penstock.options import resolve
from penstock.plugins import default_host

SIZES = st.sampled_from([0, 1, 100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])


@settings(max_examples=40)
@given(st.lists(SIZES, max_size=5), st.randoms(use_true_random=False))
def test_frames_arrive_whole_in_whatever_order_their_pieces_do(sizes, random):
    frames = [bytes([number]) * size for number, size in enumerate(sizes)]
    numbered = list(enumerate([*(piece for frame in frames for piece in split(frame)), None]))
    random.shuffle(numbered)

    async def arrive():
        link = _HostLink()
        for number, piece in numbered:
            link.taken(number, piece)
        found = []
        while (frame := await link.receive()) is not None:
            found.append(frame)
        return found

    assert asyncio.run(arrive()) == frames
    assert all(len(part) <= PIECE for frame in frames for part, _ in split(frame))


def test_a_link_that_was_killed_takes_and_gives_nothing():
    async def check():
        link = _HostLink()
        await link.send(b"before")
        link.kill()
        with pytest.raises(ConnectionError):
            await link.send(b"after")
        assert await link.receive() is None
        assert [piece async for piece in link.pieces()] == [(b"before", True)]

    asyncio.run(check())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "which cluster"),
        ({"address": "ray://head:10001"}, "run penstock on a node"),
        ({"address": "auto", "insecure": True, "token_file": "x"}, "contradict"),
        ({"address": "auto", "workers": 0}, "at least 1"),
        ({"address": "auto", "placement_timeout": 0}, "more than 0"),
        ({"adress": "auto"}, "address"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        default_host().launcher_type("ray").open(resolve(RayOptions, explicit=options, scheme="ray").options)
