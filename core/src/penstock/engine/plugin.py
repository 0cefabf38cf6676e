"""The launcher that core brings."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from penstock.errors import UsageError
from penstock.hookspecs import hookimpl
from penstock.launchers import Launcher, LauncherType
from penstock.options import option

__all__ = ["LocalOptions"]


@attrs.frozen(kw_only=True)
class LocalOptions:
    """Options of the local launcher."""

    hosts: int | None = option(
        None,
        help="pretend so many hosts on this machine, each with a worker and processes of its own; none: processes of "
        "this host alone",
    )


def _open(options: LocalOptions) -> Launcher:
    from penstock.engine.local import LocalLauncher

    if options.hosts is not None and options.hosts < 1:
        raise UsageError(f"hosts: {options.hosts}; pretend at least one, or leave it out")
    return LocalLauncher(options.hosts)


@hookimpl
def penstock_launcher_types() -> Sequence[LauncherType]:
    return (LauncherType(name="local", summary="worker processes on this host", options=LocalOptions, open=_open),)
