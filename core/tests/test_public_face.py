"""What ``import penstock`` gives, and the same operations by URI and as coroutines."""

import inspect
import subprocess
import sys

import anyio
import pytest

import penstock
from penstock import aio
from penstock.client import Store, buckets, functions
from penstock.samples import reading, writing

HEAVY = ["numpy", "zstandard", "rich", "yaml", "cattrs", "anyio", "structlog", "boto3", "click", "attrs", "pluggy"]

BUCKETS = ["abort_upload", "abort_uploads", "create_bucket", "delete_bucket", "list_buckets", "list_uploads"]

SAMPLES = {"read_samples": reading, "write_samples": writing}


def test_every_public_name_is_there():
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
    assert set(penstock.__all__) <= set(dir(penstock))
    with pytest.raises(AttributeError):
        penstock.nothing  # noqa: B018


def test_importing_it_imports_next_to_nothing():
    code = f"import sys, penstock; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_functions_are_all_public():
    assert set(functions.__all__) <= set(penstock.__all__)
    assert set(BUCKETS) <= set(penstock.__all__)


def test_coroutines_have_the_names_and_signatures_of_the_functions():
    plain_names = {*functions.__all__, *BUCKETS, *SAMPLES}
    assert plain_names == set(aio.__all__) - {"THREADS", "Writer"}
    for name in plain_names:
        home = buckets if name in BUCKETS else SAMPLES.get(name, functions)
        plain = inspect.signature(getattr(home, name)).parameters
        async_ = inspect.signature(getattr(aio, name)).parameters
        assert list(async_.values()) == [value for key, value in plain.items() if key != "watch"], name


@pytest.mark.parametrize(
    "name",
    [
        "get",
        "get_into",
        "get_range",
        "get_range_into",
        "get_metadata",
        "set_metadata",
        "put",
        "delete",
        "count",
        "copy",
        "move",
        "delete_prefix",
    ],
)
def test_functions_have_the_parameters_of_the_methods(name):
    method = inspect.signature(getattr(Store, name)).parameters
    function = inspect.signature(getattr(functions, name)).parameters
    renamed = {"key": "uri", "prefix": "uri"}
    expected = {renamed.get(key, key) for key in method} - {"self", "to"}
    assert set(function) == expected | {"options"}


def test_entries_of_a_listing_are_uris_that_the_other_functions_take():
    base = "mem://test-face/"
    penstock.put(base + "a b?#%/ü", b"1")
    (info,) = penstock.list(base)
    assert penstock.get(info.key) == b"1"
    (prefix,) = penstock.list(base, recursive=False)
    assert prefix == penstock.CommonPrefix(base + "a b?#%/")
    assert penstock.stat(info.key).key == info.key == penstock.put(info.key, b"2").key


def test_conditions_and_metadata_by_uri():
    uri = "mem://test-face-facts/a"
    old = penstock.put(uri, b"old").etag
    penstock.put(uri, b"0123456789", metadata={"m": "1"})
    assert penstock.get_metadata(uri) == {"m": "1"}
    info = penstock.set_metadata(uri, {"n": "2"})
    assert (info.key, penstock.get_metadata(uri)) == (uri, {"n": "2"})
    for read in (
        lambda **how: bytes(penstock.get(uri, **how)),
        lambda **how: bytes(penstock.get_range(uri, 2, 3, **how)),
        lambda **how: penstock.get_into(uri, bytearray(10), **how),
        lambda **how: penstock.get_range_into(uri, bytearray(4), 8, **how),
        lambda **how: b"".join(penstock.open_read(uri, chunk_size=3, **how)),
    ):
        with pytest.raises(penstock.errors.PreconditionFailedError):
            read(if_match=old)
        assert read(if_match=info.etag) == read()


