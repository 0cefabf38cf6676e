"""From a URI to a store: whose root it gets, and the layer that moves a root."""

from __future__ import annotations

import textwrap
import uuid
from importlib.metadata import EntryPoint

import pytest

from penstock.errors import InvalidKeyError, ObjectNotFoundError, UnknownOptionError, UnknownSchemeError, UsageError
from penstock.layers.prefix import Prefixed
from penstock.memory import MemoryOptions, MemoryStore
from penstock.opening import open_store, resolve_object, resolve_store
from penstock.plugins import PluginHost
from penstock.sinks import Collect

DESCENDS = """
    import attrs
    from penstock.hookspecs import hookimpl
    from penstock.options import option
    from penstock.store import Address, StoreType

    @attrs.frozen
    class Options:
        root: str = option("/", help="h")
        mode: str = option("m", help="h", env="FAKE_MODE")

    def descend(address):
        return Address(address.base + address.key, "", {"root": "/" + address.key})

    @hookimpl
    def penstock_store_types():
        return [
            StoreType(
                schemes=("fake",), summary="s", options=Options, descend=descend,
                parse=lambda url: Address("fake:///", url.path[1:]), open=lambda options, threads: (options, threads),
            )
        ]
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"fake_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(DESCENDS))
    entries = [
        EntryPoint("fake", name, "penstock.stores"),
        EntryPoint("mem", "penstock.memory", "penstock.stores"),
    ]
    return PluginHost(entries=entries, disabled=())


@pytest.fixture
def name():
    return uuid.uuid4().hex


class TestDescend:
    def test_a_backend_that_can_gets_the_root_itself(self, host):
        target = resolve_store("fake:///a/b", host=host)
        assert (target.address.base, target.address.key) == ("fake:///a/b/", "")
        options, threads = open_store("fake:///a/b/", threads=3, host=host)
        assert (options.root, threads) == ("/a/b/", 3)

    def test_the_name_of_an_object_leaves_the_root_alone(self, host):
        target = resolve_object("fake:///a/b", host=host)
        assert (target.address.base, target.address.key) == ("fake:///", "a/b")
        assert target.open()[0].root == "/"

    def test_another_is_given_a_prefix(self, host, name):
        target = resolve_store(f"mem://{name}/a/b", host=host)
        assert (target.address.base, target.address.key) == (f"mem://{name}/", "a/b/")
        assert isinstance(open_store(f"mem://{name}/a/b", host=host), Prefixed)

    def test_the_root_itself_needs_no_prefix(self, host, name):
        assert isinstance(open_store(f"mem://{name}", host=host), MemoryStore)
        assert isinstance(open_store(f"mem://{name}/", host=host), MemoryStore)


class TestOptions:
    def test_from_argument_query_and_environment(self, host, monkeypatch):
        monkeypatch.setenv("FAKE_MODE", "environment")
        assert open_store("fake:///", host=host)[0].mode == "environment"
        assert open_store("fake:///?mode=query", host=host)[0].mode == "query"
        assert open_store("fake:///?mode=query", options={"mode": "argument"}, host=host)[0].mode == "argument"

    def test_the_root_comes_from_the_uri(self, host):
        target = resolve_store("fake:///x", host=host)
        assert target.resolved.origins["root"] == "uri"

    def test_an_unknown_one_is_refused(self, host, name):
        with pytest.raises(UnknownOptionError, match="mem: unknown option nome"):
            open_store(f"mem://{name}?nome=1", host=host)

    def test_one_kept_out_of_uris_is_refused_there(self, host):
        with pytest.raises(UsageError, match="can't stand in a URI"):
            open_store("mem://?name=x", host=host)


def test_the_endpoint_of_an_op_log(host, name):
    assert resolve_object(f"mem://{name}/a/b", host=host).endpoint().startswith("mem://")


def test_an_unknown_scheme(host):
    with pytest.raises(UnknownSchemeError, match="fake://, mem://"):
        open_store("nope://x", host=host)


class TestPrefixed:
    @pytest.fixture
    def inner(self, name):
        store = MemoryStore(MemoryOptions(name=name))
        for key in ("p/a", "p/b/1", "p/b/2", "p/", "pq/x", "a", "p"):
            store.put(key, key.encode())
        return store

    @pytest.fixture
    def store(self, inner):
        return Prefixed(inner, "p/")

    def test_reads_and_writes_are_below_the_prefix(self, store, inner):
        sink = Collect()
        assert store.get("a", sink).key == "a"
        assert bytes(sink.view()) == b"p/a"
        assert store.put("new", b"1", metadata={"k": "v"}, create=True).key == "new"
        assert inner.stat("p/new").metadata == {"k": "v"}
        assert store.stat("b/1").key == "b/1"

    def test_keys_are_opaque_also_when_they_look_like_the_prefix(self, store, inner):
        store.put("p/a", b"deep")
        assert inner.stat("p/p/a").size == 4
        assert store.stat("p/a").key == "p/a"

    def test_a_neighbour_is_out_of_reach(self, store):
        keys = [info.key for page in store.list_pages() for info in page.objects]
        assert keys == ["a", "b/1", "b/2"]
        with pytest.raises(ObjectNotFoundError):
            store.stat("x")

    @pytest.mark.parametrize("after", ["", "a", "b/", "b/1", "z"])
    @pytest.mark.parametrize("delimiter", ["", "/"])
    def test_listing_is_that_of_a_store_of_its_own(self, store, after, delimiter, name):
        alone = MemoryStore(MemoryOptions(name=f"{name}-alone"))
        for key in ("a", "b/1", "b/2"):
            alone.put(key, f"p/{key}".encode())
        assert self.listed(store, after, delimiter) == self.listed(alone, after, delimiter)

    def listed(self, store, after, delimiter):
        found = []
        for page in store.list_pages(start_after=after, delimiter=delimiter, page_size=1):
            assert page.objects or page.prefixes
            found += [info.key for info in page.objects] + list(page.prefixes)
        return found

    def test_delete_copy_and_writers(self, store, inner):
        assert not store.delete(["a", "missing"])
        assert store.copy("b/1", "c").key == "c"
        writer = store.open_writer("w", part_size=10)
        writer.write(b"xyz")
        assert writer.commit().key == "w"
        store.open_writer("gone", part_size=10).abort()
        keys = [info.key for page in inner.list_pages() for info in page.objects]
        assert keys == ["a", "p", "p/", "p/b/1", "p/b/2", "p/c", "p/w", "pq/x"]

    def test_an_empty_key_is_refused_and_not_the_prefix(self, store, inner):
        for call in (lambda: store.delete([""]), lambda: store.put("", b""), lambda: store.stat("")):
            with pytest.raises(InvalidKeyError):
                call()
        assert inner.stat("p/").size == 2

    def test_it_owns_the_store(self, store, inner):
        closed = []
        inner.close = lambda: closed.append(1)
        store.close()
        assert closed == [1]
        assert store.capabilities is inner.capabilities


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("s3://bucket/a", "s3://"),
        ("s3+http://10.0.0.5:9000/bucket/a", "s3+http://10.0.0.5:9000"),
        ("az://account/container/a", "az://account"),
        ("gs://bucket/a", "gs://"),
        ("mem://name/a", "mem://"),
        ("file:///data/a", "file://"),
    ],
)
def test_the_endpoint_is_scheme_and_authority(uri, endpoint):
    assert resolve_object(uri).endpoint() == endpoint
