"""Checksums against known values, their own definition, and each other's combination."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_s3.checksums import Running, checksum, composite, full_object, header_name, kind

CRCS = ("crc32", "crc32c", "crc64nvme")
ALL = (*CRCS, "sha256")

#: Reflected polynomial, and the number of bits (catalogue of CRC algorithms).
POLYNOMIALS = {"crc32": (0xEDB88320, 32), "crc32c": (0x82F63B78, 32), "crc64nvme": (0x9A6C9329AC4BC9B5, 64)}


def bitwise(algorithm: str, data: bytes) -> str:
    polynomial, bits = POLYNOMIALS[algorithm]
    value = ones = (1 << bits) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
    return base64.b64encode((value ^ ones).to_bytes(bits // 8, "big")).decode()


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")],
)
def test_the_check_values_of_the_catalogue(algorithm, expected):
    assert base64.b64decode(checksum(algorithm, b"123456789")).hex() == expected


def test_the_documented_crc32c_of_a_trailer():
    assert checksum("crc32c", b"a" * 66560) == "sOO8/Q=="


@given(st.sampled_from(CRCS), st.binary(max_size=200))
def test_crcs_are_what_their_polynomials_say(algorithm, data):
    assert checksum(algorithm, data) == bitwise(algorithm, data)


@given(st.binary(max_size=200))
def test_crc32_and_sha256_are_the_standard_librarys(data):
    assert checksum("crc32", data) == base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    assert checksum("sha256", data) == base64.b64encode(hashlib.sha256(data).digest()).decode()


@given(st.sampled_from(ALL), st.lists(st.binary(max_size=100), max_size=5))
def test_pieces_and_the_whole_agree(algorithm, pieces):
    running = Running(algorithm)
    for piece in pieces:
        running.update(memoryview(bytearray(piece)))
        running.value()
    assert running.value() == checksum(algorithm, *pieces) == checksum(algorithm, b"".join(pieces))


@given(st.sampled_from(CRCS), st.lists(st.binary(max_size=100), max_size=5))
def test_parts_combine_to_the_whole(algorithm, parts):
    known = [(checksum(algorithm, part), len(part)) for part in parts]
    assert full_object(algorithm, known) == checksum(algorithm, b"".join(parts))
    assert kind(algorithm) == "FULL_OBJECT"


def test_long_parts_combine():
    zeros = bytes(1 << 20)
    for algorithm in CRCS:
        assert full_object(algorithm, [(checksum(algorithm, zeros), 1 << 20)] * 3) == checksum(
            algorithm, bytes(3 << 20)
        )


def test_sha256_has_only_a_composite():
    assert kind("sha256") == "COMPOSITE"
    with pytest.raises(ValueError, match="composite"):
        full_object("sha256", [(checksum("sha256", b"a"), 1)])


@given(st.sampled_from(ALL), st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_a_composite_is_of_the_parts_checksums(algorithm, parts):
    texts = [checksum(algorithm, part) for part in parts]
    raw = b"".join(base64.b64decode(text) for text in texts)
    assert composite(algorithm, texts) == f"{checksum(algorithm, raw)}-{len(parts)}"


@pytest.mark.parametrize("algorithm", ALL)
def test_headers_are_named_as_s3_names_them(algorithm):
    assert header_name(algorithm) == f"x-amz-checksum-{algorithm}".encode()
