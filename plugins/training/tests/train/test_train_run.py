"""Whole jobs, in spawned ranks: DLIO's three files scaled down, their figures against the operation log, and the ends
that jobs come to.
"""

import collections
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import main
from penstock.oplog import read
from penstock_training.loading import Plan as Order
from penstock_training.train.batches import batches, open_dataset
from penstock_training.train.rank import Block

SMALL = {
    "unet3d.yaml": (
        "dataset.num_files_train=28",
        "dataset.record_length_bytes=40000",
        "dataset.record_length_bytes_stdev=9000",
        "dataset.record_length_bytes_resize=9000",
        "model.model_size=3000000",
        "reader.batch_size=2",
    ),
    "resnet50.yaml": (
        "dataset.num_files_train=4",
        "dataset.num_samples_per_file=12",
        "dataset.record_length_bytes=4000.07",
        "dataset.record_length_bytes_resize=3000",
        "reader.batch_size=4",
    ),
    "cosmoflow.yaml": (
        "dataset.num_files_train=16",
        "dataset.record_length_bytes=20000",
        "dataset.record_length_bytes_stdev=500",
    ),
}


def settings(*overrides):
    return [word for override in overrides for word in ("--set", override)]


def run(*args):
    return CliRunner().invoke(main, ["train", *map(str, args)])


def results(folder):
    (directory,) = folder.glob("penstock-*")
    return directory, json.loads((directory / "result.json").read_text())


def steps_of(directory):
    header, *lines = (directory / "steps.tsv").read_text().splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


@pytest.mark.parametrize("name", SMALL)
def test_dlios_files_run_over_two_ranks(workloads, name):
    done = run(
        workloads / name,
        "--ranks",
        2,
        "--results",
        workloads / "out",
        "--op-log",
        workloads / "log.tsv.zst",
        *settings(
            "workflow.generate_data=true",
            "train.epochs=2",
            "train.computation_time=0.002",
            "checkpoint.checkpoint_after_epoch=2",
            *SMALL[name],
        ),
    )
    assert done.exit_code == 0, done.output
    directory, result = results(workloads / "out")
    assert result["status"] == "done"
    assert [(epoch["kind"], epoch["epoch"], len(epoch["ranks"])) for epoch in result["epochs"]] == [
        ("train", 1, 2),
        ("train", 2, 2),
    ]
    rows = [row for row in read(workloads / "log.tsv.zst") if not row.error]
    assert rows == sorted(rows, key=lambda row: row.start_ns)
    assert {row.client_id for row in rows} == {"rank-0", "rank-1"}
    _reads_are_each_sample_once_in_each_epoch(name, result, rows)
    _figures_follow_from_the_steps(result, steps_of(directory))
    _summary_is_dlios(directory, result, saved=name == "unet3d.yaml")
    assert "utilization" in done.stdout
    assert f"results in {directory}" in done.stdout


def _reads_are_each_sample_once_in_each_epoch(name, result, rows):
    part = result["plan"]["training"]
    files = {info.key: info.size for info in penstock.list(part["uri"]) if not info.key.endswith(".idx")}
    assert len(files) == part["files"]
    gets = collections.Counter()
    for row in rows:
        if row.op.startswith("GET"):
            gets[row.file] += row.nbytes
    assert sum(gets.values()) == sum(epoch["bytes"] for epoch in result["epochs"])
    if part["samples_per_file"] == 1:
        # All samples are in whole batches: every file is read by one rank, in each of two epochs.
        assert sorted(gets.values()) == sorted(2 * size for size in files.values())
    else:
        assert sum(gets.values()) == pytest.approx(2 * sum(files.values()), rel=0.2)


def _figures_follow_from_the_steps(result, steps):
    for epoch in result["epochs"]:
        for rank in epoch["ranks"]:
            mine = [step for step in steps if (int(step["epoch"]), int(step["rank"])) == (epoch["epoch"], rank["rank"])]
            assert len(mine) == rank["steps"] == epoch["steps"]
            spent = [sum(float(step[name]) for name in ("load_s", "compute_s", "wait_s")) for step in mine]
            # Between steps there is next to nothing; the first step does not count.
            whole = rank["seconds"] - spent[0]
            assert whole >= sum(spent[1:]) - 1e-6
            assert rank["au"] == pytest.approx(sum(float(step["compute_s"]) for step in mine[1:]) / whole)
            assert rank["samples_per_second"] == pytest.approx(sum(int(step["samples"]) for step in mine[1:]) / whole)


