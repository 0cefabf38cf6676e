"""Samples by URI: choosing the format, reading by number, streaming, writing, indexes."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import anyio
import pytest

import penstock
from penstock import aio, samples
from penstock.errors import FormatError, ObjectNotFoundError, PluginError, UnknownOptionError, UsageError
from penstock.plugins import PluginHost
from penstock.samples import choose_format, format_named, format_names, format_of, reading

BODIES = [b"first", b"", b"third" * 100, b"last"]


@pytest.fixture
def base(request):
    yield f"mem://samples-{request.node.name}/"
    penstock.delete_prefix(f"mem://samples-{request.node.name}/")


def bodies(found):
    return [bytes(sample["data"]) for sample in found]


def written(uri, lengths, values=BODIES):
    return penstock.write_samples(uri, ({"data": value} for value in values), lengths)


class TestChoosing:
    def test_raw_is_there(self):
        assert "raw" in format_names()
        assert format_of("s3://b/a.bin").name == format_of("A.BIN").name == "raw"
        assert format_of("s3://b/a.bin/") is None
        assert format_of("bin") is None
        assert type(format_named("RAW")).__name__ == "RawFormat"
        assert choose_format("x.bin").kind.name == choose_format("x", "Raw").kind.name == "raw"

    def test_what_is_not_there_is_an_error_that_names_what_is(self):
        with pytest.raises(PluginError, match="no format named rawk; did you mean raw"):
            format_named("rawk")
        with pytest.raises(UsageError, match=r"a.unknown: no installed format has this ending.*\.bin"):
            choose_format("a.unknown")
        with pytest.raises(UnknownOptionError, match="raw: unknown option level"):
            format_named("raw", {"level": 3})

    def test_an_opened_format_takes_no_options(self, lengths):
        assert choose_format("x.bin", lengths) is lengths
        with pytest.raises(UsageError, match="opened with its own"):
            choose_format("x.bin", lengths, {})

    def test_the_longest_ending_counts_and_a_tie_is_an_error(self, monkeypatch, lengths):
        import sys
        from types import ModuleType

        import attrs

        from penstock.hookspecs import hookimpl

        def plugin(name, *endings):
            module = ModuleType(f"acme_{name}")
            kind = attrs.evolve(lengths.kind, name=name, extensions=endings)
            module.penstock_format_types = hookimpl(specname="penstock_format_types")(lambda: [kind])
            monkeypatch.setitem(sys.modules, module.__name__, module)
            return EntryPoint(name, module.__name__, "penstock.formats")

        entries = [plugin("one", ".a"), plugin("two", ".a", ".b.a"), plugin("three", ".b"), plugin("four", ".c")]
        entries.append(EntryPoint("broken", "acme_not_there", "penstock.formats"))
        host = PluginHost(disabled=["four"], entries=entries)
        assert format_of("x.b.a", host=host).name == "two"
        assert format_of("x.b", host=host).name == "three"
        assert format_of("x.c", host=host) is None
        with pytest.raises(UsageError, match="one and two have this ending; name the format"):
            format_of("x.a", host=host)


class TestReading:
    def test_samples_by_number(self, base, lengths):
        written(base + "a", lengths)
        with penstock.open_samples(base + "a", lengths) as opened:
            assert len(opened) == 4
            assert bodies(opened.read([3, 0, 3])) == [b"last", b"first", b"last"]
            assert bytes(opened[-2]["data"]) == BODIES[2]
            assert bodies(opened) == BODIES
            assert bodies(opened.samples(1, -1, max_bytes=1)) == BODIES[1:3]
            assert opened.summary().samples == 4
            assert opened.nbytes(0) == 9
            for number in (4, -5):
                with pytest.raises(IndexError, match=r"has 4 samples, there is no number"):
                    opened[number]

    def test_groups_are_bounded(self, base, lengths):
        written(base + "a", lengths, [b"x" * 100] * 10)
        with penstock.open_samples(base + "a", lengths) as opened:
            groups = []
            plain = opened._reader.read
            opened._reader.read = lambda numbers: groups.append(len(numbers)) or plain(numbers)
            assert len(list(opened.samples(max_bytes=350))) == 10
            assert groups == [3, 3, 3, 1]

    def test_only_the_samples_are_fetched(self, base, lengths, monkeypatch):
        written(base + "a", lengths, [b"x" * 100_000] * 10)
        samples.write_index(base + "a", lengths)
        asked = []
        plain = samples.StoreFile.read_many

        def noting(file, ranges):
            asked.extend(ranges)
            return plain(file, ranges)

        monkeypatch.setattr(samples.StoreFile, "read_many", noting)
        monkeypatch.setattr(samples.StoreFile, "read", None)
        with penstock.open_samples(base + "a", lengths) as opened:
            opened.read([2, 7])
        assert asked == [(200_008, 100_004), (700_028, 100_004)]

    def test_read_samples_yields_all_and_asks_late(self, base, lengths):
        found = penstock.read_samples(base + "a", lengths)
        written(base + "a", lengths)
        assert bodies(found) == BODIES
        written(base + "empty", lengths, [])
        assert bodies(penstock.read_samples(base + "empty", lengths)) == []

    def test_files_that_are_long(self, base, lengths, whole_lengths, monkeypatch):
        monkeypatch.setattr(reading, "_AT_ONCE", 1_000)
        values = [bytes([number]) * 300 for number in range(20)]
        written(base + "a", lengths, values)
        assert bodies(penstock.read_samples(base + "a", lengths)) == values, "in several requests, but whole"
        decoded = []
        plain = lengths.codec.decode
        monkeypatch.setattr(lengths.codec, "decode", lambda data: decoded.append(data) or plain(data), raising=False)
        assert bodies(penstock.read_samples(base + "a", lengths, max_bytes=2_000)) == values
        assert decoded == [], "samples are read by number where the file is too long"
        assert bodies(penstock.read_samples(base + "a", lengths, max_bytes=10_000)) == values
        assert [data.nbytes for data in decoded] == [20 * 304]
        assert bodies(penstock.read_samples(base + "a", whole_lengths, max_bytes=2_000)) == values

    def test_errors_name_the_file(self, base, lengths):
        penstock.put(base + "a", b"\x09\x00\x00\x00short")
        for read in (
            lambda: list(penstock.read_samples(base + "a", lengths)),
            lambda: penstock.open_samples(base + "a", lengths)[0],
        ):
            with pytest.raises(FormatError, match=f"^{base}a: "):
                read()
        with pytest.raises(ObjectNotFoundError):
            penstock.open_samples(base + "missing", lengths)
        with pytest.raises(ObjectNotFoundError):
            list(penstock.read_samples(base + "missing", lengths))

    def test_closing_closes_the_reader(self, base, lengths):
        written(base + "a", lengths)
        opened = penstock.open_samples(base + "a", lengths)
        opened.close()
        assert opened._reader.closed == 1

    def test_a_store_that_falls_out_of_the_cache_stays_open(self, base, lengths):
        written(base + "a", lengths)
        opened, found = penstock.open_samples(base + "a", lengths), penstock.read_samples(base + "a", lengths)
        penstock.close_stores()
        assert opened._owner is not None
        assert bodies(opened) == bodies(found) == BODIES


class TestIndexes:
    def test_one_beside_the_file_is_found(self, base, lengths):
        written(base + "a", lengths)
        info = samples.write_index(base + "a", lengths)
        assert info.key == base + "a.idx"
        reads = []
        codec = lengths.codec
        plain = codec.open
        try:
            codec.open = lambda file, *, index=None: reads.append(index) or plain(file, index=index)
            assert bodies(penstock.open_samples(base + "a", lengths)) == BODIES
            assert bodies(penstock.open_samples(base + "a", lengths, index=False)) == BODIES
            assert bodies(penstock.open_samples(base + "a", lengths, index=base + "a.idx")) == BODIES
            assert bodies(penstock.open_samples(base + "a", lengths, index=penstock.get(base + "a.idx"))) == BODIES
        finally:
            del codec.open
        assert [index is not None and bytes(index) for index in reads] == [
            bytes(penstock.get(base + "a.idx")),
            False,
            *[bytes(penstock.get(base + "a.idx"))] * 2,
        ]

    def test_forms_and_targets(self, base, lengths, whole_lengths):
        written(base + "a", lengths)
        assert samples.write_index(base + "a", lengths, form="third").key == base + "a.third"
        assert samples.write_index(base + "a", lengths, target=base + "there").key == base + "there"
        assert penstock.get(base + "there") == penstock.get(base + "a.third")
        with pytest.raises(UsageError, match="no form of index named thrid; did you mean third"):
            samples.write_index(base + "a", lengths, form="thrid")
        for call in (samples.write_index, lambda *what: penstock.open_samples(*what, index=b"x")):
            with pytest.raises(UsageError, match="has no index"):
                call(base + "a", whole_lengths)

    def test_an_index_that_is_named_must_be_there(self, base, lengths):
        written(base + "a", lengths)
        with pytest.raises(ObjectNotFoundError):
            penstock.open_samples(base + "a", lengths, index=base + "nothing")


class TestWriting:
    def test_nothing_is_visible_after_an_error(self, base, lengths):
        def broken():
            yield {"data": b"x" * 20_000_000}
            assert not penstock.exists(base + "a")
            raise ValueError("no more")

        with pytest.raises(ValueError, match="no more"):
            penstock.write_samples(base + "a", broken(), lengths)
        with pytest.raises(FormatError, match=f"^{base}a: a sample has one value"):
            penstock.write_samples(base + "a", [{"data": b""}, {"other": b""}], lengths)
        assert list(penstock.list(base)) == []

    def test_what_it_says_and_what_it_is_given(self, base, lengths):
        info = penstock.write_samples(
            base + "a", [{"data": b"abc"}], lengths, metadata={"m": "1"}, content_type="x/y", if_absent=True
        )
        assert (info.key, info.size) == (base + "a", 7)
        assert penstock.get_metadata(base + "a") == {"m": "1"}
        with pytest.raises(penstock.errors.AlreadyExistsError):
            penstock.write_samples(base + "a", [], lengths, if_absent=True)

    def test_samples_are_taken_one_at_a_time(self, base, lengths):
        alive = []

        class Body(bytearray):
            def __init__(self, nbytes):
                super().__init__(nbytes)
                alive.append(1)

            def __del__(self):
                alive.pop()

        def many():
            for _ in range(20):
                assert len(alive) <= 1
                yield {"data": Body(1_000)}

        penstock.write_samples(base + "a", many(), lengths)


class TestRaw:
    def test_a_file_is_one_sample(self, base):
        uri = base + "a.bin"
        assert penstock.write_samples(uri, [{"data": b"\x00\xff"}]).size == 2
        with penstock.open_samples(uri) as opened:
            assert (len(opened), opened.nbytes(0), opened.summary().samples) == (1, 2, 1)
            assert bodies(opened) == bodies(penstock.read_samples(uri)) == [b"\x00\xff"]
            with pytest.raises(IndexError):
                opened.read([1])

    @pytest.mark.parametrize("wrong", [[], [{"data": b""}] * 2, [{"x": b""}], [{"data": "text"}], [{"data": 5}], [{}]])
    def test_what_it_can_not_hold(self, base, wrong):
        with pytest.raises(FormatError):
            penstock.write_samples(base + "a.bin", wrong)
        assert not penstock.exists(base + "a.bin")

    def test_it_makes_samples_and_has_no_index(self):
        raw = format_named("raw")
        (sample,) = raw.synthesize(1_000, lambda room: room.__setitem__(slice(None), b"\x07" * 1_000))
        assert bytes(sample["data"]) == b"\x07" * 1_000
        with pytest.raises(UsageError, match="no index"):
            raw.index(samples.LocalBuffer(b""))


class TestCoroutines:
    def test_they_do_what_the_functions_do(self, base, lengths):
        async def main():
            info = await aio.write_samples(base + "a", [{"data": value} for value in BODIES], lengths)
            assert info.key == base + "a"
            return [bytes(sample["data"]) async for sample in aio.read_samples(base + "a", lengths)]

        assert anyio.run(main) == BODIES
