"""DLIO's storage interface, the factory that gives it, and the library that DLIO's own classes call."""

import asyncio
import io
import runpy
import sys

import numpy as np
import pytest

import penstock
from penstock.errors import ObjectNotFoundError, UsageError


@pytest.fixture
def storage(dlio):
    from penstock_dlio.storage import PenstockStorage

    def make(root):
        dlio.storage_root = root
        return PenstockStorage(root)

    return make


@pytest.mark.parametrize("kind", ["file", "mem"])
def test_nodes_are_made_written_found_and_deleted(storage, tmp_path, kind, request):
    root = str(tmp_path / "root") if kind == "file" else "mem://nodes/root"
    store = storage(root)
    assert store.islocalfs() == (kind == "file")
    assert store.get_namespace() == root
    assert store.create_namespace(exist_ok=True)
    assert store.create_node("data/train", exist_ok=True)
    assert store.get_node("data/none") is None
    assert store.put_data("data/train/a.npz", b"0123456789")
    assert store.put_data("data/train/b.npz", io.BytesIO(b"b"))
    assert store.put_data("data/train/sub/c.txt", "text")
    assert store.get_node("data/train").value == "directory"
    assert store.get_node("data/train/a.npz").value == "file"
    assert store.isfile("data/train/a.npz")
    assert not store.isfile("data/train")
    assert not store.isfile("data/")
    assert store.walk_node("data/train") == ["a.npz", "b.npz", "sub"]
    assert store.walk_node("data/train/*.npz", use_pattern=True) == [
        store.get_uri("data/train/a.npz"),
        store.get_uri("data/train/b.npz"),
    ]
    assert len(store.list_objects("data")) == 3
    assert store.get_data("data/train/a.npz", None) == b"0123456789"
    assert store.get_data("data/train/a.npz", None, offset=2, length=3) == b"234"
    assert store.get_data("data/train/sub/c.txt", "") == b"text"
    assert store.get_basename("data/train/a.npz") == "a.npz"
    with pytest.raises(ObjectNotFoundError):
        store.get_data("data/none", None)
    with pytest.raises(UsageError, match="objects are written whole"):
        store.put_data("data/x", b"abc", offset=1)
    assert store.delete_node("data/train/a.npz")
    assert store.delete_node("data/train")
    assert not store.delete_node("data/none")
    assert store.list_objects("data") == []


@pytest.mark.parametrize(
    ("given", "path", "uri", "options"),
    [
        ({"storage_type": "s3", "storage_root": "bucket"}, "data/a", "s3://bucket/data/a", None),
        ({"storage_type": "s3", "storage_root": "s3://bucket"}, "./data/a", "s3://bucket/data/a", None),
        ({"storage_type": "s3", "storage_root": "bucket"}, "s3://other/a", "s3://other/a", None),
        ({"storage_type": "local_fs", "storage_root": "/root"}, "/data/a", "file:///data/a", None),
        ({"storage_type": "local_fs", "storage_root": "/root", "odirect": True}, "a", "direct:///root/a", None),
        (
            {
                "storage_type": "s3",
                "storage_root": "b",
                "storage_options": {
                    "storage_library": "penstock",
                    "uri_scheme": "s3+http",
                    "endpoint_url": "http://h",
                    "s3_force_path_style": "true",
                    "region": None,
                },
            },
            "a",
            "s3+http://b/a",
            {"endpoint": "http://h", "addressing": "path"},
        ),
    ],
)
def test_places_are_those_that_dlios_arguments_say(dlio, given, path, uri, options):
    from penstock_dlio.places import Place

    dlio.__dict__.update(given)
    place = Place.of(dlio)
    assert place.uri(path) == uri
    assert place.options == options