def _summary_is_dlios(directory, result, *, saved):
    summary = json.loads((directory / "summary.json").read_text())
    metric = summary["metric"]
    assert summary["num_accelerators"] == 2
    assert metric["train_au_percentage"] == pytest.approx([100 * epoch["au"] for epoch in result["epochs"]])
    assert metric["train_au_mean_percentage"] == pytest.approx(100 * result["au"])
    assert metric["train_throughput_mean_samples_per_second"] == pytest.approx(result["samples_per_second"])
    assert metric["train_io_mean_MB_per_second"] == pytest.approx(result["mib_per_second"])
    assert metric["train_au_meet_expectation"] == ("success" if result["au_met"] else "fail")
    assert ("save_checkpoint_io_mean_GB_per_second" in metric) == saved
    if saved:
        (info,) = penstock.list(result["plan"]["checkpoints"]["uri"])
        assert info.size == 3_000_000
        assert metric["checkpoint_size_GB"] == pytest.approx(3_000_000 / 2**30)


def test_figures_equal_those_that_the_log_gives_and_slow_storage_lowers_them(workloads):
    """The log says when the files of a batch were there; what the accelerator could do follows by arithmetic."""
    slow = "penstock.faults={rules: [{service: {concurrency: 1, seconds: 0.03}, operations: [get]}]}"
    found = {}
    for name, more in (("fast", ()), ("slow", (slow,))):
        log = workloads / f"{name}.tsv"
        done = run(
            workloads / "unet3d.yaml",
            "--results",
            workloads / name,
            "--op-log",
            log,
            "--json",
            *settings(
                "workflow.generate_data=true",
                "workflow.checkpoint=false",
                "train.epochs=1",
                "train.computation_time=0.03",
                "dataset.num_files_train=24",
                "dataset.record_length_bytes=4000",
                "dataset.record_length_bytes_stdev=0",
                "reader.batch_size=2",
                "reader.read_threads=2",
                *more,
            ),
        )
        assert done.exit_code == 0, done.output
        result = json.loads(done.stdout)
        found[name] = result["au"]
        steps = steps_of(results(workloads / name)[0])
        computed = [float(step["compute_s"]) for step in steps]
        au, rate = _from_the_log(log, result, computed, [float(step["wait_s"]) for step in steps])
        assert result["au"] == pytest.approx(au, rel=0.25)
        assert result["samples_per_second"] == pytest.approx(rate, rel=0.25)
    # Two gets of 30 ms for each batch, one at a time, whatever the computer does besides.
    assert found["slow"] < 1.25 * sum(computed[1:]) / len(computed[1:]) / 0.06
    assert found["slow"] < found["fast"]


def _from_the_log(log, result, computed, waited):
    part = result["plan"]["training"]
    names = sorted(info.key.rpartition("/")[2] for info in penstock.list(part["uri"]))
    came = {row.file.rpartition("/")[2]: row.end_ns / 1e9 for row in read(log) if row.op == "GET"}
    order = Order(count=24, batch_size=2, shuffle=True, seed=part["seed"], epoch=1, drop_last=True)
    at, begin = 0.0, 0.0
    for number, batch in enumerate(order.batches()):
        ready = max(came[names[sample]] for sample in batch)
        at = max(at, ready) + computed[number] + waited[number]
        if number == 0:
            begin = at
    return sum(computed[1:]) / (at - begin), 2 * len(computed[1:]) / (at - begin)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize(("form", "each"), [("npz", 1), ("tfrecord", 5), ("hdf5", 5)])
def test_ranks_read_disjoint_samples_that_cover_the_set_in_an_order_of_the_seed(plan, form, each, ranks):
    text = f"""
    dataset: {{data_folder: mem://cover-{form}/d, format: {form}, num_files_train: {60 // each},
               num_samples_per_file: {each}, record_length_bytes: 400}}
    reader: {{batch_size: 4, sample_shuffle: seed, read_threads: 3}}
    """
    job = plan(text, ranks=ranks)
    from penstock_training.datasets import write_dataset

    write_dataset(job.training.uri, job.recipe, job.training.files)
    dataset = open_dataset(job, job.training)

    def orders(epoch, job=job):
        found = []
        for rank in range(ranks):
            mine = [batch.data for batch in batches(job, job.training, dataset, rank=rank, epoch=epoch)]
            assert len(mine) == 60 // 4 // ranks
            found.append([_content(sample) for batch in mine for sample in batch])
        return found

    first = orders(1)
    everything = [sample for rank in first for sample in rank]
    assert len(set(everything)) == len(everything) == 60
    assert orders(1) == first
    assert orders(2) != first
    assert orders(1, plan(text, "train.seed=9", ranks=ranks)) != first
    still = plan(text, "train.seed_change_epoch=false", ranks=ranks)
    assert orders(2, still) == orders(1, still)


