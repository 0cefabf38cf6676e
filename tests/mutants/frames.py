"""A healthy format in small steps, so that a mutant changes one of them.

A file is a magic, records, and an end that counts them. A record is the lengths of its two parts and a CRC-32 of all,
then a description of the values as JSON, then their bytes.
"""

from __future__ import annotations

import json
import struct
import zlib

import attrs
import numpy as np

from penstock.errors import FormatError, UsageError
from penstock.formats import Field, FileSummary, FormatType
from penstock.samples import SampleFormat

MAGIC = b"FRAMES1\n"
HEAD = struct.Struct("<4sIII")
RECORD, END = b"REC\n", b"END\n"


@attrs.frozen(kw_only=True)
class FramesOptions:
    """None."""


class Frames:
    """See the module."""

    endings = (".frames",)
    forms = {"binary": ".idx", "text": ".txt"}  # noqa: RUF012
    splittable = True
    item = 512

    def kind(self):
        return FormatType(
            name="frames",
            summary="records for the tests of the kit",
            extensions=self.endings,
            options=FramesOptions,
            open=lambda options: self,
            splittable=self.splittable,
            index_forms=self.forms,
        )

    def opened(self):
        return SampleFormat(self.kind(), self)

    # encode

    def encode(self, samples, /):
        yield self.magic()
        count = 0
        for sample in samples:
            yield from self.record(sample)
            count += 1
        yield self.end(count)

    def magic(self):
        return MAGIC

    def record(self, sample):
        described, bodies = [], []
        for name, value in sample.items():
            if not isinstance(name, str):
                raise FormatError("a name is text")
            fact, body = self.pack(value)
            described.append([name, *fact, len(body)])
            bodies.append(body)
        text = self.described(described)
        body = b"".join(bodies)
        yield HEAD.pack(RECORD, len(text), len(body), self.sum(text, body))
        yield text
        yield body

    def described(self, values):
        return json.dumps(values).encode()

    def pack(self, value):
        if isinstance(value, np.ndarray | np.generic):
            return self.pack_array(np.asarray(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return ["bytes", None], bytes(value)
        if isinstance(value, str):
            return ["text", None], value.encode("utf-8", "surrogatepass")
        if isinstance(value, bool):
            return ["bool", None], bytes([value])
        if isinstance(value, float):
            return ["float", None], struct.pack("<d", value)
        if isinstance(value, int):
            return ["int", None], str(value).encode()
        return self.refuse(value)

    def pack_array(self, array):
        if array.dtype.hasobject or array.dtype.names is not None:
            return self.refuse(array)
        return [self.type_of(array), list(self.shape_of(array))], self.memory(array)

    def type_of(self, array):
        return array.dtype.str

    def shape_of(self, array):
        return array.shape

    def memory(self, array):
        return array.tobytes()

    def refuse(self, value):
        raise FormatError(f"{type(value).__name__} can't be held")

    def sum(self, text, body):
        return zlib.crc32(body, zlib.crc32(text))

    def end(self, count):
        return HEAD.pack(END, count, 0, zlib.crc32(struct.pack("<I", count)))

    # decode

    def decode(self, data, /):
        view = self.viewed(data)
        file = Whole(view)
        for start in self.starts(file):
            yield self.one(file, start)

    def viewed(self, data):
        view = memoryview(data)
        return view.cast("B") if view.nbytes else memoryview(b"")

    def starts(self, file):
        """Where records begin, found by jumping from one to the next."""
        if file.size < len(MAGIC) or bytes(file.read(0, len(MAGIC))) != MAGIC:
            raise FormatError("this is no file of frames")
        at, count = len(MAGIC), 0
        while True:
            kind, one, two, crc = self.head(file, at)
            if kind == END:
                self.ended(file, at, one, count, crc)
                return
            if kind != RECORD:
                raise FormatError("a record does not begin where it should")
            yield at
            count += 1
            at = self.after(at, one, two)

    def after(self, at, text, body):
        return at + HEAD.size + text + body

    def head(self, file, at):
        if at + HEAD.size > file.size:
            raise FormatError("the file ends without an end")
        return HEAD.unpack(file.read(at, HEAD.size))

    def ended(self, file, at, written, count, crc):
        if at + HEAD.size != file.size or written != count or crc != zlib.crc32(struct.pack("<I", written)):
            raise FormatError("the end is damaged")

    def one(self, file, start):
        kind, text_size, body_size, crc = self.head(file, start)
        if kind != RECORD or start + HEAD.size + text_size + body_size > file.size:
            raise FormatError("a record is damaged")
        data = file.read(start + HEAD.size, text_size + body_size)
        return self.parse(data[:text_size], data[text_size:], crc)

    def parse(self, text, body, crc):
        self.compare(text, body, crc)
        try:
            values = json.loads(bytes(text))
        except ValueError as error:
            raise FormatError("a record's description is damaged") from error
        sample, at = {}, 0
        for name, kind, shape, nbytes in values:
            sample[name] = self.unpack(kind, shape, body[at : at + nbytes])
            at += nbytes
        return sample

    def compare(self, text, body, crc):
        if self.sum(text, body) != crc:
            raise FormatError("a record's checksum is not that of its bytes")

    def unpack(self, kind, shape, body):
        if shape is not None:
            return self.unpack_array(kind, shape, body)
        simple = {
            "bytes": lambda: self.unpack_bytes(body),
            "text": lambda: self.unpack_text(body),
            "bool": lambda: bool(body[0]),
            "float": lambda: struct.unpack("<d", body)[0],
            "int": lambda: self.unpack_int(body),
        }
        return simple[kind]()

    def unpack_array(self, kind, shape, body):
        return np.ndarray(shape, kind, buffer=bytes(body) or bytes(1))

    def unpack_bytes(self, body):
        return bytes(body)

    def unpack_text(self, body):
        return bytes(body).decode("utf-8", "surrogatepass")

    def unpack_int(self, body):
        return int(bytes(body))

    # open and index

    def open(self, file, /, *, index=None):
        starts = list(self.starts(file)) if index is None else self.indexed(file, bytes(index))
        return self.reader(file, starts)

    def reader(self, file, starts):
        return FramesReader(self, file, starts)

    def index(self, file, /, *, form=""):
        form = form or self.first_form()
        if form not in self.forms:
            raise UsageError(f"no form {form}")
        starts = list(self.starts(file))
        data = struct.pack(f"<{len(starts)}Q", *starts) if form == "binary" else self.text_index(starts)
        yield b"B" + data if form == "binary" else b"T" + data

    def first_form(self):
        return next(iter(self.forms), "")

    def text_index(self, starts):
        return "".join(f"{start}\n" for start in starts).encode()

    def indexed(self, file, index):
        try:
            if index[:1] == b"B":
                starts = list(struct.unpack(f"<{(len(index) - 1) // 8}Q", index[1:]))
            elif index[:1] == b"T":
                starts = [int(line) for line in index[1:].split()]
            else:
                raise FormatError("this is no index")
        except (struct.error, ValueError) as error:
            raise FormatError("the index is damaged") from error
        if any(start < 0 or start + HEAD.size > file.size for start in starts):
            raise FormatError("the index is of another file")
        return starts

    # synthesize

    def synthesize(self, nbytes, fill, /):
        item = max(self.item, nbytes // 30)
        for at in range(0, nbytes, item):
            yield {"data": self.filled(min(item, nbytes - at), fill), "number": np.int64(at)}

    def filled(self, nbytes, fill):
        array = np.empty(nbytes, np.uint8)
        fill(memoryview(array))
        return array


class Whole:
    """Bytes as a file."""

    def __init__(self, view):
        self.view = view
        self.size = view.nbytes

    def read(self, start, length):
        if start < 0 or length < 0 or start + length > self.size:
            raise FormatError("outside")
        return self.view[start : start + length]


class FramesReader:
    """Samples by number."""

    def __init__(self, format, file, starts):
        self.format = format
        self.file = file
        self.starts = starts

    def __len__(self):
        return len(self.starts)

    def summary(self):
        if not self.starts:
            return FileSummary(samples=0)
        sample = self.format.one(self.file, self.starts[0])
        if len(self.starts) > 1:
            return FileSummary(samples=self.count())
        return FileSummary(samples=self.count(), fields=tuple(self.fields(sample)))

    def count(self):
        return len(self)

    def fields(self, sample):
        for name, value in sample.items():
            if isinstance(value, np.ndarray):
                yield self.field(name, value)
            elif isinstance(value, bytes | str):
                yield Field(name=name, dtype="bytes" if isinstance(value, bytes) else "text")

    def field(self, name, value):
        return Field(name=name, dtype=str(value.dtype), shape=value.shape)

    def nbytes(self, number, /):
        self.check(number)
        _, text, body, _ = self.format.head(self.file, self.starts[number])
        return self.bound(text, body)

    def bound(self, text, body):
        return text + body

    def read(self, numbers, /):
        for number in numbers:
            self.check(number)
        return [self.format.one(self.file, self.starts[number]) for number in numbers]

    def check(self, number):
        if not 0 <= number < len(self.starts):
            raise IndexError(f"there is no sample {number}")

    def close(self):
        self.file = None
