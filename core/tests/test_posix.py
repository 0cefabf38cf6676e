"""Keys as files: listings, replacement, the table of errors."""

from __future__ import annotations

import errno
import gc
import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import errors
from penstock.posix import TEMPORARY, Namespace, Replacement, descend, parse, store_error, write_all
from penstock.posix.listing import walk
from penstock.urls import parse_object

SEGMENTS = st.text(alphabet="ab-./0~é😀\ue000", min_size=1, max_size=3).filter(
    lambda name: "/" not in name and name not in (".", "..")
)
KEYS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


@pytest.fixture
def names(tmp_path):
    return Namespace("file", str(tmp_path))


def put(names, key, data=b"x", **options):
    with Replacement(names.path(key), **options) as target:
        write_all(target.fd, memoryview(data))
        return target.publish()


def listed(names, prefix="", **options):
    pages = list(names.list_pages(prefix, **options))
    assert all(page.objects or page.prefixes for page in pages)
    return [info.key for page in pages for info in page.objects]


def without_clashes(keys):
    """The keys of which none is a directory of another."""
    chosen = set()
    for key in sorted(keys):
        parts = key.split("/")
        parents = {"/".join(parts[:n]) for n in range(1, len(parts))}
        if not parents & chosen:
            chosen.add(key)
    return chosen


def roll_up(key, prefix):
    head, slash, _ = key[len(prefix) :].partition("/")
    return prefix + head + slash


@settings(max_examples=150, deadline=None)
@given(keys=st.sets(KEYS, max_size=12), prefix=st.one_of(st.just(""), KEYS), after=st.one_of(st.just(""), KEYS))
def test_listing_is_the_sorted_keys(tmp_path_factory, keys, prefix, after):
    names = Namespace("file", str(tmp_path_factory.mktemp("tree")))
    keys = without_clashes(keys)
    for key in keys:
        put(names, key)
    expected = sorted((key for key in keys if key.startswith(prefix) and key.encode() > after.encode()), key=str.encode)
    assert listed(names, prefix, start_after=after, page_size=3) == expected
    rolled = {roll_up(key, prefix) for key in keys if key.startswith(prefix)}
    pages = list(names.list_pages(prefix, delimiter="/", start_after=after))
    found = {info.key for page in pages for info in page.objects} | {name for page in pages for name in page.prefixes}
    assert found == {entry for entry in rolled if entry.encode() > after.encode()}


def test_pages_are_of_the_size_asked_for_and_never_empty(names):
    for number in range(7):
        put(names, f"d{number}/k")
    sizes = [len(page.objects) for page in names.list_pages(page_size=3)]
    assert sizes == [3, 3, 1]
    assert [len(page.prefixes) for page in names.list_pages(delimiter="/", page_size=7)] == [7]
    assert list(names.list_pages("nothing")) == []


def test_start_after_reads_no_directory_before_it(names, monkeypatch):
    for name in ("a", "b", "c"):
        put(names, f"{name}/x/k")
    read = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (read.append(path), scandir(path))[1])
    assert listed(names, start_after="b/x/k") == ["c/x/k"]
    assert [path.removeprefix(names.root) for path in read] == [b"", b"b/", b"b/x/", b"c/", b"c/x/"]


def test_only_regular_files_are_objects(names, tmp_path):
    put(names, "dir/file")
    os.symlink("dir", tmp_path / "link")
    os.symlink("dir/file", tmp_path / "also")
    os.symlink("nowhere", tmp_path / "broken")
    os.symlink("self", tmp_path / "self")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / f"{TEMPORARY}left").write_bytes(b"half")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff", os.O_CREAT))
    assert listed(names) == ["also", "dir/file", "link/file"]
    for key in ("broken", "self"):
        with pytest.raises(errors.ObjectNotFoundError):
            names.stat(key)
    for key in ("pipe", "dir", "socket"):
        with pytest.raises(errors.NotAnObjectError, match="regular files"):
            names.stat(key)


