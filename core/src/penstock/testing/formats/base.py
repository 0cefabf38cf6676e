"""What every class of laws has: the format, files that are drawn, and one ordinary file."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.formats import Sample
from penstock.samples import SampleFormat
from penstock.testing.formats.tools import WatchedFile, encoded, fill_noise

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FormatLaws"]

#: A profile that asks for more examples than this looks further than the kit does by itself.
_USUAL = 100


class FormatLaws:
    """The base of the laws; see :mod:`penstock.testing.formats` for what to override."""

    #: Draws lists of samples that one file can hold.
    files: ClassVar[st.SearchStrategy[Any] | None] = None
    #: How many files are drawn for each law.
    cases: ClassVar[int] = 40
    #: At how many places a file is damaged for each law of damage; a shorter file at each of its bytes.
    places: ClassVar[int] = 100
    #: Bytes that opening a file may read, and that reading a sample may beyond the sample's own.
    slack: ClassVar[int] = 64 * 1024
    #: Whether the length of a file depends on its content.
    compressed: ClassVar[bool] = False

    @pytest.fixture
    def format(self) -> SampleFormat:
        """The format, opened: what :func:`penstock.samples.choose_format` returns."""
        pytest.fail('override the fixture format: return choose_format("", "name", options)')

    @pytest.fixture
    def ordinary(self, format: SampleFormat) -> list[Sample]:
        """The samples of one file of some kilobytes; several where a file can hold several."""
        return list(format.codec.synthesize(6_000, fill_noise()))

    @pytest.fixture
    def file(self, format: SampleFormat, ordinary: list[Sample]) -> bytes:
        """The file of the ordinary samples."""
        return encoded(format.codec, ordinary)

    def checked(self, data: bytes) -> Iterable[tuple[int, int]]:
        """Ranges ``(start, stop)`` of a file in which any flipped bit is found."""
        return ()

    def whole_prefixes(self, data: bytes) -> Container[int]:
        """Lengths below that of a file to which it may be cut and be a file of this format still."""
        return ()

    def over_files(self, check: Callable[[list[Sample]], None]) -> None:
        """Call ``check`` for many files, the same ones in every run unless hypothesis is told to look further."""
        if self.files is None:
            pytest.fail("set files: a hypothesis strategy for lists of samples that one file can hold")
        self.over(self.files, check)

    def over(self, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        """Call ``check`` for many values."""
        loaded = settings()
        deeper = loaded.max_examples > _USUAL
        profile = settings(
            max_examples=loaded.max_examples if deeper else self.cases,
            derandomize=loaded.derandomize or not deeper,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )

        @profile
        @given(strategy)
        def run(value: Any) -> None:
            check(value)

        run()

    def watched(self, data: Buffer) -> WatchedFile:
        """A file that counts its requests and lets none go outside."""
        return WatchedFile(data)

    def indexed(self, format: SampleFormat, data: Buffer, form: str) -> bytes:
        """The index of a file."""
        return b"".join(bytes(piece) for piece in format.codec.index(self.watched(data), form=form))