def _content(sample):
    return max((np.asarray(value).tobytes() for value in sample.values()), key=len)


BASE = """
dataset: {data_folder: data, format: npz, num_files_train: 8, record_length_bytes: 400}
reader: {batch_size: 2}
train: {computation_time: 0.001}
"""


def test_a_dataset_of_another_size_is_exit_code_2_with_the_remedy(workloads):
    (workloads / "w.yaml").write_text(BASE)
    assert run("w.yaml", "--set", "workflow.generate_data=true", "--set", "workflow.train=false").exit_code == 0
    done = run("w.yaml", "--results", "out", "--set", "dataset.num_files_train=9")
    assert done.exit_code == 2
    assert "holds 8 samples; dataset.num_files_train 9 and num_samples_per_file 1 make 9" in done.stderr
    done = run("w.yaml", "--results", "gone", "--set", "dataset.data_folder=nowhere")
    assert done.exit_code == 2
    assert "no object below it matches" in done.stderr
    assert "--set workflow.generate_data=true" in done.stderr


def test_a_damaged_file_fails_the_job_and_what_was_measured_is_kept(workloads):
    (workloads / "w.yaml").write_text(BASE)
    assert run("w.yaml", "--set", "workflow.generate_data=true", "--set", "workflow.train=false").exit_code == 0
    (workloads / "data/train/img_7_of_8.npz").write_bytes(b"no archive")
    done = run("w.yaml", "--results", "out")
    assert done.exit_code == 1
    assert "img_7_of_8.npz" in done.stderr
    directory, result = results(workloads / "out")
    assert result["status"] == "failed"
    assert [epoch["steps"] for epoch in result["epochs"]] == [3]
    assert len(steps_of(directory)) == 3


def test_files_that_are_not_to_be_kept_are_deleted_and_nothing_else(workloads):
    (workloads / "w.yaml").write_text(BASE)
    (workloads / "data/train").mkdir(parents=True)
    (workloads / "data/train/mine.txt").write_text("mine")
    done = run(
        "w.yaml", *settings("workflow.generate_data=true", "dataset.keep_files=false", "dataset.format=tfrecord")
    )
    assert done.exit_code == 0, done.output
    assert [path.name for path in (workloads / "data/train").iterdir()] == ["mine.txt"]


def test_strict_au_is_exit_code_4_below_the_goal(workloads):
    (workloads / "w.yaml").write_text(BASE)
    options = settings("workflow.generate_data=true", "reader.data_loader=synthetic", "workflow.generate_data=false")
    assert (
        run("w.yaml", *options, "--strict-au", *settings("metric.au=0", "train.computation_time=0.01")).exit_code == 0
    )
    assert run("w.yaml", *options, "--strict-au", *settings("train.computation_time=0")).exit_code == 4


def test_keys_of_a_store_stand_in_no_file_and_no_message(workloads, monkeypatch):
    (workloads / "w.yaml").write_text(
        BASE + "storage:\n  storage_options:\n    secret_access_key: 'hunter1'\n    region: r\n"
        "penstock: {backend: {file: {fsync: true}, s3: {access_key_id: hunter2, session_token: hunter3}}}\n"
    )
    data = settings("workflow.generate_data=true", "storage.storage_options={}", "train.computation_time=0")
    monkeypatch.setattr(sys, "argv", ["penstock", "train", "--set", "x.secret_access_key=hunter4"])
    done = run("w.yaml", "--results", "out", *data)
    assert done.exit_code == 0, done.output
    for path in workloads.glob("out/*/*"):
        assert "hunter" not in path.read_text(), path
    assert "region: r" in next(workloads.glob("out/*/config.yaml")).read_text()
    for wrong in ("storage.storage_options.secret_access_key=[hunter5]", "storage.secret_access_key=hunter6"):
        done = run("w.yaml", "--set", wrong)
        assert done.exit_code == 2
        assert "hunter" not in done.output


