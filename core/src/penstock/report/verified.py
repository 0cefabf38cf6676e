"""What a result says of reads that were checked against what had been written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.quantities import format_bytes, format_duration
from penstock.report.outcome import Outcome
from penstock.stats.verification import Verification

__all__ = ["describe_verification", "read_verification", "summarise_verification"]


def describe_verification(outcome: Outcome) -> list[str]:
    """In sentences, for people; nothing where nothing was to be checked."""
    counts = outcome.verification
    if counts is None:
        return []
    wrong = ", ".join(
        f"{number:,} {word}"
        for number, word in (
            (counts.stale, "stale"),
            (counts.torn, "torn"),
            (counts.corrupt, "corrupt"),
            (counts.wrong_size, "of the wrong size"),
        )
        if number
    )
    share = _share(outcome)
    cost = f"; checking took {format_duration(counts.cpu_ns / 1e9)} of CPU"
    if share is not None:
        cost += f", {share:.1%} of the client's"
    sized = f", {format_bytes(counts.nbytes)}" if counts.mode != "size" else ""
    lines = []
    if counts.reads:
        found = wrong or ("all of the right size" if counts.mode == "size" else "all as written")
        lines.append(f"verify {counts.mode}: {counts.reads:,} reads{sized}: {found}{cost}")
    if counts.unknown:
        lines.append(
            f"verify {counts.mode}: {counts.unknown:,} reads were not checked, because this run did not make the "
            f"objects, such as {counts.example}; to have them checked, prepare them (prepare.ensure_objects)"
        )
    if not lines:
        lines.append(f"verify {counts.mode}: nothing was read")
    return lines


def summarise_verification(outcome: Outcome) -> dict[str, Any] | None:
    """For ``result.json``."""
    counts = outcome.verification
    if counts is None:
        return None
    return {
        "mode": counts.mode,
        "reads": counts.reads,
        "bytes": counts.nbytes,
        "stale": counts.stale,
        "torn": counts.torn,
        "corrupt": counts.corrupt,
        "wrong_size": counts.wrong_size,
        "not_checked": counts.unknown,
        "example_key": counts.example,
        "cpu_seconds": counts.cpu_ns / 1e9,
        "client_cpu_share": _share(outcome),
    }


def read_verification(summary: Mapping[str, Any] | None) -> Verification | None:
    """What :func:`summarise_verification` was made from."""
    if summary is None:
        return None
    return Verification(
        mode=summary["mode"],
        reads=summary["reads"],
        nbytes=summary["bytes"],
        stale=summary["stale"],
        torn=summary["torn"],
        corrupt=summary["corrupt"],
        wrong_size=summary["wrong_size"],
        unknown=summary["not_checked"],
        example=summary["example_key"],
        cpu_ns=round(summary["cpu_seconds"] * 1e9),
    )


def _share(outcome: Outcome) -> float | None:
    """How much of the client's processor time the check took."""
    used, counts = outcome.client_cpu_seconds, outcome.verification
    return counts.cpu_ns / 1e9 / used if used and counts is not None else None
