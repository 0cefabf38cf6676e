"""The servers that the remote benchmarks measure against, and what an independent observer saw: nginx's access log.

nginx keeps objects as plain files through WebDAV and looks at no signature, so that it answers faster than any store:
what is measured is the client. It answers the few requests of S3 and GCS that are more than a file (a listing, the
beginning and end of a multipart upload) with fixed texts, and takes uploads that are no plain put, or whose answer has
to be another, without keeping them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs
from ending import orderly

from penstock.testing.servers import accepts, free_port, serving

__all__ = ["AZURE_ACCOUNT", "AZURE_KEY", "Entry", "Web", "nginx", "parse_log"]

#: The account that the emulators have, and its published key.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_ETAG = "9bb58f26192e4ba00f01e2e7b136bbd8"
# What S3 says beside what nginx says by itself.
_HEADERS = f"""add_header ETag '"{_ETAG}"';
    add_header x-amz-id-2 'Uuag1LuByRx9e6j5Onimru9pO4ZVKnJ2Qz7/C1NPcfTWAtRPfTaOFg==';
    add_header x-amz-request-id '656C76696E672773';
    add_header x-amz-server-side-encryption AES256;"""
_GOOG = """add_header ETag '"CNDhyZz8hpADEAE="';
    add_header X-Goog-Generation 1763740800123456;
    add_header X-Goog-Metageneration 1;
    add_header X-Goog-Storage-Class STANDARD;
    add_header X-Goog-Hash $sums;"""
_AZURE = """add_header x-ms-request-id 7c5a2f1e-301e-0045-1234-5678abcdef00;
    add_header x-ms-version 2025-01-05;
    add_header x-ms-creation-time 'Thu, 01 Jan 2026 00:00:00 GMT';
    add_header x-ms-lease-status unlocked;
    add_header x-ms-lease-state available;
    add_header x-ms-blob-type BlockBlob;
    add_header x-ms-server-encrypted true;"""
# The body is received, and another location answers.
_TAKEN = """proxy_pass http://files;
    proxy_http_version 1.1;
    proxy_method GET;
    proxy_pass_request_body off;
    proxy_set_header Connection "";
    proxy_set_header Content-Length "";"""
_LOG_FORMAT = (
    "$msec $request_method $status $body_bytes_sent $content_length $request_length $request_time $request_uri"
)


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
    """One answered request of the log. Times are in seconds; ``sent`` and ``received`` are the bytes of the bodies,
    ``whole`` those of the request with its head. nginx takes the time from the request's first byte to the moment
    when the last one of the answer is the kernel's.
    """

    ended: float
    method: str
    status: int
    sent: int
    received: int
    whole: int
    took: float
    target: str


def parse_log(lines: Iterable[str]) -> list[Entry]:
    """The entries of nginx's log as :func:`nginx` has it written. ValueError for a line of another form."""
    entries = []
    for line in lines:
        fields = line.rstrip("\n").split(" ", 7)
        if len(fields) != 8:
            raise ValueError(f"not a line of the log: {line!r}")
        ended, method, status, sent, received, whole, took, target = fields
        numbers = int(status), int(sent), int(received) if received != "-" else 0, int(whole)
        entries.append(Entry(float(ended), method, *numbers, float(took), target))
    return entries


@contextlib.contextmanager
def nginx(*, log: bool = False, crc32c: Mapping[int, str] | None = None) -> Iterator[Web]:
    """nginx with two workers on free ports, plain and TLS, its files in memory.

    A file ``bucket/key`` under ``root`` is an object: for S3 at ``/bucket/key``, and where the JSON API of GCS has its
    media, or, with the account as the bucket and the container as part of the key, where an emulator of Azure has it.
    Their uploads are received whole and forgotten; below ``run-get-SIZE/`` every object is the first one of
    ``get-SIZE/``. ``crc32c`` are checksums, in base64, of what lies below ``get-SIZE/``.
    """
    program = _nginx()
    with orderly(), _memory() as directory:
        ports = free_port(), free_port()
        ca = _certificate(directory)
        (directory / "root").mkdir()
        log_path = directory / "access.log" if log else None
        config = directory / "nginx.conf"
        config.write_text(_config(directory, ports, log_path, crc32c or {}))
        with serving([program, "-c", str(config), "-e", str(directory / "error.log")], lambda: accepts(ports[1])):
            yield Web(
                url=f"http://127.0.0.1:{ports[0]}",
                tls_url=f"https://127.0.0.1:{ports[1]}",
                root=directory / "root",
                ca=ca,
                log=log_path,
            )


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


