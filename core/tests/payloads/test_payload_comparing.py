"""Telling right, stale, torn and corrupt bytes apart, by comparing and by checksums."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.buffers import equal, first_difference
from penstock.payloads.checksums import CHUNK, Checksums, Summing, crc32c
from penstock.payloads.comparing import Comparison, Finding, Version
from penstock.payloads.pooled import PooledPayload
from penstock.payloads.shaping import shaped
from penstock.payloads.zero import ZeroPayload

PAYLOAD = PooledPayload(1)
OLD, NEW, NEXT = Version(PAYLOAD, 1, "old"), Version(PAYLOAD, 2, "new"), Version(PAYLOAD, 3, "next")


def made(version, nbytes, offset=0):
    buffer = bytearray(nbytes)
    version.make(memoryview(buffer), offset)
    return buffer


def compared(data, versions=(NEW, OLD), *, offset=0, cuts=(), room=4096):
    """What a comparison finds in data that comes in these pieces."""
    comparison = Comparison(versions, offset=offset, room=memoryview(bytearray(room)))
    places = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    for begin, end in itertools.pairwise(places):
        comparison.take(memoryview(data)[begin:end])
    assert comparison.nbytes == len(data)
    return comparison.finding()


CUTS = st.lists(st.integers(1, 40_000), max_size=4)


@given(size=st.integers(0, 40_000), offset=st.integers(0, 3_000_000), cuts=CUTS, which=st.integers(0, 2))
def test_a_whole_version_is_that_version(size, offset, cuts, which):
    versions = (NEW, OLD, NEXT)
    found = compared(made(versions[which], size, offset), versions, offset=offset, cuts=cuts)
    assert found == Finding("same", which if size else 0)


@given(size=st.integers(1, 40_000), offset=st.integers(0, 3_000_000), cuts=CUTS, bit=st.integers(0, 7), data=st.data())
def test_one_wrong_bit_is_found_with_its_place(size, offset, cuts, bit, data):
    place = data.draw(st.integers(0, size - 1))
    read = made(NEW, size, offset)
    read[place] ^= 1 << bit
    assert compared(read, offset=offset, cuts=cuts) == Finding("corrupt", 0, offset=offset + place)


@given(sectors=st.integers(2, 80), offset=st.integers(0, 100), cuts=CUTS, data=st.data())
@example(sectors=4, offset=0, cuts=[], data=None)
def test_two_versions_that_meet_at_a_sector_are_torn(sectors, offset, cuts, data):
    size, offset = sectors * 512, offset * 512
    place = 512 if data is None else 512 * data.draw(st.integers(1, sectors - 1))
    read = made(NEW, size, offset)[:place] + made(OLD, size, offset)[place:]
    assert compared(read, offset=offset, cuts=cuts) == Finding("torn", 0, 1, offset + place)
    read = made(OLD, size, offset)[:place] + made(NEW, size, offset)[place:]
    assert compared(read, offset=offset, cuts=cuts) == Finding("torn", 1, 0, offset + place)


@pytest.mark.parametrize("place", [100, 511, 513, 4095, 5000, 9999])
@pytest.mark.parametrize("room", [600, 4096, 65536])
def test_a_tear_within_a_sector_is_a_tear_unless_it_is_next_to_its_edge(place, room):
    read = made(NEW, 10_000)[:place] + made(OLD, 10_000)[place:]
    found = compared(read, room=room)
    near = min(place % 512, -place % 512) < 16 or len(read) - place < 16
    # A few bytes may be alike by chance, so the place of a tear is where the difference shows.
    if near:
        assert found.kind in ("torn", "corrupt")
        assert abs(found.offset - place) <= 16
    else:
        assert (found.kind, found.version, found.other) == ("torn", 0, 1)
        assert place <= found.offset <= place + 4


def test_a_wrong_bit_in_a_torn_read_is_corrupt():
    read = made(NEW, 8192)[:4096] + made(OLD, 8192)[4096:]
    read[6000] ^= 1
    assert compared(read) == Finding("corrupt", 1, offset=6000)


def test_versions_that_begin_alike_are_told_apart_where_they_differ():
    first = shaped(PAYLOAD, 1, compress_factor=4)
    versions = [Version(first, 1), Version(first, 2)]
    # The zeros of a unit are the same in both.
    assert compared(made(versions[1], 200, 256), versions, offset=256, room=16) == Finding("same", 0)
    assert compared(made(versions[1], 4096), versions, room=64) == Finding("same", 1)


def test_bytes_of_nobody_are_corrupt_from_the_first_on():
    assert compared(made(NEXT, 5000)).kind == "corrupt"
    assert compared(bytes(5000)).offset <= 1


@given(one=st.binary(max_size=300), other=st.binary(max_size=300))
def test_the_first_difference(one, other):
    expected = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    assert first_difference(memoryview(one), memoryview(other)) == (None if one == other else expected)
    assert equal(memoryview(one), memoryview(other)) == (one == other)


def test_the_first_difference_in_much():
    one = bytearray(3_000_000)
    other = bytearray(one)
    other[2_999_998] = 1
    assert first_difference(memoryview(one), memoryview(other)) == 2_999_998


def summed(data, versions=(NEW, OLD), *, offset=0, cuts=(), store=None):
    summing = Summing(versions, store or Checksums(), memoryview(bytearray(CHUNK)), offset=offset)
    places = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    for begin, end in itertools.pairwise(places):
        summing.take(memoryview(data)[begin:end])
    return summing.finding()


@given(size=st.integers(0, 300_000), cuts=st.lists(st.integers(1, 300_000), max_size=4), which=st.integers(0, 2))
def test_checksums_know_a_version(size, cuts, which):
    versions = (NEW, OLD, NEXT)
    assert summed(made(versions[which], size, 77), versions, offset=77, cuts=cuts) == Finding(
        "same", which if size else 0
    )


@given(size=st.integers(1, 300_000), bit=st.integers(0, 7), data=st.data())
def test_checksums_find_one_wrong_bit_and_its_chunk(size, bit, data):
    place = data.draw(st.integers(0, size - 1))
    read = made(NEW, size)
    read[place] ^= 1 << bit
    assert summed(read) == Finding("corrupt", 0, offset=place // CHUNK * CHUNK)


@pytest.mark.parametrize("place", [CHUNK, CHUNK + 5, 2 * CHUNK - 1, 3 * CHUNK])
def test_checksums_find_a_tear_between_chunks(place):
    size = 5 * CHUNK + 100
    read = made(NEW, size)[:place] + made(OLD, size)[place:]
    assert summed(read) == Finding("torn", 0, 1, place // CHUNK * CHUNK)


def test_a_tear_in_the_only_chunk_is_corrupt_to_checksums():
    assert summed(made(NEW, 4096)[:1024] + made(OLD, 4096)[1024:]).kind == "corrupt"


def test_checksums_of_what_was_generated_are_kept_within_bounds():
    class Counted:
        calls = 0

        def fill(self, buffer, /, *, obj, offset=0):
            Counted.calls += 1
            ZeroPayload(0).fill(buffer, obj=obj, offset=offset)

    store, payload, room = Checksums(kept=4), Counted(), memoryview(bytearray(CHUNK))
    for _ in range(3):
        assert store.of(Version(payload, 1), 0, 2 * CHUNK, room) == (crc32c(bytes(CHUNK)),) * 2
    assert Counted.calls == 2
    for obj in range(2, 5):
        store.of(Version(payload, obj), 0, 2 * CHUNK, room)
    assert store._count <= 4
    store.of(Version(payload, 1), 0, 2 * CHUNK, room)
    assert Counted.calls == 10


def test_the_checksum_is_that_of_the_standard():
    # The check value of the polynomial (RFC 3720).
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283


@pytest.mark.parametrize("absent", [[], ["awscrt.checksums"], ["awscrt.checksums", "crc32c"]])
def test_any_package_that_has_it_will_do(absent):
    lines = "".join(f"sys.modules[{name!r}] = None\n" for name in absent)
    program = (
        f"import sys\n{lines}from penstock.payloads.checksums import crc32c\nprint(crc32c(memoryview(b'6789'), 1))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == crc32c(b"6789", 1)


def test_without_any_the_remedies_are_named():
    names = ("awscrt.checksums", "crc32c", "google_crc32c")
    lines = "".join(f"sys.modules[{name!r}] = None\n" for name in names)
    program = f"import sys\n{lines}from penstock.payloads.checksums import crc32c\ncrc32c(b'1')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'penstock[checksum]'" in done.stderr
    assert "verify: content" in done.stderr
