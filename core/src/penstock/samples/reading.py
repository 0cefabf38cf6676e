"""Reading samples by URI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from penstock.buffers import aligned_buffer
from penstock.client.functions import Options
from penstock.client.stores import Found, default_cache
from penstock.errors import ObjectNotFoundError, UsageError
from penstock.formats import FileSummary, FormatType, RangeReader, Sample, SampleReader
from penstock.samples.choosing import SampleFormat, choose_format
from penstock.samples.files import StoreFile
from penstock.samples.local import naming_file
from penstock.sinks import Collect
from penstock.store import ObjectInfo, ObjectStore

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["SampleFile", "find_index", "open_samples", "read_samples"]

_MIB = 1024 * 1024
#: Files of up to this size take one request.
_AT_ONCE = 16 * _MIB
#: What iterating over samples fetches ahead, unless a single one is larger.
_AHEAD = 8 * _MIB


class SampleFile:
    """An opened file of samples; a :class:`~penstock.formats.SampleReader`, a sequence and a context manager.

    Any thread may call anything. A FormatError names the file's URI.
    """

    def __init__(self, uri: str, format: SampleFormat, file: RangeReader, index: Buffer | None, owner: object) -> None:
        """``owner`` is kept as long as the file: what must not be closed before."""
        self.uri = uri
        self.format = format
        self.file = file
        self._owner = owner
        with naming_file(uri):
            self._reader: SampleReader = format.codec.open(file, index=index)

    def __len__(self) -> int:
        """How many samples the file holds."""
        return len(self._reader)

    def summary(self) -> FileSummary:
        """What is in the file."""
        with naming_file(self.uri):
            return self._reader.summary()

    def nbytes(self, number: int, /) -> int:
        """An upper bound of the memory that reading this sample takes, in bytes."""
        return self._reader.nbytes(number)

    def read(self, numbers: Sequence[int], /) -> Sequence[Sample]:
        """These samples, in the order asked, each number in ``[0, len)``; all of them are held at once."""
        with naming_file(self.uri):
            return self._reader.read(numbers)

    def __getitem__(self, number: int) -> Sample:
        """One sample; a negative number counts from the end. Raises IndexError."""
        length = len(self)
        if not -length <= number < length:
            raise IndexError(f"{self.uri} has {length} samples, there is no number {number}")
        return self.read([number % length])[0]

    def __iter__(self) -> Iterator[Sample]:
        return self.samples()

    def samples(self, start: int = 0, stop: int | None = None, *, max_bytes: int = _AHEAD) -> Iterator[Sample]:
        """The samples ``[start, stop)`` in order, read in groups of at most ``max_bytes``, or of one sample.

        Numbers are those of a slice: negative ones count from the end, and what lies outside is left out.
        """
        group: list[int] = []
        held = 0
        for number in range(*slice(start, stop).indices(len(self))):
            nbytes = self.nbytes(number)
            if group and held + nbytes > max_bytes:
                yield from self.read(group)
                group, held = [], 0
            group.append(number)
            held += nbytes
        if group:
            yield from self.read(group)

    def close(self) -> None:
        """Let go of everything held. The samples that were read stay valid. Closing twice is harmless."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_samples(
    uri: str,
    format: str | SampleFormat | None = None,
    *,
    format_options: Mapping[str, Any] | None = None,
    index: str | Buffer | Literal[False] | None = None,
    merge_gap: int = 64 * 1024,
    part_size: int = 8 * _MIB,
    in_flight: int = 8,
    options: Options = None,
) -> SampleFile:
    """Open a file to read single samples, by number.

    ``format`` is that of the file's ending unless it is named. ``index`` is the URI of an index of the file, or its
    content; None looks for one beside the file if the format has any (``x.tfrecord.idx``), False does without.
    ``merge_gap``, ``part_size`` and ``in_flight`` are those of :class:`StoreFile`, ``options`` those of the store.
    Raises ObjectNotFoundError, FormatError, UsageError, PluginError.
    """
    chosen = choose_format(uri, format, format_options)
    found = default_cache().find(uri, options)
    content = _index_content(found, chosen.kind, index, options)
    file = StoreFile(
        found.store.raw, found.key, merge_gap=merge_gap, part_size=part_size, in_flight=in_flight, uri=found.uri
    )
    return SampleFile(found.uri, chosen, file, content, found.store)


def read_samples(
    uri: str,
    format: str | SampleFormat | None = None,
    *,
    format_options: Mapping[str, Any] | None = None,
    max_bytes: int = 256 * _MIB,
    options: Options = None,
) -> Iterator[Sample]:
    """Every sample of a file, in order.

    A file of up to ``max_bytes`` is fetched whole, by one request if it has at most 16 MiB. A larger one is opened
    as :func:`open_samples` does and read in groups of samples, if its format can be split; else it is fetched whole
    too. Nothing is asked before the first sample is. Raises as :func:`open_samples` does.
    """
    chosen = choose_format(uri, format, format_options)
    found = default_cache().find(uri, options)
    # The store is closed when nobody has it any more; the generator has it.
    return _samples(found, chosen, max_bytes, options)


def find_index(store: ObjectStore, key: str, kind: FormatType) -> memoryview | None:
    """The content of the index that lies beside a file, of any form the format has; None where there is none.

    One request for each ending that is tried.
    """
    for ending in dict.fromkeys(kind.index_forms.values()):
        sink = Collect()
        try:
            store.get(key + ending, sink)
        except ObjectNotFoundError:
            continue
        return sink.view()
    return None


def _index_content(
    found: Found, kind: FormatType, index: str | Buffer | Literal[False] | None, options: Options
) -> Buffer | None:
    if index is False:
        return None
    if index is None:
        return find_index(found.store.raw, found.key, kind)
    if not kind.index_forms:
        raise UsageError(f"{kind.name} has no index; leave it out")
    if isinstance(index, str):
        beside = default_cache().find(index, options)
        return beside.store.get(beside.key)
    return index


def _samples(found: Found, chosen: SampleFormat, max_bytes: int, options: Options) -> Iterator[Sample]:
    head = Collect()
    info = found.store.raw.get(found.key, head, length=min(_AT_ONCE, max_bytes))
    if info.size > max_bytes and chosen.kind.splittable:
        head = Collect()
        file = StoreFile(found.store.raw, found.key, info, uri=found.uri)
        index = find_index(found.store.raw, found.key, chosen.kind)
        with SampleFile(found.uri, chosen, file, index, found.store) as opened:
            yield from opened
        return
    data = head.view() if head.nbytes == info.size else _whole(found, info, head.view())
    del head
    samples = chosen.codec.decode(data)
    while True:
        with naming_file(found.uri):
            sample = next(samples, None)
        if sample is None:
            return
        yield sample


def _whole(found: Found, info: ObjectInfo, head: memoryview) -> memoryview:
    """All of a file whose beginning is there already."""
    room = aligned_buffer(info.size)
    room[: head.nbytes] = head
    file = StoreFile(found.store.raw, found.key, info, uri=found.uri)
    file.read_into(head.nbytes, room[head.nbytes :])
    return room
