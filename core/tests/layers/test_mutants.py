"""Layers with a defect each, which the kit has to catch; the sound ones pass the very same law."""

from __future__ import annotations

import attrs
import pytest
from layers_support import memory

from penstock.errors import PenstockError
from penstock.layers.checksums import Checksummed, Checksums
from penstock.layers.compression import Compressed, Compression
from penstock.layers.compression import store as compression
from penstock.layers.endpoints import Balanced, Endpoints
from penstock.layers.faults import Corrupt, Fail, Faults, Faulty, Lose, Rule, Stale, Torn, Truncate
from penstock.layers.forwarding import Forwarding
from penstock.layers.ranges import Ranged, Ranges, _Read
from penstock.layers.sizes import Sized, Sizes
from penstock.layers.verify import Verified, VerifyWrites
from penstock.store import Page
from penstock.testing import StoreContract
from penstock.testing.sinks import Room

LAWS = StoreContract()
RANGES = Ranges(threshold=999, part_size=20_000, concurrency=2)


def faults(effect, *operations, **how):
    return lambda: Faulty(memory(), Faults(rules=[Rule(effect=effect, operations=operations, **how)]))


class SwapsParts(_Read):
    def _fetch(self, info, position, room):
        super()._fetch(info, info.size - position - room.nbytes if position > 999 else position, room)


class LosesTheEnd(_Read):
    def _rest(self, info):
        return super()._rest(attrs.evolve(info, size=max(info.size - 1, 0)))


class SaysTheRangesSize(_Read):
    def first(self, if_match):
        return attrs.evolve(super().first(if_match), size=self.held.nbytes)


class AsksForRoomInVain(_Read):
    def first(self, if_match):
        self.sink.reserve(1)
        return super().first(if_match)


def reading_by(kind):
    class Broken(Ranged):
        def get(self, key, sink, /, *, start=0, length=None, if_match=None):
            return kind(self, self._store, key, sink, start, length).first(if_match)

    return lambda: Broken(memory(), RANGES)


class ForgetsTheCondition(Ranged):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        return super().get(key, sink, start=start, length=length)


class NeverForgets(Sized):
    def _forget(self, *keys):
        return


class ForgetsTooEarly(Sized):
    """Only before a writer is opened, not when its object appears."""

    def open_writer(self, key, /, **how):
        self._forget(key)
        return self._store.open_writer(key, **how)

    def put(self, key, data, /, **how):
        self.stat_again = key
        return super().put(key, data, **how)


class CommitsWhenDropped(Forwarding):
    def open_writer(self, key, /, **how):
        inner = self._store.open_writer(key, **how)

        class Dropped:
            write, commit, abort = inner.write, inner.commit, inner.abort

            def __del__(self):
                inner.commit()

        return Dropped()


class LosesFrames(Compressed):
    def _compress(self, view):
        return super()._compress(view[self.compression.frame_size :] if view.nbytes > 5_000 else view)


class ShowsTheSuffix(Compressed):
    def _key(self, name):
        return name


class ClaimsAnOrder(Compressed):
    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.capabilities = self._store.capabilities


class ListsWhatIsBefore(Compressed):
    def list_pages(self, prefix="", /, *, delimiter="", start_after="", page_size=1000):
        for page in self._store.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size):
            yield Page([compression._shown(info, info.key[:-4], info.size) for info in page.objects], page.prefixes)


class YieldsEmptyPages(Compressed):
    def list_pages(self, prefix="", /, **how):
        yield Page([])
        yield from super().list_pages(prefix, **how)


class SaysWhatIsStored(Compressed):
    def _size(self, info):
        return info.size


class NamesWhatIsStored(Compressed):
    def _named(self, key, operation):
        from contextlib import nullcontext

        return nullcontext()


class ShowsItsMetadata(Checksummed):
    def _shown(self, info):
        return info


class OverwritesTheCallersMetadata(Checksummed):
    def put(self, key, data, /, *, metadata=None, **how):
        info = self._store.put(key, data, metadata={self._name: "00"}, **how)
        return self._shown(info)


class RepeatsConditionalPuts(Verified):
    def put(self, key, data, /, **how):
        info = self._store.put(key, data, **how)
        self._store.put(key, data, **how)
        return info


class MovesToTheNext(Balanced):
    """Counts a call as failed that has delivered bytes, and asks the next for all of them."""

    def get(self, key, sink, /, **how):
        super().get(key, sink, **how)
        return super().get(key, sink, **how)


def balanced(kind=Balanced, apart=False):
    one = memory()
    return kind([("a", one), ("b", memory() if apart else one)], Endpoints())


SMALL = Compression(frame_size=2_048, level=1)
WHOLE = "test_get_delivers_the_whole_object"
CACHE = "test_nothing_is_cached"

