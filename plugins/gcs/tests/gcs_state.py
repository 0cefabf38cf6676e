"""What a Cloud Storage service holds and how it answers about it, apart from any wire: buckets, objects with
generations, resumable sessions and rewrites. The server in gcs_server.py speaks HTTP around it.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import itertools
import re
import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import google_crc32c

__all__ = ["GRANULE", "ApiError", "Bucket", "Service", "Session", "Stored", "b64", "select"]

#: What a part of a resumable upload must be a multiple of, unless it is the last.
GRANULE = 256 * 1024

_SETTABLE = ("contentType", "contentEncoding", "cacheControl", "contentDisposition", "contentLanguage", "storageClass")
_CONDITION = "At least one of the pre-conditions you specified did not hold."


class ApiError(Exception):
    """An answer in the service's error shape."""

    def __init__(self, status, reason, message, headers=None):
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.headers = headers or {}


def b64(data):
    return base64.b64encode(data).decode()


def rfc3339(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Stored:
    """One generation of an object."""

    bucket: str
    name: str
    data: bytes
    generation: int
    created: float
    updated: float
    facts: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    metageneration: int = 1
    components: int = 0

    def __post_init__(self):
        self.crc32c = b64(google_crc32c.value(self.data).to_bytes(4, "big"))

    @property
    def md5(self):
        """Composite objects have none."""
        return "" if self.components else b64(hashlib.md5(self.data).digest())

    @property
    def etag(self):
        return b64(f"{self.generation}/{self.metageneration}".encode())

    def resource(self):
        found = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "size": str(len(self.data)),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": rfc3339(self.created),
            "updated": rfc3339(self.updated),
            "storageClass": "STANDARD",
            **self.facts,
        }
        if self.components:
            found["componentCount"] = self.components
        else:
            found["md5Hash"] = self.md5
        if self.metadata:
            found["metadata"] = dict(self.metadata)
        return found


@dataclass
class Bucket:
    name: str
    created: float
    location: str = "US"
    requester_pays: bool = False
    objects: dict = field(default_factory=dict)
    keys: list = field(default_factory=list)

    def resource(self):
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "location": self.location,
            "storageClass": "STANDARD",
            "timeCreated": rfc3339(self.created),
            "updated": rfc3339(self.created),
            "metageneration": "1",
            "etag": "CAE=",
            "projectNumber": "123456789012",
        }


