"""Reading parts of objects: large ones as concurrent ranges, many small ones joined to few requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from penstock.errors import PenstockError, PreconditionFailedError
from penstock.samples import StoreFile
from penstock.samples.spans import merge, together
from penstock.sinks import Collect
from penstock.store import ObjectInfo
from penstock_fsspec.places import Place

__all__ = ["Reading", "Wanted", "read", "read_many", "resolve"]

_MIB = 1024 * 1024


@attrs.frozen(kw_only=True)
class Reading:
    """How reads become requests; sizes in bytes.

    A read of up to twice ``part_size`` is one request. A longer one goes on in parts of at most ``part_size``, up to
    ``concurrency`` of them at once. Ranges of one object with at most ``merge_gap`` bytes between them are one
    request, as long as it is no longer than ``part_size``.
    """

    part_size: int = 8 * _MIB
    concurrency: int = 16
    merge_gap: int = 64 * 1024

    def file(self, place: Place, info: ObjectInfo) -> StoreFile:
        """That version of the object as a file of ranges."""
        return StoreFile(
            place.store.raw,
            place.key,
            info,
            merge_gap=self.merge_gap,
            part_size=self.part_size,
            in_flight=self.concurrency,
            uri=place.uri,
        )


def read(place: Place, reading: Reading, start: int, length: int | None) -> tuple[memoryview, ObjectInfo]:
    """The bytes ``[start, start + length)``, cut at the object's end, and what the store says of the object.

    The first request learns the size, so there is no other one for it. All parts are of one version: an object that
    is replaced meanwhile raises PreconditionFailedError.
    """
    first = 2 * reading.part_size
    sink = Collect()
    asked = first if length is None else min(length, first)
    info = place.store.raw.get(place.key, sink, start=start, length=asked)
    end = info.size if length is None else min(info.size, start + length)
    rest = end - start - sink.nbytes
    if rest <= 0:
        return sink.view(), info
    room = memoryview(bytearray(end - start))
    room[: sink.nbytes] = sink.view()
    reading.file(place, info).read_into(start + sink.nbytes, room[sink.nbytes :])
    return room, info


def resolve(start: int | None, end: int | None, size: int | None) -> tuple[int, int | None]:
    """Start and length (None: to the end) of what a slice ``[start:end]`` names.

    ``size`` is needed where one of them is negative, which counts from the end of the object.
    """
    begin, stop = start or 0, end
    if begin < 0:
        assert size is not None
        begin = max(0, size + begin)
    if stop is not None and stop < 0:
        assert size is not None
        stop = size + stop
    return begin, None if stop is None else max(0, stop - begin)


@attrs.frozen(slots=True)
class Wanted:
    """One range of :func:`read_many`: ``number`` is its place in the answer, ``length`` None means to the end."""

    number: int
    place: Place
    start: int
    length: int | None


@attrs.frozen(slots=True)
class _Request:
    """What one request, or one long read, brings: the ranges in it with their offsets."""

    place: Place
    start: int
    length: int | None
    parts: Sequence[tuple[Wanted, int]]


def read_many(wanted: Sequence[Wanted], reading: Reading, gap: int, count: int) -> list[bytes | PenstockError]:
    """Ranges of any objects, joined as :class:`Reading` says with ``gap``, several requests at once.

    The answer has ``count`` places; what could not be read has its error there. Ranges of one object are of one
    version, or else all of them have the error.
    """
    answers: list[bytes | PenstockError] = [b""] * count
    requests = list(_requests(wanted, reading, gap))
    etags: list[str | None] = [None] * len(requests)

    def fetch(number: int) -> None:
        request = requests[number]
        try:
            data, info = read(request.place, reading, request.start, request.length)
        except PenstockError as error:
            for part, _ in request.parts:
                answers[part.number] = error
            return
        etags[number] = info.etag
        for part, offset in request.parts:
            answers[part.number] = bytes(data[offset:] if part.length is None else data[offset : offset + part.length])

    together(fetch, len(requests), reading.concurrency)
    _refuse_mixtures(requests, etags, answers)
    return answers


def _requests(wanted: Sequence[Wanted], reading: Reading, gap: int) -> Iterable[_Request]:
    objects: dict[str, list[Wanted]] = {}
    for one in wanted:
        objects.setdefault(one.place.uri, []).append(one)
    for ranges in objects.values():
        place = ranges[0].place
        closed = [one for one in ranges if one.length is not None]
        plan = merge([(one.start, one.length or 0) for one in closed], gap=gap, most=reading.part_size)
        members: dict[int, list[tuple[Wanted, int]]] = {}
        for one, (span, offset) in zip(closed, plan.places, strict=True):
            members.setdefault(span, []).append((one, offset))
        yield from (_Request(place, *plan.spans[span], parts) for span, parts in members.items() if span >= 0)
        # To the end of the object, and of nothing at all, which still has to tell whether the object is there.
        yield from (_Request(place, one.start, None, [(one, 0)]) for one in ranges if one.length is None)
        yield from (_Request(place, one.start, 0, [(one, 0)]) for one, _ in members.get(-1, []))


def _refuse_mixtures(
    requests: Sequence[_Request], etags: Sequence[str | None], answers: list[bytes | PenstockError]
) -> None:
    seen: dict[str, set[str]] = {}
    for request, etag in zip(requests, etags, strict=True):
        if etag is not None:
            seen.setdefault(request.place.uri, set()).add(etag)
    for request in requests:
        if len(seen.get(request.place.uri, ())) > 1:
            error = PreconditionFailedError(
                "the object was replaced while its ranges were read", uri=request.place.uri, operation="get"
            )
            for part, _ in request.parts:
                answers[part.number] = error
