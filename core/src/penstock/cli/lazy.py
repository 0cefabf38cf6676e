"""A click group that imports a command when it is called, and turns every failure into an exit code.

Exit codes: 0 done; 1 failed; 2 configuration or usage; 3 finished with errors above the limit; 4 a comparison found
what it was told to fail on; 130 interrupted.
A command may return its exit code, call ``ctx.exit``, or raise.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click
from click.shell_completion import CompletionItem

from penstock.errors import PenstockError, PluginError, StoreError, UsageError, redact
from penstock.options import nearest

__all__ = ["FAILED", "INTERRUPTED", "OVER_LIMIT", "REGRESSION", "USAGE", "Entry", "LazyGroup", "State"]

FAILED = 1
USAGE = 2
OVER_LIMIT = 3
REGRESSION = 4
INTERRUPTED = 130

_PLUGINS = "From plugins"


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


class LazyGroup(click.Group):
    """A group whose commands are named in a table; see the module."""

    #: The program's own commands by name, in the order of help. Set once, right after the group is made.
    table: Mapping[str, Entry] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        from penstock.plugins import default_host

        added = default_host().names("penstock.commands")
        return [*self.table, *(name for name in added if name not in self.table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        if entry is not None:
            return _import(cmd_name, entry.target)
        from penstock.plugins import default_host

        if cmd_name not in default_host().names("penstock.commands"):
            return None
        return default_host().command(cmd_name).load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise UsageError(f"no command named {name}; {nearest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

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
        state = State()
        extra.setdefault("obj", state)
        try:
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
        return USAGE if isinstance(error, UsageError) else FAILED
    raise error


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
