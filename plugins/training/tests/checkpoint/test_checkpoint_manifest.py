"""Manifests: their form, against its schema, and that nothing damaged is taken for one."""

from __future__ import annotations

import importlib.resources
import json

import attrs
import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock
from penstock.errors import ChecksumMismatchError, FormatError, UsageError
from penstock_training.checkpoint import CheckpointStore, Manifest, Shard
from penstock_training.checkpoint.manifest import check_metadata, decode_manifest, decode_pointer, encode_manifest
from penstock_training.checkpoint.naming import new_id, parse_manifest_key, parse_shard_key, place

SCHEMAS = importlib.resources.files("penstock_training.checkpoint")


def validator(name):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def a_manifest(**changes):
    shard = Shard(
        step=7,
        rank=0,
        world_size=1,
        key=place("flat", step=7, rank=0, ending="bin"),
        size=3,
        crc32c="00000000",
        content_size=3,
    )
    return attrs.evolve(
        Manifest(step=7, id=new_id(), world_size=1, shards=(shard,), metadata={"é": [1.5, None]}), **changes
    )


@pytest.mark.parametrize("level", [None, 1])
@pytest.mark.parametrize("data", [b"bytes", {"w": np.zeros((2, 3))}], ids=["bytes", "tensors"])
def test_what_is_written_keeps_to_the_schemas(data, level, root):
    with CheckpointStore(root, compression_level=level, strategy="round_robin") as checkpoints:
        saved = checkpoints.save(3, data, {"epoch": 1})
    manifest = json.loads(bytes(penstock.get(f"{root}/{saved.key}")))
    validator("manifest").validate(manifest)
    validator("latest").validate(json.loads(bytes(penstock.get(f"{root}/latest.json"))))
    assert not validator("manifest").is_valid({**manifest, "more": 1})
    assert not validator("manifest").is_valid({**manifest, "shards": []})


def test_a_manifest_comes_back():
    manifest = a_manifest()
    assert decode_manifest(encode_manifest(manifest), manifest.key) == manifest
    assert Shard.from_dict(json.loads(json.dumps(manifest.shards[0].as_dict()))) == manifest.shards[0]


def test_its_checksum_is_what_the_layout_says():
    from penstock.payloads.checksums import crc32c

    fields = json.loads(encode_manifest(a_manifest()))
    stored = fields.pop("crc32c")
    assert stored == f"{crc32c(json.dumps(fields, sort_keys=True, separators=(',', ':')).encode()):08x}"


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_is_found_or_means_nothing(data):
    manifest = a_manifest(id="18797e6f3a21c5d0-9f3c2a1b5d6e7f80")
    whole = bytearray(encode_manifest(manifest))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode_manifest(whole, manifest.key)
    except (ChecksumMismatchError, FormatError):
        return
    assert found == manifest


@given(st.integers(0, 400))
def test_a_part_of_a_manifest_is_none(cut):
    manifest = a_manifest()
    with pytest.raises(ChecksumMismatchError):
        decode_manifest(encode_manifest(manifest)[: min(cut, len(encode_manifest(manifest)) - 2)], manifest.key)


@pytest.mark.parametrize(
    "break_",
    [
        lambda m: attrs.evolve(m, world_size=2),
        lambda m: attrs.evolve(m, shards=m.shards * 2),
        lambda m: attrs.evolve(m, shards=()),
        lambda m: attrs.evolve(m, shards=(attrs.evolve(m.shards[0], key="../../etc/passwd"),)),
        lambda m: attrs.evolve(m, shards=(attrs.evolve(m.shards[0], key="latest.json"),)),
        lambda m: attrs.evolve(m, shards=(attrs.evolve(m.shards[0], size=-1),)),
        lambda m: attrs.evolve(m, shards=(attrs.evolve(m.shards[0], crc32c="123"),)),
        lambda m: attrs.evolve(m, shards=(attrs.evolve(m.shards[0], format="pickle"),)),
        lambda m: attrs.evolve(m, shards=(attrs.evolve(m.shards[0], etag=5),)),
        lambda m: attrs.evolve(m, shards=(attrs.evolve(m.shards[0], compression="lz4"),)),
    ],
    ids=range(10),
)
def test_a_manifest_that_breaks_the_form_is_refused(break_):
    manifest = break_(a_manifest())
    with pytest.raises(FormatError):
        decode_manifest(encode_manifest(manifest), manifest.key)


def test_a_manifest_under_another_name_is_refused():
    manifest = a_manifest()
    with pytest.raises(FormatError, match="another name"):
        decode_manifest(encode_manifest(manifest), attrs.evolve(manifest, id=new_id()).key)


def test_another_version_is_refused_with_a_remedy(monkeypatch):
    manifest = a_manifest()
    monkeypatch.setattr("penstock_training.checkpoint.manifest.FORMAT_VERSION", 2)
    newer = encode_manifest(manifest)
    monkeypatch.undo()
    with pytest.raises(FormatError, match="update"):
        decode_manifest(newer, manifest.key)


@pytest.mark.parametrize("data", [b"", b"null", b"{}", b'{"manifest":"x"}', b"[1"])
def test_a_damaged_pointer_names_nothing(data):
    assert decode_pointer(data, "latest.json") is None


@pytest.mark.parametrize("metadata", [{"a": {1: 2}}, {"a": (1, 2)}, {"a": float("nan")}, {"a": b""}, [1], "text"])
def test_metadata_that_would_come_back_changed_is_refused(metadata):
    with pytest.raises(UsageError, match="metadata"):
        check_metadata(metadata)


def test_ids_rise_and_never_repeat(monkeypatch):
    monkeypatch.setattr("penstock_training.checkpoint.naming.wall_ns", lambda: 5)
    ids = [new_id() for _ in range(100)]
    assert ids == sorted(ids)
    assert len({each[:16] for each in ids}) == 100


@pytest.mark.parametrize("strategy", ["flat", "round_robin", "hashed"])
def test_keys_tell_what_they_are_of(strategy):
    key = place(strategy, step=12, rank=345, ending="safetensors.zst")
    name = parse_shard_key(key)
    assert (name.step, name.rank) == (12, 345)
    manifest = a_manifest()
    assert parse_manifest_key(manifest.key) == manifest.name
    assert parse_manifest_key(key) is None
    assert parse_shard_key(manifest.key) is None


def test_strategies_spread_ranks():
    def prefixes(strategy):
        return {place(strategy, step=1, rank=rank, ending="bin").rpartition("/")[0] for rank in range(400)}

    assert len(prefixes("flat")) == 1
    assert len(prefixes("round_robin")) == 16
    assert len(prefixes("hashed")) > 128