def test_dry_run_and_wrong_input_do_nothing(workloads, monkeypatch):
    done = run("unet3d.yaml", "++workload.reader.batch_size=4", "--dry-run", "--ranks", 2)
    assert done.exit_code == 0
    assert "21 steps of 4 samples for each rank, each computes 0.323 s" in done.stdout
    assert json.loads(run("unet3d.yaml", "--dry-run", "--json").stdout)["training"]["batch_size"] == 7
    for args, text in (
        (("none.yaml",), "none.yaml: can't be read"),
        (("unet3d.yaml", "--set", "dataset.data_folder=mem://x"), "ranks are processes; name a directory"),
        (("unet3d.yaml", "--results", "s3://b/x"), "results are written to a directory"),
        (("unet3d.yaml", "--op-log", "x.log"), "name it *.tsv.zst or *.tsv"),
        (("unet3d.yaml", "--op-log", "none/x.tsv"), "is no directory that can be written"),
        (("unet3d.yaml", "--set", "reader.batch=1"), "unknown key, did you mean batch_size"),
    ):
        done = run(*args)
        assert done.exit_code == 2
        assert text in done.stderr
    monkeypatch.setenv("PENSTOCK_OPLOG", str(workloads / "log.tsv"))
    assert "unset it, and give --op-log FILE" in run("unet3d.yaml").stderr
    assert sorted(path.name for path in workloads.iterdir()) == ["cosmoflow.yaml", "resnet50.yaml", "unet3d.yaml"]


LONG = """
dataset: {data_folder: data, format: npz, num_files_train: 8, record_length_bytes: 400}
workflow: {generate_data: true}
reader: {batch_size: 2}
train: {epochs: 100000, computation_time: 0.001}
"""


def begin(folder, *args, until="epoch 2:"):
    """A job that goes on until it is ended, when it has said that."""
    (folder / "w.yaml").write_text(LONG)
    command = [sys.executable, "-m", "penstock", "train", "w.yaml", "--ranks", "2", "--results", "out", *args]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith(until):
            return process
    raise AssertionError("it ended too early")


def test_an_interrupt_ends_it_and_reports_what_was_measured(tmp_path):
    process = begin(tmp_path, "--op-log", "log.tsv")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "penstock: interrupted" in err
    _, result = results(tmp_path / "out")
    assert result["status"] == "interrupted"
    assert len(result["epochs"]) >= 2
    assert result["op_log"]["rows"] == len(list(read(tmp_path / "log.tsv"))) > 20
    assert "utilization" in out


@pytest.mark.slow
def test_a_second_interrupt_ends_it_at_once_and_keeps_what_was_measured(tmp_path):
    # Both ranks compute for an hour after the first epoch.
    slow = ("workflow.evaluation=true", "dataset.num_files_eval=8", "evaluation.eval_time=3600")
    process = begin(tmp_path, *settings(*slow), until="epoch 1:")
    process.send_signal(signal.SIGINT)
    assert "interrupt again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    _, result = results(tmp_path / "out")
    assert result["status"] == "interrupted"
    assert [epoch["kind"] for epoch in result["epochs"]] == ["train"]


def test_a_lost_rank_is_named_and_the_others_end(tmp_path):
    process = begin(tmp_path)
    ranks = [pid for pid in _children(process.pid) if b"spawn_main" in _command(pid)]
    assert len(ranks) == 2
    os.kill(ranks[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "killed by SIGKILL" in err
    _, result = results(tmp_path / "out")
    assert result["status"] == "failed"
    assert len(result["epochs"]) >= 2
    assert not [pid for pid in ranks if os.path.exists(f"/proc/{pid}")]


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(text) for text in file.read().split()]


def _command(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def test_measurements_are_values_that_other_processes_can_have():
    import pickle

    from penstock_training.train.taps import Counts

    block = Block(0, "train", 1, 1, 0, 10, (), Counts())
    assert pickle.loads(pickle.dumps(block)) == block


@pytest.mark.slow
def test_a_rank_that_does_not_end_is_not_waited_for_when_another_has_failed(plan, tmp_path, monkeypatch):
    from penstock_training.datasets import write_dataset
    from penstock_training.train import run as running

    job = plan(
        BASE.replace("data_folder: data", f"data_folder: {tmp_path}/data"), "train.computation_time=3600", ranks=2
    )
    write_dataset(job.training.uri, job.recipe, 8)
    # The first rank's first file; the second rank computes for an hour.
    (tmp_path / "data/train/img_0_of_8.npz").write_bytes(b"no archive")
    monkeypatch.setattr(running, "_PATIENCE", 0.5)
    finished = running.execute(job)
    assert finished.status == "failed"
    assert "img_0_of_8.npz" in finished.reason
