"""``penstock replay``: a recorded log once more, against any backend."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from penstock.cli.analyze_options import moment
from penstock.cli.common import env_file_option, key_values, print_json, verbose_option
from penstock.cli.conducting import conduct, prometheus_option
from penstock.cli.launching import Launching, launching_options
from penstock.cli.replay_text import config_text, facts, say_dry_run
from penstock.cli.session import Duration, Size
from penstock.engine.contents import Contents, Recipe
from penstock.errors import PluginError, UsageError
from penstock.plugins import default_host
from penstock.replay.dryrun import dry_run as run_dry
from penstock.replay.rules import load_rules
from penstock.replay.run import Prepared, check, execute_replay
from penstock.replay.settings import Backpressure, Settings, Window, parse_operations

__all__ = ["replay"]

_DEFAULTS = Settings(log="")
_CONTENT = ("fill", "dedup_factor", "compress_factor")
_PRESSURE = Backpressure()
_WINDOW = Window()


class _Speed(click.ParamType[float]):
    """A positive number."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            speed = float(str(value).removesuffix("x"))
        except ValueError:
            speed = 0.0
        if not 0 < speed < 1e9:
            self.fail(f"{value!r} is not a speed; write a number above 0, such as 0.5, 1 or 10", param, ctx)
        return speed


class _Processes(click.ParamType[int]):
    """``auto``, which is 0, or a number."""

    name = "processes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value != "auto" and not (str(value).isdecimal() and int(value)):
            self.fail(f"{value!r}: write auto, or a number of 1 or more", param, ctx)
        return 0 if value == "auto" else int(value)


_WHERE = (
    click.option("--target", metavar="URI", help="Where: takes the place of scheme, endpoint and bucket; keys stay."),
    click.option("--remap", metavar="RULES.yaml", help="Rules that say where names go; the first match decides."),
    click.option("--in-place", is_flag=True, help="Use recorded names as they are: it writes and deletes there."),
    click.option(
        "-O",
        "--option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=key_values,
        help="An option of the store; `penstock plugins show SCHEME` lists them.",
    ),
)
_WHEN = (
    click.option(
        "--speed", type=_Speed(), metavar="X", help="Divide recorded offsets by X: 2 is twice as fast.  [default: 1]"
    ),
    click.option("--as-fast-as-possible", is_flag=True, help="No schedule; each recorded thread keeps its order."),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1, max=60_000),
        default=_PRESSURE.max_in_flight,
        show_default=True,
        help="Most operations in flight, over all processes; those beyond wait and are late.",
    ),
    click.option(
        "--processes", type=_Processes(), default="auto", show_default=True, help="Worker processes, or auto."
    ),
    click.option(
        "--lag-threshold", type=Duration(), default="5s", show_default=True, help="Later than this is behind schedule."
    ),
    click.option(
        "--recovery-threshold",
        type=Duration(),
        default="1s",
        show_default=True,
        help="Less late than this is on schedule again.",
    ),
    click.option(
        "--max-flaps-per-minute",
        type=click.IntRange(min=0),
        default=_PRESSURE.max_flaps_per_minute,
        show_default=True,
        help="Changes between behind and on schedule within a minute, above which it stops; 0: never.",
    ),
    click.option(
        "--drain-timeout",
        type=Duration(),
        default="10s",
        show_default=True,
        help="After an interrupt, how long operations in flight have to end.",
    ),
)
_WHICH = (
    click.option("--ops", metavar="OP,…", help="Replay these operations only, such as GET,PUT."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Replay the first N operations."),
    click.option("--from", "begin", metavar="TIME", help="Begin here: 90s after the first call, or an RFC 3339 time."),
    click.option("--to", "end", metavar="TIME", help="End before this: 5m after the first call, or an RFC 3339 time."),
    click.option("--skip-bad-rows", is_flag=True, help="Leave malformed rows out; they are counted."),
    click.option(
        "--sort-rows",
        type=click.IntRange(min=1),
        default=_WINDOW.rows,
        show_default=True,
        help="How many rows the log may be out of order.",
    ),
    click.option(
        "--sort-window",
        type=Duration(),
        default="10m",
        show_default=True,
        help="How long the log may be out of order.",
    ),
)
_WHAT = (
    click.option("--prepare", is_flag=True, help="First make what the log reads and did not write before."),
    click.option("--cleanup", is_flag=True, help="At the end delete what the replay made, and only that."),
    click.option(
        "--fill",
        default=_DEFAULTS.fill,
        show_default=True,
        metavar="NAME",
        help="What puts hold: pooled, random or zero.",
    ),
    click.option(
        "--dedup-factor", type=float, default=1.0, show_default=True, help="How often each block occurs in an object."
    ),
    click.option(
        "--compress-factor", type=float, default=1.0, show_default=True, help="How well what puts hold compresses."
    ),
    click.option(
        "--multipart-above", type=Size(), default="32MiB", show_default=True, help="Puts larger than this go in parts."
    ),
    click.option(
        "--range-offsets",
        type=click.Choice(["spread", "start"]),
        default=_DEFAULTS.range_offsets,
        show_default=True,
        help="Where ranges begin whose offsets the log does not hold: anywhere in the object, or at its start.",
    ),
    click.option("--part-size", type=Size(), default="16MiB", show_default=True, help="Size of these parts."),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Random choices and bytes derive from it.",
    ),
    click.option(
        "--continue-on-error/--stop-on-error", default=True, show_default=True, help="Go on when an operation fails."
    ),
    click.option("--max-errors", type=click.IntRange(min=0), metavar="N", help="Stop when more than N have failed."),
)
_OUT = (
    click.option("--dry-run", is_flag=True, help="Say what would be replayed, and where; send nothing."),
    click.option("--results-dir", default=".", show_default=True, metavar="DIR", help="Where the results go."),
    click.option(
        "--live-interval", type=Duration(), default="1s", show_default=True, help="Length of the series' intervals."
    ),
    click.option("--op-log", metavar="FILE", help="Log what is replayed to FILE (.tsv.zst or .tsv)."),
    click.option("--op-log-due", is_flag=True, help="Add a column due to that log; response time is end - due."),
    launching_options,
    prometheus_option,
    click.option("-q", "--quiet", is_flag=True, help="Show nothing while it runs."),
    click.option("--json", "as_json", is_flag=True, help="Print result.json, or the dry run, on stdout; nothing else."),
    verbose_option,
    env_file_option,
)


