"""A program's calls on S3, captured, and replayed against another place of the same service."""

from __future__ import annotations

import json
import subprocess
import sys

import penstock
from penstock import oplog


def _program(place, options):
    """Each operation that S3 has; the names that are there at the end, below ``place``."""
    store = penstock.connect(place, options=options)
    for number in range(8):
        store.put(f"data/{number} \t%ü", bytes([number]) * 5000 * number)
    for number in range(8):
        assert len(bytes(store.get(f"data/{number} \t%ü"))) == 5000 * number
    store.get_range("before", offset=100, length=50)
    with store.open_writer("large") as writer:
        writer.write(bytes(6 << 20))
    store.stat("large")
    store.copy("large", "copied")
    assert len(list(store.list("data/"))) == 8
    store.delete("data/7 \t%ü")
    return sorted(info.key for info in store.list(""))


def test_what_a_program_did_is_done_again_elsewhere(server, place, options, tmp_path):
    source, target = f"{place}source/", f"{place}target/"
    penstock.connect(source, options=options).put("before", bytes(1000))
    with oplog.start(tmp_path / "log.tsv.zst", sort=True):
        left = _program(source, options)
    recorded = list(oplog.read(tmp_path / "log.tsv.zst"))
    assert not [row for row in recorded if row.error]
    puts = [row for row in recorded if row.op == "PUT" and row.nbytes]
    assert len(puts) == 8
    # The body had been sent before the answer came.
    assert all(row.start_ns < row.first_byte_ns < row.end_ns for row in puts)
    again, log = tmp_path / "again.tsv", tmp_path / "log.tsv.zst"
    # Threads in their order: an operation may need what the one before it made.
    _replay(server, options, log, target, "--as-fast-as-possible", "--prepare", "--op-log", again, expected=recorded)
    replayed = list(oplog.read(again))
    assert not [row for row in replayed if row.error]
    assert [(row.op, row.nbytes) for row in replayed] == [(row.op, row.nbytes) for row in recorded]
    # A target takes the place of all but the key.
    above = place.removesuffix("/").rpartition("/")[2]
    made = [info.key for info in penstock.connect(f"{target}{above}/source/", options=options).list("")]
    assert sorted(made) == left
    reads = [row for row in recorded if row.op == "GET"]
    _replay(server, options, log, f"{place}reads/", "--ops", "GET", "--prepare", "--cleanup", expected=reads)
    assert not list(penstock.connect(f"{place}reads/", options=options).list(""))


def _replay(server, options, log, target, *arguments, expected):
    """By the command, as a user would; it repeats what is expected without an error."""
    command = [sys.executable, "-m", "penstock", "replay", log, "--target", target, *arguments, "--json"]
    given = [text for name, value in options.items() for text in ("-O", f"{name}={value}")]
    results = log.parent / "results"
    results.mkdir(exist_ok=True)
    done = subprocess.run(
        [*map(str, command), *given, "--results-dir", str(results)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["replay"]["counts"]["replayed"] == len(expected)
    assert result["replay"]["counts"]["failed_anew"] == 0
    kept = "".join(path.read_text(errors="replace") for path in results.rglob("*") if path.is_file())
    assert server.secret_key not in f"{kept}{done.stdout}{done.stderr}"
