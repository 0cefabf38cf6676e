"""Commands that were started in many processes at once, as mpirun does: one of them goes on, the others serve it."""

from __future__ import annotations

import click

from penstock.errors import PluginError, UsageError
from penstock.plugins import default_host

__all__ = ["begin", "serve_elsewhere"]


def begin(context: click.Context, _parameter: click.Parameter, launcher: str | None) -> str | None:
    """The callback of the option ``--launcher``, eager: only the process that goes on may read or print anything."""
    if launcher is not None and not context.resilient_parsing:
        serve_elsewhere(context, launcher)
    return launcher


def serve_elsewhere(context: click.Context, launcher: str) -> None:
    """Return in the process that goes on with the command; end every other when it has served as a host.

    Raises UsageError where there is no such launcher, or none that works.
    """
    try:
        kind = default_host().launcher_type(launcher)
    except PluginError as error:
        raise UsageError(f"--launcher: {error}") from error
    if kind.serve is not None and (code := kind.serve()) is not None:
        context.exit(code)
