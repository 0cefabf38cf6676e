"""A click group that imports a command when it is called, and turns every failure into an exit code.

Exit codes: 0 done; 1 failed; 2 configuration or usage; 3 finished with errors above the limit; 4 a comparison found
what it was told to fail on; 130 interrupted.
A command may return its exit code, call ``ctx.exit``, or raise.

A plugin's command whose name has a dot stands below another command: ``generate.dataset`` is ``penstock generate
dataset``, and whatever else ``generate`` is called with is its own.
"""

from __future__ import annotations

import copy
import errno
import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click
from click.shell_completion import CompletionItem

from penstock.environment import calm, variables
from penstock.errors import OpLogError, PenstockError, PluginError, StoreError, UsageError, redact
from penstock.options import nearest

__all__ = ["FAILED", "INTERRUPTED", "OVER_LIMIT", "REGRESSION", "USAGE", "Entry", "LazyGroup", "State"]

FAILED = 1
USAGE = 2
OVER_LIMIT = 3
REGRESSION = 4
INTERRUPTED = 130

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_PLUGINS = "From plugins"
_WORD = re.compile(r"[a-z][a-z0-9-]*")


@attrs.frozen(slots=True)
class Entry:
    """Where a command lives, ``module:attribute``, and what help says of it."""

    target: str
    summary: str
    section: str


@attrs.define(slots=True)
class State:
    """What the options before the command's name ask for; ``click.Context.find_object`` finds it."""

    verbosity: int = 0
    #: Variables that are set for this process and those that it starts of penstock's own, not for other programs.
    calm: Mapping[str, str] = attrs.Factory(dict)

    def environ_for_others(self) -> dict[str, str]:
        """The environment, as programs that are not penstock's shall see it."""
        return {name: value for name, value in os.environ.items() if self.calm.get(name) != value}


class LazyGroup(click.Group):
    """A group whose commands are named in a table; see the module."""

    #: The program's own commands by name, in the order of help. Set once, right after the group is made.
    table: Mapping[str, Entry] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        added = (name for name in _added() if "." not in name)
        return [*self.table, *(name for name in added if name not in self.table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        if entry is None and ("." in cmd_name or cmd_name not in _added()):
            return None
        return _import(cmd_name, entry.target) if entry is not None else _load(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        # Looking through what is installed takes time: not for what can't be the name of a command.
        if len(args) > 1 and _WORD.fullmatch(args[1]) and args[1] in _below(name):
            return f"{name} {args[1]}", _load(f"{name}.{args[1]}"), args[2:]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise UsageError(f"no command named {name}; {nearest(name, self.list_commands(ctx))}")
        found, command, rest = super().resolve_command(ctx, args)
        if command is not None and set(rest) & set(ctx.help_option_names):
            command = _with_below(command, name)
        return found, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.table.items():
            sections.setdefault(entry.section, []).append((name, entry.summary))
        for name in self.list_commands(ctx)[len(self.table) :]:
            sections.setdefault(_PLUGINS, []).append((name, _plugin_summary(name)))
        width = max((len(name) for rows in sections.values() for name, _ in rows), default=0)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = (name for name in self.list_commands(ctx) if name.startswith(incomplete))
        items = [CompletionItem(name, help=self._summary(name)) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line. Exits the process, unless ``standalone_mode`` is off: then the exit code is returned
        and errors are raised.
        """
        state = State(calm=calm(os.environ) if standalone_mode else {})
        extra.setdefault("obj", state)
        try:
            with variables(state.calm):
                code = super().main(
                    args=args,
                    prog_name=prog_name or "penstock",
                    complete_var=complete_var,
                    standalone_mode=False,
                    windows_expand_args=windows_expand_args,
                    **extra,
                )
        except BaseException as error:
            if not standalone_mode:
                raise
            code = _explain(error, state)
        code = code if isinstance(code, int) else 0
        if not standalone_mode:
            return code
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Click would make it exit code 1; but whoever read our output has all that it wanted, as `head` does.
            if isinstance(error, PenstockError):
                raise
            return _reader_left()
        return result

    def _summary(self, name: str) -> str:
        entry = self.table.get(name)
        return entry.summary if entry is not None else _plugin_summary(name)


def _import(name: str, target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    try:
        command: click.Command = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"the command {name} can't be loaded: {error}") from error
    return command


def _added() -> tuple[str, ...]:
    """The names of the commands that plugins add."""
    from penstock.plugins import default_host

    return default_host().names("penstock.commands")


def _below(name: str) -> tuple[str, ...]:
    """What plugins add below a command, by the last part of the name."""
    return tuple(each.removeprefix(f"{name}.") for each in _added() if each.startswith(f"{name}."))


def _load(name: str) -> click.Command:
    from penstock.plugins import default_host

    return default_host().command(name).load()


def _with_below(command: click.Command, name: str) -> click.Command:
    """The command, whose help also says what plugins add below it."""
    below = _below(name)
    if not below:
        return command
    command = copy.copy(command)
    lines = (f"{name} {each}: {_plugin_summary(f'{name}.{each}')}" for each in below)
    # Each line is a paragraph of its own, or click would fill them into one.
    command.epilog = "\n\n".join(text for text in (command.epilog, "From plugins:", *lines) if text)
    return command


def _plugin_summary(name: str) -> str:
    from penstock.plugins import default_host

    try:
        return default_host().command(name).summary
    except PenstockError as error:
        return f"(broken) {error}"


def _explain(error: BaseException, state: State) -> int:
    """Say what went wrong on stderr, in one line where possible, and return the exit code."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, PenstockError):
        if state.verbosity >= 2:
            _show_traceback(error)
        _say(str(error) or type(error).__name__)
        if isinstance(error, StoreError):
            _say_remedy(error)
        return USAGE if isinstance(error, UsageError) or _is_of_a_log(error) else FAILED
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        _say(f"{where}{error.strerror}; what was to be kept is not whole")
        return FAILED
    raise error


def _is_of_a_log(error: PenstockError) -> bool:
    """Whether it is about a log that was given and can't be used, rather than a disk that is full or breaks."""
    cause = error.__cause__
    return isinstance(error, OpLogError) and not (isinstance(cause, OSError) and cause.errno in _DISK)


def _say(text: str) -> None:
    click.echo(f"penstock: {text}", err=True)


def _show_traceback(error: PenstockError) -> None:
    import traceback

    # The SDK's own error, beneath ours, may quote what it was given.
    click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)


def _say_remedy(error: StoreError) -> None:
    from penstock.client.remedies import health_command, is_unreachable, remedy

    command = health_command(error.uri or "") if is_unreachable(error) else None
    if command is not None:
        _say(f"try: {command}")
    elif words := remedy(error):
        _say(words)


def _reader_left() -> int:
    # Python would complain again when it flushes at exit.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    return 0