def test_links_in_a_circle_end(names, tmp_path):
    put(names, "a/b/k")
    os.symlink("..", tmp_path / "a" / "up")
    os.symlink(tmp_path, tmp_path / "a" / "b" / "top")
    assert listed(names) == ["a/b/k"]
    assert listed(names, "a/up/a/") == ["a/up/a/b/k"]
    assert names.stat("a/up/a/b/k").size == 1


def test_a_directory_that_vanishes_while_it_is_listed_is_no_error(names, tmp_path):
    for key in ("a/k", "b/k", "c/k"):
        put(names, key)
    walked = walk(names.root, "", recursive=True, start_after="")
    assert next(walked)[0] == "a/k"
    assert names.delete(["b/k", "b/", "c/k"]) == []
    assert list(walked) == []


def test_a_tree_as_deep_as_keys_can_be(names):
    depth = 511
    put(names, "/".join(["d"] * depth + ["k"]))
    assert len(listed(names)[0]) == 2 * depth + 1


def test_a_prefix_that_no_key_can_have_lists_nothing(names):
    put(names, "a")
    put(names, "..b")
    assert listed(names, "..") == ["..b"]
    for prefix in ("/", "./", "../", "a/../", "a//", "a/", "\0", f"{TEMPORARY}x/"):
        assert listed(names, prefix) == []
    with pytest.raises(errors.UnsupportedOperationError):
        names.list_pages("", delimiter="-")


def test_a_root_that_is_a_file_does_not_list(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.StoreError):
        listed(Namespace("file", str(tmp_path / "file")))
    assert listed(Namespace("file", str(tmp_path / "missing"))) == []


def test_temporary_names_are_no_keys(names):
    for key in (f"{TEMPORARY}x", f"a/{TEMPORARY}x", f"{TEMPORARY}x/a"):
        with pytest.raises(errors.InvalidKeyError, match="temporary"):
            names.path(key)
    assert names.path(f"a{TEMPORARY}x")


@pytest.mark.parametrize("unnamed", [False, True])
def test_dropping_a_replacement_leaves_nothing(names, tmp_path, unnamed):
    target = Replacement(names.path("dir/key"), unnamed=unnamed)
    write_all(target.fd, memoryview(b"half"))
    fd = target.fd
    del target
    gc.collect()
    assert os.listdir(tmp_path / "dir") == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_unnamed_files_are_not_in_the_directory(names, tmp_path):
    with Replacement(names.path("key"), unnamed=True) as target:
        assert os.listdir(tmp_path) == []
        write_all(target.fd, memoryview(b"whole"))
        target.publish()
    assert (tmp_path / "key").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("flag", ["_UNNAMED", None])
def test_create_is_refused_when_the_name_is_taken(names, tmp_path, monkeypatch, flag):
    if flag:
        monkeypatch.setattr(f"penstock.posix.replace.{flag}", 0)
    put(names, "key", b"first", create=True)
    with pytest.raises(FileExistsError):
        put(names, "key", b"second", create=True)
    assert (tmp_path / "key").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["key"]


