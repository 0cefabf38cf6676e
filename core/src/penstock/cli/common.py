"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.lazy import State

if TYPE_CHECKING:
    from penstock.errors import PenstockError

__all__ = ["env_file_option", "json_option", "key_values", "print_json", "verbose_option", "warn"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _set_verbosity(ctx: click.Context, param: click.Parameter, value: int) -> None:
    if not value or ctx.resilient_parsing:
        return
    state = ctx.ensure_object(State)
    state.verbosity = max(state.verbosity, value)
    from penstock.cli.logs import configure

    configure(state.verbosity)


def _load_env_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None or ctx.resilient_parsing:
        return
    from penstock.cli.envfile import apply

    ctx.call_on_close(apply(value))


def verbose_option(command: _F) -> _F:
    """``-v`` and ``-vv``, legal before and after the command's name."""
    return click.option(
        "-v",
        "--verbose",
        count=True,
        is_eager=True,
        expose_value=False,
        callback=_set_verbosity,
        help="Say more on standard error; -vv also shows tracebacks.",
    )(command)


def env_file_option(command: _F) -> _F:
    """``--env-file FILE``, legal before and after the command's name."""
    return click.option(
        "--env-file",
        type=click.Path(dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_load_env_file,
        metavar="FILE",
        help="Set the variables of a KEY=VALUE file for this command, over those of the environment.",
    )(command)


def json_option(command: _F) -> _F:
    """``--json``, passed as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def key_values(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """A callback for repeatable ``NAME=VALUE`` options."""
    result: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"write NAME=VALUE, not {text!r}")
        if name in result:
            raise click.BadParameter(f"{name} is given twice")
        result[name] = value
    return result


def print_json(value: Any) -> None:
    """One JSON document or, called repeatedly, one line each."""
    import json

    click.echo(json.dumps(value, ensure_ascii=False))


def warn(text: str | PenstockError) -> None:
    """A line on standard error."""
    click.echo(f"penstock: {text}", err=True)
