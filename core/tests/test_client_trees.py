"""Trees from one store to another; files where the plugin is what the user meets."""

import itertools
import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock
from penstock.client import Store, connect
from penstock.client.trees import is_current, plan, select, transfers
from penstock.errors import AccessDeniedError, NotAnObjectError, ObjectNotFoundError, UsageError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.store import ObjectInfo
from penstock.urls import strip_scheme

_numbers = itertools.count()


def fresh():
    name = f"test-trees-{next(_numbers)}"
    return Store(MemoryStore(MemoryOptions(name=name)), f"mem://{name}/", threads=4)


def fill(store, *names):
    for name in names:
        store.put(name, name.encode())


def keys(store, prefix=""):
    return [info.key for info in store.list(prefix)]


def test_a_tree_keeps_its_shape():
    source, target = fresh(), fresh()
    fill(source, "t/a", "t/d/a", "t/d/e/a", "tt/a")
    report = source.copy_tree("t/", "copy", to=target)
    assert (report.copied, report.skipped, report.failures) == (3, 0, [])
    assert keys(target) == ["copy/a", "copy/d/a", "copy/d/e/a"]
    assert target.get("copy/d/a") == b"t/d/a"


def test_one_file_does_not_take_its_neighbours():
    source, target = fresh(), fresh()
    fill(source, "data.csv", "data.csv.bak", "data.csv2/x")
    source.copy_tree("data.csv", "in/", to=target)
    assert keys(target) == ["in/data.csv"]
    source.copy_tree("data.csv", "renamed", to=target)
    assert keys(target) == ["in/data.csv", "renamed"]


def test_a_glob_takes_its_matches_and_keeps_their_tree():
    source, target = fresh(), fresh()
    fill(source, "t/a.csv", "t/b.bin", "t/d/c.csv", "t/a.csv.bak")
    source.copy_tree("t/*.csv", "one", to=target)
    source.copy_tree("t/**/*.csv", "all", to=target)
    assert keys(target) == ["all/a.csv", "all/d/c.csv", "one/a.csv"]


def test_nothing_to_copy_is_an_error():
    source = fresh()
    for name in ("nope", "nope/", "nope*"):
        with pytest.raises(ObjectNotFoundError):
            source.copy_tree(name, "x/", to=fresh())


def test_a_tree_is_not_copied_into_itself():
    source = fresh()
    fill(source, "t/a")
    with pytest.raises(UsageError):
        source.copy_tree("t/", "t/in", to=source)
    assert keys(source) == ["t/a"]


def test_one_failure_loses_no_other_outcome():
    source, target = fresh(), fresh()
    fill(source, *(f"k{number:03}" for number in range(50)))
    inner = target.raw.put

    def put(key, data, **options):
        if key.endswith("7"):
            raise AccessDeniedError("no", uri=key)
        return inner(key, data, **options)

    target.raw.put = put
    report = source.copy_tree("", "", to=target)
    assert report.copied == 45
    assert sorted(done.source for done in report.failures) == [f"k0{tens}7" for tens in range(5)]
    with pytest.raises(AccessDeniedError):
        report.check()


def test_moving_a_tree_leaves_what_failed():
    source, target = fresh(), fresh()
    fill(source, "a", "b", "c")
    inner = target.raw.put

    def put(key, data, **options):
        if key == "b":
            raise AccessDeniedError("no", uri=key)
        return inner(key, data, **options)

    target.raw.put = put
    source.copy_tree("", "", to=target, move=True)
    assert keys(source) == ["b"]
    assert keys(target) == ["a", "c"]


def test_a_dry_run_moves_nothing():
    source, target = fresh(), fresh()
    fill(source, "a", "b")
    report = source.copy_tree("", "", to=target, dry_run=True, move=True)
    assert (report.copied, report.nbytes) == (2, 2)
    assert keys(source) == ["a", "b"]
    assert keys(target) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_sync_copies_what_is_missing_or_changed(ordered):
    source, target = fresh(), fresh()
    if not ordered:
        target.raw.capabilities = attrs.evolve(target.raw.capabilities, ordered=False)
    fill(source, "a", "b", "c", "d")
    source.copy_tree("", "t", to=target)
    fill(target, "t/0", "t/bb", "t/z")
    target.delete("t/c")
    source.put("a", b"longer")
    source.put("d", b"D")
    report = source.copy_tree("", "t", to=target, existing="sync")
    assert (report.copied, report.skipped) == (3, 1)
    assert target.get("t/d") == b"D"
    assert target.get("t/a") == b"longer"
    assert keys(target) == ["t/0", "t/a", "t/b", "t/bb", "t/c", "t/d", "t/z"]


def test_resume_looks_at_sizes_only():
    source, target = fresh(), fresh()
    fill(source, "a", "b")
    target.put("a", b"X")
    source.put("a", b"Y")
    report = source.copy_tree("", "", to=target, existing="resume")
    assert (report.copied, report.skipped) == (1, 1)
    assert target.get("a") == b"X"


