# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "trustme"]
# ///
"""Does an independent observer agree? A mixed `penstock run` on S3, and what nginx logged of it:
``nox -s bench -- observer``.

Compared are, for each operation, how many there were and their bytes, and how long it all took; the two have to be
within 1 %. The durations of single requests can't be compared: nginx's clock stands still while it serves one, and
stops when the kernel has the last byte, the client's when it has read it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from remote import Place
from s3 import BUCKET, environ
from servers import Entry, nginx, parse_log

METHODS = {"GET": "GET", "PUT": "PUT", "STAT": "HEAD"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    with nginx(log=True) as web:
        place = Place(url=web.url, uri=f"s3+{web.url}/{BUCKET}", ca=str(web.ca))
        result = run(place, arguments)
        assert web.log
        entries = parse_log(web.log.read_text().splitlines())
    if not compare(result, entries):
        sys.exit("they differ by more than 1 %")


def run(place: Place, arguments: argparse.Namespace) -> Mapping[str, Any]:
    size = {"uniform": {"min": 1, "max": 1 << 20}}
    workload = {
        "target": f"{place.uri}/observed/",
        "duration": f"{arguments.seconds:g}s",
        "concurrency": arguments.lanes,
        "processes": arguments.processes,
        "prepare": {"ensure_objects": [{"path": "base/", "count": 500, "size": size}]},
        "workload": [
            {"op": "get", "path": "base/*", "weight": 60},
            {"op": "put", "path": "new/", "size": size, "weight": 30},
            {"op": "stat", "path": "base/*", "weight": 10},
        ],
    }
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as directory:
        path = Path(directory) / "workload.yaml"
        path.write_text(json.dumps(workload | {"results_dir": directory}))
        done = subprocess.run(
            [sys.executable, "-m", "penstock", "run", str(path), "--json"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | environ(place),
        )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def compare(result: Mapping[str, Any], entries: Sequence[Entry]) -> bool:
    """Print both sides; True when they agree."""
    # What prepares the run is told by its names.
    seen = [entry for entry in entries if entry.method != "PUT" or "/new/" in entry.target]
    seen = [entry for entry in seen if "/base/" in entry.target or "/new/" in entry.target]
    window = max(entry.ended for entry in seen) - min(entry.ended - entry.took for entry in seen)
    rows = [("seconds", float(result["window"]["seconds"]), window)]
    for op, method in METHODS.items():
        total = result["operations"][op]
        mine = [entry for entry in seen if entry.method == method]
        rows.append((f"{op} count", total["count"], len(mine)))
        rows.append((f"{op} bytes", total["bytes"], sum(e.sent if op == "GET" else e.received for e in mine)))
    print("| | penstock | nginx's log | difference |\n|---|--:|--:|--:|")
    for name, ours, theirs in rows:
        share = f"{(ours - theirs) / theirs:+.3%}" if theirs else ""
        print(f"| {name} | {ours:,.3f} | {theirs:,.3f} | {share} |")
    return all(abs(ours - theirs) <= 0.01 * theirs for _, ours, theirs in rows)


if __name__ == "__main__":
    main()
