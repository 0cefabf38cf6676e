"""Law 3 and law 7: samples by number, and indexes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.errors import StoreConnectionError
from penstock.formats import Field, FileSummary, Sample, SampleReader
from penstock.samples import SampleFormat
from penstock.testing.formats.base import FormatLaws
from penstock.testing.formats.tools import encoded, fill_noise, read_all, require_same, value_bytes
from penstock.testing.tools import broken

__all__ = ["IndexLaws", "ReadingLaws"]

_READ = "law 3 (a reader gives the samples that decoding gives)"
_SUMMARY = "law 3 (a summary says truly what is in the file)"
_INDEX = "law 7 (an index gives the same samples as none)"
_FRUGAL = "law 7 (what is read is what says where samples are, and the samples)"
_MANY = 2_000_000


class ReadingLaws(FormatLaws):
    """Laws of ``open`` and of readers."""

    def test_any_numbers(self, format: SampleFormat) -> None:
        def check(samples: list[Sample]) -> None:
            reader = format.codec.open(self.watched(encoded(format.codec, samples)))
            if len(reader) != len(samples):
                raise broken(_READ, f"a reader has {len(reader)} samples, not {len(samples)}", "count samples")
            numbers = [step * 7 % len(samples) for step in range(5)] if samples else []
            for chosen in (range(len(samples)), numbers, numbers[:1], ()):
                expected = [samples[number] for number in chosen]
                require_same(_READ, expected, list(reader.read(chosen)), "answer in the order asked, doubles too")
            reader.close()

        self.over_files(check)

    def test_numbers_outside(self, format: SampleFormat, file: bytes) -> None:
        reader = format.codec.open(self.watched(file))
        for number in (len(reader), -1, -len(reader), 2**40):
            for call in (lambda number=number: reader.read([0, number]), lambda number=number: reader.nbytes(number)):
                try:
                    call()
                except IndexError:
                    continue
                raise broken("law 3 (numbers)", f"{number} of {len(reader)} was answered", "raise IndexError")
        reader.close()

    def test_summaries_are_true(self, format: SampleFormat) -> None:
        def check(samples: list[Sample]) -> None:
            reader = format.codec.open(self.watched(encoded(format.codec, samples)))
            summary = reader.summary()
            self._require_summary(summary, samples)
            assert reader.summary() == summary, f"{_SUMMARY}: asked twice it is the same"
            for number, sample in enumerate(samples):
                self._require_bound(reader, number, sample)
            reader.close()

        self.over_files(check)

    def _require_summary(self, summary: FileSummary, samples: list[Sample]) -> None:
        if summary.samples not in (None, len(samples)):
            raise broken(_SUMMARY, f"samples is {summary.samples}, not {len(samples)}", "count them, or say None")
        names = [field.name for field in summary.fields]
        assert len(set(names)) == len(names), f"{_SUMMARY}: a field stands in it twice"
        for field in summary.fields:
            for sample in samples:
                if field.name not in sample:
                    raise broken(_SUMMARY, f"not every sample has {field.name!r}", "list the fields that every one has")
                self._require_field(field, sample[field.name])

    def _require_field(self, field: Field, value: Any) -> None:
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject and value.dtype.names is None:
            if np.dtype(field.dtype) != value.dtype and field.dtype != value.dtype.name:
                raise broken(_SUMMARY, f"{field.name!r} is {value.dtype}, not {field.dtype}", "say what it is")
            shape = value.shape
            fits = field.shape is None or (
                len(field.shape) == len(shape)
                and all(one in (None, other) for one, other in zip(field.shape, shape, strict=True))
            )
            if not fits:
                raise broken(_SUMMARY, f"{field.name!r} has the shape {shape}, not {field.shape}", "say None for any")
        elif isinstance(value, bytes | bytearray | memoryview):
            assert field.dtype == "bytes", f"{_SUMMARY}: {field.name!r} is bytes, not {field.dtype}"
        elif isinstance(value, str):
            assert field.dtype == "text", f"{_SUMMARY}: {field.name!r} is text, not {field.dtype}"

    def _require_bound(self, reader: SampleReader, number: int, sample: Sample) -> None:
        due = sum(len(value_bytes(value)) for value in sample.values())
        bound = reader.nbytes(number)
        if bound < due:
            raise broken(
                "law 3 (nbytes is an upper bound)",
                f"sample {number} holds {due} bytes, nbytes said {bound}",
                "count the decoded values",
            )

    def test_what_a_store_raises_comes_through(self, format: SampleFormat, file: bytes, ordinary: list[Sample]) -> None:
        plain = self.watched(file)
        reader = format.codec.open(plain)
        read_all(reader)
        reader.close()
        places = np.unique(np.linspace(0, plain.requests - 1, 12, dtype=int)).tolist()
        for spared in places:
            failing = self.watched(file)
            failing.failure, failing.spared = StoreConnectionError("lost", operation="get"), spared
            try:
                read_all(format.codec.open(failing))
            except StoreConnectionError:
                pass
            except Exception as error:
                raise broken("law 3", f"a store's error became {error!r}", "let it through") from error
            else:
                raise broken("law 3", "a store's error was swallowed", "let it through")
            failing.failure = None
            reader = format.codec.open(failing)
            require_same(_READ, ordinary, read_all(reader), "keep nothing of a failure")
            reader.close()

    def test_closing(self, format: SampleFormat, file: bytes, ordinary: list[Sample]) -> None:
        reader = format.codec.open(self.watched(file))
        samples = read_all(reader)
        reader.close()
        reader.close()
        require_same("law 6 (samples outlive their reader)", ordinary, samples, "own the memory, or keep it by a view")
        format.codec.open(self.watched(file)).close()


class IndexLaws(FormatLaws):
    """Laws of indexes, and of reading little."""

    @pytest.fixture
    def many(self, format: SampleFormat) -> list[Sample]:
        """The samples of one file of some megabytes, small ones where the format lets one choose."""
        return list(format.codec.synthesize(_MANY, fill_noise("many")))

    def test_every_form_gives_the_samples(self, format: SampleFormat) -> None:
        def check(samples: list[Sample]) -> None:
            data = encoded(format.codec, samples)
            for form in format.kind.index_forms:
                index = self.indexed(format, data, form)
                for content in (index, memoryview(bytearray(index))):
                    reader = format.codec.open(self.watched(data), index=content)
                    assert len(reader) == len(samples), f"{_INDEX}: it has as many samples"
                    require_same(_INDEX, samples, read_all(reader), f"look at the form {form!r}")
                    reader.close()

        if format.kind.index_forms:
            self.over_files(check)

    def test_the_first_form_is_the_default(self, format: SampleFormat, file: bytes) -> None:
        for form in list(format.kind.index_forms)[:1]:
            assert self.indexed(format, file, "") == self.indexed(format, file, form), (
                f"{_INDEX}: no form asked for means the first, {form!r}"
            )

    def test_little_is_read(self, format: SampleFormat, many: list[Sample]) -> None:
        data = encoded(format.codec, many)
        forms = format.kind.index_forms
        indexes: list[bytes | None] = [
            b"".join(bytes(piece) for piece in format.codec.index(self.watched(data), form=f)) for f in forms
        ]
        for index in indexes or [None]:
            file = self.watched(data)
            reader = format.codec.open(file, index=index)
            if file.nbytes > self.slack:
                raise broken(_FRUGAL, f"opening read {file.nbytes} of {file.size} bytes", "read an index, or headers")
            for number in {0, len(reader) // 2, len(reader) - 1} if format.kind.splittable else ():
                file.nbytes = 0
                require_same(_INDEX, [many[number]], list(reader.read([number])), "read by the offsets of the index")
                if file.nbytes > reader.nbytes(number) + self.slack:
                    raise broken(
                        _FRUGAL,
                        f"one sample of {reader.nbytes(number)} bytes took {file.nbytes} of a file of {file.size}",
                        "read the sample's own range",
                    )
            reader.close()