def test_dlio_opens_files_by_their_paths(storage, tmp_path):
    store = storage(str(tmp_path / "root"))
    store.create_node("data/train", exist_ok=True)
    # So do the generators and the readers of DLIO.
    np.savez(store.get_uri("data/train/a.npz"), x=np.zeros(3))
    assert (tmp_path / "root/data/train/a.npz").is_file()
    assert store.walk_node("data/train") == ["a.npz"]
    assert store.walk_node("data/train/*.npz", use_pattern=True) == [str(tmp_path / "root/data/train/a.npz")]
    assert store.list_objects("data") == [str(tmp_path / "root/data/train/a.npz")]


@pytest.fixture
def older(dlio, monkeypatch):
    """DLIO 2.0: no storage options, and generators that know files only."""
    from dlio_benchmark.storage.storage_handler import DataStorage
    from dlio_benchmark.utils import config

    monkeypatch.delattr(DataStorage, "islocalfs")
    monkeypatch.setattr(config, "LoadConfig", lambda args, given: None)
    dlio.__dict__.update(num_files_train=3, format="npz", file_prefix="img", num_samples_per_file=1)
    dlio.__dict__.update(record_length=400, record_length_stdev=0, storage_root="mem://older")
    return dlio


def test_older_versions_get_options_and_data_anywhere(older):
    import penstock_dlio
    from dlio_benchmark.data_generator.generator_factory import GeneratorFactory
    from dlio_benchmark.utils import config
    from penstock_dlio.installing import uninstall

    assert GeneratorFactory.get_generator("npz") == ("dlio's own", "npz")
    penstock_dlio.install()
    config.LoadConfig(older, {"storage": {"storage_options": {"storage_library": "penstock", "region": "here"}}})
    assert older.storage_options == {"storage_library": "penstock", "region": "here"}
    older.comm_size = 2
    for older.my_rank in (0, 1):
        GeneratorFactory.get_generator("npz").generate()
    names = [info.key for info in penstock.list("mem://older/data/train/")]
    assert names == [f"mem://older/data/train/img_{number}_of_3.npz" for number in range(3)]
    contents = [np.load(io.BytesIO(penstock.get(name)))["x"] for name in names]
    assert [content.size for content in contents] == [400] * 3
    assert len({content.tobytes() for content in contents}) == 3
    older.storage_root = "/files"
    assert GeneratorFactory.get_generator("npz") == ("dlio's own", "npz")
    uninstall()
    older.storage_root = "mem://older"
    assert GeneratorFactory.get_generator("npz") == ("dlio's own", "npz")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"format": "csv"}, "csv: no files of it are made here; known: npz"), ({"num_samples_per_file": 4}, "one sample")],
)
def test_what_is_not_generated_is_named(older, given, message):
    from penstock_dlio.generating import PenstockGenerator

    older.__dict__.update(given)
    with pytest.raises(UsageError, match=message):
        PenstockGenerator().generate()


def test_the_factory_gives_ours_where_it_is_asked_for_and_its_own_elsewhere(dlio):
    import penstock_dlio
    from dlio_benchmark.storage.storage_factory import StorageFactory
    from penstock_dlio.installing import uninstall
    from penstock_dlio.storage import PenstockStorage

    own = StorageFactory.get_storage("s3", "x")
    penstock_dlio.install()
    assert StorageFactory.get_storage("s3", "x") == own
    dlio.storage_options = {"storage_library": "penstock"}
    assert isinstance(StorageFactory.get_storage("s3", "x"), PenstockStorage)
    dlio.storage_options = {}
    penstock_dlio.install(everywhere=True)
    assert isinstance(StorageFactory.get_storage("s3", "x"), PenstockStorage)
    uninstall()
    uninstall()
    assert StorageFactory.get_storage("s3", "x") == own


def test_the_command_runs_dlio_with_our_storage(dlio, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["penstock-dlio", "workload=unet3d_h100"])
    runpy.run_module("penstock_dlio", run_name="__main__")
    assert capsys.readouterr().out == "PenstockStorage workload=unet3d_h100\n"


def test_the_command_says_that_dlio_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("dlio_benchmark", "penstock_dlio")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit, match="install dlio-benchmark in this environment"):
        runpy.run_module("penstock_dlio", run_name="__main__")


