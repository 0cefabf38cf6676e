"""Metrics for Prometheus: what is scraped equals what was measured, during a run too."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.errors import UsageError
from penstock.records import Op
from penstock.report.crew import WorkerState
from penstock.report.outcome import Interval
from penstock.report.prometheus import open_exporter, parse_address
from penstock.stats.tally import Tally

BOUNDS = [step * 10**power / 1e6 for power in range(1, 9) for step in (1, 2, 5)][:-2]


def scrape(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            samples[sample.name, *(sample.labels[name] for name in sorted(sample.labels))] = sample.value
    return samples


@pytest.fixture
def exporter():
    opened = open_exporter("0")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9100", ("127.0.0.1", 9100)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:9100", ("0.0.0.0", 9100)),
        ("[::1]:65535", ("::1", 65535)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", ":9100", "host:", "65536", "-1", "9100:x", "[::1]", "1.5", "²"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match=re.escape(f"--prometheus {text}: write PORT or HOST:PORT")):
        parse_address(text)


def test_before_anything_is_measured_there_is_a_phase(exporter):
    assert exporter.url.startswith("http://127.0.0.1:")
    assert scrape(exporter.url)["penstock_phase", "start"] == 1
    exporter.phase("prepare", 100, None)
    exporter.progress(40, 4096)
    samples = scrape(exporter.url)
    assert samples["penstock_phase", "prepare"] == 1
    assert ("penstock_phase", "start") not in samples
    assert (samples[("penstock_phase_objects",)], samples[("penstock_phase_bytes",)]) == (40, 4096)


def test_what_is_scraped_is_what_was_measured(exporter, synth):
    rng = np.random.default_rng(3)
    rows = [synth.rows_of(rng, (Op.GET, Op.PUT), 500, second, failing=0.1, planned=True) for second in range(3)]
    total = Tally()
    for second, batch in enumerate(rows):
        tally = synth.tally_of(batch)
        total.merge(tally)
        exporter.interval(
            Interval(start_s=second, seconds=1.0, tally=tally, client_cpu_pct=150.0, active_workers=2), total
        )
    samples, every = scrape(exporter.url), np.concatenate(rows)
    for op in (Op.GET, Op.PUT):
        mine = every[every["op"] == op]
        good = mine[mine["error"] == 0]
        assert samples["penstock_operations_total", op.name] == len(good)
        assert samples["penstock_errors_total", op.name] == len(mine) - len(good) > 0
        assert samples["penstock_bytes_total", op.name] == good["nbytes"].sum()
        seconds = (good["end"] - good["start"]) / 1e9
        assert samples["penstock_service_seconds_count", op.name] == len(good)
        assert samples["penstock_service_seconds_sum", op.name] == pytest.approx(seconds.sum())
        for bound in BOUNDS:
            key = ("penstock_service_seconds_bucket", repr(bound), op.name)
            assert np.sum(seconds <= bound * 0.999) <= samples[key] <= np.sum(seconds <= bound)
        assert samples["penstock_response_seconds_count", op.name] == len(good)
        assert samples["penstock_lag_seconds_count", op.name] == len(mine)
        recent = rows[-1][(rows[-1]["op"] == op) & (rows[-1]["error"] == 0)]
        busy = (recent["end"] - recent["start"]).sum() / 1e9
        assert samples["penstock_operations_in_flight", op.name] == pytest.approx(busy)
    assert ("penstock_first_byte_seconds_count", "PUT") not in samples
    assert samples[("penstock_workers",)] == 2
    assert samples[("penstock_client_processors",)] == 1.5
    assert samples[("penstock_measured_seconds",)] == 3


def test_it_ends_with_the_run(exporter):
    url = exporter.url
    exporter.close()
    exporter.close()
    assert exporter.url == ""
    with pytest.raises(urllib.error.URLError):
        scrape(url)
    assert not [thread for thread in threading.enumerate() if "serve_forever" in thread.name]


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=re.escape("install penstock[prometheus]")):
        open_exporter("0")


@pytest.fixture
def workload(tmp_path):
    path = tmp_path / "mixed.yaml"
    path.write_text(
        "target: mem://prometheus/\n"
        f"results_dir: {tmp_path / 'results'}\n"
        "duration: 5m\nconcurrency: 2\nlive_interval: 0.2\n"
        "prepare: {ensure_objects: [{base_uri: data/, count: 10, size: 4KiB}]}\n"
        "workload: [{op: get, path: 'data/*', weight: 1}]\n"
    )
    return path


def command(workload, address):
    return [sys.executable, "-m", "penstock", "run", str(workload), "--prometheus", address]


def test_a_busy_port_is_told_before_the_run_starts(workload, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(command(workload, port), capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert f"--prometheus {port}: can't listen there: Address already in use" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_run_is_scraped_while_it_runs(workload):
    with subprocess.Popen(
        command(workload, "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        url, seen = "", []
        for line in process.stderr:
            if found := re.search(r"metrics for Prometheus at (\S+)", line):
                url = found[1]
            if url and "ops/s" in line:
                seen.append(scrape(url))
            if len({samples["penstock_operations_total", "GET"] for samples in seen}) == 3:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)
    counts = [samples["penstock_operations_total", "GET"] for samples in seen]
    assert counts == sorted(counts)
    assert len(set(counts)) == 3
    assert counts[0] > 0
    assert all(samples["penstock_phase", "run"] == 1 for samples in seen)
    assert seen[-1]["penstock_bytes_total", "GET"] == counts[-1] * 4096
    assert process.returncode == 130


def test_workers_have_metrics_of_their_own(exporter):
    assert not [key for key in scrape(exporter.url) if key[0].startswith("penstock_worker_")]
    exporter.workers(
        [
            WorkerState(rank=0, host="a", state="running", count=7, nbytes=9, rate=5.0, speed=6.0, p99_ns=2_000_000),
            WorkerState(rank=1, host="a", state="lost", count=3, errors=1, silent_s=12.0, lost="killed"),
        ]
    )
    samples = scrape(exporter.url)
    assert samples["penstock_worker_up", "a", "0"] == 1
    assert samples["penstock_worker_up", "a", "1"] == 0
    assert samples["penstock_worker_silent_seconds", "a", "1"] == 12
    assert samples["penstock_worker_operations_total", "a", "0"] == 7
    assert samples["penstock_worker_errors_total", "a", "1"] == 1
    assert samples["penstock_worker_bytes_per_second", "a", "0"] == 6
    assert samples["penstock_worker_p99_seconds", "a", "0"] == 0.002
    assert ("penstock_worker_p99_seconds", "a", "1") not in samples
