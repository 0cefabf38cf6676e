"""A Cloud Storage server of our own, for tests: the JSON API with media, resumable and batch requests over HTTP/1.1.

It speaks the protocol as the service documents it, checked with google-cloud-storage as its client, and keeps
everything in memory. Each request is logged, and faults can be planned: see :class:`Fault`. As a program it prints
its endpoint and serves until it is killed: ``python gcs_server.py [port] [bucket …]``.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate

from gcs_state import ApiError, Service, select

__all__ = ["Answer", "Fault", "GCSServer", "Request"]

_REASONS = {200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 308: "Resume Incomplete"}
_OBJECT = re.compile(
    r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)(?:/(compose|rewriteTo|copyTo)(?:/b/([^/]+)/o/(.+))?)?"
)
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)(/o|/iam/testPermissions)?")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_LOST = object()


@dataclass
class Request:
    method: str
    target: str
    headers: dict
    body: bytes = b""
    path: str = ""
    query: dict = field(default_factory=dict)

    def __post_init__(self):
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    @property
    def project(self):
        return self.query.get("userProject") or self.headers.get("x-goog-user-project")

    def json(self):
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError:
            raise ApiError(400, "parseError", "Parse Error") from None


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict = field(default_factory=dict)


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests that ``match``.

    ``do``: ``drop`` closes the connection unanswered, nothing done; ``lose`` does the work and closes it unanswered;
    ``answer`` gives ``answer``, nothing done; ``keep`` takes only the first ``nbytes`` of the body of a part
    and closes; ``short`` does so and answers; ``cut`` sends only ``nbytes`` of the answer's body; ``spoil`` flips
    the last byte of the answer's body.
    """

    match: Callable[[Request], bool]
    do: str
    times: int = 1
    nbytes: int = 0
    answer: Answer | None = None


