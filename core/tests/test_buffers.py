"""Page-aligned memory."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.buffers import PAGE, aligned_buffer, round_up

KIB, MIB = 1024, 1024 * 1024


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


@pytest.mark.parametrize("nbytes", [1, 4095, 4096, 4097, 256 * KIB - 1, 256 * KIB, 2 * MIB - 1, 2 * MIB, 5 * MIB + 1])
def test_size_alignment_and_use(nbytes):
    view = aligned_buffer(nbytes)
    assert (view.nbytes, view.format, view.readonly, view.contiguous) == (nbytes, "B", False, True)
    assert address(view) % PAGE == 0
    if nbytes >= 2 * MIB:
        assert address(view) % (2 * MIB) == 0
    view[0] = view[-1] = 255
    assert bytes(view[-1:]) == b"\xff"


def test_no_memory_is_empty_memory():
    assert aligned_buffer(0).nbytes == 0


def test_buffers_share_nothing():
    for nbytes in (4096, 512 * KIB, 4 * MIB):
        one, two = aligned_buffer(nbytes), aligned_buffer(nbytes)
        one[:] = b"\1" * nbytes
        assert not any(two[:: 1 if nbytes < MIB else 4096])


@given(st.integers(0, 1 << 60), st.integers(0, 40).map(lambda power: 1 << power))
def test_round_up(nbytes, multiple):
    up = round_up(nbytes, multiple)
    assert up % multiple == 0
    assert nbytes <= up < nbytes + multiple
