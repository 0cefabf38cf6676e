"""What every backend over a file system does when the system says no, or the process dies."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from penstock import errors
from penstock.opening import open_store
from penstock.sinks import Collect, Discard

PUTS_AND_WRITERS = """
    import sys
    from penstock.opening import open_store

    store = open_store(sys.argv[1])
    print("ready", flush=True)
    for number in range(100_000):
        data = bytes([number % 251]) * (50_000 + 13 * (number % 40))
        store.put(f"put/{number % 40}", data)
        writer = store.open_writer(f"stream/{number % 40}", part_size=1 << 20)
        for begin in range(0, len(data), 10_000):
            writer.write(data[begin : begin + 10_000])
        writer.commit()
        print(number, flush=True)
"""

UNDER_ANOTHER_USER = """
    import os, sys
    from penstock import errors
    from penstock.opening import open_store
    from penstock.sinks import Discard

    store = open_store(sys.argv[1])
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    calls = {
        "get": lambda: store.get("closed/key", Discard()),
        "stat": lambda: store.stat("closed/key"),
        "list": lambda: list(store.list_pages()),
        "put": lambda: store.put("new", b"x"),
        "writer": lambda: store.open_writer("new", part_size=1),
        "mkdir": lambda: store.put("new/", b""),
        "copy": lambda: store.copy("closed/key", "new"),
    }
    for name, call in calls.items():
        try:
            call()
        except errors.AccessDeniedError as error:
            assert error.status and error.__cause__, name
        else:
            sys.exit(f"{name} was not refused")
    failures = store.delete(["key"])
    assert [type(failure) for failure in failures] == [errors.AccessDeniedError], failures
    print("all refused")
"""


@pytest.fixture(params=["file", "direct"])
def scheme(request):
    return request.param


@pytest.fixture
def store(scheme, tmp_path):
    with closing(open_store(f"{scheme}://{tmp_path}")) as store:
        yield store


@pytest.fixture
def small_disk(scheme, tmp_path):
    """A file system of a few MiB: tmpfs, or for O_DIRECT an ext4 image. A machine that can't mount fails."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if scheme == "file":
        run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", directory)
    else:
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(8 << 20)
        run("mkfs.ext4", "-q", "-m", "0", image)
        run("mount", "-o", "loop", image, directory)
    try:
        yield directory
    finally:
        run("umount", directory)


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr} (these tests need the right to mount)"