@dataclass
class Session:
    """A resumable upload that was begun."""

    bucket: str
    resource: dict
    query: dict
    body: bytearray = field(default_factory=bytearray)
    done: Stored | None = None
    cancelled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """Every method either answers or raises ApiError; each is atomic."""

    def __init__(self):
        self.lock = threading.RLock()
        self.buckets = {}
        self.sessions = {}
        self.rewrites = {}
        #: Bytes that one call of rewrite copies; None: all of them.
        self.rewrite_limit = None
        #: What a client did that the service forgives, but should not happen.
        self.violations = []
        self._generations = itertools.count(int(time.time() * 1e6))

    # Buckets

    def bucket(self, name, project="checked before"):
        found = self.buckets.get(name)
        if found is None:
            raise ApiError(404, "notFound", "The specified bucket does not exist.")
        if found.requester_pays and not project:
            raise ApiError(400, "required", "Bucket is a requester pays bucket but no user project provided.")
        return found

    def create_bucket(self, name, location="US"):
        with self.lock:
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", name or ""):
                raise ApiError(400, "invalid", f"Invalid bucket name: '{name}'")
            if name in self.buckets:
                message = "Your previous request to create the named bucket succeeded and you already own it."
                raise ApiError(409, "conflict", message)
            self.buckets[name] = Bucket(name, time.time(), location)
            return self.buckets[name]

    def delete_bucket(self, name):
        with self.lock:
            if self.bucket(name).objects:
                raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
            del self.buckets[name]

    # Objects

    def read(self, bucket, name, query):
        """The live object for a GET, which is not modified where another method fails for ``…NotMatch``."""
        with self.lock:
            try:
                return self.find(bucket, name, query)
            except ApiError as error:
                if error.status == 412 and any(name.endswith("NotMatch") for name in query):
                    raise ApiError(304, "notModified", "Not Modified") from None
                raise

    def find(self, bucket, name, query, prefix=""):
        """The live object, after the preconditions ``ifGenerationMatch`` … or ``ifSourceGenerationMatch`` …"""
        found = self.buckets[bucket].objects.get(name)
        asked = query.get("sourceGeneration" if prefix else "generation")
        if found is None or (asked and int(asked) != found.generation):
            raise ApiError(404, "notFound", f"No such object: {bucket}/{name}")
        self._check(found, query, prefix)
        return found

    def _check(self, found, query, prefix=""):
        generation, metageneration = (found.generation, found.metageneration) if found else (0, 0)
        for name, value, equal in (
            (f"if{prefix}GenerationMatch", generation, True),
            (f"if{prefix}GenerationNotMatch", generation, False),
            (f"if{prefix}MetagenerationMatch", metageneration, True),
            (f"if{prefix}MetagenerationNotMatch", metageneration, False),
        ):
            if name not in query:
                continue
            if not re.fullmatch(r"-?\d+", query[name]):
                raise ApiError(400, "invalidParameter", f"Invalid value for {name}: {query[name]}")
            if (int(query[name]) == value) is not equal:
                raise ApiError(412, "conditionNotMet", _CONDITION)

    def may_begin(self, bucket, name, query):
        """Whether an upload may start: the bucket is there, the name legal, the conditions hold now."""
        with self.lock:
            holder = self.bucket(bucket)
            _check_name(name)
            self._check(holder.objects.get(name), query)

    def store(self, bucket, resource, data, query, *, components=0, hashes=None):
        """Make a new generation."""
        name = resource.get("name")
        with self.lock:
            self.may_begin(bucket, name, query)
            holder = self.bucket(bucket)
            now = time.time()
            facts = {key: resource[key] for key in _SETTABLE if resource.get(key)}
            facts.setdefault("contentType", "application/octet-stream")
            metadata = dict(resource.get("metadata") or {})
            if any(not isinstance(value, str) for value in metadata.values()):
                raise ApiError(400, "invalid", "Invalid metadata value")
            new = Stored(
                bucket, name, bytes(data), next(self._generations), now, now, facts, metadata, components=components
            )
            given = {"crc32c": resource.get("crc32c"), "md5": resource.get("md5Hash"), **(hashes or {})}
            for kind, actual in (("crc32c", new.crc32c), ("md5", new.md5)):
                if given.get(kind) and given[kind] != actual:
                    shown = {"crc32c": "CRC32C", "md5": "MD5 hash"}[kind]
                    message = f'Provided {shown} "{given[kind]}" doesn\'t match calculated {shown} "{actual}".'
                    raise ApiError(400, "invalid", message)
            if name not in holder.objects:
                bisect.insort(holder.keys, name.encode())
            holder.objects[name] = new
            return new

    def delete(self, bucket, name, query):
        with self.lock:
            holder = self.bucket(bucket)
            self.find(bucket, name, query)
            del holder.objects[name]
            holder.keys.pop(bisect.bisect_left(holder.keys, name.encode()))

    def change(self, bucket, name, body, query, *, patch):
        """PATCH merges, PUT replaces; the bytes and the generation stay."""
        with self.lock:
            found = self.find(bucket, name, query)
            facts = dict(found.facts) if patch else {"contentType": "application/octet-stream"}
            for key in _SETTABLE:
                if key in body:
                    facts[key] = body[key]
            facts = {key: value for key, value in facts.items() if value is not None}
            metadata = dict(found.metadata) if patch else {}
            if "metadata" in body:
                merged = {**metadata, **body["metadata"]} if body["metadata"] is not None else {}
                metadata = {key: value for key, value in merged.items() if value is not None}
            changed = replace(
                found,
                facts=facts,
                metadata=metadata,
                metageneration=found.metageneration + 1,
                updated=time.time(),
            )
            self.buckets[bucket].objects[name] = changed
            return changed

    def list(self, bucket, query):
        """Objects, prefixes and the token of the next page."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = max(1, min(int(query.get("maxResults", 1000)), 1000))
        begin, end = query.get("startOffset", "").encode(), query.get("endOffset", "").encode()
        with self.lock:
            holder = self.bucket(bucket)
            keys = holder.keys
            at = bisect.bisect_left(keys, max(prefix.encode(), begin))
            if query.get("pageToken"):
                try:
                    last = base64.urlsafe_b64decode(query["pageToken"])
                except ValueError:
                    raise ApiError(400, "invalid", "Invalid page token") from None
                # A prefix was given with all that is in it.
                rolled = delimiter and last.endswith(delimiter.encode()) and last != prefix.encode()
                at = max(at, _behind(keys, last) if rolled else bisect.bisect_right(keys, last))
            objects, prefixes, last = [], [], b""
            while at < len(keys) and keys[at].startswith(prefix.encode()):
                if end and keys[at] >= end:
                    break
                if len(objects) + len(prefixes) == limit:
                    return objects, prefixes, base64.urlsafe_b64encode(last).decode()
                name = keys[at].decode()
                cut = name.find(delimiter, len(prefix)) if delimiter else -1
                if cut < 0:
                    objects.append(holder.objects[name])
                    last = keys[at]
                    at += 1
                else:
                    prefixes.append(name[: cut + len(delimiter)])
                    last = prefixes[-1].encode()
                    at = _behind(keys, last)
            return objects, prefixes, None

    def compose(self, bucket, name, body, query):
        with self.lock:
            parts = []
            for source in body.get("sourceObjects", ()):
                conditions = {"generation": source["generation"]} if source.get("generation") else {}
                conditions |= source.get("objectPreconditions") or {}
                parts.append(self.find(bucket, source["name"], conditions))
            if not 1 <= len(parts) <= 32:
                raise ApiError(400, "invalid", "The number of source components provided must be between 1 and 32.")
            data = b"".join(part.data for part in parts)
            resource = {**(body.get("destination") or {}), "name": name}
            components = sum(part.components or 1 for part in parts)
            return self.store(bucket, resource, data, query, components=components)

    def rewrite(self, source, target, body, query):
        """Copy in one call, or in several of at least 1 MiB each; answers with the copy or (token, done, size)."""
        with self.lock:
            found = self.find(*source, query, prefix="Source")
            self.may_begin(*target, query)
            limit = query.get("maxBytesRewrittenPerCall") or self.rewrite_limit
            done, token = 0, query.get("rewriteToken")
            if token:
                if self.rewrites.get(token, (None,))[0] != (source, target, found.generation):
                    raise ApiError(400, "invalid", "Invalid rewrite token")
                done = self.rewrites.pop(token)[1]
            if limit and len(found.data) - done > int(limit):
                token = secrets.token_urlsafe(12)
                self.rewrites[token] = ((source, target, found.generation), done + int(limit))
                return token, done + int(limit), len(found.data)
            resource = body or {**found.facts, "metadata": found.metadata}
            return self.store(target[0], {**resource, "name": target[1]}, found.data, query)

    # Resumable uploads

    def begin(self, bucket, resource, query):
        self.may_begin(bucket, resource.get("name"), query)
        name = f"SESSION{secrets.token_urlsafe(24)}"
        self.sessions[name] = Session(bucket, resource, query)
        return name

    def session(self, name):
        found = self.sessions.get(name)
        if found is None:
            raise ApiError(404, "notFound", "Upload session not found")
        if found.cancelled:
            raise ApiError(499, "clientClosedRequest", "The upload was cancelled")
        return found

    def append(self, session, start, data, total, hashes):
        """Take bytes at their offset; the object once it is whole, else None."""
        body = session.body
        if start > len(body):
            raise ApiError(503, "backendError", f"Bytes from {start} came where {len(body)} are next")
        data = data[len(body) - start :]
        if total is None and len(data) % GRANULE:
            self.violations.append(f"a part of {len(data)} bytes that is not the last")
            data = data[: len(data) - len(data) % GRANULE]
        body += data
        if total is None:
            return None
        if len(body) > total:
            raise ApiError(400, "badRequest", "More bytes than the total that was said")
        if len(body) == total:
            session.done = self.store(session.bucket, session.resource, body, session.query, hashes=hashes)
            session.body = bytearray()
        return session.done

    def cancel(self, name):
        session = self.session(name)
        if session.done is None:
            session.cancelled, session.body = True, bytearray()
        raise ApiError(499, "clientClosedRequest", "The upload was cancelled")

    def open_sessions(self):
        """Names of what was begun and neither finished nor cancelled."""
        return [name for name, found in self.sessions.items() if found.done is None and not found.cancelled]


def _behind(keys, prefix):
    """The position after all keys that begin with ``prefix``."""
    return bisect.bisect_left(keys, prefix[:-1] + bytes([prefix[-1] + 1]))


def _check_name(name):
    if not name:
        raise ApiError(400, "required", "Required")
    if "\r" in name or "\n" in name or "\0" in name or name in (".", "..") or name.startswith(".well-known/acme-chal"):
        raise ApiError(400, "invalid", f"Disallowed unicode characters present in object name '{name}'")
    if len(name.encode()) > 1024:
        raise ApiError(400, "invalid", "The specified object name is not valid.")


def select(resource, fields):
    """What a ``fields=`` parameter leaves of an answer."""
    if not fields or fields == "*":
        return resource
    found = {}
    for name, inner in re.findall(r"(\w+)(?:\(([^)]*)\))?", fields):
        if name not in resource:
            continue
        value = resource[name]
        if inner and isinstance(value, list):
            value = [select(item, inner) for item in value]
        found[name] = select(value, inner) if inner and isinstance(value, dict) else value
    return found
