"""What limits a whole run on files: the client's own processors."""

from __future__ import annotations

import os

WORKLOAD = """
target: file://{path}/target
duration: 2s
concurrency: {lanes}
processes: {processes}
prepare: {{ensure_objects: [{{path: d/, count: 50, size: 100}}]}}
workload: [{{op: stat, path: "d/*"}}]
"""


def test_a_client_whose_processors_are_all_busy_is_said_to_limit(penstock, tmp_path):
    processes = len(os.sched_getaffinity(0))
    text = WORKLOAD.format(path=tmp_path, processes=processes, lanes=4 * processes)
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 0, finished.err
    # Where other programs keep processors busy, the verdict is that this host limits.
    assert finished.result["limit"] == "client", finished.result["verdict"]
    assert any(text in finished.result["verdict"] for text in ("use more hosts", "run the client on a host of its own"))
    assert finished.result["verdict"] in " ".join(finished.out.split())
