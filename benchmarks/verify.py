# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs"]
# ///
"""What checking reads costs, and what making data costs a put: ``nox -s bench -- verify [--quick]``.

Reads of prepared objects from memory, through the check as a run puts it on: none, by size, by checksum (CRC-32C of
each 64 KiB) and byte for byte, where the expected bytes are made again while they arrive. Then puts of 8 MiB to a file,
with the bytes made for each and with the same bytes again, which shows the share of making them. Figures are processor
time of the one thread, the least of interleaved rounds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from penstock.buffers import aligned_buffer
from penstock.engine.board import Board
from penstock.engine.contents import Contents
from penstock.engine.knowing import knowledge_of
from penstock.engine.legs import legs_of
from penstock.engine.places import Places
from penstock.engine.sets import prepared_sets
from penstock.engine.steps import write_object
from penstock.engine.verifying import Verifier, Verifying
from penstock.payloads.pooled import PooledPayload
from penstock.payloads.random import RandomPayload
from penstock.sinks import Discard
from penstock.store import ObjectStore
from penstock.workload.config import loads

MIB = 1024 * 1024
SIZES = {"4 KiB": 4096, "64 KiB": 64 * 1024, "1 MiB": MIB, "8 MiB": 8 * MIB}
MODES = ("size", "checksum", "content")
FILLS = ("pooled", "random")
OBJECTS = 8
WORK = 256 * MIB
MOST_READS = 20_000
PUTS = 24

#: One round of a work.
Round = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", default=".", help="a directory on the disk to measure; what is made there is removed")
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 7")
    arguments = parser.parse_args()
    rounds, scale = (3, 0.25) if arguments.quick else (7, 1.0)
    for fill in FILLS:
        reads(fill, rounds, scale)
    directory = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=arguments.dir)).resolve()
    try:
        puts(directory, rounds, scale)
        replacing(rounds, scale)
    finally:
        shutil.rmtree(directory)


def reads(fill: str, rounds: int, scale: float) -> None:
    """A row for each size: processor time of a read without a check, and what each check adds."""
    print(f"\nReads of {fill} content from memory; µs of processor time for each, and GB/s of what is checked.\n")
    titles = ("size", "no check", *(f"+ {mode}" for mode in MODES), *(f"{mode} GB/s" for mode in MODES))
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    for title, size in SIZES.items():
        count = max(OBJECTS, min(MOST_READS, int(WORK * scale / size)))
        stores = opened(fill, size)
        least = interleaved({name: reading(store, count) for name, store in stores.items()}, rounds)
        plain = least["off"] / count
        more = {mode: least[mode] / count - plain for mode in MODES}
        cells = [f"{plain * 1e6:,.1f}", *(f"{more[mode] * 1e6:+,.1f}" for mode in MODES)]
        cells += [f"{size / more[mode] / 1e9:,.1f}" if more[mode] > 0 else "-" for mode in MODES]
        print(f"| {title} | {' | '.join(cells)} |")


def opened(fill: str, size: int) -> dict[str, ObjectStore]:
    """The store with its objects as it is, and with each check as a run makes it."""
    text = (
        f"target: mem://verify-{fill}-{size}/\nworkload: [{{op: get, path: 'd/*'}}]\n"
        f"prepare: {{ensure_objects: [{{path: d/, count: {OBJECTS}, size: {size}, fill: {fill}}}]}}\n"
    )
    config = loads(text, label="verify", environ={})
    places, contents = Places(config), Contents(config.seed)
    sets = prepared_sets(config, places, contents.open)
    knowledge, _ = knowledge_of(legs_of(config), places, sets, contents.open, "run")
    places.open(1)
    store, room = places.stores[0], aligned_buffer(size)
    (prepared,) = sets
    assert prepared.payload is not None
    for index in range(OBJECTS):
        write_object(
            store, prepared.objects.key(index), prepared.payload, prepared.number(index), size, room, size, size
        )
    checked = {mode: Verifying(store, Verifier(mode, knowledge), 0) for mode in MODES}
    return {"off": store, **checked}


def reading(store: ObjectStore, count: int) -> Round:
    keys, sink = [f"d/prepared-{index:08d}.dat" for index in range(OBJECTS)], Discard()

    def work() -> None:
        for number in range(count):
            store.get(keys[number % OBJECTS], sink)

    return work


def puts(directory: Path, rounds: int, scale: float) -> None:
    """How much of a put of 8 MiB to a file is making its bytes."""
    size, count = 8 * MIB, max(4, int(PUTS * scale))
    places = Places(loads(f"target: file://{directory}/\nworkload: [{{op: get, path: x}}]\n", label="p", environ={}))
    places.locate("x")
    places.open(1)
    print(f"\nPuts of 8 MiB to a file in {directory.parent}; ms of processor time for each.\n")
    print("| fill | put | of it making the bytes | share (≤ 10 %) |\n|---|---|---|---|")
    with closing(places):
        store = places.stores[0]
        base = places.locate("x").key.removesuffix("x")
        for fill, payload in (("pooled", PooledPayload(1)), ("random", RandomPayload(1))):
            room, filled = aligned_buffer(size), aligned_buffer(size)
            payload.fill(filled, obj=0)

            def whole(payload: PooledPayload | RandomPayload = payload, room: memoryview = room) -> None:
                for number in range(count):
                    payload.fill(room, obj=number)
                    store.put(f"{base}a-{number}", room)

            def same(filled: memoryview = filled) -> None:
                for number in range(count):
                    store.put(f"{base}b-{number}", filled)

            def only(payload: PooledPayload | RandomPayload = payload, room: memoryview = room) -> None:
                for number in range(count):
                    payload.fill(room, obj=number)

            least = interleaved({"whole": whole, "same": same, "only": only}, rounds)
            put, make = least["whole"] / count, least["only"] / count
            print(f"| {fill} | {put * 1e3:.2f} | {make * 1e3:.2f} | {100 * make / put:.1f} % |")


def replacing(rounds: int, scale: float) -> None:
    """What a put costs whose objects have versions that are to be told apart: the board hears of each."""
    size, count = 4096, max(1000, int(20_000 * scale))
    text = (
        "target: mem://verify-replacing/\nworkload: [{op: put, path: 'd/{:04d}', size: 4096}]\n"
        "prepare: {ensure_objects: [{path: d/, count: 1000, size: 4096, name: '{:04d}'}]}\n"
    )
    config = loads(text, label="verify", environ={})
    places, contents = Places(config), Contents(config.seed)
    sets = prepared_sets(config, places, contents.open)
    knowledge, _ = knowledge_of(legs_of(config), places, sets, contents.open, "run")
    places.open(1)
    body, plain = aligned_buffer(size), places.stores[0]
    checked = Verifying(plain, Verifier("content", knowledge, Board()), 0)
    checked.writing = knowledge.bit_of("run", 0)

    def putting(store: ObjectStore) -> Round:
        def work() -> None:
            for number in range(count):
                store.put(f"d/{number % 1000:04d}", body)

        return work

    with closing(places):
        least = interleaved({"off": putting(plain), "on": putting(checked)}, rounds)
    off, on = least["off"] / count * 1e6, least["on"] / count * 1e6
    print("\nPuts of 4 KiB to memory that replace each other; µs of processor time for each.\n")
    print(f"| no check | + versions told apart |\n|---|---|\n| {off:.1f} | {on - off:+.1f} |")


def interleaved(works: Mapping[str, Round], rounds: int) -> dict[str, float]:
    """The least processor seconds of each, of so many rounds of all in turn."""
    least = dict.fromkeys(works, float("inf"))
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for name, work in works.items():
            before = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - before)
    return least


if __name__ == "__main__":
    main()
