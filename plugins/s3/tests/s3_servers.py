"""Real S3 servers on this machine, for the tests: SeaweedFS, moto and Ceph's RADOS gateway.

Each is a context manager that takes an empty directory and gives a :class:`Server` that answers signed requests.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3_ceph import cluster

from penstock.testing.servers import free_port, serving

__all__ = ["SERVERS", "Server", "ceph", "client_of", "moto", "seaweedfs"]

_BUCKET = "readiness"


@attrs.frozen(kw_only=True)
class Server:
    """A server that runs. ``limited`` are the keys of a user who may read and list but not write, if it has one."""

    name: str
    endpoint: str
    access_key: str = "testkey"
    secret_key: str = "testsecret"  # the fixture's own
    region: str = "us-east-1"
    limited: tuple[str, str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What makes this server and its keys the default, for this process or another."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


def client_of(server: Server):
    """A boto3 client beside the store under test: an independent observer."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=2,
            read_timeout=30,
            retries={"total_max_attempts": 1, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            proxies={},
        ),
    )


@contextmanager
def seaweedfs(directory: Path) -> Iterator[Server]:
    """SeaweedFS with all its parts in one process; it checks signatures."""
    server = Server(name="SeaweedFS", endpoint=f"http://127.0.0.1:{free_port()}", limited=("readkey", "readsecret"))
    users = [
        _user("test", server.access_key, server.secret_key, ["Admin", "Read", "Write", "List", "Tagging"]),
        _user("reader", "readkey", "readsecret", ["Read", "List"]),
    ]
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": users}))
    data = directory / "data"
    data.mkdir()
    command = [
        _program("weed"),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=64",
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.localSocket={directory}/filer.sock",
        "-s3",
        f"-s3.localSocket={directory}/s3.sock",
        f"-s3.port={server.endpoint.rpartition(':')[2]}",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.port.grpc={free_port()}",
        *(f"-{part}.port{kind}={free_port()}" for part in ("master", "volume", "filer") for kind in ("", ".grpc")),
    ]
    with serving(command, _answers(server), timeout=60.0, cwd=directory):
        yield server


@contextmanager
def moto(directory: Path) -> Iterator[Server]:
    """moto's server, one request at a time; it does not check signatures."""
    port = free_port()
    server = Server(name="moto", endpoint=f"http://127.0.0.1:{port}")
    with serving([sys.executable, __file__, str(port)], _answers(server), timeout=60.0, cwd=directory):
        yield server


def _serve_moto(port: int) -> None:
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    app = DomainDispatcherApplication(create_backend_app)
    turn = threading.Lock()

    def one_at_a_time(environ, start_response):
        # The body is awaited outside: a client that dies within it must not stop the others.
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with turn:
            return list(app(environ, start_response))

    MotoRequestHandler.protocol_version = "HTTP/1.1"
    logging.getLogger("werkzeug").disabled = True
    run_simple("127.0.0.1", port, one_at_a_time, threaded=True, request_handler=MotoRequestHandler)


def _user(name: str, access_key: str, secret_key: str, actions: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": actions,
    }


def _program(name: str) -> str:
    """A program of this environment, or of the system."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise RuntimeError(f"the program {name} is missing; see the test dependencies of this package")
    return found


def _answers(server: Server) -> Callable[[], bool]:
    """Ready when an object can be put and removed, so that every part of the server is up."""

    def ready() -> bool:
        try:
            client = client_of(server)
            client.create_bucket(Bucket=_BUCKET)
            client.put_object(Bucket=_BUCKET, Key="x", Body=b"x")
            client.delete_object(Bucket=_BUCKET, Key="x")
            client.delete_bucket(Bucket=_BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                raise OSError(str(error)) from error
            client.put_object(Bucket=_BUCKET, Key="x", Body=b"x")
        except BotoCoreError as error:
            raise OSError(str(error)) from error
        return True

    return ready


@contextmanager
def ceph(directory: Path) -> Iterator[Server]:
    """Ceph's RADOS gateway; it checks signatures."""
    access_key, secret_key = "testkey", "testsecret"
    with cluster(directory, _program, access_key, secret_key) as port:
        yield Server(name="Ceph", endpoint=f"http://127.0.0.1:{port}", access_key=access_key, secret_key=secret_key)


SERVERS = {"seaweedfs": seaweedfs, "moto": moto, "ceph": ceph}

if __name__ == "__main__":
    _serve_moto(int(sys.argv[1]))