def _certificate(directory: Path) -> Path:
    """A certificate for this machine, and the bundle of the authority that signed it."""
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return directory / "ca.pem"


def _config(directory: Path, ports: tuple[int, int], log: Path | None, crc32c: Mapping[int, str]) -> str:
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
        "@GOOG@": _GOOG,
        "@AZURE@": _AZURE,
        "@TAKEN@": _TAKEN,
        "@ACCOUNT@": AZURE_ACCOUNT,
        "@GENERATION@": "1763740800123456" if crc32c else "",
        "@SUMS@": " ".join(f"~get-{size}/ 'crc32c={value}';" for size, value in crc32c.items()),
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
    map $uri $sums { default ''; @SUMS@ }
    upstream files { server unix:@DIR@/files.socket; keepalive 64; }
    server {
        listen unix:@DIR@/files.socket;
        root @DIR@/root;
        access_log off;
        location / { @HEADERS@ }
        location /-/created {
            add_header ETag '"0x8DE3A2B4C5D6E7F"';
            add_header Last-Modified 'Thu, 01 Jan 2026 00:00:00 GMT';
            @AZURE@
            return 201;
        }
        location /-/parted {
            add_header ETag '"@ETAG@"';
            return 200;
        }
        location /-/stored {
            default_type application/json;
            add_header X-Goog-Generation 1763740800123456;
            return 200 '{"kind":"storage#object","generation":"1763740800123456","contentType":"application/octet-stream","storageClass":"STANDARD","updated":"2026-01-01T00:00:00.123Z"}';
        }
    }
    server {
        listen 127.0.0.1:@PLAIN@ backlog=1024;
        listen 127.0.0.1:@TLS@ ssl backlog=1024;
        root @DIR@/root;
        location / {
            @HEADERS@
            add_header X-Goog-Generation "@GENERATION@";
            dav_methods PUT DELETE;
            create_full_put_path on;
            dav_access user:rw group:rw all:r;
            if ($http_if_match) { rewrite ^(.*)$ /-/match$1 last; }
            if ($arg_list-type) { rewrite ^ /-/list last; }
            if ($arg_partnumber) { rewrite ^ /-/part last; }
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
        location ~ ^/download/storage/v1/b/([^/]+)/o/run-get-([0-9]+)/ {
            alias @DIR@/root/$1/get-$2/object-000000;
            @GOOG@
        }
        location ~ ^/download/storage/v1/b/([^/]+)/o/(.+)$ {
            alias @DIR@/root/$1/$2;
            @GOOG@
        }
        location /upload/storage/v1/ {
            rewrite ^ /-/stored break;
            @TAKEN@
        }
        location /@ACCOUNT@/ {
            if ($arg_comp = list) { rewrite ^ /-/blobs last; }
            if ($request_method = PUT) { rewrite ^ /-/create last; }
            if ($http_x_ms_range) { rewrite ^(.*)$ /-/range$1 last; }
            rewrite ^/(@ACCOUNT@/[^/]+)/run-get-([0-9]+)/ /$1/get-$2/object-000000 break;
            add_header ETag '"0x8DE3A2B4C5D6E7F"';
            @AZURE@
        }
        location = /-/blobs {
            internal;
            default_type application/xml;
            return 200 '<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>';
        }
        location = /-/create {
            internal;
            rewrite ^ /-/created break;
            @TAKEN@
        }
        location /-/range/ {
            internal;
            proxy_pass http://files/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header If-Match "";
            proxy_set_header Range $http_x_ms_range;
            proxy_buffers 16 64k;
            proxy_max_temp_file_size 0;
            @AZURE@
        }
        location /storage/v1/ {
            default_type application/json;
            return 200 '{"kind":"storage#objects"}';
        }
        location = /-/part {
            internal;
            rewrite ^ /-/parted break;
            @TAKEN@
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
