"""The commands ``train`` and ``generate dataset``; it imports them when they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.commands import Command
from penstock.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

__all__: list[str] = []


def _train() -> click.Command:
    from penstock_training.train.command import train

    return train


def _dataset() -> click.Command:
    from penstock_training.datasets.command import dataset

    return dataset


@hookimpl
def penstock_commands() -> Sequence[Command]:
    return (
        Command(name="train", summary="Run a training-shaped workload of DLIO's.", load=_train),
        Command(name="generate.dataset", summary="Write files of samples to train on, in any format.", load=_dataset),
    )
