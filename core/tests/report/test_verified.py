"""What a result says of reads that were checked."""

from __future__ import annotations

import attrs
import pytest

from penstock.report.summary import summarise
from penstock.report.terminal import print_summary
from penstock.report.verified import describe_verification, read_verification
from penstock.stats.verification import Verification

RIGHT = Verification("content", reads=1200, nbytes=5 << 30, cpu_ns=500_000_000)
WRONG = attrs.evolve(RIGHT, stale=3, torn=2, corrupt=1, wrong_size=4, unknown=7, example="strange/key")


def with_counts(outcome, counts):
    worker = attrs.evolve(outcome.workers[0], cpu_seconds=2.0)
    return attrs.evolve(outcome, verification=counts, workers=[worker])


def test_nothing_is_said_where_nothing_was_to_be_checked(synth):
    outcome = synth.make_outcome(seconds=2)
    assert describe_verification(outcome) == []
    assert summarise(outcome)["verification"] is None
    assert read_verification(None) is None


COST = "checking took 500 ms of CPU, 25.0% of the client's"
UNKNOWN = (
    "verify content: 7 reads were not checked, because this run did not make the objects, such as strange/key; "
    "to have them checked, prepare them (prepare.ensure_objects)"
)


@pytest.mark.parametrize(
    ("counts", "lines"),
    [
        (RIGHT, [f"verify content: 1,200 reads, 5.00 GiB: all as written; {COST}"]),
        (
            WRONG,
            [
                f"verify content: 1,200 reads, 5.00 GiB: 3 stale, 2 torn, 1 corrupt, 4 of the wrong size; {COST}",
                UNKNOWN,
            ],
        ),
        (
            Verification("size", reads=3, cpu_ns=2000),
            ["verify size: 3 reads: all of the right size; checking took 2.00 µs of CPU, 0.0% of the client's"],
        ),
        (Verification("checksum"), ["verify checksum: nothing was read"]),
    ],
)
def test_counts_and_cost_in_a_sentence(synth, counts, lines, capsys):
    made = with_counts(synth.make_outcome(seconds=2), counts)
    assert describe_verification(made) == lines
    print_summary(made)
    said = " ".join(capsys.readouterr().out.split())
    assert all(line in said for line in lines)


@pytest.mark.parametrize("counts", [RIGHT, WRONG])
def test_counts_come_back_from_the_result(synth, counts):
    made = summarise(with_counts(synth.make_outcome(seconds=2), counts))["verification"]
    assert read_verification(made) == counts
    assert made["client_cpu_share"] == 0.25
    assert (made["stale"], made["not_checked"]) == (counts.stale, counts.unknown)


def test_a_client_of_unknown_cost_has_no_share(synth):
    outcome = synth.make_outcome(seconds=2)
    worker = attrs.evolve(outcome.workers[0], cpu_seconds=None)
    made = attrs.evolve(outcome, verification=RIGHT, workers=[worker])
    assert summarise(made)["verification"]["client_cpu_share"] is None
    assert describe_verification(made)[0].endswith("500 ms of CPU")
