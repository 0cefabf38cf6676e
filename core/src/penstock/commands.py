"""The contract of a command that a plugin adds to ``penstock``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import click

__all__ = ["API_VERSION", "Command"]

API_VERSION = 1


@attrs.frozen(slots=True, kw_only=True)
class Command:
    """A command as its plugin offers it. ``load`` imports it, when it is called and not before."""

    name: str
    summary: str
    load: Callable[[], click.Command]
    api: int = API_VERSION
