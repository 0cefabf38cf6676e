"""Formats that give back something else, read wrongly, trust what is damaged, or hold what they should let go."""

from __future__ import annotations

import itertools
import json
import pickle
import struct
import threading
import time
import zlib

import numpy as np

from mutants.frames import HEAD, MAGIC, Frames, FramesReader, Whole
from penstock.errors import FormatError, PenstockError
from penstock.formats import Field, FileSummary

# Giving back


class LosesTheByteOrder(Frames):
    law = "giving"

    def pack_array(self, array):
        return super().pack_array(array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind != "V" else array)


class LosesNoDimensions(Frames):
    law = "giving"

    def shape_of(self, array):
        return array.shape or (1,)


class LosesEmptyDimensions(Frames):
    law = "giving"

    def shape_of(self, array):
        return array.shape if array.size else (0,)


class WritesMemoryInItsOwnOrder(Frames):
    law = "giving"

    def memory(self, array):
        return array.tobytes(order="A")


class LosesTheSignOfZero(Frames):
    law = "giving"

    def memory(self, array):
        return (array + 0.0).tobytes() if array.dtype == np.float64 else array.tobytes()


class LosesWhatNansCarry(Frames):
    law = "giving"

    def memory(self, array):
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        return array.tobytes()


class LosesTheTypeOfTimes(Frames):
    law = "giving"

    def type_of(self, array):
        return "<i8" if array.dtype.kind in "mM" else array.dtype.str


class LosesTheLastSample(Frames):
    law = "giving"

    def encode(self, samples, /):
        return super().encode(list(samples)[:-1])


class LosesEmptySamples(Frames):
    law = "giving"

    def encode(self, samples, /):
        return super().encode(sample for sample in samples if sample)


class TurnsSamplesAround(Frames):
    law = "giving"

    def encode(self, samples, /):
        return super().encode(list(samples)[::-1])


class TurnsNumbersIntoArrays(Frames):
    law = "giving"

    def unpack_int(self, body):
        return np.int64(int(bytes(body)) % 2**63)


class StripsText(Frames):
    law = "giving"

    def unpack_text(self, body):
        return super().unpack_text(body).strip()


class StripsZeroBytes(Frames):
    law = "giving"

    def unpack_bytes(self, body):
        return bytes(body).rstrip(b"\0")


class LosesNames(Frames):
    law = "giving"

    def described(self, values):
        return json.dumps([[name.lower(), *rest] for name, *rest in values]).encode()


class WritesANumberOfItsOwn(Frames):
    law = "giving"
    numbers = itertools.count()

    def described(self, values):
        return super().described(values) + b" " * (next(self.numbers) % 7)