def test_the_library_is_found_under_the_other_ones_name(dlio, monkeypatch):
    import penstock_dlio
    from penstock_dlio.installing import uninstall

    monkeypatch.setitem(sys.modules, "no_such_library", None)
    monkeypatch.delitem(sys.modules, "no_such_library")
    penstock_dlio.install(library="no_such_library")
    penstock_dlio.install(library="no_such_library")
    import no_such_library

    assert no_such_library.put_bytes is penstock_dlio.library.put_bytes
    with pytest.raises(ImportError, match="json is imported already"):
        penstock_dlio.install(library="json")
    uninstall()


def test_the_library_does_what_dlio_calls():
    from penstock_dlio import library

    root = "mem://library"
    library.put_bytes(f"{root}/d/a", b"0123456789")
    asyncio.run(_awaited(library.put_bytes_async(f"{root}/d/b", b"b")))
    library.put_many([(f"{root}/d/e/{number}", bytes([number])) for number in range(9)])
    assert bytes(library.get(f"{root}/d/a")) == b"0123456789"
    assert bytes(library.get_range(f"{root}/d/a", 8, 10)) == b"89"
    many = [f"{root}/d/e/{number}" for number in (5, 2, 5)]
    assert [(uri, bytes(data)) for uri, data in library.get_many(many)] == list(
        zip(many, (b"\5", b"\2", b"\5"), strict=True)
    )
    assert library.list(f"{root}/d/") == [f"{root}/d/a", f"{root}/d/b", f"{root}/d/e/"]
    assert len(library.list(f"{root}/d/", recursive=True)) == 11
    assert library.list(f"{root}/d/", recursive=True, pattern="[ab]$") == [f"{root}/d/a", f"{root}/d/b"]
    assert library.stat(f"{root}/d/a")["size"] == 10
    library.delete(f"{root}/d/a")
    assert not library.exists(f"{root}/d/a")
    assert library.exists(f"{root}/d/b")
    library.mkdir(f"{root}/new")
    library.delete(f"{root}/d", recursive=True)
    assert library.list(f"{root}/d/", recursive=True) == []
    assert library.get_many([]) == []


async def _awaited(what):
    await what


def test_the_library_makes_archives_that_numpy_reads_and_never_the_same():
    from penstock_dlio import library

    one, two = (library.generate_npz_bytes((3, 4), "<f8", 5) for _ in range(2))
    with np.load(io.BytesIO(one)) as arrays:
        assert arrays["x"].shape == (3, 4)
        assert arrays["x"].dtype == np.float64
        assert arrays["y"].tolist() == [0] * 5
    assert one != two


def test_several_endpoints_are_one_store(tmp_path):
    from penstock_dlio import library

    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    store = library.create_multi_endpoint_store([(tmp_path / name).as_uri() for name in "ab"])
    store.put("x/y", b"content")
    assert [bytes(store.get("x/y")) for _ in range(3)] == [b"content"] * 3
    assert bytes(store.get_range("x/y", 3)) == b"tent"
    assert store.list() == ["x/y"]
    assert store.exists("x/y")
    store.delete("x/y")
    assert not store.exists("x/y")
    store.close()
    with pytest.raises(UsageError, match="it is round_robin or least_connections"):
        library.MultiEndpointStore(["mem://a"], "random")


def test_what_the_readme_says_can_be_done(dlio, named, tmp_path):
    import re
    from pathlib import Path

    text = (Path(__file__).parents[1] / "README.md").read_text()
    for name in set(re.findall(r"penstock_dlio\.\w+\.Penstock\w+", text)):
        assert named(name)
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(program.replace("s3dlio", "no_such_library_either"), {})
    from penstock_dlio import library
    from penstock_dlio.installing import uninstall

    uninstall()
    del sys.modules["no_such_library_either"]
    (names,) = re.findall(r"names:\n(.*?)\. Extents", text, re.DOTALL)
    assert sorted(re.findall(r"`(\w+)`", names)) == sorted(library.__all__)
