"""Names: what is there, under which name, and how it changes."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import fsspec
import pytest

import penstock
from penstock.errors import AccessDeniedError, StoreError, UnsupportedOperationError, UsageError

NAMES = ["a", "b/c", "b/d/e", "b/d/f g", "b2", "ü/%41+#?"]


@pytest.fixture
def tree(every_base):
    every_base.fs.pipe({f"{every_base.path}/{name}": name.encode() for name in NAMES})
    return every_base


def under(base, *names):
    return [f"{base.path}/{name}" for name in names]


def test_listings(tree):
    fs = tree.fs
    assert fs.ls(tree.path, detail=False) == under(tree, "a", "b", "b2", "ü")
    kinds = {entry["name"]: (entry["type"], entry["size"]) for entry in fs.ls(tree.uri + "/b/")}
    assert kinds == {f"{tree.path}/b/c": ("file", 3), f"{tree.path}/b/d": ("directory", 0)}
    assert fs.ls(f"{tree.path}/a") == [fs.info(f"{tree.path}/a")]
    assert fs.find(tree.path) == under(tree, *NAMES)
    assert fs.find(f"{tree.path}/b", withdirs=True) == under(tree, "b", "b/c", "b/d", "b/d/e", "b/d/f g")
    assert fs.find(f"{tree.path}/a") == under(tree, "a")
    assert fs.find(f"{tree.path}/a", detail=True)[f"{tree.path}/a"]["size"] == 1
    assert fs.find(tree.path, maxdepth=1) == under(tree, "a", "b2")
    assert fs.find(f"{tree.path}/none") == []
    assert fs.du(tree.path) == sum(len(name.encode()) for name in NAMES)
    with pytest.raises(FileNotFoundError):
        fs.ls(f"{tree.path}/none")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a", "b", "b2", "ü"]),
        ("b*", ["b", "b2"]),
        ("b/*/*", ["b/d/e", "b/d/f g"]),
        ("**/e", ["b/d/e"]),
        ("b/**/*", ["b/c", "b/d", "b/d/e", "b/d/f g"]),
        ("none*", []),
    ],
)
def test_globs(tree, pattern, expected):
    assert tree.fs.glob(f"{tree.path}/{pattern}") == under(tree, *expected)


def test_a_walk_is_that_of_the_os(tree):
    seen = [
        (path.removeprefix(tree.path), sorted(dirs), sorted(names)) for path, dirs, names in tree.fs.walk(tree.path)
    ]
    assert seen == [
        ("", ["b", "ü"], ["a", "b2"]),
        ("/b", ["d"], ["c"]),
        ("/b/d", [], ["e", "f g"]),
        ("/ü", [], ["%41+#?"]),
    ]


def test_what_is_known_of_a_file(tree):
    fs, path = tree.fs, f"{tree.path}/b/c"
    info = fs.info(path)
    assert (info["name"], info["size"], info["type"]) == (path, 3, "file")
    assert abs(fs.modified(path) - datetime.now(UTC)) < timedelta(minutes=5)
    assert fs.info(f"{tree.path}/b")["type"] == "directory"
    assert (fs.isfile(path), fs.isdir(path), fs.exists(path)) == (True, False, True)
    assert (fs.isfile(f"{tree.path}/b"), fs.isdir(f"{tree.path}/b")) == (False, True)
    # A prefix of a name is no name.
    assert not fs.exists(f"{tree.path}/ü/%41+#")
    before = fs.ukey(path), fs.checksum(path)
    assert before == (fs.ukey(path), fs.checksum(path))
    fs.pipe_file(path, b"new")
    assert fs.ukey(path) != before[0]
    assert fs.checksum(path) != before[1]


def test_only_stores_whose_objects_never_change_tell_when_they_were_made(mem, files):
    mem.fs.pipe_file(f"{mem.path}/x", b"1")
    files.fs.pipe_file(f"{files.path}/x", b"1")
    assert mem.fs.created(f"{mem.path}/x") == mem.fs.modified(f"{mem.path}/x")
    with pytest.raises(UnsupportedOperationError):
        files.fs.created(f"{files.path}/x")
    assert files.fs.modified(files.path).timestamp() == pytest.approx(os.stat(files.path).st_mtime, abs=1e-3)


def test_a_failure_is_not_taken_for_absence(mem, monkeypatch):
    from penstock.memory import MemoryStore

    def refuse(self, key):
        raise AccessDeniedError("planned")

    monkeypatch.setattr(MemoryStore, "stat", refuse)
    for ask in (mem.fs.exists, mem.fs.isfile, mem.fs.isdir, mem.fs.info):
        with pytest.raises(PermissionError, match="planned"):
            ask(f"{mem.path}/x")


def test_a_directory_that_may_not_be_read_is_not_left_out(mem, monkeypatch):
    mem.fs.pipe({f"{mem.path}/{name}": b"" for name in ("a", "b/c")})
    plain = type(mem.fs).ls

    def ls(self, path, detail=True, refresh=False):
        if path.endswith("/b"):
            raise AccessDeniedError("planned")
        return plain(self, path, detail, refresh)

    monkeypatch.setattr(type(mem.fs), "ls", ls)
    with pytest.raises(PermissionError, match="planned"):
        mem.fs.find(mem.path, maxdepth=5)


def test_removing_takes_what_was_named_and_no_neighbour(tree):
    fs = tree.fs
    with pytest.raises(IsADirectoryError):
        fs.rm(f"{tree.path}/b")
    with pytest.raises(FileNotFoundError):
        fs.rm([f"{tree.path}/a", f"{tree.path}/none"])
    assert fs.find(tree.path) == under(tree, *NAMES)
    fs.rm(f"{tree.path}/b", recursive=True)
    assert fs.find(tree.path) == under(tree, "a", "b2", "ü/%41+#?")
    assert not fs.exists(f"{tree.path}/b")
    fs.rm([f"{tree.path}/a", f"{tree.path}/b2"])
    assert fs.find(tree.path) == under(tree, "ü/%41+#?")
    fs.rm_file(f"{tree.path}/ü/%41+#?")
    with pytest.raises(FileNotFoundError):
        fs.rm_file(f"{tree.path}/a")


def test_a_tree_is_deleted_in_batches(mem, monkeypatch):
    from penstock.memory import MemoryStore

    mem.fs.pipe({f"{mem.path}/{number}": b"" for number in range(500)})
    calls = []
    plain = MemoryStore.delete
    monkeypatch.setattr(MemoryStore, "delete", lambda self, keys: calls.append(len(keys)) or plain(self, keys))
    mem.fs.rm([f"{mem.path}/{number}" for number in range(100)])
    assert calls == [100]
    mem.fs.rm(mem.path, recursive=True)
    assert sum(calls) >= 500
    assert len(calls) < 6


def test_the_root_of_a_file_system_is_not_removed(files):
    for remove in (lambda: files.fs.rm("/", recursive=True), lambda: files.fs.rmdir("/")):
        with pytest.raises(UsageError, match="root"):
            remove()


def test_copies_and_moves(tree):
    fs = tree.fs
    fs.cp(f"{tree.path}/a", f"{tree.path}/copy")
    fs.cp(f"{tree.path}/b", f"{tree.path}/tree", recursive=True)
    assert fs.cat_file(f"{tree.path}/copy") == b"a"
    assert fs.find(f"{tree.path}/tree") == under(tree, "tree/c", "tree/d/e", "tree/d/f g")
    fs.mv(f"{tree.path}/copy", f"{tree.path}/moved")
    fs.mv(f"{tree.path}/tree", f"{tree.path}/elsewhere", recursive=True)
    fs.mv(f"{tree.path}/moved", f"{tree.path}/b/")
    assert fs.find(tree.path) == sorted(
        under(tree, *NAMES, "b/moved", "elsewhere/c", "elsewhere/d/e", "elsewhere/d/f g")
    )
    fs.mv(f"{tree.path}/a", f"{tree.path}/a")
    assert fs.cat_file(f"{tree.path}/a") == b"a"
    with pytest.raises(FileNotFoundError):
        fs.cp(f"{tree.path}/none", f"{tree.path}/x")
    with pytest.raises(FileNotFoundError):
        fs.mv(f"{tree.path}/none", f"{tree.path}/x")


def test_copies_between_buckets(mem):
    mem.fs.pipe_file(f"{mem.path}/x", b"1")
    mem.fs.cp(f"{mem.path}/x", "test-other-bucket/x")
    assert mem.fs.cat_file("test-other-bucket/x") == b"1"


def test_whole_trees_to_and_from_local_files(tree, tmp_path):
    fs = tree.fs
    fs.get(f"{tree.path}/b", f"{tmp_path}/local", recursive=True)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.joinpath("local").rglob("*") if path.is_file())
    assert found == ["local/c", "local/d/e", "local/d/f g"]
    fs.put(f"{tmp_path}/local", f"{tree.path}/back", recursive=True)
    assert fs.find(f"{tree.path}/back") == under(tree, "back/c", "back/d/e", "back/d/f g")
    seen = []

    class Watch(fsspec.Callback):
        def call(self, *args, **options):
            seen.append((self.value, self.size))

    fs.get_file(f"{tree.path}/b/c", f"{tmp_path}/one", callback=Watch())
    assert seen[-1] == (3, 3)
    assert (tmp_path / "one").read_bytes() == b"b/c"
    with pytest.raises(FileNotFoundError):
        fs.get_file(f"{tree.path}/none", f"{tmp_path}/none")
    assert not list(tmp_path.glob("*none*"))


def test_large_files_to_and_from_local_ones(mem, tmp_path):
    data = os.urandom(1_000_003)
    fs = fsspec.filesystem("penstock+mem", read_part_size=100_000, read_concurrency=3, write_part_size=65_536)
    (tmp_path / "x").write_bytes(data)
    fs.put_file(tmp_path / "x", f"{mem.path}/x")
    fs.get_file(f"{mem.path}/x", tmp_path / "y")
    assert fs.cat_file(f"{mem.path}/x") == (tmp_path / "y").read_bytes() == data
    with pytest.raises(FileExistsError):
        fs.put_file(tmp_path / "x", f"{mem.path}/x", mode="create")


def test_directories_on_files_are_directories(files):
    fs, path = files.fs, f"{files.path}/one/two"
    fs.makedirs(path)
    fs.makedirs(path, exist_ok=True)
    with pytest.raises(FileExistsError):
        fs.makedirs(path)
    with pytest.raises(FileExistsError):
        fs.mkdir(path)
    with pytest.raises(FileNotFoundError):
        fs.mkdir(f"{files.path}/none/x", create_parents=False)
    assert fs.isdir(path)
    assert fs.ls(path) == []
    with pytest.raises(StoreError, match=r"(?i)not empty"):
        fs.rmdir(f"{files.path}/one")
    fs.rmdir(path)
    assert not fs.exists(path)


def test_directories_on_object_stores_are_what_names_have_in_common(mem):
    fs, path = mem.fs, f"{mem.path}/one"
    fs.makedirs(path)
    fs.mkdir(path)
    assert not fs.exists(path)
    fs.pipe_file(f"{path}/x", b"1")
    assert fs.isdir(path)
    with pytest.raises(FileExistsError):
        fs.makedirs(path)
    with pytest.raises(StoreError, match="not empty"):
        fs.rmdir(path)
    fs.rm_file(f"{path}/x")
    assert not fs.exists(path)
    fs.pipe_file(f"{path}/y", b"")
    with pytest.raises(FileExistsError):
        fs.mkdir(f"{path}/y")


def test_a_marker_stands_for_a_directory(mem):
    path = f"{mem.path}/marked"
    penstock.make_directory(f"mem://{path}")
    assert mem.fs.info(path)["type"] == "directory"
    assert mem.fs.ls(path) == []
    assert mem.fs.ls(mem.path, detail=False) == [path]
    mem.fs.rmdir(path)
    assert not mem.fs.exists(path)


def test_buckets_are_the_directories_of_a_service(s3):
    fs = s3.fs
    fs.mkdir("another-bucket")
    assert {"another-bucket", "tests"} <= set(fs.ls("", detail=False))
    assert (fs.isdir(""), fs.isdir("another-bucket"), fs.exists("no-such-bucket")) == (True, True, False)
    fs.pipe_file("another-bucket/x", b"1")
    with pytest.raises(StoreError, match="not empty"):
        fs.rmdir("another-bucket")
    fs.rm("another-bucket", recursive=True)
    assert fs.ls("another-bucket") == []
    fs.rmdir("another-bucket")
    assert not fs.exists("another-bucket")
    with pytest.raises(FileNotFoundError):
        fs.ls("no-such-bucket")


def test_touch(base):
    path = f"{base.path}/x"
    base.fs.touch(path, truncate=False)
    assert base.fs.info(path)["size"] == 0
    base.fs.pipe_file(path, b"1")
    with pytest.raises(UnsupportedOperationError, match="time"):
        base.fs.touch(path, truncate=False)
    assert base.fs.cat_file(path) == b"1"
    base.fs.touch(path)
    assert base.fs.cat_file(path) == b""


def test_signing_is_refused_clearly(mem):
    with pytest.raises(NotImplementedError, match="signs no URLs"):
        mem.fs.sign(f"{mem.path}/x")


class TestKeptListings:
    @pytest.fixture
    def fs(self):
        return fsspec.filesystem("penstock+mem", use_listings_cache=True, skip_instance_cache=True)

    def test_none_is_kept_unless_asked_for(self, mem):
        mem.fs.pipe_file(f"{mem.path}/a", b"1")
        mem.fs.ls(mem.path)
        penstock.put(f"mem://{mem.path}/b", b"22")
        assert len(mem.fs.ls(mem.path)) == 2

    def test_they_serve_until_this_process_changes_something(self, fs, mem, monkeypatch):
        fs.pipe_file(f"{mem.path}/a", b"1")
        assert len(fs.ls(mem.path)) == 1
        penstock.put(f"mem://{mem.path}/behind", b"22")
        assert len(fs.ls(mem.path)) == 1
        assert len(fs.ls(mem.path, refresh=True)) == 2
        changes = [
            (lambda: fs.pipe_file(f"{mem.path}/dir/c", b"333"), 3),
            (lambda: fs.rm_file(f"{mem.path}/a"), 2),
            (lambda: fs.cp_file(f"{mem.path}/behind", f"{mem.path}/d"), 3),
            (lambda: fs.mv(f"{mem.path}/d", f"{mem.path}/dir/e"), 2),
            (lambda: fs.rm(f"{mem.path}/dir", recursive=True), 1),
            (lambda: fs.touch(f"{mem.path}/f"), 2),
        ]
        for change, count in changes:
            change()
            assert len(fs.ls(mem.path)) == count
        with fs.open(f"{mem.path}/f", "wb") as file:
            file.write(b"4444")
        assert fs.info(f"{mem.path}/f")["size"] == 4

    def test_other_threads_have_the_same(self, mem):
        import threading

        one = fsspec.filesystem("penstock+mem", use_listings_cache=True)
        one.pipe_file(f"{mem.path}/a", b"1")
        one.ls(mem.path)

        def write():
            other = fsspec.filesystem("penstock+mem", use_listings_cache=True)
            assert other is not one
            other.pipe_file(f"{mem.path}/b", b"1")

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert len(one.ls(mem.path)) == 2

    def test_one_that_was_begun_before_a_change_is_not_kept(self, fs, mem, monkeypatch):
        fs.pipe_file(f"{mem.path}/a", b"1")
        plain = type(fs)._listing

        def listing(self, path):
            entries = plain(self, path)
            self.pipe_file(f"{mem.path}/meanwhile", b"1")
            return entries

        monkeypatch.setattr(type(fs), "_listing", listing)
        assert len(fs.ls(mem.path)) == 1
        monkeypatch.undo()
        assert len(fs.ls(mem.path)) == 2

    def test_what_a_caller_does_to_an_answer_does_not_reach_them(self, fs, mem):
        fs.pipe_file(f"{mem.path}/a", b"1")
        fs.ls(mem.path)[0]["size"] = 99
        fs.ls(mem.path).clear()
        assert fs.ls(mem.path)[0]["size"] == 1


def test_relative_paths_of_files_belong_to_the_working_directory(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.fs.pipe_file("here/x", b"1")
    assert (tmp_path / "here" / "x").read_bytes() == b"1"
    assert files.fs.cat_file("penstock+file://./here/x") == b"1"
    assert files.fs.ls("here", detail=False) == [f"{tmp_path}/here/x"]
