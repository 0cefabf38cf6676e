"""CRC-32Cs of pieces make that of the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock_training.checkpoint.sums import Summed, combine, crc32c, hex_of


def test_the_published_check_value():
    assert hex_of(crc32c(b"123456789")) == "e3069283"


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_pieces_combine_to_the_sum_of_the_whole(pieces):
    total = 0
    for piece in pieces:
        total = combine(total, crc32c(piece), len(piece))
    assert total == crc32c(b"".join(pieces))


def test_long_pieces_combine():
    first, second = bytes(range(256)) * 5000, b"\0" * 3_000_001
    assert combine(crc32c(first), crc32c(second), len(second)) == crc32c(first + second)


@given(st.lists(st.lists(st.binary(max_size=50), max_size=4), max_size=4))
def test_cuts_have_sums_of_their_own(sections):
    summed = Summed()
    cuts = []
    for section in sections:
        for piece in section:
            summed.update(piece)
        cuts.append(summed.cut())
    summed.update(b"rest")
    assert cuts == [crc32c(b"".join(section)) for section in sections]
    whole = b"".join(b"".join(section) for section in sections) + b"rest"
    assert (summed.value, summed.nbytes) == (crc32c(whole), len(whole))