def start(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def keys_of(store, prefix=""):
    return [info.key for page in store.list_pages(prefix) for info in page.objects]


def read(store, key, **options):
    sink = Collect()
    store.get(key, sink, **options)
    return bytes(sink.view())


def write_parts(writer, count):
    for _ in range(count):
        writer.write(bytes(1 << 20))
    writer.commit()


def copy_often(store, key, count):
    for number in range(count):
        store.copy(key, f"copy{number}")


@pytest.mark.parametrize("after", [1, 7, 40, 200])
def test_a_killed_process_leaves_no_part_of_an_object(scheme, store, tmp_path, after):
    child = start(PUTS_AND_WRITERS, f"{scheme}://{tmp_path}")
    assert child.stdout.readline() == "ready\n"
    for _ in range(after):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    keys = keys_of(store)
    # At least what was announced is there; the kill fell on any later moment.
    assert len(keys) >= 2 * min(after, 40)
    for key in keys:
        folder, _, number = key.partition("/")
        assert folder in ("put", "stream")
        data = read(store, key)
        assert len(data) == 50_000 + 13 * int(number)
        assert data == data[:1] * len(data)
    # A killed put leaves at most a hidden file, and a killed writer none, unless the kill fell between the two calls
    # that give its file the object's name.
    names = os.listdir(tmp_path / "stream")
    hidden = [name for name in names if name.startswith(".penstock-tmp-")]
    assert len(hidden) <= 1
    assert sorted(keys_of(store, "stream/")) == sorted(f"stream/{name}" for name in names if name not in hidden)


def test_another_users_files(scheme, tmp_path):
    root = tmp_path / "root"
    (root / "closed").mkdir(parents=True)
    (root / "closed" / "key").write_bytes(b"secret")
    (root / "key").write_bytes(b"other")
    (root / "closed").chmod(0o700)
    # The way to the root is open, so that it is the objects that refuse.
    parent = tmp_path
    while (
        parent != parent.parent and parent.stat().st_uid == os.getuid() and parent.name.startswith(("pytest", "test"))
    ):
        parent.chmod(parent.stat().st_mode | 0o055)
        parent = parent.parent
    child = start(UNDER_ANOTHER_USER, f"{scheme}://{root}")
    out, err = child.communicate()
    assert out == "all refused\n", err


def test_a_full_disk(scheme, small_disk):
    store = open_store(f"{scheme}://{small_disk}")
    store.put("old", b"old" * 1000)
    with pytest.raises(errors.StorageFullError) as caught:
        store.put("old", bytearray(20 << 20))
    assert isinstance(caught.value, OSError)
    assert caught.value.uri == f"{scheme}://{small_disk}/old"
    assert caught.value.status
    writer = store.open_writer("new", part_size=1 << 20)
    with pytest.raises(errors.StorageFullError):
        write_parts(writer, 20)
    writer.abort()
    store.put("big", bytes(1 << 20))
    with pytest.raises(errors.StorageFullError):
        copy_often(store, "big", 20)
    copies = [key for key in keys_of(store) if key.startswith("copy")]
    assert all(store.stat(key).size == 1 << 20 for key in copies)
    assert sorted(set(os.listdir(small_disk)) - {"lost+found"}) == sorted(["big", "old", *copies])
    assert read(store, "old") == b"old" * 1000


def test_a_read_only_file_system(scheme, small_disk):
    store = open_store(f"{scheme}://{small_disk}")
    store.put("key", b"data" * 2000)
    run("mount", "-o", "remount,ro", small_disk)
    for call in (
        lambda: store.put("key", b"x"),
        lambda: store.put("new/", b""),
        lambda: store.open_writer("key", part_size=1),
        lambda: store.copy("key", "other"),
    ):
        with pytest.raises(errors.AccessDeniedError, match="read-only file system; mount it read-write"):
            call()
    (failure,) = store.delete(["key"])
    assert isinstance(failure, errors.AccessDeniedError)
    assert read(store, "key", start=7990) == b"tadatadata"


def test_a_directory_where_an_object_is_meant(store):
    store.put("dir/key", b"x")
    for call in (
        lambda: read(store, "dir"),
        lambda: read(store, "dir/"),
        lambda: store.stat("dir"),
        lambda: store.put("dir", b"x"),
        lambda: store.copy("dir", "other"),
        lambda: store.copy("dir/key", "dir"),
    ):
        with pytest.raises(errors.NotAnObjectError):
            call()
    with pytest.raises(errors.AlreadyExistsError):
        store.put("dir", b"x", create=True)
    with pytest.raises(errors.ObjectNotFoundError):
        read(store, "dir/key/below")
    with pytest.raises(errors.StoreError, match="not a directory"):
        store.put("dir/key/below", b"x")
    with pytest.raises(errors.InvalidKeyError, match="holds no bytes"):
        store.put("dir/", b"bytes")
    with pytest.raises(errors.InvalidKeyError):
        store.open_writer("dir/", part_size=1)
    assert keys_of(store) == ["dir/key"]


@pytest.mark.parametrize(
    "key",
    ["a b/ c ", "100%/%2e%2e", "naïve/数据/😀", "q?x=1#f+&", "é" * 127 + "z", "x" * 255, "-rf", "*/[a]?", "a\nb\tc"],
)
def test_names(store, tmp_path, key):
    store.put(key, b"data")
    assert (tmp_path / key).read_bytes() == b"data"
    assert keys_of(store) == [key]
    assert read(store, key) == b"data"
    assert store.copy(key, "copy").size == 4
    assert store.delete([key, "copy"]) == []
    assert keys_of(store) == []


@pytest.mark.parametrize("key", ["..", "../x", "a/../b", "a/./b", "a//b", "/a", ".", "a\0b", "x" * 256, "é" * 128])
def test_names_that_no_file_can_have(store, tmp_path, key):
    for call in (
        lambda: store.put(key, b"x"),
        lambda: read(store, key),
        lambda: store.stat(key),
        lambda: store.delete(["fine", key]),
        lambda: store.open_writer(key, part_size=1),
    ):
        with pytest.raises(errors.InvalidKeyError):
            call()
    assert os.listdir(tmp_path) == []


def test_links(store, tmp_path):
    store.put("real", b"real")
    os.symlink("real", tmp_path / "link")
    os.symlink("loop", tmp_path / "loop")
    assert read(store, "link") == b"real"
    with pytest.raises(errors.ObjectNotFoundError, match="loop"):
        read(store, "loop")
    store.put("link", b"new")
    assert (read(store, "link"), read(store, "real")) == (b"new", b"real")
    assert not (tmp_path / "link").is_symlink()


def test_a_dropped_writer_leaves_nothing(store, tmp_path):
    for begun in (0, 10, 5_000_000):
        writer = store.open_writer("dir/key", part_size=1 << 20)
        writer.write(bytes(begun))
        del writer
        assert os.listdir(tmp_path / "dir") == []


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_writer_that_creates(store, tmp_path, monkeypatch, unnamed):
    if not unnamed:
        monkeypatch.setattr("penstock.posix.replace._UNNAMED", 0)
    with pytest.raises(errors.UnsupportedOperationError) as refused:
        store.open_writer("key", part_size=1, metadata={"a": "b"})
    assert refused.value.operation == "open_writer"
    writer = store.open_writer("key", part_size=1 << 20, create=True, content_type="text/plain")
    late = store.open_writer("key", part_size=1 << 20, create=True)
    late.write(b"late" * 5000)
    writer.write(b"first" * 5000)
    assert keys_of(store) == []
    assert writer.commit().size == 25_000
    with pytest.raises(errors.AlreadyExistsError) as caught:
        late.commit()
    late.abort()
    assert caught.value.operation == "commit"
    # What is known at the opening is not found out after gigabytes.
    with pytest.raises(errors.AlreadyExistsError) as caught:
        store.open_writer("key", part_size=1 << 20, create=True)
    assert caught.value.operation == "open_writer"
    assert read(store, "key") == b"first" * 5000
    assert os.listdir(tmp_path) == ["key"]


def test_a_file_that_shrinks_while_it_is_read_is_never_a_short_success(store, tmp_path):
    store.put("key", bytes(3 << 20))

    class Shrinking(Collect):
        def commit(self, nbytes, /):
            os.truncate(tmp_path / "key", 1 << 20)
            super().commit(nbytes)

        def reserve(self, nbytes, /):
            return super().reserve(nbytes)[: 64 << 10]

    sink = Shrinking()
    with pytest.raises(errors.LengthMismatchError, match="shrank"):
        store.get("key", sink)
    assert sink.nbytes == 1 << 20


def test_a_file_that_grows_while_it_is_read_gives_what_it_was(store, tmp_path):
    store.put("key", bytes(100_000))

    class Growing(Discard):
        def reserve(self, nbytes, /):
            with (tmp_path / "key").open("ab") as file:
                file.write(b"x" * 10_000)
            return super().reserve(nbytes)

    sink = Growing(room=8192)
    assert store.get("key", sink).size == 100_000
    assert sink.nbytes == 100_000


def test_what_files_lack_is_unsupported(store):
    for options in ({"if_match": "x"}, {"metadata": {"a": "b"}}):
        with pytest.raises(errors.UnsupportedOperationError):
            store.put("key", b"x", **options)
    assert store.put("key", b"x", content_type="text/plain").size == 1


def test_errors_name_the_whole_uri_and_pickle(scheme, store, tmp_path):
    with pytest.raises(errors.ObjectNotFoundError) as caught:
        store.stat("a/missing")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.uri, error.operation, error.code) == (f"{scheme}://{tmp_path}/a/missing", "stat", "ENOENT")


