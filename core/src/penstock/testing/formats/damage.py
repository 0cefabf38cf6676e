"""Law 4: files that were cut, changed, or never were files."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import strategies as st

from penstock.errors import FormatError
from penstock.samples import SampleFormat
from penstock.testing.formats.base import FormatLaws
from penstock.testing.formats.tools import frugal, outcome, patiently
from penstock.testing.tools import broken, noise

__all__ = ["DamageLaws"]

_CUT = "law 4 (a file that was cut is a FormatError)"
_FLIPPED = "law 4 (a flipped bit in what is checked is a FormatError)"
_ELSE = "law 4 (what is damaged is a FormatError or samples)"
_CLAIMED = "law 4 (no memory is taken for a length that is merely claimed)"
#: Lengths that a damaged file may claim: those where signs and sizes end, and one that a machine might grant.
_CLAIMS = (2**64 - 1, 2**63 - 1, 2**63, 2**48, 2**35, 2**32 - 1, 2**31 - 1)
_both = pytest.mark.parametrize("how", ["decode", "open"])


class DamageLaws(FormatLaws):
    """Laws of files that are not what they were."""

    @_both
    def test_every_prefix(self, format: SampleFormat, file: bytes, how: str) -> None:
        whole = self.whole_prefixes(file)

        def check() -> None:
            for end in self._places(len(file)):
                got = self._outcome(format, file[:end], how, f"the first {end} of {len(file)} bytes")
                if not isinstance(got, FormatError) and end not in whole:
                    raise broken(
                        _CUT,
                        f"the first {end} of {len(file)} bytes gave {len(got)} samples by {how}",
                        "check that nothing is missing, also after the last sample",
                    )

        patiently(_CUT, check)

    @_both
    def test_every_bit_that_is_checked(self, format: SampleFormat, file: bytes, how: str) -> None:
        ranges = list(self.checked(file))
        for start, stop in ranges:
            assert 0 <= start < stop <= len(file), f"checked gives ranges (start, stop) of the file, not {start, stop}"
        places = [at for start, stop in ranges for at in range(start, stop)]

        def check() -> None:
            for number, at in enumerate(self._chosen(places)):
                bit = 1 << number % 8
                got = self._outcome(format, _flipped(file, at, bit), how, f"bit {bit:#x} of byte {at} flipped")
                if not isinstance(got, FormatError):
                    raise broken(_FLIPPED, f"bit {bit:#x} of byte {at} was not missed by {how}", "verify the checksum")

        patiently(_FLIPPED, check)

    @_both
    def test_any_bit(self, format: SampleFormat, file: bytes, how: str) -> None:
        def check() -> None:
            with frugal(_CLAIMED, len(file)):
                for number, at in enumerate(self._places(len(file))):
                    bit = 1 << (number * 5 + 7) % 8
                    self._outcome(format, _flipped(file, at, bit), how, f"bit {bit:#x} of byte {at} flipped")

        patiently(_ELSE, check)

    @_both
    def test_any_length_that_is_claimed(self, format: SampleFormat, file: bytes, how: str) -> None:
        def check() -> None:
            with frugal(_CLAIMED, len(file)):
                for number, at in enumerate(self._places(len(file))):
                    for order in "<>":
                        claim = _CLAIMS[number % len(_CLAIMS)]
                        size = 8 if number % 2 or claim >= 2**32 else 4
                        packed = struct.pack(f"{order}{'Q' if size == 8 else 'I'}", claim)
                        damaged = (file[:at] + packed + file[at + size :])[: len(file)]
                        self._outcome(format, damaged, how, f"{claim} ({order}, {size} bytes) at byte {at}")

        patiently(_ELSE, check)

    @_both
    def test_garbage(self, format: SampleFormat, file: bytes, how: str) -> None:
        def check(garbage: bytes) -> None:
            for data in (garbage, file[: len(file) // 3] + garbage, file + garbage):
                self._outcome(format, data, how, f"garbage of {len(garbage)} bytes")

        with frugal(_CLAIMED, 2 * len(file)):
            patiently(_ELSE, lambda: self.over(st.binary(max_size=300), check))
            for seed in range(20):
                check(noise(2_000, ("garbage", seed)))

    def test_damaged_indexes(self, format: SampleFormat, file: bytes) -> None:
        def check() -> None:
            for form in format.kind.index_forms:
                index = self.indexed(format, file, form)
                cut = [index[:end] for end in self._places(len(index))]
                flipped = [_flipped(index, at, 1 << at % 8) for at in self._places(len(index))]
                others = [noise(size, size) for size in range(0, 200, 7)] + [index + index, index[::-1]]
                with frugal(_CLAIMED, len(file) + len(index)):
                    for damaged in (*cut, *flipped, *others):
                        self._outcome(format, file, "open", f"an index of {form!r} that is damaged", damaged)

        patiently(_ELSE, check)

    def _places(self, nbytes: int) -> Sequence[int]:
        return self._chosen(range(nbytes))

    def _chosen(self, places: Sequence[int]) -> Sequence[int]:
        """All of a few places; of many the beginning, the end, and some between."""
        if len(places) <= self.places:
            return places
        third = self.places // 3
        between = np.linspace(third, len(places) - third, third, endpoint=False, dtype=int).tolist()
        return [places[at] for at in (*range(third), *between, *range(len(places) - third, len(places)))]

    def _outcome(
        self, format: SampleFormat, data: bytes, how: str, what: str, index: bytes | None = None
    ) -> list[object] | FormatError:
        try:
            got = outcome(format.codec, data, how, index=index)
        except Exception as error:
            raise broken(
                _ELSE, f"{what}: {how} raised {type(error).__name__}: {error}", "raise FormatError, chained with 'from'"
            ) from error
        return got if isinstance(got, FormatError) else list(got)


def _flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= bit
    return bytes(changed)
