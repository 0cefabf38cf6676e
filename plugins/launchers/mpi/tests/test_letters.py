"""Letters: what ranks send each other, without MPI."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock_mpi.letters import PIECE_BYTES, Kind, pack, pieces, unpack


@given(kind=st.sampled_from(Kind), session=st.integers(0, 2**32 - 1), data=st.binary(max_size=50))
@settings(max_examples=30)
def test_a_letter_says_what_was_packed(kind, session, data):
    letter = unpack(5, pack(kind, session, data))
    assert (letter.rank, letter.kind, letter.session, letter.data) == (5, kind, session, data)


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 1])
def test_a_frame_goes_in_pieces(size):
    frame = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    letters = [unpack(0, packed) for packed in pieces(9, frame)]
    assert b"".join(letter.data for letter in letters) == frame
    assert [letter.kind for letter in letters] == [Kind.PIECE] * (len(letters) - 1) + [Kind.LAST]
    assert {letter.session for letter in letters} == {9}
    assert max(len(letter.data) for letter in letters) <= PIECE_BYTES
    assert len(letters) == max(1, -(-size // PIECE_BYTES))


@pytest.mark.parametrize("packed", [b"", b"\x01\x00\x00", b"\xff\x00\x00\x00\x00"])
def test_what_is_no_letter_is_refused(packed):
    with pytest.raises(ValueError, match=r"no letter|not a valid Kind"):
        unpack(1, bytearray(packed))
