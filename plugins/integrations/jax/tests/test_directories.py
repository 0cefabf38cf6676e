"""Directories that Orbax writes, in a store and back."""

from __future__ import annotations

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from penstock_jax import download_directory, upload_directory
from penstock_jax.directories import INDEX_NAME

import penstock
from penstock.errors import AlreadyExistsError, ChecksumMismatchError, FormatError, ObjectNotFoundError, UsageError


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "tree"
    (path / "a" / "empty").mkdir(parents=True)
    (path / "a" / "x").write_bytes(b"1" * 100_000)
    (path / "y z").write_bytes(b"")
    return path


def test_orbax(place, tmp_path):
    import orbax.checkpoint as ocp

    state = {"w": jnp.arange(12.0).reshape(3, 4), "b": jnp.ones(3, jnp.bfloat16)}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "local", state)
        checkpointer.wait_until_finished()
        upload_directory(str(tmp_path / "local"), f"{place}step-7")
        download_directory(f"{place}step-7", str(tmp_path / "again"))
        found = checkpointer.restore(tmp_path / "again", state)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_a_directory_comes_back_as_it_was(place, tree, tmp_path):
    assert upload_directory(str(tree), f"{place}d/") == 100_000
    back = tmp_path / "back"
    assert download_directory(f"{place}d", str(back)) == 100_000
    assert (back / "a" / "x").read_bytes() == (tree / "a" / "x").read_bytes()
    assert (back / "y z").read_bytes() == b""
    assert (back / "a" / "empty").is_dir()
    with pytest.raises(AlreadyExistsError, match="taken"):
        download_directory(f"{place}d", str(back))
    with pytest.raises(AlreadyExistsError, match="before"):
        upload_directory(str(tree), f"{place}d")


def test_what_is_not_complete_is_not_there(place, tree, tmp_path):
    upload_directory(str(tree), f"{place}d")
    penstock.delete(f"{place}d/{INDEX_NAME}")
    with pytest.raises(ObjectNotFoundError, match="no complete upload"):
        download_directory(f"{place}d", str(tmp_path / "back"))
    upload_directory(str(tree), f"{place}d")
    penstock.put(f"{place}d/a/x", b"2" * 100_000)
    with pytest.raises(ChecksumMismatchError, match="a/x"):
        download_directory(f"{place}d", str(tmp_path / "back"))
    assert sorted(os.listdir(tmp_path)) == sorted({"tree", "store"} & set(os.listdir(tmp_path)))


def test_an_index_that_leads_elsewhere_is_refused(place, tree, tmp_path):
    upload_directory(str(tree), f"{place}d")
    index = json.loads(bytes(penstock.get(f"{place}d/{INDEX_NAME}")))
    index["files"]["../evil"] = {"size": 0, "crc32c": "00000000"}
    penstock.put(f"{place}d/{INDEX_NAME}", json.dumps(index).encode())
    with pytest.raises(FormatError, match="outside"):
        download_directory(f"{place}d", str(tmp_path / "back"))
    penstock.put(f"{place}d/{INDEX_NAME}", b'{"version": 9}')
    with pytest.raises(FormatError, match="version 9"):
        download_directory(f"{place}d", str(tmp_path / "back"))


def test_what_can_not_be_uploaded_is_refused(place, tree):
    with pytest.raises(UsageError, match="no directory"):
        upload_directory(str(tree / "y z"), place)
    (tree / INDEX_NAME).write_bytes(b"")
    with pytest.raises(UsageError, match=INDEX_NAME):
        upload_directory(str(tree), place)