@pytest.mark.parametrize(
    ("source", "target", "current"),
    [
        (ObjectInfo("a", 1, 5), ObjectInfo("a", 1, 5), True),
        (ObjectInfo("a", 1, 5), ObjectInfo("a", 1, 4), False),
        (ObjectInfo("a", 1, 5), ObjectInfo("a", 2, 6), False),
        (ObjectInfo("a", 1), ObjectInfo("a", 1, 6), False),
        (ObjectInfo("a", 1, 5, checksum="crc32c:x"), ObjectInfo("a", 1, 4, checksum="crc32c:x"), True),
        (ObjectInfo("a", 1, 5, checksum="crc32c:x"), ObjectInfo("a", 1, 6, checksum="crc32c:y"), False),
        (ObjectInfo("a", 1, 5, checksum="crc32c:x"), ObjectInfo("a", 1, 6, checksum="md5:y"), True),
        (ObjectInfo("a", 1, 5, etag="x"), ObjectInfo("a", 1, 6, etag="y"), True),
    ],
)
def test_what_is_current(source, target, current):
    assert is_current(source, target) is current


segment = st.text(alphabet="ab %+#?é[", min_size=1, max_size=4)
trees = st.dictionaries(st.lists(segment, min_size=1, max_size=3).map("/".join), st.binary(max_size=20), max_size=8)


@given(trees)
def test_any_tree_survives_a_round_trip(tree):
    begin, middle, end = fresh(), fresh(), fresh()
    for key, body in tree.items():
        begin.put(f"t/{key}", body)
    if not tree:
        return
    begin.copy_tree("t/", "x/y", to=middle).check()
    middle.copy_tree("x/y/", "", to=end).check()
    assert {info.key: bytes(end.get(info.key)) for info in end.list()} == tree


def test_up_to_a_store_and_down_again(tmp_path):
    for name in ("a.csv", "a.csv.bak", "d/e/b", "d/empty"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name.endswith("empty") else name.encode() * 1000)
    uri = "mem://test-trees-round/t/"
    assert penstock.upload(str(tmp_path / "in"), uri).copied == 4
    assert penstock.download(uri, str(tmp_path / "out")).copied == 4
    assert (tmp_path / "out/d/e/b").read_bytes() == b"d/e/b" * 1000
    assert (tmp_path / "out/d/empty").read_bytes() == b""
    for info in penstock.list(str(tmp_path / "out") + "/"):
        # The kernel stamps files with a coarser clock, which may lag behind that of the source.
        os.utime(strip_scheme(info.key), ns=(info.modified_ns + 10**9,) * 2)
    assert penstock.sync(uri, str(tmp_path / "out")).skipped == 4
    assert penstock.download(f"{uri}a.csv", f"{tmp_path}/one/").copied == 1
    assert os.listdir(tmp_path / "one") == ["a.csv"]


def test_names_that_leave_the_target_are_failures_of_their_own(tmp_path):
    base = "mem://test-trees-escape/t/"
    for name in ("../../evil", "ok", "a//b", "file", "file/below"):
        penstock.put(base + name, b"x")
    report = penstock.download(base, str(tmp_path / "out" / "deep"))
    assert len(report.failures) == 3
    assert sorted(os.listdir(tmp_path / "out")) == ["deep"]
    assert (tmp_path / "out/deep/ok").exists()


def test_markers_become_directories_and_directories_are_no_objects(tmp_path):
    penstock.put("mem://test-trees-mark/t/empty/", b"")
    penstock.put("mem://test-trees-mark/t/a", b"1")
    penstock.download("mem://test-trees-mark/t/", str(tmp_path)).check()
    assert (tmp_path / "empty").is_dir()
    with pytest.raises(NotAnObjectError):
        penstock.get(str(tmp_path / "empty"))
    assert not penstock.exists(str(tmp_path / "empty"))


def test_removing_a_directory_takes_what_is_below_and_no_more(tmp_path):
    for name in ("a/b/c", "a/d", "ab/c"):
        penstock.put(f"{tmp_path}/{name}", b"1")
    penstock.make_directory(f"{tmp_path}/a/empty/deep")
    with pytest.raises(penstock.PenstockError):
        penstock.remove_directory(f"{tmp_path}/a")
    assert penstock.remove_directory(f"{tmp_path}/a", recursive=True).objects == 2
    assert os.listdir(tmp_path) == ["ab"]


def test_a_file_with_two_uris_is_not_lost_by_a_move(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "only"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(penstock.PenstockError, match="changed while it was moved"):
        penstock.move("only", str(path))
    assert path.read_bytes() == b"x" * 5000


def test_closing_the_transfers_leaves_no_part(tmp_path):
    store = fresh()
    fill(store, "a", "endless")
    inner = store.raw.get

    def get(key, sink, **options):
        if key == "a":
            return inner(key, sink, **options)
        while True:
            sink.write(bytes(1 << 20))

    store.raw.get = get
    with connect(str(tmp_path)) as target:
        results = transfers(plan(select(store.raw, store.uri, "", trees=True), target.raw, target.uri, ""))
        assert next(results).source == "a"
        results.close()
    assert os.listdir(tmp_path) == ["a"]