def test_places(scheme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(open_store(f"{scheme}://./new/root")) as store:
        store.put("key", b"x")
        with pytest.raises(errors.ObjectNotFoundError, match=f"{scheme}://{tmp_path}/new/root/none"):
            store.stat("none")
    assert (tmp_path / "new" / "root" / "key").read_bytes() == b"x"
    with pytest.raises(errors.InvalidURIError, match="three slashes"):
        open_store(f"{scheme}://host/path")


def test_the_fsync_option_reaches_puts_writers_and_copies(scheme, tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), fsync(fd)))
    store = open_store(f"{scheme}://{tmp_path}?fsync=true")
    for call in (
        lambda: store.put("key", b"x"),
        lambda: store.copy("key", "copy"),
        lambda: store.open_writer("key", part_size=1).commit(),
    ):
        synced.clear()
        call()
        assert len(synced) == 2
    synced.clear()
    open_store(f"{scheme}://{tmp_path}").put("key", b"x")
    assert synced == []


@pytest.mark.parametrize("at", ["write", "commit"])
def test_a_writer_that_failed_is_never_repeated(store, monkeypatch, at):
    def busy(*_, **__):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    writer = store.open_writer("key", part_size=1 << 20)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write" if at == "write" else "rename", busy)
        with pytest.raises(errors.StoreError, match="busy") as caught:
            write_parts(writer, 3)
        assert not caught.value.retryable, "what was written of the failed bytes is not known"
        with pytest.raises(errors.StoreError, match="busy") as caught:
            store.put("key", bytes(1 << 20))
        assert caught.value.retryable, "a put begins anew"
    writer.abort()
    assert keys_of(store) == []


def test_reads_by_etag_and_metadata(store):
    store.put("key", b"0123456789")
    etag = store.stat("key").etag
    assert read(store, "key", if_match=etag, start=3, length=2) == b"34"
    store.put("key", b"9876543210")
    with pytest.raises(errors.PreconditionFailedError):
        store.get("key", Discard(), if_match=etag)
    for metadata in ({"a": "b"}, {}):
        with pytest.raises(errors.UnsupportedOperationError, match="metadata"):
            store.copy("key", "key", metadata=metadata)
