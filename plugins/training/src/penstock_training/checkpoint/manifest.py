"""Manifests: the JSON that makes shards a checkpoint, and the pointer to the latest of them.

The form is that of ``manifest.schema.json`` and ``latest.schema.json`` in this package. Either ends in a checksum of
its own: the CRC-32C of the same JSON without the field ``crc32c``, keys sorted, no spaces, all but ASCII escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import attrs

from penstock.errors import ChecksumMismatchError, FormatError, UsageError
from penstock_training.checkpoint.naming import MAX_STEP, ManifestName, parse_manifest_key, parse_shard_key
from penstock_training.checkpoint.sums import crc32c, hex_of

__all__ = [
    "FORMAT_VERSION",
    "Manifest",
    "Shard",
    "TensorSums",
    "check_metadata",
    "decode_manifest",
    "decode_pointer",
    "encode_manifest",
    "encode_pointer",
]

#: Version of the form. It grows when an older reader would misunderstand what is written.
FORMAT_VERSION: Final = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUM = re.compile(r"[0-9a-f]{8}\Z")


@attrs.frozen(slots=True)
class TensorSums:
    """CRC-32Cs of the parts of a shard of tensors, in hexadecimal: of its header, and of each tensor in the order of
    their bytes.
    """

    header_size: int
    header_crc32c: str
    crc32c: tuple[str, ...]


@attrs.frozen(slots=True, kw_only=True)
class Shard:
    """One object of a checkpoint, as a rank wrote it. It pickles, and :meth:`as_dict` is JSON, to be sent to the rank
    that commits.

    ``size`` and ``crc32c`` are of the object as it is stored; ``content_size`` is that of what it stands for, another
    one where it is compressed. ``key`` is relative to the checkpoint store's URI. ``etag`` is what the store answered
    when it was written, for information: it changes when a checkpoint is copied.
    """

    step: int
    rank: int
    world_size: int
    key: str
    size: int
    crc32c: str
    etag: str | None = None
    format: Literal["bytes", "safetensors"] = "bytes"
    compression: Literal["zstd"] | None = None
    content_size: int
    tensors: TensorSums | None = None

    def as_dict(self) -> dict[str, Any]:
        """The shard for JSON; :meth:`from_dict` takes it back."""
        return {"step": self.step, "world_size": self.world_size, **_shard_fields(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Shard:
        """Raises FormatError for what :meth:`as_dict` does not make."""
        rest = {name: value for name, value in fields.items() if name not in ("step", "world_size")}
        return _shard(rest, _whole(fields, "step", most=MAX_STEP), _whole(fields, "world_size", least=1))


@attrs.frozen(slots=True, kw_only=True)
class Manifest:
    """A checkpoint that was committed. ``shards`` come in the order of their ranks, one for each."""

    step: int
    id: str
    world_size: int
    shards: tuple[Shard, ...]
    metadata: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def name(self) -> ManifestName:
        """What manifests are ordered by."""
        return ManifestName(self.step, self.id)

    @property
    def key(self) -> str:
        """The manifest's own key."""
        return self.name.key

    @property
    def created(self) -> datetime:
        """When it was committed by the committing rank's clock, in UTC, to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.name.time_ns // 1000)

    @property
    def nbytes(self) -> int:
        """Bytes of all shards as they are stored."""
        return sum(shard.size for shard in self.shards)


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's metadata as JSON would give it back, or UsageError where that would be something else."""
    if metadata is None:
        return {}
    try:
        again = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"metadata goes into JSON, and this does not: {error}") from error
    if not isinstance(again, dict) or again != metadata:
        raise UsageError("metadata would come back changed: use text as keys, and lists instead of tuples")
    return again


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of a manifest."""
    body: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "step": manifest.step,
        "id": manifest.id,
        "created": manifest.created.isoformat().replace("+00:00", "Z"),
        "world_size": manifest.world_size,
        "metadata": dict(manifest.metadata),
        "shards": [_shard_fields(shard) for shard in manifest.shards],
    }
    return _sealed(body)


def decode_manifest(data: bytes | memoryview, key: str) -> Manifest:
    """The manifest of that key.

    Raises ChecksumMismatchError where it is damaged or cut off, FormatError where it is of another version or breaks
    the form.
    """
    fields = _opened(data, key)
    name = parse_manifest_key(key)
    step = _whole(fields, "step", most=MAX_STEP)
    manifest_id = fields.get("id")
    if name is None or (name.step, name.id) != (step, manifest_id):
        raise FormatError(f"{key}: the manifest is that of step {step}, id {manifest_id}, under another name")
    world_size = _whole(fields, "world_size", least=1)
    entries, metadata = fields.get("shards"), fields.get("metadata")
    if not isinstance(entries, list) or not isinstance(metadata, dict):
        raise FormatError(f"{key}: a manifest has a list of shards and an object of metadata")
    shards = tuple(_shard(entry, step, world_size) for entry in entries)
    if [shard.rank for shard in shards] != list(range(world_size)):
        raise FormatError(f"{key}: a manifest of {world_size} ranks has one shard for each, in order")
    return Manifest(step=step, id=name.id, world_size=world_size, shards=shards, metadata=metadata)


def encode_pointer(name: ManifestName) -> bytes:
    """The bytes of ``latest.json``."""
    return _sealed({"format_version": FORMAT_VERSION, "step": name.step, "id": name.id, "manifest": name.key})


def decode_pointer(data: bytes | memoryview, key: str) -> ManifestName | None:
    """Which manifest the pointer names; None where it is damaged or names none. FormatError: of another version."""
    try:
        fields = _opened(data, key)
    except ChecksumMismatchError:
        return None
    manifest = fields.get("manifest")
    return parse_manifest_key(manifest) if isinstance(manifest, str) else None


def _sealed(body: Mapping[str, Any]) -> bytes:
    return json.dumps({**body, "crc32c": _sum_of(body)}, separators=(",", ":")).encode() + b"\n"


def _sum_of(body: Mapping[str, Any]) -> str:
    return hex_of(crc32c(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()))


def _opened(data: bytes | memoryview, key: str) -> dict[str, Any]:
    try:
        fields = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise ChecksumMismatchError(f"it is damaged or cut off: {error}", uri=key, operation="get") from error
    stored = fields.pop("crc32c", None) if isinstance(fields, dict) else None
    if stored is None or stored != _sum_of(fields):
        raise ChecksumMismatchError("its checksum is not that of its content", uri=key, operation="get")
    if fields.get("format_version") != FORMAT_VERSION:
        raise FormatError(
            f"{key}: format_version is {fields.get('format_version')!r}, this penstock-training reads "
            f"{FORMAT_VERSION}; update it"
        )
    return fields  # type: ignore[no-any-return]


def _shard_fields(shard: Shard) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "rank": shard.rank,
        "key": shard.key,
        "size": shard.size,
        "crc32c": shard.crc32c,
        "etag": shard.etag,
        "format": shard.format,
    }
    if shard.compression is not None:
        fields |= {"compression": shard.compression, "content_size": shard.content_size}
    if shard.tensors is not None:
        fields |= {
            "header_size": shard.tensors.header_size,
            "header_crc32c": shard.tensors.header_crc32c,
            "tensor_crc32c": list(shard.tensors.crc32c),
        }
    return fields


def _shard(fields: Any, step: int, world_size: int) -> Shard:
    if not isinstance(fields, dict):
        raise FormatError("a shard is an object")
    key, form, compression = fields.get("key"), fields.get("format"), fields.get("compression")
    rank = _whole(fields, "rank", most=world_size - 1)
    name = parse_shard_key(key) if isinstance(key, str) else None
    if not isinstance(key, str) or name is None or name.step != step or name.rank != rank:
        raise FormatError(f"{key!r} is no key of a shard of step {step}, rank {rank}")
    if form not in ("bytes", "safetensors") or compression not in (None, "zstd"):
        raise FormatError(f"{key}: unknown format {form!r} or compression {compression!r}")
    etag = fields.get("etag")
    if etag is not None and not isinstance(etag, str):
        raise FormatError(f"{key}: an etag is text or null")
    size = _whole(fields, "size")
    return Shard(
        step=step,
        rank=rank,
        world_size=world_size,
        key=key,
        size=size,
        crc32c=_sum(fields.get("crc32c"), key),
        etag=etag,
        format=form,
        compression=compression,
        content_size=_whole(fields, "content_size") if compression else size,
        tensors=_tensor_sums(fields, key) if form == "safetensors" else None,
    )


def _tensor_sums(fields: Mapping[str, Any], key: Any) -> TensorSums:
    sums: Sequence[Any] = fields.get("tensor_crc32c", ())
    if not isinstance(sums, list):
        raise FormatError(f"{key}: tensor_crc32c is a list")
    return TensorSums(
        _whole(fields, "header_size"), _sum(fields.get("header_crc32c"), key), tuple(_sum(each, key) for each in sums)
    )


def _sum(value: Any, key: Any) -> str:
    if not isinstance(value, str) or not _SUM.match(value):
        raise FormatError(f"{key}: {value!r} is no CRC-32C, which is eight lower-case hexadecimal digits")
    return value


def _whole(fields: Mapping[str, Any], name: str, *, least: int = 0, most: int | None = None) -> int:
    value = fields.get(name)
    if type(value) is not int or value < least or (most is not None and value > most):
        raise FormatError(f"{name} is {value!r}, which can't be")
    return value