class WritesAnAddress(Frames):
    law = "giving"

    def record(self, sample):
        self.address = id(sample)
        return super().record(sample)

    def described(self, values):
        return super().described(values) + b" " * (self.address // 16 % 11)


class ChangesTheSamples(Frames):
    law = "giving"

    def memory(self, array):
        if array.flags.writeable and array.ndim:
            array.sort()
        return array.tobytes()


class TakesSamplesTwice(Frames):
    law = "giving"

    def encode(self, samples, /):
        for _ in samples:
            pass
        return super().encode(samples)


class NeedsAList(Frames):
    law = "giving"

    def encode(self, samples, /):
        len(samples)
        return super().encode(samples)


class SwallowsWhatSamplesRaise(Frames):
    law = "giving"

    def encode(self, samples, /):
        def careful():
            try:
                yield from samples
            except PenstockError:
                raise
            except Exception:  # noqa: BLE001
                return

        return super().encode(careful())


class RenamesWhatSamplesRaise(Frames):
    law = "giving"

    def encode(self, samples, /):
        try:
            yield from super().encode(samples)
        except PenstockError:
            raise
        except Exception as error:
            raise FormatError(str(error)) from error


class DecodesBytesAlone(Frames):
    law = "giving"

    def viewed(self, data):
        if not isinstance(data, bytes):
            raise FormatError("give bytes")
        return memoryview(data)


class WritesIntoTheData(Frames):
    law = "giving"

    def viewed(self, data):
        view = super().viewed(data)
        if not view.readonly:
            view[0] ^= 0
            view[-1] ^= 1
        return view


class PicklesWhatItCanNotHold(Frames):
    law = "giving"

    def refuse(self, value):
        return ["bytes", None], pickle.dumps(value)


class WritesTheTextOfWhatItCanNotHold(Frames):
    law = "giving"

    def refuse(self, value):
        return ["text", None], str(value).encode()


class LeavesOutWhatItCanNotHold(Frames):
    law = "giving"

    def refuse(self, value):
        return ["bytes", None], b""


class RefusesWithATypeError(Frames):
    law = "giving"

    def refuse(self, value):
        raise TypeError(type(value))


class RefusesWithoutAWord(Frames):
    law = "giving"

    def refuse(self, value):
        raise FormatError


class WritesArraysOfObjects(Frames):
    law = "giving"

    def pack_array(self, array):
        return ["<i8" if array.dtype.hasobject else array.dtype.str, list(array.shape)], array.tobytes()


class TakesAnyForm(Frames):
    law = "giving"

    def index(self, file, /, *, form=""):
        return super().index(file, form=form if form in self.forms else "")


class EndsWithoutADot(Frames):
    law = "giving"
    endings = ("frames",)


class EndsInCapitals(Frames):
    law = "giving"
    endings = (".FRM",)


# Making


class MakesWholeItems(Frames):
    law = "making"

    def synthesize(self, nbytes, fill, /):
        return super().synthesize(-(-nbytes // self.item) * self.item, fill)


class MakesTooLittle(Frames):
    law = "making"

    def synthesize(self, nbytes, fill, /):
        return super().synthesize(nbytes // self.item * self.item, fill)


class MakesAtLeastAByte(Frames):
    law = "making"

    def synthesize(self, nbytes, fill, /):
        return super().synthesize(max(nbytes, 1), fill)


class FillsTwice(Frames):
    law = "making"

    def filled(self, nbytes, fill):
        super().filled(nbytes, fill)
        return super().filled(nbytes, fill)


class FillsACopy(Frames):
    law = "making"

    def filled(self, nbytes, fill):
        super().filled(nbytes, fill)
        return np.zeros(nbytes, np.uint8)


class FillsOutOfOrder(Frames):
    law = "making"

    def synthesize(self, nbytes, fill, /):
        return iter(list(super().synthesize(nbytes, fill))[::-1])


class CutsByTheContent(Frames):
    law = "making"

    def synthesize(self, nbytes, fill, /):
        for sample in super().synthesize(nbytes, fill):
            data = sample["data"]
            cut = int(data[0]) % len(data)
            yield from ({"data": part} for part in (data[:cut], data[cut:]))


class WritesItsContentAsText(Frames):
    law = "making"

    def pack_array(self, array):
        if array.dtype == np.uint8 and array.ndim == 1:
            return ["list", None], json.dumps(array.tolist()).encode()
        return super().pack_array(array)

    def unpack(self, kind, shape, body):
        return np.array(json.loads(bytes(body)), np.uint8) if kind == "list" else super().unpack(kind, shape, body)


class MakesAnotherFileEachTime(Frames):
    law = "making"
    numbers = itertools.count()

    def synthesize(self, nbytes, fill, /):
        for sample in super().synthesize(nbytes, fill):
            yield sample | {"number": np.int64(next(self.numbers))}


# Reading


class Reads(Frames):
    """With another reader."""

    law = "reading"
    Reader = FramesReader

    def reader(self, file, starts):
        return self.Reader(self, file, starts)


class CountsOneTooMany(Reads):
    class Reader(FramesReader):
        def __len__(self):
            return len(self.starts) + 1


class AnswersInOrderOfTheFile(Reads):
    class Reader(FramesReader):
        def read(self, numbers, /):
            return super().read(sorted(numbers))


class AnswersEachOnce(Reads):
    class Reader(FramesReader):
        def read(self, numbers, /):
            return super().read(list(dict.fromkeys(numbers)))


class AnswersAllForNone(Reads):
    class Reader(FramesReader):
        def read(self, numbers, /):
            return super().read(numbers or range(len(self)))


class CountsFromTheEnd(Reads):
    class Reader(FramesReader):
        def check(self, number):
            if number >= len(self.starts):
                raise IndexError(number)


class LeavesOutWhatIsOutside(Reads):
    class Reader(FramesReader):
        def read(self, numbers, /):
            return super().read([number for number in numbers if 0 <= number < len(self)])


class CallsANumberAFormatError(Reads):
    class Reader(FramesReader):
        def check(self, number):
            if not 0 <= number < len(self.starts):
                raise FormatError("no such sample")


class KnowsNoBoundsOfNumbersThatAreAsked(Reads):
    class Reader(FramesReader):
        def nbytes(self, number, /):
            return super().nbytes(max(0, min(number, len(self) - 1)))


class CountsInSummariesOneTooFew(Reads):
    class Reader(FramesReader):
        def count(self):
            return len(self) - 1


class SaysTheWrongType(Reads):
    class Reader(FramesReader):
        def field(self, name, value):
            return Field(name=name, dtype="float16", shape=value.shape)


class SaysTheWrongShape(Reads):
    class Reader(FramesReader):
        def field(self, name, value):
            return Field(name=name, dtype=str(value.dtype), shape=value.shape[::-1])


class SaysFieldsThatNotAllHave(Reads):
    class Reader(FramesReader):
        def summary(self):
            if not self.starts:
                return FileSummary(samples=0)
            sample = self.format.one(self.file, self.starts[0])
            return FileSummary(
                samples=len(self), fields=tuple(Field(name=n, dtype="object", shape=None) for n in sample)
            )


class SaysSomethingElseEachTime(Reads):
    class Reader(FramesReader):
        numbers = itertools.count()

        def summary(self):
            return FileSummary(samples=len(self), details={"asked": str(next(self.numbers))})


class BoundsTooLow(Reads):
    class Reader(FramesReader):
        def bound(self, text, body):
            return body // 2


class AsksBeyondTheEnd(Reads):
    def head(self, file, at):
        if not isinstance(file, Whole):
            file.read(at, HEAD.size + 8)
        return super().head(file, at)


class CallsAStoresErrorItsOwn(Reads):
    def open(self, file, /, *, index=None):
        try:
            return super().open(file, index=index)
        except PenstockError as error:
            raise FormatError(str(error)) from error


class SwallowsAStoresError(Reads):
    class Reader(FramesReader):
        def read(self, numbers, /):
            for number in numbers:
                self.check(number)
            try:
                return super().read(numbers)
            except FormatError:
                raise
            except PenstockError:
                return [{} for _ in numbers]


class RemembersAFailure(Reads):
    failed = False

    def open(self, file, /, *, index=None):
        if self.failed:
            raise FormatError("it has failed before")
        try:
            return super().open(file, index=index)
        except FormatError:
            raise
        except PenstockError:
            self.failed = True
            raise


class ClosesOnce(Reads):
    class Reader(FramesReader):
        def close(self):
            self.file.size  # noqa: B018
            super().close()


class TakesItsSamplesAlong(Reads):
    class Reader(FramesReader):
        def __init__(self, *what):
            super().__init__(*what)
            self.given = []

        def read(self, numbers, /):
            samples = super().read(numbers)
            for sample in samples:
                self.given += [(sample, name) for name in sample]
            return samples

        def close(self):
            for sample, name in self.given:
                sample[name] = None
            self.given = []
            super().close()


class IgnoresItsIndex(Reads):
    def open(self, file, /, *, index=None):
        file.read(0, file.size)
        return super().open(file, index=index)


class ReadsTheWholeFileForASample(Reads):
    def one(self, file, start):
        return super().one(Whole(file.read(0, file.size)), start)


class SkipsTheFirstByIndex(Reads):
    def indexed(self, file, index):
        return super().indexed(file, index)[1:]


class WritesATextIndexOneTooLow(Reads):
    def text_index(self, starts):
        return super().text_index([start - 1 for start in starts])


class TakesTheLastFormForTheFirst(Reads):
    def first_form(self):
        return list(self.forms)[-1]


class ReadsIndexesOfOneForm(Reads):
    def indexed(self, file, index):
        if index[:1] != b"B":
            raise FormatError("only binary")
        return super().indexed(file, index)


# Damage


class TakesAFileWithoutItsEnd(Frames):
    law = "damage"

    def starts(self, file):
        at = len(MAGIC)
        for start in super().starts(file):
            yield start
            _, text, body, _ = self.head(file, start)
            at = self.after(start, text, body)
            if at == file.size:
                return


class TakesAnEmptyFile(Frames):
    law = "damage"

    def starts(self, file):
        return super().starts(file) if file.size else iter(())


class ComparesNoChecksum(Frames):
    law = "damage"

    def compare(self, text, body, crc):
        pass


class ComparesAPartOfAChecksum(Frames):
    law = "damage"

    def compare(self, text, body, crc):
        if self.sum(text, body) & 0x7 != crc & 0x7:
            raise FormatError("the checksum differs")


class ComparesTheDescriptionAlone(Frames):
    law = "damage"

    def sum(self, text, body):
        return zlib.crc32(text)


class ComparesTheFirstBytesAlone(Frames):
    law = "damage"

    def sum(self, text, body):
        return zlib.crc32(bytes(body[:100]), zlib.crc32(text))


class ComparesWhenDecodingAlone(Frames):
    law = "damage"

    def one(self, file, start):
        if isinstance(file, Whole):
            return super().one(file, start)
        _, text, body, _ = self.head(file, start)
        data = file.read(start + HEAD.size, text + body)
        return self.parse(data[:text], data[text:], self.sum(data[:text], data[text:]))


class FailsAsStructDoes(Frames):
    law = "damage"

    def head(self, file, at):
        return HEAD.unpack(bytes(file.read(at, min(HEAD.size, max(file.size - at, 0)))))


class FailsAsJsonDoes(Frames):
    law = "damage"

    def parse(self, text, body, crc):
        json.loads(bytes(text))
        return super().parse(text, body, crc)


class TakesMemoryForWhatIsClaimed(Frames):
    law = "damage"

    def one(self, file, start):
        _, text, body, _ = self.head(file, start)
        room = bytearray(text + body if text + body < 2**28 else 0)
        del room
        return super().one(file, start)


class TakesMemoryForWhatAnEndClaims(Frames):
    law = "damage"

    def ended(self, file, at, written, count, crc):
        rows = np.empty(written, np.int64)
        super().ended(file, at, len(rows), count, crc)


class StandsStillOnDamage(Frames):
    law = "damage"
    patience = 1.0

    def starts(self, file):
        try:
            yield from super().starts(file)
        except FormatError:
            while True:
                time.sleep(0.5)


class FailsOnIndexesAsStructDoes(Frames):
    law = "damage"

    def indexed(self, file, index):
        if index[:1] == b"B":
            return list(struct.unpack(f"<{(len(index) - 1) // 8}Q", index[1:]))
        return super().indexed(file, index)


class TrustsItsIndex(Frames):
    law = "damage"

    def indexed(self, file, index):
        starts = super().indexed(file, index)
        return starts if len(starts) < 2 or starts == sorted(starts) else [starts[n] for n in range(len(starts) + 1)]


# Life


class HoldsTheData(Frames):
    law = "life"

    def viewed(self, data):
        self.last = super().viewed(data)
        return self.last


class HoldsTheSamples(Frames):
    law = "life"

    def record(self, sample):
        self.last = sample
        return super().record(sample)


class HoldsTheFile(Frames):
    law = "life"

    def reader(self, file, starts):
        reader = super().reader(file, starts)
        reader.close = lambda: None
        return reader


class HoldsItsReaders(Frames):
    law = "life"

    def reader(self, file, starts):
        reader = self.last = super().reader(file, starts)
        return reader


class GrowsWithEachFile(Frames):
    law = "life"

    def parse(self, text, body, crc):
        self.__dict__.setdefault("seen", []).append(bytes(body))
        return super().parse(text, body, crc)


class SharesItsScratchMemory(Frames):
    law = "life"
    scratch = bytearray(100_000)

    def parse(self, text, body, crc):
        size = body.nbytes
        self.scratch[:size] = body
        time.sleep(0)
        return super().parse(text, memoryview(bytes(self.scratch[:size])), crc)


class SharesItsPosition(Frames):
    law = "life"

    class Reader(FramesReader):
        position = 0

        def read(self, numbers, /):
            found = []
            for number in numbers:
                self.check(number)
                self.position = self.starts[number]
                time.sleep(0)
                found.append(self.format.one(self.file, self.position))
            return found

    def reader(self, file, starts):
        return self.Reader(self, file, starts)


class DecodesOneFileAtATime(Frames):
    """Healthy in one thread."""

    law = "life"

    def __init__(self):
        self.lock = threading.Lock()

    def decode(self, data, /):
        if not self.lock.acquire(blocking=False):
            raise RuntimeError("somebody else is decoding")
        try:
            yield from super().decode(data)
        finally:
            self.lock.release()
