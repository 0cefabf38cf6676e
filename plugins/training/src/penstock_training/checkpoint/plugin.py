"""What penstock-training offers the command line for checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.commands import Command
from penstock.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

__all__ = ["penstock_commands"]


def _load() -> click.Command:
    from penstock_training.checkpoint.command import checkpoint

    return checkpoint


@hookimpl
def penstock_commands() -> Sequence[Command]:
    """``penstock checkpoint``."""
    return (Command(name="checkpoint", summary="List, show, verify and prune checkpoints of training.", load=_load),)
