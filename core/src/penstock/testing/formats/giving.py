"""Law 1 and law 2: samples come back as they were, and what can't be held is refused."""

from __future__ import annotations

import array
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

from penstock.errors import FormatError, UsageError
from penstock.formats import Sample
from penstock.options import describe
from penstock.samples import SampleFormat
from penstock.testing.formats.base import FormatLaws
from penstock.testing.formats.tools import encoded, require_same, value_bytes
from penstock.testing.tools import broken

__all__ = ["GivingLaws", "KindLaws"]

_BACK = "law 1 (samples come back as they were)"
_SAME = "law 1 (encoding the same samples gives the same bytes)"
_REFUSED = "law 2 (what a format can't hold is a FormatError)"


class _StopError(Exception):
    """What the kit's own samples raise."""


class _Opaque:
    """Something that no format holds."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _Opaque, ()


class KindLaws(FormatLaws):
    """What a format says of itself."""

    def test_names_endings_and_options(self, format: SampleFormat) -> None:
        kind = format.kind
        assert kind.name == kind.name.lower(), "a format's name is in lower case: it is what the user types"
        assert kind.summary, "a FormatType has a summary, one line for the list of formats"
        for ending in (*kind.extensions, *kind.index_forms.values()):
            assert ending.startswith("."), f"an ending has its dot: {ending!r}"
            assert ending == ending.lower(), f"an ending is in lower case, as any case is found by it: {ending!r}"
        for option in describe(kind.options):
            assert option.help, f"the option {option.name} says what it does: make it with penstock.options.option"

    def test_a_form_of_index_that_is_not_there(self, format: SampleFormat, file: bytes) -> None:
        for form in ("no-such-form", *(() if format.kind.index_forms else ("",))):
            try:
                list(format.codec.index(self.watched(file), form=form))
            except UsageError:
                continue
            raise broken(
                "the law of index", f"the form {form!r} was made, which the type does not name", "raise UsageError"
            )


class GivingLaws(FormatLaws):
    """Laws of ``encode`` and ``decode``."""

    #: Lists of samples, each of a file that the format can't hold. What no format holds is tried anyway.
    refused: ClassVar[tuple[list[Sample], ...]] = ()

    def test_samples_come_back(self, format: SampleFormat) -> None:
        def check(samples: list[Sample]) -> None:
            before = [{name: value_bytes(value) for name, value in sample.items()} for sample in samples]
            data = encoded(format.codec, samples)
            require_same(_BACK, samples, list(format.codec.decode(data)), "keep type, byte order, shape and every bit")
            after = [{name: value_bytes(value) for name, value in sample.items()} for sample in samples]
            assert before == after, "law 1: encoding leaves the samples as they are"

        self.over_files(check)

    def test_the_same_samples_give_the_same_bytes(self, format: SampleFormat) -> None:
        def check(samples: list[Sample]) -> None:
            data = encoded(format.codec, samples)
            copies = [{name: _copied(value) for name, value in sample.items()} for sample in samples]
            for again in (samples, copies):
                if encoded(format.codec, again) != data:
                    raise broken(_SAME, "a second encoding differs", "write no time, no id and no address into a file")

        self.over_files(check)

    def test_the_ordinary_file_comes_back(self, format: SampleFormat, ordinary: list[Sample], file: bytes) -> None:
        require_same(_BACK, ordinary, list(format.codec.decode(file)), "keep type, byte order, shape and every bit")
        assert encoded(format.codec, ordinary) == file, f"{_SAME}: a second encoding differs"

    def test_samples_are_taken_from_any_iterable(
        self, format: SampleFormat, ordinary: list[Sample], file: bytes
    ) -> None:
        for samples in (iter(ordinary), (sample for sample in ordinary), tuple(ordinary)):
            assert encoded(format.codec, samples) == file, "law 1: samples are taken once, in order, from any iterable"

    def test_what_the_samples_raise_comes_through(self, format: SampleFormat, ordinary: list[Sample]) -> None:
        def failing() -> Iterator[Sample]:
            yield ordinary[0]
            raise _StopError

        try:
            encoded(format.codec, failing())
        except _StopError:
            return
        except Exception as error:
            raise broken("law 1", f"the samples' own error became {error!r}", "let it through as it is") from error
        raise broken("law 1", "the samples' own error was lost, and a file came", "let it through as it is")

    def test_any_buffer_is_decoded(self, format: SampleFormat, ordinary: list[Sample], file: bytes) -> None:
        numbers: Any = np.frombuffer(file, np.uint8)
        for data in (bytearray(file), memoryview(file), memoryview(b"--" + file)[2:], numbers, array.array("B", file)):
            require_same("law 1 (decode takes any buffer)", ordinary, list(format.codec.decode(data)), "use memoryview")

    def test_decoding_leaves_the_bytes_alone(self, format: SampleFormat, file: bytes) -> None:
        data = bytearray(file)
        for _ in format.codec.decode(data):
            assert data == file, "law 1: decoding does not write into the data"
        assert data == file, "law 1: decoding does not write into the data"

    def test_what_it_can_not_hold_is_refused(self, format: SampleFormat, ordinary: list[Sample]) -> None:
        name = next(iter(ordinary[0]))
        opaque = np.array([_Opaque()], dtype=object)
        wrong: list[list[Sample]] = [
            *self.refused,
            [{**ordinary[0], name: _Opaque()}],
            [{**ordinary[0], name: opaque}],
            [{**ordinary[0], name: [[_Opaque()]]}],
        ]
        for samples in wrong:
            try:
                encoded(format.codec, samples)
            except FormatError:
                continue
            except Exception as error:
                raise broken(_REFUSED, f"{samples!r:.80} raised {error!r}", "raise FormatError, and say why") from error
            raise broken(_REFUSED, f"{samples!r:.80} was written", "raise FormatError; pickle nothing")

    def test_a_refusal_says_why(self, format: SampleFormat, ordinary: list[Sample]) -> None:
        name = next(iter(ordinary[0]))
        with pytest.raises(FormatError) as caught:
            encoded(format.codec, [{**ordinary[0], name: _Opaque()}])
        assert str(caught.value).strip(), f"{_REFUSED}: its message says why"


def _copied(value: Any) -> Any:
    return value.copy(order="K") if isinstance(value, np.ndarray) else value
