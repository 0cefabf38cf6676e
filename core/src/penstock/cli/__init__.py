"""The ``penstock`` command: a table of commands, each imported when it is called."""

from __future__ import annotations

from typing import Any

import click

from penstock.cli.common import env_file_option, verbose_option
from penstock.cli.lazy import Entry, LazyGroup

__all__ = ["main"]

_BENCH, _DATA, _MORE = "Benchmarks", "Storage (any URI; a bare path is a file)", "More"

COMMANDS = {
    "run": Entry("penstock.cli.run:run", "Run a workload file and write a result directory.", _BENCH),
    "find": Entry("penstock.cli.find:find", "Search the highest rate that meets a service goal.", _BENCH),
    "autotune": Entry("penstock.cli.autotune:autotune", "Try settings and print the best.", _BENCH),
    "preflight": Entry("penstock.cli.preflight:preflight", "Look at every host of a workload before it runs.", _BENCH),
    "config": Entry("penstock.cli.config:config", "Check workload files; print their schema.", _BENCH),
    "replay": Entry("penstock.cli.replay:replay", "Replay an operation log against any backend.", _BENCH),
    "capture": Entry("penstock.cli.capture:capture", "Run a program and record its calls in an operation log.", _BENCH),
    "oplog": Entry("penstock.cli.oplog:oplog", "Read, sort, merge, convert and check operation logs.", _BENCH),
    "analyze": Entry("penstock.cli.analyze:analyze", "Say what operation logs hold: rates, latencies, errors.", _BENCH),
    "compare": Entry("penstock.cli.compare:compare", "Compare two runs or logs, or several of each.", _BENCH),
    "collect": Entry("penstock.cli.collect:collect", "Make a result of what hosts kept of a lost run.", _BENCH),
    "report": Entry("penstock.cli.report:report", "Draw the report of results, or of operation logs.", _BENCH),
    "ls": Entry("penstock.cli.listing:ls", "List objects and common prefixes, or the buckets of a service.", _DATA),
    "stat": Entry("penstock.cli.listing:stat", "Show what a store knows of an object.", _DATA),
    "count": Entry("penstock.cli.listing:count", "Count objects and their bytes.", _DATA),
    "du": Entry("penstock.cli.listing:du", "Sum up sizes by common prefix.", _DATA),
    "cat": Entry("penstock.cli.objects:cat", "Write objects to standard output.", _DATA),
    "get": Entry("penstock.cli.objects:get", "Read one object into a file, a directory or standard output.", _DATA),
    "put": Entry("penstock.cli.putting:put", "Store a file, or generated objects.", _DATA),
    "generate": Entry("penstock.cli.generate:generate", "Write objects of content that can be checked.", _DATA),
    "verify": Entry("penstock.cli.generate:verify", "Check generated objects byte for byte, by their seed.", _DATA),
    "format": Entry("penstock.cli.format:formats", "Look into files of samples; write their indexes.", _DATA),
    "cp": Entry("penstock.cli.trees:cp", "Copy objects, within a store or across backends.", _DATA),
    "mv": Entry("penstock.cli.trees:mv", "Move objects; a source goes only when its copy is whole.", _DATA),
    "upload": Entry("penstock.cli.trees:upload", "Copy local files to a store, keeping the tree.", _DATA),
    "download": Entry("penstock.cli.trees:download", "Copy objects to local files, keeping the tree.", _DATA),
    "set-metadata": Entry("penstock.cli.metadata:set_metadata", "Replace the metadata of an object.", _DATA),
    "rm": Entry(
        "penstock.cli.removal:rm", "Delete exactly one object, or with -r or a glob many; or abandoned uploads.", _DATA
    ),
    "mkdir": Entry("penstock.cli.removal:mkdir", "Make a directory, or its marker object.", _DATA),
    "rmdir": Entry("penstock.cli.removal:rmdir", "Remove a directory, or its marker object.", _DATA),
    "mb": Entry("penstock.cli.buckets:mb", "Make a bucket or container.", _DATA),
    "rb": Entry("penstock.cli.buckets:rb", "Remove an empty bucket, or with --force a full one.", _DATA),
    "health": Entry("penstock.cli.health:health", "Check a URI step by step, with a remedy for what fails.", _DATA),
    "plugins": Entry("penstock.cli.plugins:plugins", "List plugins; show a backend's options.", _MORE),
    "new-plugin": Entry("penstock.cli.newplugin:new_plugin", "Write the skeleton of a new backend or format.", _MORE),
    "completion": Entry("penstock.cli.completion:completion", "Print the completion script of a shell.", _MORE),
}


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"penstock {version('penstock')}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done; 1 failed; 2 configuration or usage; 3 errors above the limit; "
    "4 compare found a regression; 130 interrupted.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@verbose_option
@env_file_option
def _group(**_: Any) -> None:
    """Move data between storage and accelerators, and measure how well storage does it."""


assert isinstance(_group, LazyGroup)
_group.table = COMMANDS
_group.name = "penstock"
#: The entry point: a click group whose ``main`` maps every failure to an exit code.
main = _group