def _with(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


@click.command("replay", short_help="Replay an operation log against any backend, at the recorded times.")
@click.argument("log", metavar="LOG")
@_with(_WHERE, _WHEN, _WHICH, _WHAT, _OUT)
@click.pass_context
def _replay(
    context: click.Context,
    /,
    dry_run: bool,
    launching: Launching,
    prometheus: str | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Replay LOG: each call when it was made, divided by --speed, whether or not earlier ones have ended.

    Names go to --target, by the rules of --remap, or, with --in-place, where they were recorded. A call that starts
    late is measured from when it was due (response time) and from when it started (service time); none is dropped.
    The result directory compares what was recorded with what was replayed.

    What the log does not hold is made up and counted: ranges without an offset are spread over the object, copies
    without a source take a stand-in, batch deletes hold names that do not exist but for the first one. Columns named
    offset, length and source are used where the log has them.

    \b
    RULES.yaml, the first rule that matches decides; a matched prefix is cut off:
      rules:
        - match: {scheme: s3, endpoint: "s3://", bucket: a, prefix: 2025/}
          map_to: file:///mnt/a/                       # a place
        - match_any: [{bucket: b}, {bucket: c}]
          map_to: {bucket: d, prefix: joined/}         # same scheme and endpoint
        - match: {bucket: e}
          map_to_many:                                 # round_robin, random or sticky_key
            targets: [s3://one/, s3://two/]
            strategy: sticky_key
        - regex: 's3://tenant-(\\w+)/(.*)'
          replace: 's3://all/$1/$2'

    Ctrl-C once finishes the operations in flight and reports what was measured; twice stops at once.

    Exit status: 0 done, 1 failed or a worker was lost, 2 the log, the rules or the options can't be used, 3 more
    errors than allowed or a schedule that could not be kept, 130 interrupted.
    """
    launcher, distributed = launching.settings()
    prepared = check(_settings(given))
    launching.ready(context, launcher, distributed)
    if dry_run:
        _try_it(prepared, as_json=as_json)
        return
    code = conduct(
        lambda view: execute_replay(
            prepared,
            config_text=config_text(prepared, given["remap"]),
            command_line=shlex.join(["penstock", *sys.argv[1:]]),
            launcher=launcher,
            distributed=distributed,
            view=view,
        ),
        prometheus=prometheus,
        quiet=quiet,
        as_json=as_json,
    )
    context.exit(code)


#: The command.
replay = _replay


def _try_it(prepared: Prepared, *, as_json: bool) -> None:
    found = run_dry(prepared)
    if as_json:
        print_json(facts(prepared, found))
    else:
        say_dry_run(prepared, found)


def _settings(given: Mapping[str, Any]) -> Settings:
    """The options as settings. Raises UsageError for what contradicts itself, ConfigError for the rules."""
    _refuse_contradictions(given)
    fast, ops, remap = given["as_fast_as_possible"], given["ops"], given["remap"]
    same = (
        "log",
        "target",
        "in_place",
        "options",
        "limit",
        "skip_bad_rows",
        "prepare",
        "cleanup",
        "seed",
        "op_log_due",
        "range_offsets",
    )
    return Settings(
        **{
            name: given[name]
            for name in (*same, *_CONTENT, "multipart_above", "part_size", "live_interval", "results_dir")
        },
        speed=None if fast else given["speed"] or 1.0,
        rules=() if remap is None else load_rules(remap, environ=os.environ),
        operations=frozenset() if ops is None else parse_operations(ops),
        begin=moment("--from", given["begin"]),
        end=moment("--to", given["end"]),
        window=Window(rows=given["sort_rows"], seconds=given["sort_window"]),
        backpressure=Backpressure(
            lag_threshold=given["lag_threshold"],
            recovery_threshold=given["recovery_threshold"],
            max_flaps_per_minute=given["max_flaps_per_minute"],
            drain_timeout=given["drain_timeout"],
            max_in_flight=given["concurrency"],
        ),
        max_errors=given["max_errors"] if given["continue_on_error"] else 0,
        processes=given["processes"] or None,
        op_log=given["op_log"] or False,
    )


def _refuse_contradictions(given: Mapping[str, Any]) -> None:
    if given["speed"] is not None and given["as_fast_as_possible"]:
        raise UsageError("--speed has no meaning with --as-fast-as-possible; write one of them")
    if given["target"] is None and given["remap"] is None and not given["in_place"]:
        raise UsageError(
            "say where to: --target URI, --remap RULES.yaml, or --in-place to write and delete on the recorded storage"
        )
    if given["in_place"] and given["target"] is not None:
        raise UsageError("--target moves every name, so --in-place has no meaning; write one of them")
    if not given["continue_on_error"] and given["max_errors"]:
        raise UsageError("--stop-on-error stops at the first one; leave it out to allow --max-errors")
    _check_content(given)
    if given["op_log"] is not None:
        _check_op_log(given["op_log"], given["log"])
    elif given["op_log_due"]:
        raise UsageError("--op-log-due is about the log that --op-log writes; name one with it")
    if not given["part_size"]:
        raise UsageError("--part-size 0: write at least a byte")
    if not given["live_interval"] >= 0.1:
        raise UsageError("--live-interval: write 100ms or more")


def _check_op_log(path: str, log: str) -> None:
    from penstock.oplog.textfile import is_compressed

    is_compressed(path)
    if os.path.realpath(path) == os.path.realpath(log):
        raise UsageError(f"--op-log {path} is the log that is replayed, which would be lost; write to another file")


def _check_content(given: Mapping[str, Any]) -> None:
    try:
        unique = default_host().payload_type(given["fill"]).unique
        Contents(0).open(Recipe(*(given[name] for name in _CONTENT)))
    except PluginError as error:
        raise UsageError(f"--fill: {error}") from error
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"--{str(error).replace('_', '-', 1)}") from error
    if not unique and given["dedup_factor"] * given["compress_factor"] > 1:
        raise UsageError(f"--fill {given['fill']} repeats itself already; the factors go with --fill random")
