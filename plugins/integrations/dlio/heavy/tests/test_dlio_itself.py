"""DLIO's own command, as its users run it, on what penstock reads. Its workloads are scaled down, and nothing else."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import penstock

# The servers of the S3 plugin's own tests, which stand beside these.
sys.path.insert(0, str(Path(__file__).parents[4] / "s3" / "tests"))

from s3_servers import SERVERS, client_of

# It imports torch and TensorFlow in each of its processes.
pytestmark = pytest.mark.timeout(900)

LOADER = (
    "+workload.reader.data_loader_classname=penstock_dlio.loader.PenstockDataLoader",
    "+workload.reader.data_loader_sampler=index",
)
READER = ("+workload.reader.reader_classname=penstock_dlio.reader.PenstockReader",)
CHECKPOINTS = (
    "+workload.checkpoint.checkpoint_mechanism_classname=penstock_dlio.checkpointing.PenstockCheckpointing",
    "++workload.checkpoint.checkpoint_after_epoch=1",
    "++workload.checkpoint.model_size=100000",
    "+workload.checkpoint.layer_parameters=[10,20]",
)
UNET3D = (
    "workload=unet3d_h100",
    "++workload.dataset.num_files_train=8",
    "++workload.dataset.record_length=20000",
    "++workload.dataset.record_length_stdev=2000",
    "++workload.dataset.record_length_resize=4000",
    "++workload.reader.batch_size=2",
    "++workload.reader.read_threads=2",
    "++workload.train.computation_time=0.01",
    "++workload.train.epochs=2",
)
RESNET50 = (
    "workload=resnet50_h100",
    "++workload.dataset.num_files_train=4",
    "++workload.dataset.num_samples_per_file=8",
    "++workload.dataset.record_length=4000",
    "++workload.dataset.record_length_resize=2500",
    "++workload.reader.batch_size=4",
    "++workload.reader.read_threads=2",
    "++workload.train.computation_time=0.01",
    "++workload.train.epochs=2",
)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with SERVERS["moto"](tmp_path_factory.mktemp("moto")) as server:
        client_of(server).create_bucket(Bucket="dlio")
        yield server


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path):
    """Overrides that say where the storage is, its URI, and the options that reach it."""
    if request.param == "file":
        return [f"+workload.storage.storage_root={tmp_path}/storage"], f"file://{tmp_path}/storage"
    return request.getfixturevalue("bucket")


@pytest.fixture
def bucket(server, monkeypatch):
    root = f"s3://dlio/{uuid.uuid4().hex[:8]}"
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return [f"+workload.storage.storage_root={root}"], root


@pytest.fixture
def dlio(tmp_path):
    """Runs DLIO with our storage as so many ranks; gives what its summary says, and the steps of each epoch."""

    def run(*arguments, ranks=1):
        command = [sys.executable, "-m", "penstock_dlio", f"hydra.run.dir={tmp_path}/out", *arguments]
        if ranks > 1:
            launcher = Path(sys.executable).parent / "mpirun"
            command = [str(launcher), "--allow-run-as-root", "--oversubscribe", "-np", str(ranks), *command]
        # The tracer of its one release crashes in spawned workers.
        environment = {**os.environ, "DFTRACER_ENABLE": "0", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=800)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        stats = json.loads((tmp_path / "out" / "per_epoch_stats.json").read_text())
        output = json.loads((tmp_path / "out" / "0_output.json").read_text())
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert sorted(stats) == ["1", "2"]
        return summary, [len(output[epoch]["load"]["block1"]) for epoch in sorted(stats)]

    return run


def found(root):
    return {info.key.removeprefix(root): info.size for info in penstock.list(f"{root}/")}


def test_unet3d_is_generated_read_and_checkpointed(dlio, place, tmp_path):
    where, root = place
    data = "++workload.dataset.data_folder=data/unet3d"
    summary, steps = dlio(*UNET3D, *where, *LOADER, *CHECKPOINTS, data, "++workload.workflow.generate_data=True")
    assert steps == [4, 4]
    assert summary["num_accelerators"] == 1
    assert all(value > 0 for value in summary["metric"]["train_au_percentage"])
    base = root if root.startswith("s3") else f"file://{tmp_path}"
    saved = found(f"{base}/checkpoints/unet3d")
    assert saved["/model-1-4-0.pt"] == 100_000
    names = [name for name in found(root) if name.startswith("/data/")]
    assert names == [f"/data/unet3d/train/img_{number}_of_8.npz" for number in range(8)]


def test_resnet50_is_read_by_two_ranks(dlio, bucket):
    where, root = bucket
    data = "++workload.dataset.data_folder=data/resnet50"
    _, steps = dlio(*RESNET50, *where, *LOADER, data, "++workload.workflow.generate_data=True", ranks=2)
    assert steps == [4, 4]
    assert len([name for name in found(root) if name.endswith(".tfrecord")]) == 4


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_its_own_loader_reads_with_our_reader(dlio, bucket, context):
    where, root = bucket
    evaluated = ("++workload.workflow.evaluation=True", "++workload.dataset.num_files_eval=4")
    summary, steps = dlio(
        *UNET3D,
        *where,
        *READER,
        *evaluated,
        "++workload.reader.read_threads=1",
        "++workload.dataset.num_subfolders_train=2",
        "++workload.workflow.generate_data=True",
        "++workload.workflow.checkpoint=False",
        f"+workload.reader.multiprocessing_context={context}",
    )
    assert steps == [4, 4]
    assert summary["num_files_eval"] == 4
    assert len([name for name in found(root) if "/train/" in name]) == 8