class GCSServer:
    """Serves until ``close``, over TLS when there is a context for it. ``identity``, where given, decides about
    credentials: see gcs_identity.py.
    """

    def __init__(self, port=0, identity=None, tls=None):
        self.state = Service()
        self.identity = identity
        self.log = []
        self.faults = []
        self._connections = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self._tls = tls
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="gcs-server", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._lock:
            open_now = list(self._connections)
        for connection, _ in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in open_now:
            thread.join()

    def requests(self, about=""):
        """Method and path of every request so far, those with ``about`` in their target."""
        return [(request.method, request.path) for request in self.log if about in request.target]

    # Connections

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._connections.add((connection, thread))
            thread.start()

    def _serve(self, connection):
        try:
            with connection, connection.makefile("rb", 64 * 1024) as stream:
                while (request := _read(stream, connection)) is not None:
                    answer = self._answer(request)
                    if answer is _LOST:
                        return
                    whole = _write(connection, request, answer)
                    if not whole or request.headers.get("connection", "").lower() == "close":
                        return
        except OSError:
            pass
        finally:
            with self._lock:
                self._connections = {pair for pair in self._connections if pair[0] is not connection}

    def _answer(self, request):
        self.log.append(request)
        fault = self._fault(request)
        if fault is None:
            return self.handle(request)
        if fault.do == "drop":
            return _LOST
        if fault.do == "answer":
            return fault.answer
        if fault.do in ("keep", "short"):
            _shorten(request, fault.nbytes)
        answer = self.handle(request)
        if fault.do in ("lose", "keep"):
            return _LOST
        if fault.do == "cut":
            answer.headers["content-length"] = str(len(answer.body))
            answer.body = answer.body[: fault.nbytes]
        if fault.do == "spoil":
            answer.body = bytes(answer.body[:-1]) + bytes([answer.body[-1] ^ 1])
        return answer

    def _fault(self, request):
        with self._lock:
            for fault in self.faults:
                if fault.times and fault.match(request):
                    fault.times -= 1
                    return fault
        return None

    # The API

    def handle(self, request):
        media = request.query.get("alt") == "media"
        try:
            return self._route(request)
        except ApiError as error:
            if media:
                body, kind = error.message.encode(), "text/html; charset=UTF-8"
            else:
                detail = {"message": error.message, "domain": "global", "reason": error.reason}
                shape = {"error": {"code": error.status, "message": error.message, "errors": [detail]}}
                body, kind = json.dumps(shape).encode(), "application/json; charset=UTF-8"
            return Answer(error.status, body, {"content-type": kind, **error.headers})

    def _route(self, request):
        if self.identity is not None:
            answer = self.identity.answer(request)
            if answer is not None:
                return Answer(*answer)
            if "upload_id" not in request.query:  # the session's name is its own credential
                self.identity.check(request)
        if request.path == "/batch/storage/v1" and request.method == "POST":
            return self._batch(request)
        if request.path == "/storage/v1/b":
            return self._buckets(request)
        for pattern, handler in ((_UPLOAD, self._upload), (_BUCKET, self._bucket), (_OBJECT, self._object)):
            if match := pattern.fullmatch(request.path):
                return handler(request, *(urllib.parse.unquote(part) if part else part for part in match.groups()))
        raise ApiError(404, "notFound", "Not Found")

    def _json(self, request, value, status=200):
        body = json.dumps(select(value, request.query.get("fields"))).encode()
        return Answer(status, body, {"content-type": "application/json; charset=UTF-8"})

    def _resource(self, request, stored):
        found = stored.resource()
        path = f"b/{stored.bucket}/o/{urllib.parse.quote(stored.name, safe='')}"
        found["selfLink"] = f"{self.endpoint}/storage/v1/{path}"
        found["mediaLink"] = f"{self.endpoint}/download/storage/v1/{path}?generation={stored.generation}&alt=media"
        return self._json(request, found)

    def _buckets(self, request):
        if not request.query.get("project"):
            raise ApiError(400, "required", "Required parameter: project")
        if request.method == "POST":
            body = request.json()
            return self._json(
                request, self.state.create_bucket(body.get("name"), body.get("location", "US")).resource()
            )
        prefix = request.query.get("prefix", "")
        names = sorted(name for name in self.state.buckets if name.startswith(prefix))
        limit, begin = int(request.query.get("maxResults", 1000)), request.query.get("pageToken", "")
        names = [name for name in names if name > begin]
        found = {"kind": "storage#buckets", "items": [self.state.buckets[name].resource() for name in names[:limit]]}
        if len(names) > limit:
            found["nextPageToken"] = names[limit - 1]
        return self._json(request, found)

    def _bucket(self, request, name, below):
        state = self.state
        if below == "/iam/testPermissions":
            state.bucket(name, request.project)
            return self._json(request, {"kind": "storage#testIamPermissionsResponse", "permissions": []})
        if below:
            state.bucket(name, request.project)
            objects, prefixes, token = state.list(name, request.query)
            found = {"kind": "storage#objects"}
            # The service leaves out what is empty.
            found |= {"items": [stored.resource() for stored in objects]} if objects else {}
            found |= {"prefixes": prefixes} if prefixes else {}
            found |= {"nextPageToken": token} if token else {}
            return self._json(request, found)
        if request.method == "DELETE":
            state.delete_bucket(name)
            return Answer(204)
        return self._json(request, state.bucket(name, request.project).resource())

    def _object(self, request, bucket, name, verb, target_bucket, target):
        state = self.state
        state.bucket(bucket, request.project)
        if verb == "compose":
            return self._resource(request, state.compose(bucket, name, request.json(), request.query))
        if verb in ("rewriteTo", "copyTo"):
            return self._rewrite(request, verb, (bucket, name), (target_bucket, target))
        if request.method == "DELETE":
            state.delete(bucket, name, request.query)
            return Answer(204)
        if request.method in ("PATCH", "PUT"):
            patch = request.method == "PATCH"
            return self._resource(request, state.change(bucket, name, request.json(), request.query, patch=patch))
        stored = state.read(bucket, name, request.query)
        return _media(request, stored) if request.query.get("alt") == "media" else self._resource(request, stored)

    def _rewrite(self, request, verb, source, target):
        outcome = self.state.rewrite(source, target, request.json(), request.query)
        if verb == "copyTo":
            return self._resource(request, outcome)
        if isinstance(outcome, tuple):
            token, done, size = outcome
            found = {"done": False, "rewriteToken": token, "totalBytesRewritten": str(done), "objectSize": str(size)}
        else:
            size = str(len(outcome.data))
            found = {"done": True, "resource": outcome.resource(), "totalBytesRewritten": size, "objectSize": size}
        return self._json(request, {"kind": "storage#rewriteResponse", **found})

    def _batch(self, request):
        kind = request.headers.get("content-type", "")
        boundary = re.search(r'boundary="?([^";]+)', kind)
        if not kind.startswith("multipart/mixed") or not boundary:
            raise ApiError(400, "badRequest", "Failed to parse batch request")
        parts = _parts(request.body, boundary[1])
        if not 1 <= len(parts) <= 100:
            raise ApiError(400, "badRequest", "The batch request could not be processed: 1 to 100 calls are allowed")
        mark, chunks = f"batch_{secrets.token_hex(12)}", []
        for headers, content in parts:
            head, _, body = content.partition(b"\r\n\r\n")
            line, *lines = head.decode().split("\r\n")
            method, target, _ = line.split(" ")
            target = re.sub(r"\Ahttps?://[^/]+", "", target)
            outer = {name: text for name, text in request.headers.items() if not name.startswith("content-")}
            inner = Request(method, target, outer | _fields(lines), body)
            if not re.match(r"/storage/v1/", target):
                raise ApiError(400, "badRequest", f"{target} is no call of this API")
            answer = self._answer_inner(inner)
            name = headers.get("content-id", "").strip("<>")
            reply = _head(answer.status, {**answer.headers, "content-length": str(len(answer.body))})
            chunks.append(
                f"--{mark}\r\nContent-Type: application/http\r\nContent-ID: <response-{name}>\r\n\r\n".encode()
                + reply
                + answer.body
                + b"\r\n"
            )
        body = b"".join(chunks) + f"--{mark}--\r\n".encode()
        return Answer(200, body, {"content-type": f"multipart/mixed; boundary={mark}"})

    def _answer_inner(self, request):
        fault = self._fault(request)
        return fault.answer if fault is not None else self.handle(request)

    # Uploads

    def _upload(self, request, bucket):
        query = request.query
        kind = query.get("uploadType")
        if "upload_id" in query:
            return self._part(request, query["upload_id"])
        if request.method != "POST" or kind not in ("media", "multipart", "resumable"):
            raise ApiError(400, "invalid", "Invalid upload type")
        self.state.bucket(bucket, request.project)
        if kind == "resumable":
            return self._begin(request, bucket)
        hashes = _hashes(request.headers)
        if kind == "media":
            resource = {"name": query.get("name"), "contentType": request.headers.get("content-type")}
            return self._resource(request, self.state.store(bucket, resource, request.body, query, hashes=hashes))
        content_type = request.headers.get("content-type", "")
        boundary = re.search(r'boundary="?([^";]+)', content_type)
        if not content_type.startswith("multipart/related") or not boundary:
            raise ApiError(400, "badContent", "Multipart must have multipart/related and a boundary")
        parts = _parts(request.body, boundary[1])
        if len(parts) != 2:
            raise ApiError(400, "badContent", "Multipart must have two parts")
        try:
            resource = json.loads(parts[0][1])
        except ValueError:
            raise ApiError(400, "parseError", "Parse Error") from None
        resource.setdefault("name", query.get("name"))
        resource.setdefault("contentType", parts[1][0].get("content-type"))
        return self._resource(request, self.state.store(bucket, resource, parts[1][1], query, hashes=hashes))

    def _begin(self, request, bucket):
        resource = request.json()
        resource.setdefault("name", request.query.get("name"))
        resource.setdefault("contentType", request.headers.get("x-upload-content-type"))
        name = self.state.begin(bucket, resource, request.query)
        kept = {key: value for key, value in request.query.items() if key in ("uploadType", "fields", "name")}
        query = urllib.parse.urlencode({**kept, "upload_id": name})
        location = f"http://{request.headers['host']}{request.path}?{query}"
        return Answer(200, b"", {"location": location, "x-guploader-uploadid": name})

    def _part(self, request, name):
        state, headers = self.state, {"x-guploader-uploadid": name}
        if request.method == "DELETE":
            state.cancel(name)
        session = state.session(name)
        said = request.headers.get("content-range", "")
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", said)
        if said and not match:
            raise ApiError(400, "invalid", "Failed to parse Content-Range header.")
        with session.lock:
            stored = session.done
            if stored is None:
                start = int(match[1]) if match and match[1] else (len(session.body) if match else 0)
                if match and match[1] and int(match[2]) - start + 1 != len(request.body):
                    raise ApiError(400, "invalid", "The body is not as long as the Content-Range says")
                total = (int(match[3]) if match[3] != "*" else None) if match else len(request.body)
                stored = state.append(session, start, request.body, total, _hashes(request.headers))
            if stored is None:
                if session.body:
                    headers["range"] = f"bytes=0-{len(session.body) - 1}"
                return Answer(308, b"", headers)
        answer = self._resource(request, stored)
        answer.headers |= headers
        return answer


