"""The hooks a plugin may implement, and nothing else.

Each returns immutable descriptors, so that plugins can be listed and checked without opening anything. Hooks
run when a plugin is loaded, never per operation. Names are unique, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from penstock.commands import Command
from penstock.formats import FormatType
from penstock.launchers import LauncherType
from penstock.payload import PayloadType
from penstock.store import StoreType

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("penstock")
#: Marks a plugin's implementation of a hook.
hookimpl = pluggy.HookimplMarker("penstock")


@hookspec
def penstock_store_types() -> Sequence[StoreType]:
    """Storage backends; found through entry points of the group ``penstock.stores``, named by scheme."""
    return ()


@hookspec
def penstock_format_types() -> Sequence[FormatType]:
    """Data formats; group ``penstock.formats``."""
    return ()


@hookspec
def penstock_payload_types() -> Sequence[PayloadType]:
    """Kinds of generated content; group ``penstock.payloads``."""
    return ()


@hookspec
def penstock_launcher_types() -> Sequence[LauncherType]:
    """Launchers; group ``penstock.launchers``."""
    return ()


@hookspec
def penstock_commands() -> Sequence[Command]:
    """Commands; group ``penstock.commands``."""
    return ()
