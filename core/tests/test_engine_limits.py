"""What limits a run is found where one thing after the other is made the limit."""

from __future__ import annotations

from penstock.engine.run import execute
from penstock.report.live import open_view
from penstock.workload.config import Loaded, loads


def limit(tmp_path, text):
    text = f"target: mem://x/\nprocesses: 1\nduration: 1s\nresults_dir: {tmp_path}\n{text}"
    config = loads(text, label="w.yaml", environ={})
    result = execute(
        Loaded(config, text, "limit"), command_line="test", view=lambda directory: open_view(None, quiet=True)
    )
    assert result.outcome.status == "done", result.outcome.reason
    assert result.outcome.verdict
    return result.outcome.limit


def prepare(size):
    return f"prepare: {{ensure_objects: [{{path: d/, count: 4, size: {size}}}]}}\n"


# Where other programs keep the processors busy meanwhile, the verdict is the wider one that the host limits.


def test_one_interpreter(tmp_path):
    text = f"concurrency: 4\n{prepare('1KiB')}workload: [{{op: stat, path: d/*}}]"
    assert limit(tmp_path, text) in ("interpreter", "client")


def test_a_rate_that_is_kept(tmp_path):
    text = f"rate: {{ops_per_second: 4, arrivals: uniform}}\n{prepare('1KiB')}workload: [{{op: stat, path: d/*}}]"
    assert limit(tmp_path, text) == "none"


def test_checking_data(tmp_path):
    text = f"concurrency: 1\nverify: content\n{prepare('4MiB')}workload: [{{op: get, path: d/*}}]"
    assert limit(tmp_path, text) in ("verification", "client")


def test_making_data(tmp_path):
    # It takes most of the lane's time wherever it runs, and comes before the host in the rules.
    text = "concurrency: 1\ntotal_operations: 2000\nworkload: [{op: put, path: n/, size: 64KiB, compress_factor: 1.2}]"
    assert limit(tmp_path, text) == "generator"