def _media(request, stored):
    data, headers = memoryview(stored.data), _media_headers(stored)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if not asked or asked[0] == "bytes=-":
        return Answer(200, data, headers)
    size = len(data)
    if asked[1]:
        start, end = int(asked[1]), min(int(asked[2] or size), size - 1)
    else:
        start, end = max(0, size - int(asked[2])), size - 1
    if start >= size:
        raise ApiError(
            416, "requestedRangeNotSatisfiable", "Request range not satisfiable", {"content-range": f"bytes */{size}"}
        )
    return Answer(206, data[start : end + 1], {**headers, "content-range": f"bytes {start}-{end}/{size}"})


def _media_headers(stored):
    hashes = f"crc32c={stored.crc32c}" + (f",md5={stored.md5}" if stored.md5 else "")
    encoding = stored.facts.get("contentEncoding")
    return ({"content-encoding": encoding} if encoding else {}) | {
        "content-type": stored.facts["contentType"],
        "etag": stored.etag,
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(stored.metageneration),
        "x-goog-hash": hashes,
        "x-goog-storage-class": "STANDARD",
        "x-goog-stored-content-length": str(len(stored.data)),
        "x-goog-stored-content-encoding": stored.facts.get("contentEncoding", "identity"),
        "last-modified": formatdate(stored.updated, usegmt=True),
        "accept-ranges": "bytes",
    }


