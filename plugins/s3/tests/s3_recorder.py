"""An HTTP server that notes every request: it answers as a test tells it, or passes on to a real server."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

__all__ = ["Recorder", "Reply", "Request", "answering", "error", "forwarding"]


@attrs.frozen
class Request:
    """A request as it came. ``headers`` have lower-case names."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The path behind the bucket, decoded."""
        return unquote(urlsplit(self.target).path.lstrip("/").partition("/")[2])

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}


@attrs.frozen
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = attrs.field(factory=dict)
    #: What Content-Length says; None: the truth.
    length: int | None = None


def error(status: int, code: str, message: str = "", **headers: str) -> Reply:
    """An answer with an error as S3 writes it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@attrs.define
class Recorder:
    """``endpoint`` is its URL; ``requests`` what came, in order."""

    endpoint: str = ""
    requests: list[Request] = attrs.field(factory=list)

    def take(self) -> list[str]:
        """Method, and the parameters' names that say which operation it was, of every request since the last time."""
        found = [" ".join([request.method, *sorted(set(request.query) & _TELLING)]) for request in self.requests]
        self.requests.clear()
        return found


_TELLING = {"uploads", "uploadId", "partNumber", "delete", "list-type"}


@contextmanager
def answering(answer: Callable[[Request], Reply]) -> Iterator[Recorder]:
    """A server of ``answer``."""
    recorder = Recorder()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            recorder.requests.append(request)
            reply = answer(request)
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Nothing on the terminal."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *arguments: object) -> None:
            """A client that is gone is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        recorder.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def forwarding() -> Iterator[Recorder]:
    """An HTTP proxy: whoever names it as proxy=… has his requests noted on their way to the real server."""
    local = threading.local()
    made: list[http.client.HTTPConnection] = []

    def forward(request: Request) -> Reply:
        url = urlsplit(request.target)
        connection: http.client.HTTPConnection | None = getattr(local, "connection", None)
        if connection is None:
            connection = local.connection = http.client.HTTPConnection(url.netloc, timeout=60)
            made.append(connection)
        target = request.target.removeprefix(f"{url.scheme}://{url.netloc}")
        connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders(request.body or None)
        answer = connection.getresponse()
        body = answer.read()
        headers = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("content-length", "transfer-encoding", "connection")
        }
        length = int(answer.headers["content-length"]) if request.method == "HEAD" and body == b"" else None
        return Reply(answer.status, body, headers, length)

    try:
        with answering(forward) as recorder:
            yield recorder
    finally:
        for connection in made:
            connection.close()
