"""``penstock compare``: is B slower than A, by how much, and how sure is that?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.analyze_options import Outputs, check_outputs, selecting, write_outputs, writing
from penstock.cli.common import verbose_option, warn
from penstock.cli.lazy import REGRESSION
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.analysis.comparing_rules import Finding, Rule
    from penstock.analysis.comparing_values import Comparison, Run
    from penstock.analysis.values import Analysis, Selection

__all__ = ["compare"]


@click.command(short_help="Compare two runs or logs, or several of each.")
@click.argument("runs", metavar="A B", nargs=-1)
@click.option("--baseline", "baselines", multiple=True, metavar="RUN", help="One of several runs of A. Repeatable.")
@click.option("--candidate", "candidates", multiple=True, metavar="RUN", help="One of several runs of B. Repeatable.")
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Exit with status 4 when it holds, such as 'p99 > +10%'. Repeatable.",
)
@click.option(
    "--fail-when",
    "mode",
    type=click.Choice(["shown", "certain", "estimate"]),
    default="shown",
    show_default=True,
    help="Which changes count: those beyond the threshold whose interval shows a change at all; those whose whole "
    "interval is beyond it; all that are beyond it as estimated.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(50, 99.9),
    default=95.0,
    show_default=True,
    metavar="PERCENT",
    help="How sure the intervals are.",
)
@click.option(
    "--resamples", type=click.IntRange(100, 100_000), default=2000, show_default=True, help="Draws of the bootstrap."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws.")
@selecting
@click.option("--skip-bad-rows", is_flag=True, help="Go on after a malformed row of a log; they are counted.")
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that read a log.")
@writing
@verbose_option
def compare(
    runs: tuple[str, ...],
    baselines: tuple[str, ...],
    candidates: tuple[str, ...],
    conditions: tuple[str, ...],
    mode: str,
    confidence: float,
    resamples: int,
    seed: int,
    chosen: Selection,
    skip_bad_rows: bool,
    workers: int | None,
    outputs: Outputs,
) -> int:
    """Compare B with the baseline A: result directories of `penstock run` or `replay`, or operation logs.

    For every operation and size: ops/s, MiB/s, mean, p50, p90, p95, p99, p99.9 and the share of failed calls, how much
    each changed, and an interval of that change. With one run of each side the intervals come from how the figures vary
    over time within it; what differs from run to run is not in them. Give several runs of a side to see that too:
    penstock compare --baseline A1 --baseline A2 B1 B2. Without --candidate the arguments are runs of B, without
    --baseline runs of A. A result with repeats is as many runs, one with stages is compared stage by stage, by their
    names. Warm-up and failed calls stay out of rates and latencies.

    A CONDITION is [OPERATION[.SIZE].]METRIC, then > or <, and +10% or -5% for a change, or 20ms, 500 or 0.5% for a
    figure of B: 'GET.p99 > +10%', 'ops/s < -5%', 'GET.4MiB-32MiB.p99 > 20ms', 'errors > 0'. OPERATION may be META or
    ALL, SIZE may be *; without them each operation over all sizes is meant. Figures of B are taken as measured.

    Exit status: 0 compared, 1 the results can't be written, 2 usage, or a log that can't be read, 4 a condition holds.
    """
    from penstock.analysis.comparing import compare as compare_sides
    from penstock.analysis.comparing_rules import parse_rule
    from penstock.analysis.comparing_values import Side
    from penstock.cli.compare_runs import check_runs, hints

    a, b = _sides(runs, baselines, candidates)
    check_runs(a, b)
    check_outputs(outputs, (*a, *b))
    rules = [parse_rule(text) for text in conditions]
    loaded = [[_load(path, chosen, workers=workers, skip_bad_rows=skip_bad_rows) for path in each] for each in (a, b)]
    comparisons = {}
    for stage in _stages(loaded):
        sides = [Side(runs=[run for runs in each for run in runs.get(stage, ())]) for each in loaded]
        comparisons[stage] = compare_sides(
            sides[0], sides[1], level=confidence / 100, replicates=resamples, seed=seed, notes=list(hints(sides))
        )
    return _report(comparisons, rules, mode, outputs)


def _stages(loaded: Sequence[Sequence[Mapping[str, Sequence[Run]]]]) -> list[str]:
    """The stages that both sides have; one without a name where there are none. Raises UsageError."""
    names = [list(dict.fromkeys(stage for runs in side for stage in runs)) for side in loaded]
    common = [stage for stage in names[0] if stage in names[1]]
    if not common:
        a, b = (", ".join(filter(None, each)) or "none" for each in names)
        raise UsageError(f"A and B have no stage in common: A has {a}, B has {b}; name the stages' own directories")
    if left := sorted({stage for each in names for stage in each} - set(common)):
        warn(f"left out, because only one side has it: {', '.join(stage or 'what has no stages' for stage in left)}")
    return common


def _sides(
    runs: Sequence[str], baselines: Sequence[str], candidates: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """The paths of A and of B."""
    if baselines and candidates:
        if runs:
            raise UsageError(f"{runs[0]} belongs to neither side; name it with --baseline or --candidate")
        return baselines, candidates
    if not (baselines or candidates):
        if len(runs) != 2:
            raise UsageError(
                "name two runs, A and B; for several of a side write --baseline A1 --baseline A2 --candidate B1 …"
            )
        return runs[:1], runs[1:]
    if not runs:
        raise UsageError("name the runs of the other side too, as arguments")
    return (baselines, runs) if baselines else (runs, candidates)


def _load(path: str, chosen: Selection, *, workers: int | None, skip_bad_rows: bool) -> Mapping[str, Sequence[Run]]:
    from penstock.cli.compare_runs import load_runs

    def analyse(log: str) -> Analysis:
        from penstock.cli.analyze_logs import read_logs

        return read_logs([log], chosen, workers=workers, skip_bad_rows=skip_bad_rows)

    found = {
        stage: some
        for stage, runs in load_runs(path, chosen, analyse).items()
        if (some := [run for run in runs if run.tally.cells])
    }
    if not found:
        raise UsageError(f"{path} has no call that was selected; there is nothing to compare")
    return found


def _report(comparisons: Mapping[str, Comparison], rules: Sequence[Rule], mode: Any, outputs: Outputs) -> int:
    from penstock.analysis.comparing_rules import check
    from penstock.analysis.exporting.tables import by_stage, comparison_tables
    from penstock.cli.compare_view import print_comparison, undecided

    findings = {stage: check(each, rules, mode) for stage, each in comparisons.items()}
    for stage, each in comparisons.items():
        if not outputs.to_stdout:
            if stage:
                click.secho(f"stage {stage}", bold=True)
            print_comparison(each, findings[stage])
            continue
        where = f"{stage}: " if stage else ""
        for text in undecided(findings[stage]):
            warn(f"{where}undecided: {text}")
        for finding in findings[stage]:
            if not finding.undecided:
                warn(f"{where}failed: {finding.text}")
    tables = by_stage({stage: comparison_tables(each) for stage, each in comparisons.items()})
    write_outputs(outputs, _facts(comparisons, rules, findings), tables, tables[0], lambda: _html(comparisons))
    every = [finding for each in findings.values() for finding in each]
    return REGRESSION if any(not finding.undecided for finding in every) else 0


def _html(comparisons: Mapping[str, Comparison]) -> str:
    from penstock.report.compared import render_comparisons

    return render_comparisons(comparisons)


def _facts(
    comparisons: Mapping[str, Comparison], rules: Sequence[Rule], findings: Mapping[str, Sequence[Finding]]
) -> dict[str, Any]:
    """Of stages each has its verdict, sentence and conditions under its name."""
    first = next(iter(comparisons.values()))
    each = {
        stage: {
            "verdict": comparison.verdict,
            "sentence": comparison.sentence,
            "conditions": [_outcome(rule, findings[stage]) for rule in rules],
        }
        for stage, comparison in comparisons.items()
    }
    drawn = {
        "confidence_pct": round(100 * first.level, 6),
        "resamples": first.replicates,
        "seed": first.seed,
    }
    whole = each[""] if list(each) == [""] else {"stages": each}
    return {"schema": "penstock.comparison/1"} | drawn | whole


def _outcome(rule: Rule, findings: Sequence[Finding]) -> dict[str, Any]:
    about = [finding for finding in findings if finding.rule == rule]
    met = [finding.text for finding in about if not finding.undecided]
    return {
        "condition": rule.text,
        "holds": bool(met) or (None if about else False),
        "found": met or [finding.text for finding in about],
    }
