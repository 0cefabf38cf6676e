"""Law 5: synthetic samples."""

from __future__ import annotations

import pytest

from penstock.samples import SampleFormat
from penstock.testing.formats.base import FormatLaws
from penstock.testing.formats.tools import encoded, fill_noise, require_same, value_bytes
from penstock.testing.tools import broken

__all__ = ["MakingLaws"]

_LAW = "law 5 (synthetic samples hold as many bytes as asked, of the fill's making)"
_sizes = pytest.mark.parametrize("nbytes", [0, 1, 7, 100, 4_096, 65_537, 1_000_003])


class MakingLaws(FormatLaws):
    """Laws of ``synthesize``."""

    @_sizes
    def test_they_hold_what_the_fill_made(self, format: SampleFormat, nbytes: int) -> None:
        fill = fill_noise(nbytes)
        found = 0
        made = format.codec.synthesize(nbytes, fill)
        used = [data for sample in made for value in sample.values() if (data := value_bytes(value))]
        written = b"".join(fill.written)
        if len(written) != nbytes:
            raise broken(_LAW, f"{len(written)} bytes were filled, not {nbytes}", "fill each byte once")
        # What is no content, such as a label, may stand between.
        for data in used:
            if written.startswith(data, found):
                found += len(data)
        if found != nbytes:
            raise broken(
                _LAW, f"{found} bytes of the fill are in the samples, not {nbytes}", "fill the arrays in order"
            )

    @_sizes
    def test_they_can_be_written_and_read(self, format: SampleFormat, nbytes: int) -> None:
        samples = list(format.codec.synthesize(nbytes, fill_noise(nbytes)))
        data = encoded(format.codec, samples)
        require_same("law 5 (synthetic samples come back)", samples, list(format.codec.decode(data)), "see law 1")

    @_sizes
    def test_the_length_depends_on_nothing_else(self, format: SampleFormat, nbytes: int) -> None:
        sizes = {
            len(encoded(format.codec, format.codec.synthesize(nbytes, fill)))
            for fill in (fill_noise(1), fill_noise(2), lambda room: None)
        }
        assert self.compressed or len(sizes) == 1, f"law 5: {nbytes} bytes of content make files of {sorted(sizes)}"

    def test_the_same_fill_makes_the_same_file(self, format: SampleFormat) -> None:
        files = {encoded(format.codec, format.codec.synthesize(10_000, fill_noise(3))) for _ in range(2)}
        assert len(files) == 1, "law 5: the same fill makes the same file, so that it can be verified"
