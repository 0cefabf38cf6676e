"""A store whose reads are checked against what was written: by size, by checksum, or byte for byte.

The bytes are made again from the seed while they arrive, piece by piece in memory that stays in the processor's cache;
no copy of what was written is kept. A read that is wrong fails, so it is logged and counted as an error:

- StaleReadError: the bytes of a version that had been replaced before the read began,
- TornReadError: part of one version and part of another,
- ChecksumMismatchError: bytes of no version, with the offset of the first,
- LengthMismatchError: right bytes, but too few or too many.

A version that is being replaced while the read goes on may be read as it was or as it will be. A read of an object
that this run knows nothing of is not checked, and counted as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from penstock import clocks
from penstock.buffers import aligned_buffer
from penstock.engine.board import Board
from penstock.engine.knowing import Knowledge, Known
from penstock.errors import ChecksumMismatchError, LengthMismatchError, StaleReadError, StoreError, TornReadError
from penstock.layers.forwarding import Forwarding
from penstock.payloads.checksums import Checksums, Summing
from penstock.payloads.comparing import Comparison, Finding
from penstock.stats.verification import Verification
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Verifier", "Verifying", "name_of"]

_ROOM = 256 * 1024


@attrs.frozen
class Verifier:
    """What the lanes of a worker share. ``mode`` is size, checksum or content; ``board`` None: nothing is replaced."""

    mode: str
    knowledge: Knowledge
    board: Board | None = None
    checksums: Checksums = attrs.field(factory=Checksums)

    def prepared(self, store: int, key: str) -> None:
        """Note that an object was made as prepared, whatever it was before."""
        if self.board is not None:
            name = name_of(store, key)
            self.board.replace(name, 0, self.board.complete(name))


class Verifying(Forwarding):
    """See the module. It belongs to one thread. ``counts`` grow while it works.

    ``writing`` is the bit of the version that its puts write, as :class:`~penstock.engine.knowing.Known` has it: who
    puts sets it before. Bytes could not tell, for versions may have most of them in common, or all.
    """

    def __init__(
        self, store: ObjectStore, verifier: Verifier, number: int, *, clock: Callable[[], int] = clocks.thread_cpu_ns
    ) -> None:
        """``number`` is the store's in the run. ``clock`` gives the thread's processor time in nanoseconds."""
        super().__init__(store)
        self._verifier = verifier
        self._number = number
        self._clock = clock
        self._room = aligned_buffer(_ROOM)
        self.writing = 0
        self.counts = Verification(verifier.mode)

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        known = self._verifier.knowledge.of(self._number, key)
        if not known:
            self._skip(key)
            return self._store.get(key, sink, start=start, length=length, if_match=if_match)
        board = self._verifier.board
        past = 0
        if board is not None and (len(known) > 1 or not known[0].sure):
            past, complete = board.past(self._name(key)), board.complete(self._name(key))
            # What is the newest, as far as is known, is what to expect.
            known = tuple(sorted(known, key=lambda each: _age(each.bit, past, complete)))
        checker = self._checker(known, start)
        checked = _CheckedSink(sink, checker, self._clock)
        try:
            info = self._store.get(key, checked, start=start, length=length, if_match=if_match)
        finally:
            self.counts.cpu_ns += checked.spent
        begin = self._clock()
        try:
            error = self._judge(checker, known, past, start, length)
        finally:
            self.counts.cpu_ns += self._clock() - begin
        if error is _UNKNOWN:
            self._skip(key)
            return info
        self.counts.reads += 1
        self.counts.nbytes += checker.nbytes
        if error is not None:
            error.uri, error.operation = key, "get"
            raise error
        return info

    def put(
        self,
        key: str,
        data: Buffer,
        /,
        *,
        create: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        note = self._begin(key)
        info = self._store.put(
            key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
        )
        if note is not None:
            note.wrote()
        return info

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectWriter:
        note = self._begin(key)
        writer = self._store.open_writer(
            key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
        )
        return writer if note is None else _NotingWriter(writer, note)

    def _name(self, key: str) -> str:
        return name_of(self._number, key)

    def _skip(self, key: str) -> None:
        self.counts.unknown += 1
        self.counts.example = self.counts.example or key

    def _checker(self, known: Sequence[Known], start: int) -> Comparison | Summing | _Counting:
        versions = [each.version for each in known]
        if self._verifier.mode == "content":
            return Comparison(versions, offset=start, room=self._room)
        if self._verifier.mode == "checksum":
            return Summing(versions, self._verifier.checksums, self._room, offset=start)
        return _Counting()

    def _judge(
        self,
        checker: Comparison | Summing | _Counting,
        known: Sequence[Known],
        past: int,
        start: int,
        length: int | None,
    ) -> StoreError | None:
        """The error of a read, None when it is right, ``_UNKNOWN`` when nobody can say."""
        # There may be an object that nobody here has made, until one of this run has replaced it.
        foreign = not past & 1 and not any(each.sure for each in known)
        finding = checker.finding()
        if foreign and (finding is None or finding.kind != "same"):
            return _UNKNOWN
        right = [each for each in known if _length(each.size, start, length) == checker.nbytes]
        if finding is None:
            return self._judge_size(checker.nbytes, right, known, past, start, length)
        found = known[finding.version]
        if finding.kind == "corrupt":
            self.counts.corrupt += 1
            return ChecksumMismatchError(f"not what was written ({found.version.name}) at byte {finding.offset}")
        if finding.kind == "torn":
            self.counts.torn += 1
            other = known[finding.other].version.name
            return TornReadError(f"{found.version.name} up to byte {finding.offset}, {other} from there on")
        if found not in right and checker.nbytes:
            return self._wrong_size(checker.nbytes, _length(found.size, start, length))
        if not checker.nbytes and not right:
            return self._wrong_size(0, _length(known[0].size, start, length))
        if past >> found.bit & 1 and checker.nbytes:
            self.counts.stale += 1
            return StaleReadError(f"the object {found.version.name}, which had been replaced before the read began")
        return None

    def _judge_size(
        self, got: int, right: Sequence[Known], known: Sequence[Known], past: int, start: int, length: int | None
    ) -> StoreError | None:
        if any(not past >> each.bit & 1 for each in right):
            return None
        if right:
            self.counts.stale += 1
            name = right[0].version.name
            return StaleReadError(f"the size of the object {name}, which had been replaced before the read began")
        return self._wrong_size(got, _length(known[0].size, start, length))

    def _wrong_size(self, got: int, expected: int) -> StoreError:
        self.counts.wrong_size += 1
        return LengthMismatchError(f"{got} bytes were read where {expected} were written")

    def _begin(self, key: str) -> _Note | None:
        board = self._verifier.board
        if board is None or not self.writing:
            return None
        name = self._name(key)
        return _Note(board, name, self.writing, board.complete(name))


def name_of(store: int, key: str) -> str:
    """What the board calls an object."""
    return f"{store} {key}"


#: Stands for "nobody can say", where an error could be.
_UNKNOWN = StoreError("not known")


@attrs.define
class _Counting:
    """Checks nothing but how many bytes there are."""

    nbytes: int = 0

    def take(self, data: memoryview) -> None:
        self.nbytes += data.nbytes

    def finding(self) -> Finding | None:
        return None


class _CheckedSink:
    """Hands what arrives to a sink, after a look at it where it lies. ``spent`` is the look's processor time."""

    __slots__ = ("_checker", "_clock", "_offered", "_sink", "spent")

    def __init__(self, sink: Sink, checker: Comparison | Summing | _Counting, clock: Callable[[], int]) -> None:
        self._sink = sink
        self._checker = checker
        self._clock = clock
        self._offered = memoryview(b"")
        self.spent = 0

    def reserve(self, nbytes: int, /) -> memoryview:
        self._offered = self._sink.reserve(nbytes)
        return self._offered

    def commit(self, nbytes: int, /) -> None:
        self._look(self._offered[:nbytes])
        self._sink.commit(nbytes)

    def write(self, data: Buffer, /) -> None:
        view = memoryview(data)
        self._look(view.cast("B") if view.nbytes else memoryview(b""))
        self._sink.write(data)

    def _look(self, data: memoryview) -> None:
        begin = self._clock()
        self._checker.take(data)
        self.spent += self._clock() - begin


@attrs.frozen(slots=True)
class _Note:
    """Tells the board that a put is done: which version it was, and which were complete ``before`` it began."""

    board: Board
    name: str
    version: int
    before: int

    def wrote(self) -> None:
        self.board.replace(self.name, self.version, self.before)


class _NotingWriter:
    __slots__ = ("_note", "_writer", "abort", "write")

    def __init__(self, writer: ObjectWriter, note: _Note) -> None:
        self._writer = writer
        self._note = note
        self.write = writer.write
        self.abort = writer.abort

    def commit(self) -> ObjectInfo:
        info = self._writer.commit()
        self._note.wrote()
        return info


def _length(size: int, start: int, length: int | None) -> int:
    """How many bytes a read of an object of that size delivers."""
    left = max(size - start, 0)
    return left if length is None else min(left, length)


def _age(bit: int, past: int, complete: int) -> tuple[int, int, int]:
    return past >> bit & 1, ~complete >> bit & 1, -bit
