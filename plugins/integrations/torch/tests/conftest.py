"""An S3 server, and processes that form a group of ranks."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The servers of the S3 plugin's own tests, which stand beside these.
sys.path.insert(0, str(HERE.parents[2] / "s3" / "tests"))

from s3_servers import SERVERS, client_of  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """moto, started when the first test wants it, with its keys in this process's environment."""
    with pytest.MonkeyPatch.context() as patch, SERVERS["moto"](tmp_path_factory.mktemp("moto")) as server:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        client_of(server).create_bucket(Bucket="torch")
        yield server


@pytest.fixture
def s3(server) -> str:
    """A URI in a bucket, of the test's own."""
    return f"s3://torch/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def place(request, tmp_path) -> str:
    """A URI of the test's own, on the store that it is parametrized with; a file without that."""
    kind = getattr(request, "param", "file")
    if kind == "s3":
        return str(request.getfixturevalue("s3"))
    return f"mem://torch-{uuid.uuid4().hex[:12]}" if kind == "mem" else f"file://{tmp_path}/checkpoints"


@pytest.fixture
def ranks(tmp_path):
    """Runs a script as so many ranks, which meet in a file, and answers what each printed. One that fails raises."""

    def run(script: str, world: int, *arguments: str, timeout: float = 100.0) -> list[str]:
        meeting = tmp_path / f"meeting-{uuid.uuid4().hex[:8]}"
        # Both would look for the host's name and ask who that is.
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        processes = [
            subprocess.Popen(
                [sys.executable, str(HERE / script), str(meeting), str(rank), str(world), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for rank in range(world)
        ]
        try:
            answers = [process.communicate(timeout=timeout) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for process, (out, err) in zip(processes, answers, strict=True):
            assert process.returncode == 0, out + err
        return [out for out, _ in answers]

    return run
