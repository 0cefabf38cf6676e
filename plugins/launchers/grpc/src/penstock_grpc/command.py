"""``penstock agent``: let other hosts run workloads here; ``penstock agent status``: see how agents are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

from penstock.errors import UsageError
from penstock.options import OptionField, describe, resolve
from penstock_grpc.settings import AgentOptions, Settings, StatusOptions

__all__ = ["agent", "status"]

_F = TypeVar("_F", bound=Callable[..., Any])
_META = "penstock_grpc.options"
_FILES = ("file", "ca", "cert", "key")
_SHOWN = {"listen": "HOST:PORT", "scratch": "DIR", "allow_env": "NAME", "server_name": "NAME"}


def _options_of(cls: type[Any], *, but: str = "") -> Callable[[_F], _F]:
    """A command-line option for each field of a class; :func:`_given` has what was said."""

    def decorate(command: _F) -> _F:
        for field in reversed(describe(cls)):
            if field.name != but:
                command = _option_of(field)(command)
        return command

    return decorate


def _option_of(field: OptionField) -> Callable[[_F], _F]:
    flag = f"--{field.name.replace('_', '-')}"
    facts = ", ".join(filter(None, (_default_of(field), *(f"${name}" for name in field.env))))
    text = f"{field.help} [{facts}]" if facts else field.help
    if field.type == "bool":
        return click.option(flag, is_flag=True, default=None, help=text, callback=_keep, expose_value=False)
    shown = "FILE" if field.name.rpartition("_")[2] in _FILES else field.type.upper()
    shown = _SHOWN.get(field.name, shown)
    return click.option(
        flag, multiple=field.type == "tuple", metavar=shown, help=text, callback=_keep, expose_value=False
    )


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in (None, ()):
        context.meta.setdefault(_META, {}).setdefault(context.command.name, {})[parameter.name] = value


def _given(context: click.Context) -> dict[str, Any]:
    """What was said on the command line; the rest comes from the environment, or is the default."""
    return dict(context.meta.get(_META, {}).get(context.command.name, {}))


def _default_of(field: OptionField) -> str:
    return "" if field.default in ("none", "required", "false", "()") else f"default: {field.default}"


@click.group(invoke_without_command=True, short_help="Let other hosts run workloads here; see how agents are.")
@_options_of(AgentOptions)
@click.pass_context
def agent(context: click.Context) -> int | None:
    """Be an agent: give controllers elsewhere sessions with workers of this host, until SIGTERM or Ctrl-C.

    A controller is: penstock run --launcher grpc --agents HOST:PORT,... It sends plans that drive I/O, never commands
    or code. The agent listens on the loopback alone unless it has TLS, and nowhere without a token or a CA of
    controllers. The token stands in PENSTOCK_AGENT_TOKEN or in a file, never on the command line.

    Told to end (SIGTERM, Ctrl-C) it takes no new session and lets those that run go on for the grace; told twice it
    ends at once.

    Exit status: 0 it was told to end, 1 it could not listen, 2 it was asked for what it does not do.
    """
    given = _given(context)
    if context.invoked_subcommand is not None:
        if given:
            raise UsageError(f"agent: write the options of {context.invoked_subcommand} after it, not before")
        return None
    from penstock_grpc.agent import run

    _speak()
    resolved = resolve(AgentOptions, explicit=given, environ=os.environ, scheme="agent")
    settings = Settings.from_options(resolved.options, os.environ)
    run(settings, lambda port: click.echo(f"listening on {attrs.evolve(settings.address, port=port)}"))
    return 0


@agent.command()
@click.argument("agents", nargs=-1, metavar="[HOST:PORT]...")
@_options_of(StatusOptions, but="agents")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each.")
@click.pass_context
def status(context: click.Context, agents: tuple[str, ...], as_json: bool) -> int:
    """Ask agents how they are: health, versions, busy or free. Without names those of PENSTOCK_AGENTS.

    Exit status: 0 all answered and take sessions, 1 one did not or is busy or about to end, 2 wrong usage.
    """
    from penstock_grpc.status import ask_all

    explicit = _given(context) | ({"agents": ",".join(agents)} if agents else {})
    reports = ask_all(resolve(StatusOptions, explicit=explicit, environ=os.environ, scheme="agent status").options)
    for report in reports:
        click.echo(report.to_json() if as_json else report.to_line())
    return 0 if all(report.usable for report in reports) else 1


def _speak() -> None:
    """Let structlog tell of sessions on standard error, where systemd and docker look for it."""
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
