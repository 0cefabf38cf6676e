"""What ``checkpoint.checkpoint_mechanism_classname: penstock_dlio.checkpointing.PenstockCheckpointing`` names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import attrs
from dlio_benchmark.checkpointing.base_checkpointing import BaseCheckpointing

from penstock.urls import join
from penstock_dlio.places import Place
from penstock_training.train.models import BYTES_OF
from penstock_training.train.saving import read_object, write_object

__all__ = ["PenstockCheckpointing", "Sized"]


@attrs.frozen
class Sized:
    """Stands for an array of so many values: nothing is held, only its bytes are counted."""

    length: int
    nbytes: int
    random: bool = True

    def __len__(self) -> int:
        return self.length


class PenstockCheckpointing(BaseCheckpointing):  # type: ignore[misc]
    """Writes states of the size that DLIO works out, of unique bytes, as streams; no state is held in memory.

    Each object appears when it is whole. Loading reads every byte, and fails where some are missing.
    """

    _instance: ClassVar[PenstockCheckpointing | None] = None

    @staticmethod
    def get_instance() -> PenstockCheckpointing:
        """The one of this process, as DLIO asks for it."""
        if PenstockCheckpointing._instance is None:
            PenstockCheckpointing._instance = PenstockCheckpointing()
        return PenstockCheckpointing._instance

    def __init__(self) -> None:
        # The base makes every array at once, by get_tensor and its kin.
        self._written = 0
        super().__init__("pt")
        self._place = Place.of(self.args)

    def get_tensor_core(self, length: int, datatype: str = "int8", randomize: bool = True) -> Sized:
        """What newer versions of DLIO make arrays by."""
        return Sized(int(length), int(length) * BYTES_OF.get(str(datatype), 1), randomize)

    def get_tensor(self, length: int, datatype: str = "int8", randomize: bool = True) -> Sized:
        """What older ones make them by."""
        return self.get_tensor_core(length, datatype, randomize)

    def set_madvise_mergeable(self, tensor: Any) -> bool:
        """Nothing is in memory that could be merged."""
        return False

    def name(self, suffix: str) -> str:
        """The URI of an object of a checkpoint. In a file system the folder is relative to the process, as in DLIO."""
        folder = str(self.args.checkpoint_folder)
        if self._place.local and "://" not in folder:
            folder = os.path.abspath(folder)
        return join(self._place.uri(folder), f"{suffix}.{self.ext}")

    def save_state(self, suffix: str, state: Any, fsync: bool = False) -> None:
        """Write one object. ``fsync``: of files, wait until they would survive a loss of power."""
        parts = list(_sized(state))
        uri = self.name(suffix)
        options = dict(self._place.options or {})
        if fsync and uri.startswith(("file://", "direct://")):
            options["fsync"] = "true"
        self._written += 1
        random = any(part.random for part in parts)
        # No two objects of any rank have a block in common.
        seed = (int(self.args.my_rank) << 40) + self._written if random else None
        write_object(uri, sum(part.nbytes for part in parts), seed=seed, options=options)

    def load_state(self, suffix: str, state: Any) -> None:
        """Read one object. Raises LengthMismatchError where it is not as long as the state."""
        nbytes = sum(part.nbytes for part in _sized(state))
        read_object(self.name(suffix), nbytes, options=self._place.options)

    def save_checkpoint(self, epoch: int, step_number: int) -> None:
        """Write a checkpoint, as the base divides it."""
        super().save_checkpoint(epoch, step_number)

    def load_checkpoint(self, epoch: int, step_number: int) -> None:
        """Read one."""
        super().load_checkpoint(epoch, step_number)

    def checkpoint(self, epoch: int, step_number: int) -> None:
        """What older versions of DLIO call."""
        super().checkpoint(epoch, step_number)

    def finalize(self) -> None:
        super().finalize()


def _sized(state: Any) -> Iterable[Sized]:
    """Every array of a state, however it is nested."""
    if isinstance(state, Sized):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _sized(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _sized(value)
