"""Checksums against other implementations, and what does not match them."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest
from azure.storage.extensions.checksums import crc64
from azure_fakes import FakeAnswer, fake_store, parsed
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ChecksumMismatchError
from penstock.sinks import Collect

CREATED = FakeAnswer(201, {"etag": '"0x1"'})


def expected(kind, data):
    """By other means: hashlib, and Microsoft's own CRC64."""
    raw = hashlib.md5(data).digest() if kind == "md5" else crc64.compute(data, 0).to_bytes(8, "little")
    return b64encode(raw).decode()


FIELD = {"md5": "Content-MD5", "crc64": "x-ms-content-crc64"}


@pytest.mark.parametrize("kind", ["md5", "crc64"])
@given(data=st.binary(max_size=300))
def test_puts_and_parts_carry_it(kind, data):
    store, client = fake_store(CREATED, checksum=kind)
    store.put("k", data)
    writer = store.open_writer("k", part_size=64)
    writer.write(data)
    writer.commit()
    bodies = [(parsed(head), body) for head, body in zip(client.sent, client.bodies, strict=True)]
    carried = [(fields, body) for (_, target, fields), body in bodies if "blocklist" not in target]
    assert carried
    for fields, body in carried:
        assert fields[FIELD[kind]] == expected(kind, body)


@pytest.mark.parametrize("kind", ["md5", "crc64"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_what_comes_is_compared(kind, pieces):
    data = bytes(range(256)) * 9

    class Chunks(FakeAnswer):
        def into(self, sink):
            if pieces == 1:
                return super().into(sink)
            for begin in range(0, len(self.body), 1000):
                piece = self.body[begin : begin + 1000]
                room = sink.reserve(len(piece))
                room[: len(piece)] = piece
                sink.commit(len(piece))
            return len(self.body)

    for right in (True, False):
        value = expected(kind, data if right else data[1:])
        store, _ = fake_store(Chunks(200, {FIELD[kind].lower(): value}, data), checksum=kind)
        sink = Collect()
        if right:
            store.get("k", sink)
        else:
            with pytest.raises(ChecksumMismatchError) as caught:
                store.get("k", sink)
            assert (caught.value.operation, caught.value.uri) == ("get", "az://acme/box/k")
        assert bytes(sink.view()) == data


@pytest.mark.parametrize("kind", ["md5", "crc64"])
def test_ranges_that_the_service_can_sum_up_are_asked_for_it(kind):
    store, client = fake_store(FakeAnswer(206, {"content-range": "bytes 0-0/1"}, b"x"), checksum=kind)
    for start, length in ((0, None), (5, None), (0, 4 << 20), (5, 100), (0, (4 << 20) + 1)):
        store.get("k", Collect(), start=start, length=length)
    asked = [f"x-ms-range-get-content-{kind}" in parsed(head)[2] for head in client.sent]
    assert asked == [False, False, True, True, False]


def test_nothing_is_compared_that_was_not_asked_for():
    store, _ = fake_store(FakeAnswer(200, {"content-md5": "wrong"}, b"x"))
    store.get("k", Collect())
