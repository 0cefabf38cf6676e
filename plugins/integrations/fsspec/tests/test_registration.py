"""How fsspec finds the file systems, and which."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import fsspec
import penstock_fsspec
import pytest
from penstock_fsspec import schemes

from penstock.errors import UnknownOptionError, UnknownSchemeError

SERVED = ["az", "direct", "file", "gcs", "gs", "mem", "s3", "s3+http", "s3+https"]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("scheme", SERVED)
def test_each_scheme_has_a_class_that_fsspec_and_universal_pathlib_find(scheme):
    cls = fsspec.get_filesystem_class(f"penstock+{scheme}")
    assert cls is penstock_fsspec.filesystem_class(scheme)
    assert cls.protocol == (f"penstock+{scheme}", scheme)
    assert getattr(schemes, cls.__name__) is cls
    (entry,) = entry_points(group="universal_pathlib.implementations", name=f"penstock+{scheme}")
    assert entry.load().__name__ == "PenstockPath"


def test_every_entry_point_is_one_of_them():
    mine = {entry.name for entry in entry_points(group="fsspec.specs") if entry.name.startswith("penstock+")}
    assert mine == {f"penstock+{scheme}" for scheme in SERVED}


@pytest.mark.parametrize(
    ("scheme", "path", "stripped", "parent"),
    [
        ("s3", "penstock+s3://bucket/a/b/", "bucket/a/b", "bucket/a"),
        ("s3", "s3://bucket/a", "bucket/a", "bucket"),
        ("s3", "bucket", "bucket", ""),
        ("s3+http", "penstock+s3+http://host:80/bucket/a", "host:80/bucket/a", "host:80/bucket"),
        ("file", "penstock+file:///a/b", "/a/b", "/a"),
        ("file", "/a/../b//c/", "/b/c", "/b"),
        ("file", "penstock+file:///a", "/a", "/"),
        ("file", "/", "/", "/"),
        ("file", "penstock+file://a/b", "/a/b", "/a"),
        ("mem", "penstock+mem:///x", "/x", "/"),
    ],
)
def test_paths(scheme, path, stripped, parent):
    cls = penstock_fsspec.filesystem_class(scheme)
    assert cls._strip_protocol(path) == stripped
    assert cls._parent(path) == parent
    assert cls._strip_protocol([path]) == [stripped]


def test_importing_the_package_imports_no_fsspec():
    assert run("import sys, penstock_fsspec; print('fsspec' in sys.modules)") == "False"


def test_plain_schemes_are_taken_only_when_told():
    code = """
import fsspec, penstock_fsspec
before = dict(fsspec.registry.known_implementations) if hasattr(fsspec.registry, "known_implementations") else None
names = penstock_fsspec.register()
assert "s3" not in names and "penstock+s3" in names, names
assert fsspec.registry.get("s3") is None
try:
    penstock_fsspec.register("s3")
except ValueError as error:
    assert "clobber=True" in str(error)
else:
    raise AssertionError
names = penstock_fsspec.register(clobber=True)
assert {"s3", "penstock+s3"} <= set(names), names
fs = fsspec.filesystem("s3", region="x")
assert type(fs) is penstock_fsspec.filesystem_class("s3")
print(fs.unstrip_protocol("bucket/key"), fsspec.core.url_to_fs("s3://bucket/key", region="x")[1])
"""
    assert run(code) == "penstock+s3://bucket/key bucket/key"


def test_the_schemes_of_others_are_found(monkeypatch):
    from penstock_fsspec.schemes import filesystem_class

    assert schemes.AcmeFileSystem is filesystem_class("acme")
    assert schemes.AcmeFastFileSystem is filesystem_class("acme+fast")
    with pytest.raises(AttributeError):
        schemes.acme  # noqa: B018
    with pytest.raises(UnknownSchemeError, match=r"installed schemes: .*mem"):
        penstock_fsspec.register("acme")
    with pytest.raises(UnknownSchemeError, match="acme://"):
        filesystem_class("acme")()


def test_options_are_those_of_the_store_and_an_unknown_one_is_refused_by_name():
    with pytest.raises(UnknownOptionError, match="regionn; did you mean region"):
        fsspec.filesystem("penstock+s3", regionn="x")
    with pytest.raises(UnknownOptionError, match="fsink; did you mean fsync"):
        fsspec.open("penstock+file:///x", fsink=True).open()
    # What is for another file system of a chain is no option of this one.
    assert fsspec.filesystem("penstock+file", hf={"token": "x"}).places.options == {}
    with pytest.raises(UnknownOptionError, match="hf"):
        fsspec.filesystem("penstock+file", hf="x")


def test_instances_are_shared_by_their_options():
    one = fsspec.filesystem("penstock+s3", region="x")
    assert fsspec.filesystem("penstock+s3", region="x") is one
    assert fsspec.filesystem("penstock+s3", region="y") is not one
    assert fsspec.filesystem("penstock+s3", region="x", skip_instance_cache=True) is not one
    assert one.fsid == fsspec.filesystem("penstock+s3", region="x", default_block_size=5).fsid
    assert one.fsid != fsspec.filesystem("penstock+s3", region="y").fsid