def _hashes(headers):
    given = re.findall(r"(crc32c|md5)=([^,\s]+)", headers.get("x-goog-hash", ""))
    return dict(given)


def _shorten(request, nbytes):
    request.body = request.body[:nbytes]
    said = request.headers.get("content-range", "")
    if match := re.fullmatch(r"bytes (\d+)-\d+/.*", said):
        start = int(match[1])
        request.headers["content-range"] = f"bytes {start}-{start + nbytes - 1}/*" if nbytes else "bytes */*"


def _fields(lines):
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _parts(body, boundary):
    """Headers and content of each part. Only a line end and the boundary end a part, so any bytes are legal in it."""
    body, mark = b"\r\n" + body, b"\r\n--" + boundary.encode()
    if mark not in body[2:]:  # the SDK's batches have lines that end in LF alone
        body = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    pieces = body.split(mark)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise ApiError(400, "badContent", "The multipart body has no end")
    found = []
    for piece in pieces[1:-1]:
        head, _, content = piece.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found.append((_fields(head.decode().split("\r\n")), content))
    return found


def _read(stream, connection):
    line = stream.readline(65536)
    if not line:
        return None
    method, target, _ = line.decode("ascii").split(" ")
    headers = {}
    while (line := stream.readline(65536)) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if not line:
        return None
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = int(headers.get("content-length", 0))
    body = stream.read(length) if length else b""
    if len(body) < length:
        return None
    return Request(method, target, headers, body)


def _head(status, headers):
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _write(connection, request, answer):
    headers = {"server": "UploadServer", "date": formatdate(usegmt=True)}
    headers.setdefault("x-guploader-uploadid", "ABC-request-" + secrets.token_hex(4))
    headers |= {name.lower(): value for name, value in answer.headers.items()}
    said = int(headers.setdefault("content-length", str(len(answer.body))))
    if answer.status in (204, 304):
        del headers["content-length"]
        answer.body, said = b"", 0
    head = _head(answer.status, headers)
    if request.method == "HEAD" or not len(answer.body):
        connection.sendall(head)
    elif len(answer.body) < 64 * 1024:
        connection.sendall(head + bytes(answer.body))
    else:
        connection.sendall(head)
        connection.sendall(answer.body)
    return len(answer.body) == said or request.method == "HEAD"


def main(arguments):
    server = GCSServer(int(arguments[0]) if arguments else 0)
    for name in arguments[1:]:
        server.state.create_bucket(name)
    print(server.endpoint, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