#: A broken store, the law that catches it with its arguments, and the sound store.
MUTANTS = {
    "reads cut": (faults(Truncate(at=50_000), "get"), WHOLE),
    "reads with a flipped bit": (faults(Corrupt(offset=70_000), "get"), WHOLE),
    "reads of what was": (faults(Stale(), "get"), CACHE),
    "stats of what was": (faults(Stale(), "stat"), CACHE),
    "reads of two versions": (faults(Torn(at=5), "get"), "test_put_replaces"),
    "reads that fail late": (faults(Fail(when="within", at=9), "get"), WHOLE),
    "puts of two versions": (faults(Torn(at=5), "put"), "test_put_replaces"),
    "puts with a flipped bit": (faults(Corrupt(), "put"), "test_put_stores_and_answers"),
    "puts cut": (faults(Truncate(at=500), "put"), "test_put_stores_and_answers"),
    "puts lost": (faults(Lose(), "put"), "test_put_stores_and_answers"),
    "commits lost": (faults(Lose(), "commit"), "test_many_small_writes"),
    "writes with a flipped bit": (faults(Corrupt(offset=99), "write"), "test_many_small_writes"),
    "deletes lost": (faults(Lose(), "delete"), "test_delete_takes_exactly_its_key"),
    "some deletes refused": (faults(Fail(when="within"), "delete", keys="dir1/*"), "test_delete_many"),
    "the last pages lost": (faults(Truncate(), "list_pages", nth=3), "test_pages_are_bounded_and_lose_nothing", 1),
    "errors without an object": (faults(Fail(error="ObjectNotFoundError"), "stat"), "test_put_of_any_size", 511),
    "parts swapped": (reading_by(SwapsParts), WHOLE),
    "the end lost": (reading_by(LosesTheEnd), WHOLE),
    "the range's size": (reading_by(SaysTheRangesSize), WHOLE, "size"),
    "room in vain": (reading_by(AsksForRoomInVain), "test_get_of_an_empty_object_delivers_nothing"),
    "no condition": (lambda: ForgetsTheCondition(memory(), RANGES), "test_if_match_reads_no_other_object", 0, None),
    "sizes for ever": (lambda: NeverForgets(memory(), Sizes()), CACHE),
    "sizes until too late": (lambda: ForgetsTooEarly(memory(), Sizes()), "test_metadata_of_a_writer", 0),
    "drops that commit": (lambda: CommitsWhenDropped(memory()), "test_dropping_a_writer_leaves_nothing", False),
    "frames lost": (lambda: LosesFrames(memory(), SMALL), WHOLE),
    "the suffix shown": (lambda: ShowsTheSuffix(memory(), SMALL), "test_keys_are_opaque"),
    "an order that is none": (lambda: ClaimsAnOrder(memory(), SMALL), "test_order"),
    "entries from before": (lambda: ListsWhatIsBefore(memory(), SMALL), "test_start_after_is_exclusive", 3),
    "empty pages": (lambda: YieldsEmptyPages(memory(), SMALL), "test_an_empty_store_has_no_page"),
    "stored sizes": (lambda: SaysWhatIsStored(memory(), SMALL), "test_objects_are_described"),
    "stored names": (lambda: NamesWhatIsStored(memory(), SMALL), "test_stat_of_a_missing_object_raises"),
    "its own metadata": (lambda: ShowsItsMetadata(memory(), Checksums(algorithm="md5")), "test_metadata"),
    "no other metadata": (lambda: OverwritesTheCallersMetadata(memory(), Checksums(algorithm="md5")), "test_metadata"),
    "puts done twice": (lambda: RepeatsConditionalPuts(memory(), VerifyWrites()), "test_create"),
    "reads done twice": (lambda: balanced(MovesToTheNext), WHOLE),
    "other namespaces": (lambda: balanced(apart=True), "test_put_stores_and_answers"),
}
SOUND = {
    "faults": lambda: Faulty(memory(), Faults()),
    "ranges": lambda: Ranged(memory(), RANGES),
    "sizes": lambda: Sized(memory(), Sizes()),
    "compression": lambda: Compressed(memory(), SMALL),
    "checksums": lambda: Checksummed(memory(), Checksums(algorithm="md5")),
    "verify": lambda: Verified(memory(), VerifyWrites(by="read")),
    "endpoints": balanced,
    "forwarding": lambda: Forwarding(memory()),
    "reading": reading_by(_Read),
}


def hold(law, store, arguments):
    if arguments == ("size",):
        law, arguments = "test_size_is_that_of_the_whole_object", (0, None)
    getattr(LAWS, law)(store, *arguments)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_kit_catches_the_defect(name):
    make, law, *arguments = MUTANTS[name]
    with pytest.raises((AssertionError, PenstockError)):
        hold(law, make(), tuple(arguments))


@pytest.mark.parametrize("law", sorted({(law, *arguments) for _, law, *arguments in MUTANTS.values()}, key=repr))
@pytest.mark.parametrize("name", SOUND)
def test_the_sound_layers_keep_the_law(name, law):
    hold(law[0], SOUND[name](), law[1:])


@pytest.mark.parametrize("unaligned", [False, True])
def test_room_is_filled_from_its_start(unaligned):
    class Skips(_Read):
        def _fetch(self, info, position, room):
            super()._fetch(info, position - 1, room)

    with pytest.raises(AssertionError):
        LAWS.test_get_fits_the_room_it_is_given(reading_by(Skips)(), Room.ASKED, unaligned)