def test_create_without_hard_links_is_unsupported(names, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(errors.UnsupportedOperationError, match="hard links"):
        put(names, "key", create=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("unnamed", [False, True])
def test_fsync_reaches_the_file_and_every_directory_that_changed(names, monkeypatch, unnamed):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    with Replacement(names.path("new/dir/key"), unnamed=unnamed) as target:
        target.publish(fsync=True)
    root = os.fsdecode(names.root).rstrip("/")
    assert synced[1:] == [f"{root}/new/dir", f"{root}/new", root]
    assert synced[0].startswith(f"{root}/new/dir/")


def test_copies_fall_back_where_the_kernel_can_not(names, tmp_path, monkeypatch):
    data = os.urandom(3_000_001)
    put(names, "source", data)
    assert names.copy("source", "a/b").size == len(data)

    def refuse(*args):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    names.copy("source", "c")
    names.copy("source", "source")
    for key in ("a/b", "c", "source"):
        assert (tmp_path / key).read_bytes() == data
    for source in ("missing", "source/x"):
        with pytest.raises(errors.ObjectNotFoundError) as caught:
            names.copy(source, "d")
        assert caught.value.uri == names.base + source
    with pytest.raises(errors.StoreError, match="not a directory"):
        names.copy("source", "c/below")


def test_deleting_reports_per_key(names):
    put(names, "full/k")
    put(names, "gone")
    failures = names.delete(["gone", "gone", "full/", "full", "full/k/x", "none/"])
    assert [(failure.uri, failure.status) for failure in failures] == [(names.base + "full/", errno.ENOTEMPTY)]
    assert isinstance(failures[0].__cause__, OSError)
    assert listed(names) == ["full/k"]


def test_the_etag_tells_replacements_apart(names):
    put(names, "k", b"one")
    before = names.stat("k")
    put(names, "k", b"two")
    assert names.stat("k").etag != before.etag


@pytest.mark.parametrize(
    ("number", "kind", "retryable"),
    [
        (errno.ENOENT, errors.ObjectNotFoundError, False),
        (errno.ELOOP, errors.ObjectNotFoundError, False),
        (errno.ENOTDIR, errors.ObjectNotFoundError, False),
        (errno.EISDIR, errors.NotAnObjectError, False),
        (errno.EACCES, errors.AccessDeniedError, False),
        (errno.EPERM, errors.AccessDeniedError, False),
        (errno.EROFS, errors.AccessDeniedError, False),
        (errno.ENOSPC, errors.StorageFullError, False),
        (errno.EDQUOT, errors.StorageFullError, False),
        (errno.EEXIST, errors.AlreadyExistsError, False),
        (errno.EMFILE, errors.StoreError, True),
        (errno.ESTALE, errors.StoreError, True),
        (errno.ETIMEDOUT, errors.StoreTimeoutError, True),
        (errno.ENOTCONN, errors.StoreConnectionError, True),
        (errno.EINVAL, errors.StoreError, False),
        (errno.EIO, errors.StoreError, False),
    ],
)
def test_what_the_system_says_becomes(number, kind, retryable):
    error = store_error(OSError(number, os.strerror(number)), "file:///d/k", "get")
    assert type(error) is kind
    assert (error.status, error.code, error.retryable) == (number, errno.errorcode[number], retryable)
    assert str(error).startswith("get file:///d/k: ")


def test_remedies():
    assert "mount it read-write" in str(store_error(OSError(errno.EROFS, ""), "u", "put"))
    assert "ulimit -n" in str(store_error(OSError(errno.EMFILE, ""), "u", "get"))
    below = store_error(OSError(errno.ENOTDIR, ""), "u", "put", writing=True)
    assert type(below) is errors.StoreError


def test_translating_lets_penstocks_own_errors_pass(names):
    inner = errors.StorageFullError("full already")
    with pytest.raises(errors.StorageFullError) as caught, names.translating("k", "put"):
        raise inner
    assert caught.value is inner
    with pytest.raises(errors.ObjectNotFoundError) as caught, names.translating("k", "get"):
        os.stat(names.path("missing"))
    assert caught.value.uri == f"{names.base}k"
    assert caught.value.__cause__.errno == errno.ENOENT


def test_places():
    address = parse(parse_object("direct:///a/b c"))
    assert (address.base, address.key, address.options) == ("direct:///", "a/b c", {"root": "/"})
    assert descend(parse(parse_object("file:///a/b/"))).options == {"root": "/a/b"}
    assert descend(parse(parse_object("file:///a/b/"))).base == "file:///a/b/"
    assert parse(parse_object("rel/x")).options == {"root": "."}
    with pytest.raises(errors.InvalidURIError, match="file:///host/x"):
        parse(parse_object("file://host/x"))
    with pytest.raises(errors.InvalidKeyError):
        descend(parse(parse_object("file:///a/../b/")))
    with pytest.raises(errors.InvalidKeyError):
        descend(parse(parse_object("direct://./../b/")))
