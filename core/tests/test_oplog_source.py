"""Text of logs, read into room that somebody else has: the same as in pieces, whatever the data are packed in."""

from __future__ import annotations

import io

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import OpLogError
from penstock.oplog.cells import ROOM
from penstock.oplog.source import Source

TEXT = b"".join(b"%d\tGET\t%d\n" % (number, number * 7919 % 100_003) for number in range(20_000))


def flushed(text):
    """A frame of many blocks, as a recorder writes it."""
    packer = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    blocks = [packer.compress(text[at : at + 20_000]) + packer.flush(flush) for at in range(0, len(text), 20_000)]
    return b"".join(blocks) + packer.flush()


FRAMES = [
    zstandard.ZstdCompressor(level=1, write_checksum=True).compress(TEXT),
    zstandard.ZstdCompressor(write_content_size=False).compress(TEXT[:70_000]),
    zstandard.ZstdCompressor().compress(b""),
    zstandard.ZstdCompressor().compress(b"a" * 500_000),
    zstandard.ZstdCompressor().compress(b"x\n"),
    flushed(TEXT),
    b"\x5a\x2a\x4d\x18\x05\0\0\0abcde",
    b"\x50\x2a\x4d\x18\0\0\0\0",
]


def in_pieces(data):
    source = Source(io.BytesIO(data), "log")
    return b"".join(source.text()), source.cut_off, source.compressed


def into_room(data, size):
    source = Source(io.BytesIO(data), "log")
    fill, room, text = source.into(), memoryview(bytearray(size)), []
    while count := fill(room):
        text.append(bytes(room[:count]))
    return b"".join(text), source.cut_off, source.compressed


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(FRAMES), min_size=1, max_size=4), st.floats(0, 1), st.sampled_from([999, 65536, 1 << 20])
)
def test_what_is_left_of_a_log_that_was_cut_off_is_read(frames, share, size):
    data = b"".join(frames)
    data = data[: round(len(data) * share)]
    assert into_room(data, size) == in_pieces(data)


@pytest.mark.parametrize("left", [0, 1, 100])
def test_a_frame_that_ends_with_a_block_is_cut_off_and_gives_all_of_it(left):
    packer = zstandard.ZstdCompressor().compressobj()
    data = packer.compress(TEXT[:100_000]) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    assert into_room(data, 100_000 - left or 100_000) == (TEXT[:100_000], True, True)


def test_what_is_no_frame_and_a_wrong_checksum_are_damage():
    for data in (FRAMES[0] + b"no frame", FRAMES[0][:-1] + bytes([FRAMES[0][-1] ^ 1])):
        with pytest.raises(OpLogError, match="log is damaged: "):
            into_room(data, 1 << 20)


def texts_of(data, size):
    source = Source(io.BytesIO(data), "log")
    room = np.zeros(size + 2 * ROOM, np.uint8)
    return [(text.cell(text.begin, text.end), ended) for text, ended in source.texts(size, lambda: room)]


@given(
    st.lists(st.one_of(st.binary(max_size=8), st.integers(1, 3000).map(lambda size: b"-" * size)), max_size=20),
    st.sampled_from([8, 100, 4096]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.booleans(),
)
def test_texts_are_whole_lines(lines, size, bom, packed):
    data = b"\n".join(lines).replace(b"\xef", b"").replace(b"\x28", b"")
    packer = zstandard.ZstdCompressor()
    if not packed and data[1:4] == b"\x2a\x4d\x18":
        data = b"x" + data
    found = texts_of(packer.compress(bom + data) if packed else bom + data, size)
    assert b"".join(text for text, _ in found) == data
    assert all(text.endswith(b"\n") for text, ended in found if ended)
    whole = [ended for _, ended in found]
    assert whole == [True] * len(whole) or (whole[:-1] == [True] * (len(whole) - 1) and not data.endswith(b"\n"))
    assert b"\n" not in b"".join(text for text, ended in found if not ended)


def test_a_line_that_has_no_end_is_refused():
    with pytest.raises(OpLogError, match="holds a line of more than 8388608 bytes; is it a log"):
        texts_of(b"a\n" + b"-" * (20 << 20), 1 << 20)
