"""The launcher that core brings."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from penstock.hookspecs import hookimpl
from penstock.launchers import Launcher, LauncherType

__all__ = ["LocalOptions"]


@attrs.frozen(kw_only=True)
class LocalOptions:
    """The local launcher has no options."""


def _open(options: LocalOptions) -> Launcher:
    from penstock.engine.local import LocalLauncher

    return LocalLauncher()


@hookimpl
def penstock_launcher_types() -> Sequence[LauncherType]:
    return (LauncherType(name="local", summary="worker processes on this host", options=LocalOptions, open=_open),)
