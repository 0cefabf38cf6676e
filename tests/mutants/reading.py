"""Stores that read wrongly."""

from __future__ import annotations

import contextlib
import os

import attrs

from mutants.plain import Item, Plain
from penstock.errors import (
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    UnsupportedOperationError,
)
from penstock.store import ObjectInfo


class RangeEndsOneEarly(Plain):
    def cut(self, body, start, length):
        return body[start : None if length is None else start + max(0, length - 1)]


class RangeEndsOneLate(Plain):
    def cut(self, body, start, length):
        return body[start : None if length is None else start + length + (length > 0)]


class RangeBeginsOneLate(Plain):
    def cut(self, body, start, length):
        return super().cut(body, start + 1 if start else 0, length)


class RangeBeginsOneEarly(Plain):
    def cut(self, body, start, length):
        return body[max(0, start - 1) : None if length is None else start + length]


class ZeroLengthMeansAll(Plain):
    def cut(self, body, start, length):
        return super().cut(body, start, length or None)


class StartWithoutLengthIgnored(Plain):
    def cut(self, body, start, length):
        return super().cut(body, start if length is not None else 0, length)


class RangeBeyondTheEndRaises(Plain):
    def cut(self, body, start, length):
        if start and start >= len(body):
            raise StoreError("range not satisfiable", status=416)
        return super().cut(body, start, length)


class RangeNotClampedRaises(Plain):
    def cut(self, body, start, length):
        if length is not None and start < len(body) < start + length:
            raise LengthMismatchError("short")
        return super().cut(body, start, length)


class SizeOfTheRange(Plain):
    def range_info(self, key, item, start, length):
        return ObjectInfo(key, len(self.cut(item.body, start, length)))