def test_conditions_and_metadata_as_coroutines():
    async def main():
        uri = "mem://test-aio-facts/a"
        old = (await aio.put(uri, b"old")).etag
        await aio.put(uri, b"0123456789")
        etag = (await aio.set_metadata(uri, {"n": "2"})).etag
        assert await aio.get_metadata(uri) == {"n": "2"}

        async def stream(**how):
            return b"".join([bytes(chunk) async for chunk in aio.open_read(uri, chunk_size=3, **how)])

        for read in (
            lambda **how: aio.get(uri, **how),
            lambda **how: aio.get_range(uri, 2, 3, **how),
            lambda **how: aio.get_into(uri, bytearray(10), **how),
            lambda **how: aio.get_range_into(uri, bytearray(4), 8, **how),
            stream,
        ):
            with pytest.raises(penstock.errors.PreconditionFailedError):
                await read(if_match=old)
            assert await read(if_match=etag) == await read()

    anyio.run(main)


def test_delete_many_spans_stores():
    uris = ["mem://test-many-1/a", "mem://test-many-2/a", "mem://test-many-1/b"]
    for uri in uris:
        penstock.put(uri, b"1")
    assert [outcome.key for outcome in penstock.delete_many(uris)] == uris
    assert not any(penstock.exists(uri) for uri in uris)


@pytest.mark.parametrize("backend", ["asyncio"])
def test_the_coroutines(backend):
    async def main():
        base = "mem://test-aio/"
        async with anyio.create_task_group() as group:
            for number in range(600):
                group.start_soon(aio.put, f"{base}{number:03}", b"x" * number)
        assert await aio.get(f"{base}005") == b"xxxxx"
        found = [info.key async for info in aio.list(base)]
        assert found == [f"{base}{number:03}" for number in range(600)]
        assert b"".join([bytes(chunk) async for chunk in aio.open_read(f"{base}599", chunk_size=100)]) == b"x" * 599
        assert (await aio.count(base)).objects == 600
        assert (await aio.delete_prefix(base)).objects == 600
        with pytest.raises(penstock.errors.ObjectNotFoundError):
            await aio.get(f"{base}005")

    anyio.run(main, backend=backend)


def test_leaving_a_stream_early_ends_its_thread():
    import threading

    async def main():
        await aio.put("mem://test-aio/long", bytes(100_000))
        stream = aio.open_read("mem://test-aio/long", chunk_size=10)
        async for _ in stream:
            break
        await stream.aclose()

    anyio.run(main)
    assert not [thread for thread in threading.enumerate() if thread.name == "penstock-read"]


def test_writers_and_files_of_coroutines():
    uri = "mem://test-aio-writer/a"

    async def work():
        async with await aio.open_writer(uri, content_type="text/x") as writer:
            await writer.write(b"0123")
            await writer.write(b"456789")
            assert (writer.tell(), writer.info) == (10, None)
            assert not await aio.exists(uri)
        assert writer.info.size == (await writer.close()).size == 10
        assert (await aio.stat(uri)).content_type == "text/x"
        async with await aio.open_file(uri) as file:
            await file.seek(-3, 2)
            assert await file.read() == b"789"

    anyio.run(work)


@pytest.mark.parametrize("how", ["error", "cancelled", "aborted"])
def test_a_writer_of_coroutines_that_is_left_early_leaves_no_object(how):
    uri = f"mem://test-aio-left/{how}"

    async def work():
        with anyio.CancelScope() as scope:
            try:
                async with await aio.open_writer(uri) as writer:
                    await writer.write(b"0123")
                    if how == "error":
                        raise KeyError
                    if how == "cancelled":
                        scope.cancel()
                        await anyio.sleep_forever()
                    await writer.abort()
            except KeyError:
                pass
        with pytest.raises(penstock.errors.StoreError, match="aborted already"):
            await writer.write(b"4")
        assert not await aio.exists(uri)

    anyio.run(work)


def test_a_buffer_too_small_is_told_with_the_object_and_the_operation():
    penstock.put("mem://test-small/a", b"0123")
    for call in (
        lambda: penstock.get_into("mem://test-small/a", bytearray(3)),
        lambda: penstock.get_range_into("mem://test-small/a", bytearray(3), 0, 4),
    ):
        with pytest.raises(penstock.errors.LengthMismatchError) as raised:
            call()
        assert (raised.value.uri, raised.value.operation) == ("mem://test-small/a", "get")
