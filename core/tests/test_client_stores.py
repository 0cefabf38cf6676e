"""Which URIs share an opened store, and for how long."""

import multiprocessing
import os
from typing import Any

import attrs
import pytest

import penstock
from penstock.client import StoreCache, stores
from penstock.errors import InvalidURIError, UnknownOptionError, UnknownSchemeError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.options import option
from penstock.store import Address, StoreType
from penstock.urls import StoreURL


@attrs.frozen(kw_only=True)
class NetOptions:
    endpoint: str = option("", help="where", query=False)
    region: str = option("here", help="which", env="TEST_NET_REGION")
    tags: Any = option((), help="any")  # noqa: RUF009


class NetStore(MemoryStore):
    """Stands for a store behind a network; remembers its options and whether it was closed."""

    def __init__(self, options):
        super().__init__(MemoryOptions(name="net"))
        self.options = options
        self.closed = 0

    def close(self):
        self.closed += 1


@pytest.fixture
def opened(monkeypatch):
    """Stores of the scheme ``net``, in the order they were opened."""
    made = []

    def open_net(options, threads):
        made.append(NetStore(options))
        return made[-1]

    def parse(url: StoreURL) -> Address:
        return Address(f"net://{url.authority}/", url.path.removeprefix("/"), {"endpoint": url.authority})

    kind = StoreType(schemes=("net",), summary="", options=NetOptions, parse=parse, open=open_net)
    monkeypatch.setattr("penstock.plugins.PluginHost.store_type", lambda self, scheme, authority="": kind)
    return made


def test_two_endpoints_never_share(opened):
    cache = StoreCache(retries=None)
    first, second = cache.find("net://one/k"), cache.find("net://two/k")
    assert first.store is not second.store
    assert [store.options.endpoint for store in opened] == ["one", "two"]
    assert cache.find("net://one/other").store is first.store
    assert first.uri == "net://one/k"


def test_every_option_distinguishes(opened, monkeypatch):
    cache = StoreCache(retries=None)
    found = [
        cache.find("net://one/"),
        cache.find("net://one/", {"region": "there"}),
        cache.find("net://one/", {"tags": ["a"]}),
        cache.find("net://one/", {"tags": ["b"]}),
    ]
    monkeypatch.setenv("TEST_NET_REGION", "elsewhere")
    found.append(cache.find("net://one/"))
    assert len({id(place.store) for place in found}) == len(opened) == 5
    monkeypatch.delenv("TEST_NET_REGION")
    assert cache.find("net://one/").store is found[0].store


def test_the_cache_is_bounded_and_closes_what_nobody_uses(opened):
    cache = StoreCache(limit=2, retries=None)
    kept = cache.find("net://0/")
    for number in range(1, 5):
        cache.find(f"net://{number}/")
    assert [store.closed for store in opened] == [0, 1, 1, 0, 0]
    assert not kept.store.exists("k"), "somebody still uses it"
    del kept
    assert opened[0].closed == 1


def test_closing_opens_anew(opened):
    cache = StoreCache(retries=None)
    cache.find("net://one/")
    cache.close()
    assert opened[0].closed == 1
    cache.find("net://one/")
    assert len(opened) == 2


def test_strict_options_and_schemes():
    with pytest.raises(UnknownOptionError):
        penstock.get("mem://a/b", options={"nme": "x"})
    with pytest.raises(UnknownSchemeError, match="nosuch"):
        penstock.connect("nosuch://bucket/")


def test_a_uri_without_a_bucket_opens_no_store(monkeypatch):
    opened = []
    kind = StoreType(
        schemes=("net",),
        summary="",
        options=NetOptions,
        parse=lambda url: Address("net://", "", {}, bucket=""),
        open=lambda options, threads: opened.append(options),
        form="net://bucket/key",
    )
    monkeypatch.setattr("penstock.plugins.PluginHost.store_type", lambda self, scheme, authority="": kind)
    for call in (penstock.get, penstock.stat, penstock.connect, penstock.list, StoreCache().find):
        with pytest.raises(InvalidURIError, match="names no bucket; write net://bucket/key"):
            call("net://")
    assert not opened


def test_connect_is_rooted_where_the_uri_points():
    with penstock.connect("mem://test-connect/a/b") as store:
        store.put("c", b"1")
        assert store.uri == "mem://test-connect/a/b/"
        assert [info.key for info in store.list()] == ["c"]
    assert penstock.get("mem://test-connect/a/b/c") == b"1"


def test_connect_to_a_directory(tmp_path):
    with penstock.connect(str(tmp_path)) as store:
        store.put("d/a", b"1")
        assert store.is_directory("d")
        assert not store.is_directory("d/a")
    assert (tmp_path / "d/a").read_bytes() == b"1"


def test_a_relative_path_follows_the_working_directory(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        penstock.put("a", name.encode())
    assert (tmp_path / "one/a").read_bytes() == b"one"
    assert (tmp_path / "two/a").read_bytes() == b"two"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_uses_nor_closes_the_parents_stores(opened):
    cache = stores.default_cache()
    cache.find("net://fork/")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        fresh = stores.default_cache()
        fresh.find("net://fork/")
        penstock.close_stores()
        cache.close()
        os.write(writing, f"{fresh is not cache} {len(opened)} {[store.closed for store in opened]}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"True 2 [0, 1]"
    os.close(reading)
    os.close(writing)
    penstock.close_stores()
    assert opened[0].closed == 1


def test_a_spawned_child_opens_its_own(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    assert penstock.get(str(tmp_path / "a")) == b"1"
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(bytes, (b"x",)) == b"x"
        assert pool.apply(penstock.count, (str(tmp_path),)).objects == 1