class MissingIsEmpty(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        if self.name(key) not in self.items:
            return ObjectInfo(key, 0)
        return super().get(key, sink, start=start, length=length, if_match=if_match)


class MissingRaisesAfterBytes(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        if self.name(key) not in self.items:
            sink.write(b"<Error>")
        return super().get(key, sink, start=start, length=length, if_match=if_match)


class StatOfMissingIsZero(Plain):
    def stat(self, key, /):
        return self.info(key, self.items.get(self.name(key), Item(b"", "none")))


class StatFindsPrefixes(Plain):
    def stat(self, key, /):
        name = next((name for name in sorted(self.items) if name.startswith(key)), key)
        return self.info(key, self.items[name]) if name in self.items else super().stat(key)


class ShortSuccess(Plain):
    """Stops after the first room, as a read that takes a short answer for a whole one."""

    def deliver(self, data, sink):
        if data:
            room = sink.reserve(len(data))
            count = min(room.nbytes, len(data))
            room[:count] = data[:count]
            sink.commit(count)


class IgnoresAShortRoom(Plain):
    def deliver(self, data, sink):
        if data:
            sink.reserve(len(data))[: len(data)] = data
            sink.commit(len(data))


class CommitsMoreThanReserved(Plain):
    def deliver(self, data, sink):
        if data:
            room = sink.reserve(len(data))
            count = min(room.nbytes, len(data))
            room[:count] = data[:count]
            sink.commit(len(data))


class FillsALongRoom(Plain):
    """Delivers what follows the range too when the room is longer than asked."""

    def cut(self, body, start, length):
        return (body[start:], len(super().cut(body, start, length)))

    def deliver(self, data, sink):
        rest, wanted = data
        while wanted > 0:
            room = sink.reserve(wanted)
            count = min(room.nbytes, len(rest))
            room[:count] = rest[:count]
            sink.commit(count)
            rest, wanted = rest[count:], wanted - count


class ReservesToFindTheEnd(Plain):
    def deliver(self, data, sink):
        super().deliver(data, sink)
        sink.reserve(1)


class CommitsWithoutReserving(Plain):
    def deliver(self, data, sink):
        if data:
            room = sink.reserve(len(data))
            half = min(room.nbytes, len(data)) // 2
            room[: 2 * half] = data[: 2 * half]
            sink.commit(half)
            sink.commit(half)
            super().deliver(data[2 * half :], sink)


class FillsAfterTheCommit(Plain):
    def deliver(self, data, sink):
        view = memoryview(data)
        while view:
            room = sink.reserve(view.nbytes)
            count = min(room.nbytes, view.nbytes)
            sink.commit(count)
            room[:count] = view[:count]
            view = view[count:]


class SwallowsTheSinksError(Plain):
    def deliver(self, data, sink):
        with contextlib.suppress(LengthMismatchError):
            super().deliver(data, sink)


class CachesSizes(Plain):
    def __init__(self):
        super().__init__()
        self.sizes = {}

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        size = self.sizes.setdefault(key, len(self.find(key, "get").body))
        length = min(length or size, size) if length != 0 else 0
        return super().get(key, sink, start=start, length=length, if_match=if_match)


class CachesObjects(Plain):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def find(self, key, operation):
        if operation != "stat":
            return super().find(key, operation)
        return self.seen.setdefault(key, super().find(key, operation))


class ErrorWithoutKey(Plain):
    def missing(self, key, operation):
        return ObjectNotFoundError("no such object", operation=operation)


class ErrorWithoutOperation(Plain):
    def missing(self, key, operation):
        return ObjectNotFoundError("no such object", uri=key)


class SystemErrorLeaks(Plain):
    def missing(self, key, operation):
        return FileNotFoundError(2, os.strerror(2), key)


class KeyErrorLeaks(Plain):
    def find(self, key, operation):
        return self.items[self.name(key)]


class PlainStoreErrorForMissing(Plain):
    def missing(self, key, operation):
        return StoreError("no such object", uri=key, operation=operation, status=404)


class _OwnError(ObjectNotFoundError):
    def __init__(self, key, operation, response):
        super().__init__("no such object", uri=key, operation=operation)
        self.response = response

    def __reduce__(self):
        return type(self), (self.uri,)


class UnpicklableError(Plain):
    def missing(self, key, operation):
        return _OwnError(key, operation, self.lock)


class _ForgetfulError(ObjectNotFoundError):
    def __reduce__(self):
        return type(self), (self.message,)


class ErrorForgetsItsFieldsInAPickle(Plain):
    def missing(self, key, operation):
        return _ForgetfulError("no such object", uri=key, operation=operation)


class AnswersWithAnotherKey(Plain):
    def info(self, key, item):
        return attrs.evolve(super().info(key, item), key=key.rpartition("/")[2] or key)


class EtagNeverChanges(Plain):
    def etag(self):
        return "constant"


class IfMatchOfReadsIgnored(Plain):
    def match(self, key, item, if_match):
        pass


class IfMatchOfReadsRefused(Plain):
    def match(self, key, item, if_match):
        if if_match is not None:
            raise UnsupportedOperationError("not here", uri=f"plain:///{key}", operation="get")


class IfMatchOfReadsNeverMatches(Plain):
    """Compares with quotes around it."""

    def match(self, key, item, if_match):
        super().match(key, item, if_match and f'"{if_match}"')


class IfMatchOfReadsMatchesAPart(Plain):
    """Takes an etag for the right one that only begins like it."""

    def match(self, key, item, if_match):
        if if_match is not None and not if_match.startswith(item.etag):
            super().match(key, item, if_match)


class IfMatchOfReadsRaisesAnyError(Plain):
    def match(self, key, item, if_match):
        try:
            super().match(key, item, if_match)
        except PreconditionFailedError as error:
            raise StoreError(error.message, uri=error.uri, operation="get", status=412) from error


class IfMatchOfReadsIsAnEmptyAnswer(Plain):
    """As one does that takes 412 for 304."""

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        try:
            return super().get(key, sink, start=start, length=length, if_match=if_match)
        except PreconditionFailedError:
            return self.stat(key)


class IfMatchOfReadsChecksAfterTheBytes(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        info = super().get(key, sink, start=start, length=length)
        self.match(key, self.find(key, "get"), if_match)
        return info


class IfMatchOfRangesIgnored(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        whole = start == 0 and length is None
        return super().get(key, sink, start=start, length=length, if_match=if_match if whole else None)


class IfMatchOfWholeReadsIgnored(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        whole = start == 0 and length is None
        return super().get(key, sink, start=start, length=length, if_match=None if whole else if_match)


class IfMatchOfEmptyRangesIgnored(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        return super().get(key, sink, start=start, length=length, if_match=if_match if length != 0 else None)


class IfMatchBeyondTheEndIgnored(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        beyond = start >= len(self.find(key, "get").body)
        return super().get(key, sink, start=start, length=length, if_match=None if beyond else if_match)


class IfMatchOfMissingReadsFailsThePrecondition(Plain):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        if if_match is not None and self.name(key) not in self.items:
            raise PreconditionFailedError("another", uri=f"plain:///{key}", operation="get")
        return super().get(key, sink, start=start, length=length, if_match=if_match)


class IfMatchReadsTheWholeObject(Plain):
    """Lets the range go when there is a condition."""

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        if if_match is not None:
            start, length = 0, None
        return super().get(key, sink, start=start, length=length, if_match=if_match)
