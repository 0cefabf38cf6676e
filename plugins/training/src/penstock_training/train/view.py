"""What is said of a job: before it, while it runs, and at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from penstock.cli.text import table
from penstock.quantities import format_bytes, format_duration
from penstock_training.datasets.writing import Written
from penstock_training.train.metrics import checkpoint_figures, figures_of
from penstock_training.train.plan import Plan
from penstock_training.train.rank import Block, Saved

__all__ = ["Console", "plan_lines", "result_lines"]

_MIB = 1024 * 1024


class Console:
    """Says what happens on standard error, and keeps it in a file."""

    def __init__(self, plan: Plan, path: Path, *, quiet: bool) -> None:
        self._plan = plan
        self._quiet = quiet
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed by close
        self._blocks: dict[tuple[int, str], list[Block]] = {}
        self._saves: dict[tuple[str, int, int], list[Saved]] = {}
        self._made = Written()

    def keep(self, text: str) -> None:
        """A line for the file alone."""
        self._file.write(f"{text}\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """One line."""
        self.keep(text)
        if not self._quiet:
            click.echo(text, err=True)

    def see(self, what: Block | Saved | Written | str) -> None:
        """A measurement, which is one line where all ranks have made theirs; or a line."""
        if isinstance(what, str):
            self.say(what)
        elif isinstance(what, Written):
            self._generated(what)
        elif isinstance(what, Saved):
            group = self._saves.setdefault((what.kind, what.epoch, what.step), [])
            group.append(what)
            if len(group) == self._plan.ranks:
                self._saved(self._saves.pop((what.kind, what.epoch, what.step)))
        else:
            self._block(what)

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _generated(self, what: Written) -> None:
        self._made += what
        expected = self._plan.training.files + self._plan.evaluation.files
        if self._made.files == expected:
            self.say(f"generated {expected:,} files, {self._made.samples:,} samples, {format_bytes(self._made.nbytes)}")
        elif sys.stderr.isatty() and not self._quiet:
            click.echo(f"\rgenerating {self._made.files:,} of {expected:,} files", err=True, nl=False)

    def _saved(self, group: list[Saved]) -> None:
        (figures,) = checkpoint_figures(group)
        self.say(
            f"checkpoint {figures.epoch}/{figures.step} {figures.kind}: {format_bytes(figures.nbytes)} in "
            f"{format_duration(figures.seconds)}, {figures.gib_per_second:.2f} GiB/s"
        )

    def _block(self, block: Block) -> None:
        blocks = self._blocks.setdefault((block.epoch, block.kind), [])
        blocks.append(block)
        part = self._plan.training if block.kind == "train" else self._plan.evaluation
        steps = sum(len(each.steps) for each in blocks)
        if steps == part.steps(self._plan.ranks) * self._plan.ranks:
            (figures,) = figures_of(blocks, exclude_start=self._plan.exclude_start, exclude_end=self._plan.exclude_end)
            name = "epoch" if block.kind == "train" else "evaluation after epoch"
            self.say(
                f"{name} {block.epoch}: {_percent(figures.au)} utilization, {_rate(figures.samples_per_second)} "
                f"samples/s, {figures.mib_per_second:,.1f} MiB/s, {format_duration(figures.seconds)}"
            )


def plan_lines(plan: Plan) -> Iterator[str]:
    """What would be done."""
    yield f"{plan.name}: {plan.ranks} ranks, seed {plan.seed}"
    if plan.generate or plan.train:
        for part in (plan.training, plan.evaluation):
            if part.files:
                yield from _part_lines(plan, part)
    if plan.train:
        limit = f", at most {plan.total_steps:,} steps" if plan.total_steps > 0 else ""
        yield f"  train {plan.epochs} epochs{limit}; goal {plan.au_goal:.0%} utilization"
    if plan.checkpoint:
        yield from _checkpoint_lines(plan)


def _part_lines(plan: Plan, part: Any) -> Iterator[str]:
    content = part.samples * plan.recipe.record_bytes
    yield (
        f"  {'generate and ' if plan.generate else ''}use {part.uri}: {part.files:,} files of "
        f"{part.samples_per_file:,} samples ({plan.recipe.format}), about {format_bytes(int(content))}"
    )
    if plan.train and (part.kind == "train" or plan.evaluate):
        yield (
            f"    {part.steps(plan.ranks):,} steps of {part.batch_size} samples for each rank, each computes "
            f"{part.compute}; {plan.reading.threads} threads read {plan.reading.prefetch} batches ahead"
        )


def _checkpoint_lines(plan: Plan) -> Iterator[str]:
    saves = plan.checkpoints
    yield f"  checkpoints of {format_bytes(saves.shape.nbytes)} below {saves.uri}"
    for rank, files in enumerate(saves.shape.files[:4]):
        for name, nbytes in files[:4]:
            yield f"    rank {rank}: {name}, {format_bytes(nbytes)}"


def result_lines(result: dict[str, Any]) -> Iterator[str]:
    """The table at the end."""
    if result["epochs"]:
        head = ("", "epoch", "rank", "steps", "AU", "samples/s", "MiB/s", "load", "compute", "wait")
        rows = [head, *(row for epoch in result["epochs"] for row in _epoch_rows(epoch))]
        yield from table(rows, right=range(1, len(head)))
    for save in result["checkpoints"]:
        yield (
            f"checkpoint {save['epoch']}/{save['step']} {save['kind']}: {format_bytes(save['bytes'])} in "
            f"{format_duration(save['seconds'])}, {save['gib_per_second']:.2f} GiB/s"
        )
    if result["au"] is not None:
        word = "met" if result["au_met"] else "not met"
        yield (
            f"utilization {_percent(result['au'])}, goal {_percent(result['au_goal'])} {word}; "
            f"{_rate(result['samples_per_second'])} samples/s, {result['mib_per_second']:,.1f} MiB/s"
        )
    elif result["epochs"]:
        yield "no utilization: all steps are excluded; give more samples, or output.metric.exclude_start_steps: 0"


def _epoch_rows(epoch: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    ranks = epoch["ranks"]
    yield _row(epoch["kind"], epoch["epoch"], "all", epoch, ranks)
    if len(ranks) > 1:
        for rank in ranks:
            yield _row("", epoch["epoch"], rank["rank"], rank, [rank])


def _row(kind: str, epoch: int, rank: object, what: dict[str, Any], ranks: list[dict[str, Any]]) -> tuple[str, ...]:
    spent = (sum(each[f"{name}_seconds"] for each in ranks) for name in ("load", "compute", "wait"))
    figures = (_percent(what["au"]), _rate(what["samples_per_second"]), f"{what['mib_per_second']:,.1f}")
    return (kind, str(epoch), str(rank), str(what["steps"]), *figures, *map(format_duration, spent))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
